//! Standard input on its way: received whole before the job starts, kept in files without a name that no job can change.

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::Path,
};

use ipc_protocol::{JobId, Refusal};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, open, openat},
};
use sha2::{Digest, Sha256};

use crate::admission::{JobPlan, Refused};

/// Inputs of jobs that are not started yet. They belong to the connection and go with it.
#[derive(Debug)]
pub(super) struct Inputs {
    folder: OwnedFd,
    pub waiting: HashMap<JobId, Result<Input, String>>,
}

#[derive(Debug)]
pub(super) struct Input {
    file: File,
    bytes: u64,
    hash: Sha256,
}

// Each holds a descriptor, of those that belong to no job.
const WAITING_MAX: usize = 128;

impl Inputs {
    /// Beside the jobs' directories, so that a job's input is on the same file system as its work.
    pub fn open(work_dir: &Path) -> Result<Self, String> {
        let fail = |e: std::io::Error| format!("{}: {e}", work_dir.display());
        std::fs::create_dir_all(work_dir).map_err(fail)?;
        // Jobs pass through it to their own directories and cannot list it.
        std::fs::set_permissions(work_dir, PermissionsExt::from_mode(0o711)).map_err(fail)?;
        let folder = open(work_dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| fail(e.into()))?;
        Ok(Self { folder, waiting: HashMap::new() })
    }

    /// Takes a piece. What is wrong with it is told when the job is to start.
    pub fn receive(&mut self, job: JobId, offset: u64, bytes: &[u8], ceiling: u64) {
        let former = self.waiting.remove(&job).filter(|_| offset > 0);
        let more = bytes.len() as u64;
        let all = self.waiting.values().chain(&former).flatten();
        let held = all.map(|input| input.bytes).fold(more, u64::saturating_add);
        let former = match former {
            // Only a first piece begins something, and only where there is room: what is not taken leaves no trace to pile up.
            None if offset != 0 || held > ceiling || self.waiting.len() >= WAITING_MAX => return,
            None => Input::begin(&self.folder),
            Some(former) => former,
        };
        let input = former.and_then(|mut input| match held > ceiling {
            true => Err("the host has no room for more input on the way; try again in a moment".into()),
            false => input.add(offset, bytes).map(|()| input),
        });
        self.waiting.insert(job, input);
    }

    /// The input that the plan names, complete and as announced, opened for reading only.
    pub fn take(&mut self, plan: &JobPlan) -> Result<Option<OwnedFd>, Refused> {
        let waiting = self.waiting.remove(&plan.entry.job);
        let host = |message: String| Refused::new(Refusal::Host, "input_id", message);
        let Some(announced) = plan.entry.input.filter(|input| input.bytes > 0 || waiting.is_some()) else {
            return Ok(None);
        };
        let none = || Err("no input arrived, or the host had no room for it; try again in a moment".to_owned());
        let Input { file, bytes, hash } = waiting.unwrap_or_else(none).map_err(host)?;
        if bytes != announced.bytes || *hash.finalize() != announced.sha256 {
            let most = announced.bytes;
            return Err(host(format!("{bytes} bytes of input arrived, not the {most} announced, or others")));
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let reopened = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        reopened.map(Some).map_err(|e| host(format!("input cannot be opened: {e}")))
    }
}

impl Input {
    fn begin(folder: &OwnedFd) -> Result<Self, String> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        // Readable by the job through /proc/self/fd, writable by nobody but root.
        let file =
            openat(folder, ".", flags, Mode::from_raw_mode(0o444)).map_err(|e| format!("input cannot be kept: {e}"))?;
        Ok(Self { file: file.into(), bytes: 0, hash: Sha256::new() })
    }

    fn add(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        if offset != self.bytes {
            return Err(format!("input is not in order: offset {offset} after {} bytes", self.bytes));
        }
        self.file.write_all(bytes).map_err(|e| format!("input cannot be kept: {e}"))?;
        self.hash.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }
}
