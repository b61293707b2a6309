//! What can go wrong with output logs.

use std::{
    io,
    path::{Path, PathBuf},
};

use ipc_protocol::{JobId, Stream};

/// Why an operation on an output log failed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The disk (or the quota) has no room. The log is as it was before the call; repeat it when there is room.
    #[error("no room for output at {}: free some space; nothing that was logged is lost", path.display())]
    DiskFull {
        /// The file or directory that could not grow.
        path: PathBuf,
    },
    /// The operating system refused a file operation: rights, hardware, or somebody meddled with the directory. The operator
    /// must look at the path.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried, such as "open".
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A caller offered bytes that do not follow those in the log: a fault in the program, or bytes that are lost (then
    /// [`skip`](super::LogWriter::skip) marks them).
    #[error("output of job {job} has {expected} bytes of {stream:?} and cannot go on at {got}")]
    Hole {
        /// The job.
        job: JobId,
        /// The stream.
        stream: Stream,
        /// The next offset in the stream.
        expected: u64,
        /// The offset that was offered.
        got: u64,
    },
    /// A reader asked for a place after the end of a finished log; the request is wrong.
    #[error("offset {offset} is beyond the end of the output, {end}")]
    BeyondEnd {
        /// The offset asked for.
        offset: u64,
        /// The offset after the last byte.
        end: u64,
    },
    /// The log has a writer already: a fault in the program.
    #[error("the output log of job {job} is already being written")]
    AlreadyOpen {
        /// The job.
        job: JobId,
    },
    /// The log was closed; it takes no more.
    #[error("the output log of job {job} is closed")]
    Closed {
        /// The job.
        job: JobId,
    },
    /// The log cannot be deleted while it has a writer.
    #[error("the output log of job {job} is still being written")]
    Live {
        /// The job.
        job: JobId,
    },
    /// The log was deleted while it was read.
    #[error("the output of job {job} was deleted")]
    Deleted {
        /// The job.
        job: JobId,
    },
    /// A later release wrote this file. Go back to that release, or delete the job.
    #[error("{} has format {version}, which this release cannot read", path.display())]
    Version {
        /// The segment file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl OutputError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path: path.to_owned() },
            _ => Self::Io { what, path: path.to_owned(), source },
        }
    }
}
