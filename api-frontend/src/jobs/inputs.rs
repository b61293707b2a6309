//! Standard input for jobs to come: spooled to files while it is hashed, kept until the job has it or ten minutes are over.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_protocol::{InputDigest, JobId, Limit};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Jobs, JobsError};
use crate::authorize::Caller;
use crate::config::roughly;

/// How long an upload waits for its start.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Most uploads of one owner that are under way or wait for their start.
const WAITING_MAX: usize = 64;
/// Their bytes, in inputs of the greatest length that the owner's profiles take: what waits takes room from everybody's output.
const WAITING_INPUTS: u64 = 8;

/// All uploads of this process. Those of a former one are gone: whoever uploaded them was told nothing that lasts.
#[derive(Debug)]
pub(super) struct Inputs {
    dir: PathBuf,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    uploads: HashMap<String, Entry>,
    /// By owner, what is under way.
    begun: HashMap<String, Sum>,
    of_jobs: HashMap<JobId, String>,
}

#[derive(Debug)]
struct Entry {
    owner: String,
    digest: InputDigest,
    made: Instant,
    /// `None` once a job has it: the digest is still wanted when the start is repeated.
    path: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    uploads: usize,
    bytes: u64,
}

/// An upload under way. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    file: File,
    path: Option<PathBuf>,
    hash: Sha256,
    bytes: u64,
    most: u64,
    begun: Begun,
}

/// One of its owner's uploads that are under way, for as long as this lives.
#[derive(Debug)]
struct Begun {
    owner: String,
    bytes: u64,
    table: Arc<Mutex<Table>>,
}

impl Table {
    /// What an owner has under way and waiting for its start.
    fn sum(&self, owner: &str) -> Sum {
        let waiting = self.uploads.values().filter(|e| e.owner == owner && e.path.is_some());
        let begun = self.begun.get(owner).copied().unwrap_or_default();
        waiting.fold(begun, |sum, entry| Sum { uploads: sum.uploads + 1, bytes: sum.bytes + entry.digest.bytes })
    }
}

impl Begun {
    /// Counts bytes; false when the owner then has more than `most`.
    fn add(&mut self, bytes: u64, most: u64) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(begun) = table.begun.get_mut(&self.owner) else { return false };
        begun.bytes += bytes;
        self.bytes += bytes;
        table.sum(&self.owner).bytes <= most
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begun) = table.begun.get_mut(&self.owner) {
            begun.uploads -= 1;
            begun.bytes -= self.bytes;
            if begun.uploads == 0 {
                table.begun.remove(&self.owner);
            }
        }
    }
}

/// A complete upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// What a start names it by.
    pub input_id: String,
    /// Length and hash.
    pub digest: InputDigest,
}

impl Jobs {
    /// Begins an upload of the caller, of at most what the largest of their profiles takes. Blocks for the making of a file.
    pub fn upload(&self, caller: &Caller) -> Result<Upload, JobsError> {
        if self.profiles().is_empty() {
            return Err(self.core.away("take input", "nothing was stored"));
        }
        let most =
            self.profiles_to_start_in(caller)?.iter().map(|p| p.max.get(Limit::Input).unwrap_or(0)).max().unwrap_or(0);
        self.core.has_room()?;
        self.core.inputs.begin(&caller.name, most)
    }

    /// Whether an upload that is under way may go on: it takes room that output and records need. Blocks for a look at the disk.
    pub fn upload_has_room(&self) -> Result<(), JobsError> {
        self.core.has_room()
    }
}

impl Inputs {
    /// Makes the folder (mode 0700), or empties it.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        for entry in fs::read_dir(dir)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(Self { dir: dir.to_owned(), table: Arc::default() })
    }

    fn begin(&self, owner: &str, most: u64) -> Result<Upload, JobsError> {
        let begun = self.count(owner)?;
        let path = self.dir.join(Uuid::new_v4().to_string());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(no_room)?;
        Ok(Upload { file, path: Some(path), hash: Sha256::new(), bytes: 0, most, begun })
    }

    // One more of this owner, while there may be.
    fn count(&self, owner: &str) -> Result<Begun, JobsError> {
        let mut table = self.table();
        let all = table.sum(owner).uploads;
        if all >= WAITING_MAX {
            let message =
                format!("{all} uploads of yours are under way or wait for their start; start or wait ten minutes");
            return Err(JobsError::Exhausted { what: "uploads", message });
        }
        table.begun.entry(owner.to_owned()).or_default().uploads += 1;
        Ok(Begun { owner: owner.to_owned(), bytes: 0, table: self.table.clone() })
    }

    /// Length and hash of an upload of `owner`, whether or not a job has it already.
    pub(super) fn digest(&self, owner: &str, input_id: &str) -> Option<InputDigest> {
        self.table().uploads.get(input_id).filter(|e| e.owner == owner).map(|e| e.digest)
    }

    /// Gives an upload to a job. `None` when it is not there (any more).
    pub(super) fn give(&self, owner: &str, input_id: &str, job: JobId) -> Option<PathBuf> {
        let mut table = self.table();
        let entry = table.uploads.get_mut(input_id).filter(|e| e.owner == owner)?;
        let from = entry.path.take()?;
        let to = self.dir.join(job.to_string());
        if let Err(error) = fs::rename(&from, &to) {
            tracing::warn!(%job, %error, "an upload cannot be given to its job");
            return None;
        }
        table.of_jobs.insert(job, input_id.to_owned());
        kill_point!(InputGiven);
        Some(to)
    }

    /// Gives the input of a job that was not started back, so that the repeated start finds it.
    pub(super) fn give_back(&self, job: JobId) {
        let mut table = self.table();
        let Some(input_id) = table.of_jobs.remove(&job) else { return };
        let path = self.dir.join(job.to_string());
        match table.uploads.get_mut(&input_id) {
            Some(entry) => entry.path = Some(path),
            None => remove(&path),
        }
    }

    /// The job has its input, or needs none any more.
    pub(super) fn discard_of(&self, job: JobId) {
        if self.table().of_jobs.remove(&job).is_some() {
            remove(&self.dir.join(job.to_string()));
        }
    }

    /// Removes uploads that waited too long.
    pub(super) fn expire(&self) {
        let mut table = self.table();
        table.uploads.retain(|_, entry| {
            let keep = entry.made.elapsed() < KEPT_FOR;
            if let (false, Some(path)) = (keep, &entry.path) {
                remove(path);
            }
            keep
        });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Adds bytes. Blocks for hashing and a write into the page cache.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), JobsError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most {
            let most = roughly(self.most);
            let message = format!("input is longer than the most that any profile allows, {most}; send less of it");
            return Err(JobsError::Exhausted { what: "input", message });
        }
        let together = self.most.saturating_mul(WAITING_INPUTS);
        if !self.begun.add(bytes.len() as u64, together) {
            let message = format!(
                "more than {} of your uploads are under way or wait for their start; start or wait ten minutes",
                roughly(together)
            );
            return Err(JobsError::Exhausted { what: "uploads", message });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(no_room)
    }

    /// Completes the upload.
    pub fn finish(mut self) -> Uploaded {
        let hash = std::mem::take(&mut self.hash);
        let digest = InputDigest { bytes: self.bytes, sha256: hash.finalize().into() };
        let input_id = Uuid::new_v4().to_string();
        let entry = Entry { owner: self.begun.owner.clone(), digest, made: Instant::now(), path: self.path.take() };
        self.begun.table.lock().unwrap_or_else(PoisonError::into_inner).uploads.insert(input_id.clone(), entry);
        kill_point!(InputStored);
        Uploaded { input_id, digest }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            remove(path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an upload cannot be removed");
    }
}

fn no_room(error: io::Error) -> JobsError {
    let message = format!("the input cannot be stored ({error}), so nothing was started; ask your operator for room");
    JobsError::Exhausted { what: "disk", message }
}
