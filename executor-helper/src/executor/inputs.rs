//! Standard input on its way: received whole before the job starts, kept in files without a name that no job can change.

use std::{collections::HashMap, path::Path};

use ipc_protocol::{JobId, Refusal};
use rustix::{
    fd::{AsRawFd, OwnedFd},
    fs::{Mode, OFlags},
};
use sha2::{Digest, Sha256};

use crate::admission::{JobPlan, Refused};

/// Inputs of jobs that are not started yet. They belong to the connection and go with it.
#[derive(Debug)]
pub(super) struct Inputs {
    folder: OwnedFd,
    waiting: HashMap<JobId, Result<Input, String>>,
}

#[derive(Debug)]
struct Input {
    file: OwnedFd,
    bytes: u64,
    hash: Sha256,
}

// Each holds a descriptor, of those that belong to no job.
const WAITING_MAX: usize = 128;
const NO_ROOM: &str = "the host has no room for more input on the way; try again in a moment";

impl Inputs {
    /// Beside the jobs' directories, so that a job's input is on the same file system as its work.
    pub fn open(work_dir: &Path) -> Result<Self, String> {
        let fail = |errno: rustix::io::Errno| format!("{}: {errno}", work_dir.display());
        std::fs::create_dir_all(work_dir).map_err(|e| format!("{}: {e}", work_dir.display()))?;
        // Jobs pass through it to their own directories and cannot list it.
        rustix::fs::chmod(work_dir, Mode::from_raw_mode(0o711)).map_err(fail)?;
        let folder = rustix::fs::open(work_dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
        Ok(Self { folder, waiting: HashMap::new() })
    }

    /// Takes a piece. What is wrong with it is told when the job is to start.
    pub fn receive(&mut self, job: JobId, offset: u64, bytes: &[u8], ceiling: u64) {
        if offset == 0 {
            self.waiting.remove(&job);
        }
        let held =
            self.waiting.values().flatten().map(|input| input.bytes).fold(bytes.len() as u64, u64::saturating_add);
        // Only a first piece begins something, and only where there is room: what is not taken leaves no trace to pile up.
        let begun = self.waiting.contains_key(&job);
        if !begun && (offset != 0 || held > ceiling || self.waiting.len() >= WAITING_MAX) {
            return;
        }
        if held > ceiling {
            self.waiting.insert(job, Err(NO_ROOM.into()));
            return;
        }
        let folder = &self.folder;
        let entry = self.waiting.entry(job).or_insert_with(|| {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            // Readable by the job through /proc/self/fd, writable by nobody but root.
            let file = rustix::fs::openat(folder, ".", flags, Mode::from_raw_mode(0o444));
            file.map(|file| Input { file, bytes: 0, hash: Sha256::new() })
                .map_err(|e| format!("input cannot be kept: {e}"))
        });
        let Ok(input) = entry else { return };
        let added = input.add(offset, bytes);
        if let Err(why) = added {
            *entry = Err(why);
        }
    }

    /// The input that the plan names, complete and as announced, opened for reading only.
    pub fn take(&mut self, plan: &JobPlan) -> Result<Option<OwnedFd>, Refused> {
        let waiting = self.waiting.remove(&plan.job());
        let Some(announced) = plan.input() else { return Ok(None) };
        let host = |message: String| Refused::new(Refusal::Host, "input_id", message);
        let empty = || Err("no input arrived, or the host had no room for it; try again in a moment".to_owned());
        let input = match waiting {
            None if announced.bytes == 0 => return Ok(None),
            other => other.unwrap_or_else(empty).map_err(host)?,
        };
        let hash: [u8; 32] = input.hash.finalize().into();
        if input.bytes != announced.bytes || hash != announced.sha256 {
            return Err(host(format!(
                "{} bytes of input arrived, not the {} announced, or others",
                input.bytes, announced.bytes
            )));
        }
        let path = format!("/proc/self/fd/{}", input.file.as_raw_fd());
        let reopened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        reopened.map(Some).map_err(|e| host(format!("input cannot be opened: {e}")))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl Input {
    fn add(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        if offset != self.bytes {
            return Err(format!("input is not in order: offset {offset} after {} bytes", self.bytes));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = rustix::io::write(&self.file, rest).map_err(|e| format!("input cannot be kept: {e}"))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        self.hash.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }
}
