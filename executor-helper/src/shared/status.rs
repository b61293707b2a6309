//! The status record of a job: a memfd of one page that the keeper holds, so that it outlives every executor.
//!
//! Two writers, two areas: the keeper's at 0, the executor's at [`STOP_AT`]. Each is written by one `pwrite` inside one page,
//! which a SIGKILL does not tear.

use rustix::io::Errno;

/// The kernel's error of a number that was recorded or sent; `None` for 0, which means that it was not the kernel, and for what
/// is no error's number. rustix itself ends the program on those.
pub fn kernel_error(number: u64) -> Option<Errno> {
    i32::try_from(number).ok().filter(|n| (1..4096).contains(n)).map(Errno::from_raw_os_error)
}

/// Size of the memfd, in bytes; sealed against growing and shrinking.
pub const SIZE: u64 = 4096;
/// Where the executor's area begins.
pub const STOP_AT: u64 = 2048;

/// What the keeper writes. All zeros, the state at birth, is `Starting`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeeperStatus {
    /// See [`state`].
    pub state: u64,
    /// Of a failed start: number of the step.
    pub step: u64,
    /// Of a failed start.
    pub errno: u64,
    /// Of a failed exec: mode and owner of the file, if the job's user may look at it; the mode is 0 otherwise.
    pub mode: u64,
    /// See `mode`.
    pub owner: u64,
    /// The keeper's descriptor number of the command's pidfd.
    pub pidfd: u64,
    /// Nanoseconds since 1970.
    pub started_ns: u64,
    /// On the boot-time clock, nanoseconds; 0 for none.
    pub deadline_boot_ns: u64,
    /// 1 when the keeper killed the job at its deadline.
    pub deadline_hit: u64,
    /// `si_code` of the command's end: CLD_EXITED 1, CLD_KILLED 2, CLD_DUMPED 3.
    pub wait_code: u64,
    /// Exit code or signal.
    pub wait_status: u64,
    /// Nanoseconds since 1970.
    pub ended_ns: u64,
}

/// Values of [`KeeperStatus::state`]; they only grow.
pub mod state {
    /// On the way.
    pub const STARTING: u64 = 0;
    /// The command's exec succeeded.
    pub const STARTED: u64 = 1;
    /// It never ran.
    pub const FAILED: u64 = 2;
    /// The command ended and everything else in its cgroup is dead.
    pub const ENDED: u64 = 3;
}

const FIELDS: usize = 12;

impl KeeperStatus {
    /// The bytes at offset 0.
    pub fn to_bytes(self) -> [u8; FIELDS * 8] {
        let fields = [
            self.state,
            self.step,
            self.errno,
            self.mode,
            self.owner,
            self.pidfd,
            self.started_ns,
            self.deadline_boot_ns,
            self.deadline_hit,
            self.wait_code,
            self.wait_status,
            self.ended_ns,
        ];
        let mut bytes = [0; FIELDS * 8];
        for (to, field) in bytes.chunks_exact_mut(8).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Reads it back.
    pub fn from_bytes(bytes: &[u8; FIELDS * 8]) -> Self {
        let mut fields = bytes.chunks_exact(8).map(|c| c.try_into().map(u64::from_le_bytes).unwrap_or(0));
        let mut next = || fields.next().unwrap_or(0);
        // In the order of to_bytes: struct expressions evaluate their fields as written.
        Self {
            state: next(),
            step: next(),
            errno: next(),
            mode: next(),
            owner: next(),
            pidfd: next(),
            started_ns: next(),
            deadline_boot_ns: next(),
            deadline_hit: next(),
            wait_code: next(),
            wait_status: next(),
            ended_ns: next(),
        }
    }
}
