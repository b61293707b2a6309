//! The folder of all output logs.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipc_protocol::JobId;
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    error::OutputError,
    file::Parts,
    limit::OutputLimit,
    reader::{LogReader, ReadOptions},
    segment::{Scan, scan},
    state::{LogState, Totals},
    writer::LogWriter,
};

/// All output logs below one folder. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub struct OutputLogs {
    shared: Arc<Shared>,
}

/// What logs in use have in common.
#[derive(Debug)]
pub(super) struct Shared {
    dir: PathBuf,
    /// Logs that a writer or a reader uses; the others are on disk alone.
    used: Mutex<Used>,
    /// Bytes that readers of all logs hold.
    read_bytes: Arc<AtomicUsize>,
    runtime: Option<Handle>,
}

#[derive(Debug, Default)]
struct Used {
    logs: HashMap<JobId, Weak<LogState>>,
    /// Logs nobody uses any more are swept out when there are more entries than this.
    sweep_at: usize,
}

impl OutputLogs {
    /// Opens the folder and makes it (mode 0700) if it is missing. Called inside a runtime, followers are woken on that
    /// runtime's threads instead of the writer's. Blocks.
    pub fn open(dir: &Path) -> Result<Self, OutputError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| OutputError::io("create", dir, e))?;
        let shared = Shared {
            dir: dir.to_owned(),
            used: Mutex::default(),
            read_bytes: Arc::default(),
            runtime: Handle::try_current().ok(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Opens a job's log for adding to it: a new one, or one that a former process did not close. Whatever it was writing when
    /// it died is cut off. Must come before the first [`reader`](Self::reader) of a live job. No file exists before the first
    /// byte. Blocks; the cost does not grow with what the log holds.
    ///
    /// # Errors
    /// `AlreadyOpen`, `Closed`, `Version`, `DiskFull`, `Io`.
    pub fn writer(&self, job: JobId, limit: OutputLimit) -> Result<LogWriter, OutputError> {
        let dir = self.shared.log_dir(job);
        let found = scan(&dir, job)?;
        if found.tail.closed.is_some() {
            return Err(OutputError::Closed { job });
        }
        let state = {
            let mut used = self.shared.used();
            let known = used.logs.get(&job).and_then(Weak::upgrade).filter(|s| s.look(|now| now.ended.is_none()));
            let state = match known {
                Some(state) => state,
                None => {
                    let state = self.shared.state(job, found.clone(), None);
                    used.insert(&state);
                    state
                }
            };
            if state.writing.swap(true, Ordering::SeqCst) {
                return Err(OutputError::AlreadyOpen { job });
            }
            state
        };
        LogWriter::begin(state, found, limit)
    }

    /// Opens a job's log for reading: a live one, a closed one, or an empty one (a job without output has no files).
    ///
    /// # Errors
    /// `BeyondEnd`, `Version`, `Io`.
    pub async fn reader(&self, job: JobId, options: ReadOptions) -> Result<LogReader, OutputError> {
        let this = self.clone();
        let state = match self.shared.known(job) {
            Some(state) => state,
            None => blocking(move || this.shared.load(job)).await?,
        };
        LogReader::begin(state, options).await
    }

    /// What a job's log holds, counted. Blocks when the log is not in use.
    pub fn totals(&self, job: JobId) -> Result<Totals, OutputError> {
        match self.totals_in_use(job) {
            Some(totals) => Ok(totals),
            None => Ok(self.shared.load(job)?.look(|now| now.totals())),
        }
    }

    /// The same of a log that a writer or a reader uses; `None` of any other. Does not block.
    pub fn totals_in_use(&self, job: JobId) -> Option<Totals> {
        self.shared.known(job).map(|state| state.look(|now| now.totals()))
    }

    /// Removes a job's log. One that is not there is no error; readers of it end with `Deleted`. Blocks.
    ///
    /// # Errors
    /// `Live` while it has a writer; `Io`.
    pub fn delete(&self, job: JobId) -> Result<(), OutputError> {
        if let Some(state) = self.shared.known(job) {
            if state.writing.load(Ordering::SeqCst) {
                return Err(OutputError::Live { job });
            }
            state.publish(|now| now.deleted = true);
            self.shared.used().logs.remove(&job);
        }
        let dir = self.shared.log_dir(job);
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(OutputError::io("remove", &dir, e)),
            _ => Ok(()),
        }
    }

    /// Jobs that have a log on disk, in no order. Blocks.
    pub fn jobs(&self) -> Result<Vec<JobId>, OutputError> {
        let failed = |e| OutputError::io("read", &self.shared.dir, e);
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&self.shared.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            jobs.extend(name.to_str().and_then(|name| name.parse::<JobId>().ok()));
        }
        Ok(jobs)
    }

    #[cfg(test)]
    pub(super) fn bytes_held_for_readers(&self) -> usize {
        self.shared.read_bytes.load(Ordering::SeqCst)
    }

    /// Bytes on disk of all logs that have a writer.
    pub fn live_bytes(&self) -> u64 {
        let states: Vec<_> = self.shared.used().logs.values().filter_map(Weak::upgrade).collect();
        let live = states.iter().filter(|s| s.writing.load(Ordering::SeqCst));
        live.map(|s| s.look(|now| now.totals().disk_bytes)).sum()
    }

    /// Bytes that unprivileged programs can still write to the file system of the logs; 0 where it can make no more files. Blocks.
    pub fn free_bytes(&self) -> Result<u64, OutputError> {
        let figures = rustix::fs::statvfs(&self.shared.dir);
        let figures = figures.map_err(|e| OutputError::io("examine", &self.shared.dir, e.into()))?;
        // A file system that counts no files says 0 of 0.
        let full_of_files = figures.f_files > 0 && figures.f_favail == 0;
        Ok(if full_of_files { 0 } else { figures.f_bavail.saturating_mul(figures.f_frsize) })
    }
}

impl Shared {
    fn log_dir(&self, job: JobId) -> PathBuf {
        self.dir.join(job.to_string())
    }

    fn known(&self, job: JobId) -> Option<Arc<LogState>> {
        self.used().logs.get(&job).and_then(Weak::upgrade)
    }

    /// Reads a log that nobody uses.
    fn load(&self, job: JobId) -> Result<Arc<LogState>, OutputError> {
        let dir = self.log_dir(job);
        let found = scan(&dir, job)?;
        let complete = found.tail.closed.unwrap_or(found.segments.is_empty() && found.broken.is_empty());
        let mut used = self.used();
        if let Some(state) = used.logs.get(&job).and_then(Weak::upgrade) {
            return Ok(state);
        }
        let state = self.state(job, found, Some(complete));
        used.insert(&state);
        Ok(state)
    }

    fn state(&self, job: JobId, found: Scan, ended: Option<bool>) -> Arc<LogState> {
        let parts = Parts::new(Arc::clone(&self.read_bytes));
        LogState::new(job, self.log_dir(job), found, ended, parts, self.runtime.clone())
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // Nothing panics while it is held.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn insert(&mut self, state: &Arc<LogState>) {
        if self.logs.len() >= self.sweep_at {
            self.logs.retain(|_, state| state.strong_count() > 0);
            self.sweep_at = 64 + 2 * self.logs.len();
        }
        self.logs.insert(state.job, Arc::downgrade(state));
    }
}

/// Runs something that blocks off the threads of the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OutputError> + Send + 'static,
) -> Result<T, OutputError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => {
            let source = io::Error::other(e);
            Err(OutputError::Io { what: "read", path: PathBuf::new(), source })
        }
    }
}
