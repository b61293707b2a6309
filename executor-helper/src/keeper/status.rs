//! The keeper's side of the status record.

use rustix::{fd::OwnedFd, io::Errno};

use crate::{
    shared::{
        fd,
        status::{KeeperStatus, state},
        steps::Step,
    },
    sys::process,
};

/// The record, and the pipe that tells the executor of each change.
pub struct Record {
    status: KeeperStatus,
    file: OwnedFd,
    event: OwnedFd,
}

impl Record {
    /// On the descriptors that the executor handed over; taken once.
    pub fn inherited() -> Self {
        Self {
            status: KeeperStatus::default(),
            file: process::inherited(fd::STATUS),
            event: process::inherited(fd::EVENT),
        }
    }

    /// It never ran; `errno` is 0 when it was not the kernel that refused.
    pub fn failed(&mut self, step: Step, errno: u32, mode: u32, owner: u32) -> Result<(), Errno> {
        self.status.state = state::FAILED;
        self.status.step = step as u64;
        self.status.errno = errno.into();
        self.status.mode = mode.into();
        self.status.owner = owner.into();
        self.status.ended_ns = now_ns();
        self.publish()
    }

    /// Its exec succeeded.
    pub fn started(&mut self, at_ns: u64) -> Result<(), Errno> {
        self.status.state = state::STARTED;
        self.status.started_ns = at_ns;
        self.publish()
    }

    /// Where the command's pidfd is, and when its deadline is; published with what follows.
    pub fn born(&mut self, pidfd: i32, deadline_boot_ns: u64) {
        self.status.pidfd = pidfd.unsigned_abs().into();
        self.status.deadline_boot_ns = deadline_boot_ns;
    }

    /// The keeper killed it at its deadline.
    pub fn deadline_hit(&mut self) {
        self.status.deadline_hit = 1;
    }

    /// The command ended and its cgroup is empty.
    pub fn ended(&mut self, code: u64, status: u64, at_ns: u64) -> Result<(), Errno> {
        self.status.state = state::ENDED;
        self.status.wait_code = code;
        self.status.wait_status = status;
        self.status.ended_ns = at_ns;
        self.publish()
    }

    // The record first, the event after: whoever sees the event finds the record.
    fn publish(&self) -> Result<(), Errno> {
        rustix::io::pwrite(&self.file, &self.status.to_bytes(), 0)?;
        // With no executor alive nobody may be reading: the event is then lost, the record is not.
        let _ = rustix::io::write(&self.event, &[1]);
        Ok(())
    }
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    nanoseconds(rustix::time::clock_gettime(rustix::time::ClockId::Realtime))
}

/// Nanoseconds since boot, sleep included: what deadlines are measured on, so that a clock that is set does not move them.
pub fn boot_ns() -> u64 {
    nanoseconds(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
}
