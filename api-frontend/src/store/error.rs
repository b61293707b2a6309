//! What can go wrong with the records.

use std::path::PathBuf;

use ipc_protocol::JobId;
use rusqlite::ErrorCode;

use super::state::JobState;
use crate::policy::GroupFull;

/// Why the database could not be opened. The operator must act; the sentence says how.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later release wrote it in a way that this one cannot read.
    #[error(
        "{} was written by a later release (records format {found}, this release knows {known}): install that release, or \
         restore a backup made before it", path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The latest format that this release knows.
        known: u32,
    },
    /// It is the database of another program.
    #[error("{} is a database of another program: name another file, or move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written, or is no database.
    #[error("cannot open the records in {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The reason given by the system or by SQLite.
        reason: String,
    },
    /// No thread could be started.
    #[error("cannot start the thread that writes the records: {0}")]
    Thread(String),
}

/// Why the records could not be read or changed. Nothing was changed; when the cause is gone, the same call works.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room.
    #[error("no room for the records: free some space on their disk")]
    DiskFull,
    /// The disk, or SQLite, failed otherwise. The operator must look.
    #[error("the records cannot be used ({0}); ask your operator to look at the frontend's journal")]
    Failed(String),
    /// A value is beyond what the database can hold (63 bits): a fault in the program.
    #[error("a number of the record is too large: {0}")]
    TooLarge(u64),
    /// The store is being closed.
    #[error("the records are being closed; repeat the request in a moment")]
    Closing,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Why a job was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The client used the request id before, for something else.
    #[error("request id '{request_id}' was used before with other parameters, by job {job}: choose a new one")]
    RequestIdReused {
        /// The request id.
        request_id: String,
        /// The job it made.
        job: JobId,
    },
    /// A live job of the same owner has the name.
    #[error("the name '{name}' is taken by job {job}, which has not ended: choose another, or wait for its end")]
    NameTaken {
        /// The name.
        name: String,
        /// The live job.
        job: JobId,
    },
    /// The job's group has no room for it.
    #[error(transparent)]
    GroupFull(GroupFull),
    /// The records failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a record was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// There is no such job.
    #[error("no job {0}")]
    NotFound(JobId),
    /// It has ended, and ended states never change.
    #[error("job {job} has ended ({state})")]
    Ended {
        /// The job.
        job: JobId,
        /// How it stands.
        state: JobState,
    },
    /// It must end first.
    #[error("job {job} is {state}: stop it first, or wait for its end")]
    StillLive {
        /// The job.
        job: JobId,
        /// How it stands.
        state: JobState,
    },
    /// The records failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a reference does not name a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It fits none that exists for the caller.
    #[error("no job '{0}' that you may see")]
    NotFound(String),
    /// It fits several.
    #[error("'{reference}' fits several jobs{}; write more of it", listed(candidates))]
    Ambiguous {
        /// As given.
        reference: String,
        /// Some of those it fits; eleven, when there are more than ten.
        candidates: Vec<JobId>,
    },
    /// It is the beginning of ids, and shorter than any that is taken for one.
    #[error("'{reference}' is too short for the beginning of an id{}", listed(candidates))]
    TooShort {
        /// As given.
        reference: String,
        /// Some of the newest of those it fits; eleven, when there are more than ten.
        candidates: Vec<JobId>,
    },
    /// The records failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(candidates: &[JobId]) -> String {
    let short: Vec<_> = candidates.iter().map(|job| job.to_string()[..8].to_owned()).collect();
    format!(": {}", short.join(", "))
}
