//! What the executor hands to a keeper, and what the keeper records: everything that outlives an executor, in memfds of the keeper.

use std::ffi::CString;

use bincode::{Decode, Encode, config::standard};
use ipc_protocol::{End, JobEntry, StartError, Step, StopFact};
use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    process::Resource,
};

/// Descriptors that the keeper finds open: the whole of what it gets.
pub mod fd {
    /// The sealed plan.
    pub const PLAN: i32 = 3;
    /// The records, which outlive the executor.
    pub const RECORDS: i32 = 4;
    /// Write end of the event pipe: a byte for each new record; its end is the keeper's end.
    pub const EVENT: i32 = 5;
    /// Read ends of the job's output, by stream: they keep the pipes alive while no executor lives.
    pub const PIPES: [i32; 2] = [6, 7];
    /// Spools of the job's output, by stream.
    pub const SPOOLS: [i32; 2] = [8, 9];
    /// The job's cgroup (v2).
    pub const CGROUP: i32 = 10;
    /// `tasks` of the job's groups in v1 hierarchies; /dev/null where there is none.
    pub const V1: [i32; 4] = [11, 12, 13, 14];
    /// The first number that is not handed over.
    pub const END: i32 = 15;
}

/// How long a job may go on after its deadline, in milliseconds. The executor asks it to stop at the deadline; the keeper, which
/// cannot signal another user's process, kills its cgroup so much later, whether or not an executor lives.
pub const DEADLINE_GRACE_MS: u64 = 5_000;

/// Namespaces that a job has for itself, with the bits of clone (linux/sched.h).
pub mod namespace {
    /// Mounts: /tmp, /var/tmp, /dev/shm, and a work folder in which only the job's directory is.
    pub const MOUNT: u64 = 0x0002_0000;
    /// Host name.
    pub const UTS: u64 = 0x0400_0000;
    /// System V and POSIX message queues, shared memory.
    pub const IPC: u64 = 0x0800_0000;
    /// Processes, and a /proc that shows them alone.
    pub const PID: u64 = 0x2000_0000;
    /// No network.
    pub const NET: u64 = 0x4000_0000;
}

/// The resource limits that a profile may set: their names there, and their numbers in a plan (asm-generic/resource.h).
pub const RLIMITS: [(&str, u32, Resource); 6] = [
    ("cpu", 0, Resource::Cpu),
    ("fsize", 1, Resource::Fsize),
    ("stack", 3, Resource::Stack),
    ("core", 4, Resource::Core),
    ("nofile", 7, Resource::Nofile),
    ("memlock", 8, Resource::Memlock),
];

/// A system call filter: the instructions of classic BPF (code, jt, jf, k).
pub type Filter = Vec<(u16, u8, u8, u32)>;

/// Everything that is done for one job. Written once into a memfd and sealed; an executor that adopts the job reads the same bytes.
#[derive(Debug, Clone, Encode, Decode)]
pub struct Plan {
    /// What is told about the job.
    pub entry: JobEntry,
    /// Of the request.
    pub fingerprint: [u8; 32],
    /// Of the frontend's database that asked for it.
    pub epoch: u64,
    /// The job's group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Whether the uid is the pool's; a fact of the first layout that nothing depends on.
    pub pooled: bool,
    /// File mode creation mask.
    pub umask: u32,
    /// For /proc/self/oom_score_adj.
    pub oom_score: u16,
    /// Bits of [`namespace`].
    pub namespaces: u64,
    /// Resource (asm-generic/resource.h), soft and hard limit.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Paths to try for the command, in order.
    pub candidates: Vec<CString>,
    /// The command's words.
    pub argv: Vec<CString>,
    /// NAME=VALUE.
    pub env: Vec<CString>,
    /// The folder that holds all jobs' directories.
    pub folder: CString,
    /// The job's fresh directory in it, if it has one.
    pub directory: Option<CString>,
    /// Where the command starts.
    pub cwd: CString,
    /// System call filters over the command.
    pub filters: Vec<Filter>,
    /// The keeper's own.
    pub keeper_filter: Filter,
}

/// A plan as it lies in its memfd. An executor reads every layout that one before it wrote; a new layout is a new variant.
#[derive(Debug, Encode, Decode)]
pub enum Sealed {
    /// The first layout.
    V1(Box<Plan>),
}

/// What the sweeper does: as whom, and where.
#[derive(Debug, Clone, Encode, Decode)]
pub struct Sweep {
    /// The job's user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The directory to empty.
    pub directory: CString,
}

/// What the keeper records, at 0. All zeros, the state at birth, is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Record {
    /// Nanoseconds since 1970; 0 until the command's exec has succeeded.
    pub started_ns: u64,
    /// The keeper's descriptor number of the command's pidfd.
    pub pidfd: i32,
    /// On the boot-time clock, nanoseconds; 0 for none.
    pub deadline_ns: u64,
    /// The keeper noted that the deadline passed.
    pub deadline_hit: bool,
    /// How it ended, and when (nanoseconds since 1970). Nothing of the job lives any more.
    pub end: Option<(End, u64)>,
}

/// What the executor records, at [`STOP_AT`]: a request to stop that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Stopping {
    /// Who and with what.
    pub fact: StopFact,
    /// When everything is killed, on the boot-time clock.
    pub kill_at_ns: u64,
}

/// Size of the records' memfd, in bytes; sealed against growing and shrinking.
pub const RECORDS_SIZE: u64 = 4096;
/// Where the executor's record begins, and the most bytes that either may have. Two writers, two areas, each written by one
/// `pwrite` inside one page, which no SIGKILL tears.
pub const STOP_AT: u64 = 2048;

/// The bytes of a value. Fails only for lack of memory.
pub fn encode(value: &impl Encode) -> Result<Vec<u8>, Errno> {
    bincode::encode_to_vec(value, standard()).map_err(|_| Errno::NOMEM)
}

/// A value from the beginning of `bytes`; `None` when they are none, also when they claim to hold more than 4 MiB.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Option<T> {
    bincode::decode_from_slice(bytes, standard().with_limit::<0x40_0000>()).ok().map(|(value, _)| value)
}

/// Writes a record without a heap, for which the keeper's filter has no system calls.
pub fn write_record(file: impl AsFd, value: impl Encode, at: u64) -> Result<(), Errno> {
    let mut bytes = [0u8; STOP_AT as usize];
    let length = bincode::encode_into_slice(value, &mut bytes, standard()).map_err(|_| Errno::MSGSIZE)?;
    rustix::io::pwrite(file, bytes.get(..length).unwrap_or_default(), at).map(drop)
}

/// Reads a record.
pub fn read_record<T: Decode<()>>(file: &OwnedFd, at: u64) -> Option<T> {
    let mut bytes = [0u8; STOP_AT as usize];
    let length = rustix::io::pread(file, &mut bytes, at).ok()?;
    decode(bytes.get(..length)?)
}

/// A kernel's error as that of a step.
pub fn at(step: Step) -> impl Fn(Errno) -> StartError {
    move |errno| StartError::new(step, errno.raw_os_error())
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

/// So many nanoseconds, for a wait.
pub fn timespec(ns: u64) -> rustix::time::Timespec {
    let seconds = i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX);
    rustix::time::Timespec { tv_sec: seconds, tv_nsec: (ns % 1_000_000_000) as _ }
}

#[cfg(test)]
pub(crate) mod tests;
