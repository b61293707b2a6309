//! What the executor holds of a job outside its own memory, and how it is reached through the job's keeper.

use ipc_protocol::Stream;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, SealFlags, fcntl_get_seals, fstat, open, stat},
    process::Pid,
};

use crate::{
    plan::{Plan, Record, STOP_AT, Sealed, Stopping, decode, fd, read_record, write_record},
    spool::Spool,
};

/// Seals of a plan; one without them is nobody's plan.
pub const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);
const PLAN_MAX: u64 = 4 * 1024 * 1024;

/// Five descriptors, and a process.
#[derive(Debug)]
pub struct Body {
    /// The keeper.
    pub keeper: Pid,
    /// Read end of the event pipe; its end is the keeper's end.
    pub event: OwnedFd,
    /// By stream.
    pub spools: [Spool; 2],
}

impl Body {
    /// Finds the body of a job that a former executor started, and its plan. The error is the rest of a sentence about the keeper.
    pub fn adopt(keeper: Pid) -> Result<(Self, Plan), String> {
        let open = |number: i32, flags: OFlags| {
            let path = keeper_path(keeper, number);
            open(&path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|e| format!("{path}: {e}"))
        };
        let plan = read_sealed(&open(fd::PLAN, OFlags::RDONLY | OFlags::NONBLOCK)?)?;
        // Reopened through /proc, a pipe gives either end; the executor needs the reading one of each.
        let reading = OFlags::RDONLY | OFlags::NONBLOCK;
        let event = open(fd::EVENT, reading)?;
        let [out_pipe, err_pipe] = fd::PIPES;
        let [out_spool, err_spool] = fd::SPOOLS;
        let out = Spool::new(Some(open(out_pipe, reading)?), open(out_spool, OFlags::RDWR)?);
        let second = if plan.entry.merge { None } else { Some(open(err_pipe, reading)?) };
        let spools = [out, Spool::new(second, open(err_spool, OFlags::RDWR)?)];
        Ok((Self { keeper, event, spools }, plan))
    }

    /// The spool of a stream.
    pub fn spool(&mut self, stream: Stream) -> &mut Spool {
        stream.of(&mut self.spools)
    }

    /// What the keeper has recorded; `None` when it is not the keeper at the other end of the event pipe.
    pub fn record(&self) -> Option<Record> {
        read_record(&self.records(OFlags::RDONLY)?, 0)
    }

    /// Records a stop where a later executor finds it.
    pub fn write_stop(&self, stopping: Option<&Stopping>) -> Option<()> {
        write_record(self.records(OFlags::RDWR)?, stopping, STOP_AT).ok()
    }

    /// The stop that a former executor recorded.
    pub fn stopping(&self) -> Option<Stopping> {
        read_record::<Option<Stopping>>(&self.records(OFlags::RDONLY)?, STOP_AT)?
    }

    /// The command's process id on the host, while it is not waited for.
    pub fn command_pid(&self, pidfd: i32) -> Option<u32> {
        let path = format!("/proc/{}/fdinfo/{pidfd}", self.keeper.as_raw_nonzero());
        let text = std::fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
    }

    // By way of /proc. Pids are reused: the process must hold the other end of our event pipe.
    fn records(&self, flags: OFlags) -> Option<OwnedFd> {
        let ours = fstat(self.event.as_fd()).ok()?;
        let theirs = stat(keeper_path(self.keeper, fd::EVENT)).ok()?;
        if (theirs.st_ino, theirs.st_dev) != (ours.st_ino, ours.st_dev) {
            return None;
        }
        open(keeper_path(self.keeper, fd::RECORDS), flags | OFlags::CLOEXEC, Mode::empty()).ok()
    }
}

// Where a keeper's descriptor is seen from outside.
fn keeper_path(keeper: Pid, number: i32) -> String {
    format!("/proc/{}/fd/{number}", keeper.as_raw_nonzero())
}

fn read_sealed(file: &OwnedFd) -> Result<Plan, String> {
    let seals = fcntl_get_seals(file).map_err(|e| format!("its plan is no memfd: {e}"))?;
    if !seals.contains(SEALS) {
        return Err("its plan is not sealed".into());
    }
    let length = fstat(file).map_err(|e| e.to_string())?.st_size;
    let length = u64::try_from(length).ok().filter(|n| *n <= PLAN_MAX).ok_or("its plan is too long")?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = rustix::io::pread(file, &mut bytes, 0).map_err(|e| format!("its plan cannot be read: {e}"))?;
    let Sealed::V1(plan) =
        decode(bytes.get(..read).unwrap_or_default()).ok_or("its plan has another layout than this executor knows")?;
    Ok(*plan)
}

#[cfg(test)]
mod tests;
