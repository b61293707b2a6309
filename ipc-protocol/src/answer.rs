//! What the executor says.

use bincode::{BorrowDecode, Decode, Encode};

use crate::{Claimed, InputDigest, JobId, Limits, Step, Stream, Version};

/// Everything the executor says. Decoded without copying: `Output` borrows the frame it came in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Answer<'a> {
    /// Answer to `Hello`.
    Welcome {
        /// The version spoken from here on; `None` when there is no common one, and the executor then closes.
        version: Option<Version>,
        /// The executor's lowest and highest version.
        speaks: [Version; 2],
        /// The highest epoch seen; above the frontend's own, its database is a restored backup.
        epoch_seen: u64,
        /// The executor's build.
        build: String,
        /// "v2" or "hybrid".
        cgroups: String,
    },
    /// All profiles. Sent after `Welcome` and again after each reload.
    Profiles(Vec<ProfileInfo>),
    /// One job that the executor holds; a list of them follows `Welcome`.
    Job(Box<JobEntry>),
    /// The list is complete.
    SyncEnd,
    /// The command runs: its exec succeeded.
    Spawned {
        /// The job.
        job: JobId,
        /// On the host.
        pid: u32,
        /// The user it runs as.
        uid: u32,
        /// Nanoseconds since 1970.
        started_ns: u64,
        /// In force, written and read back.
        limits: Limits,
    },
    /// The command never ran, and nothing of the job is kept. One that a keeper could not start ends with [`End::StartFailed`].
    NotStarted {
        /// The job.
        job: JobId,
        /// Why.
        error: StartError,
    },
    /// Not admitted; nothing was done.
    Refused {
        /// The job; it is not kept.
        job: JobId,
        /// The class of reason.
        refusal: Refusal,
        /// The field of the request at fault, such as "limits.memory"; empty when none is.
        field: String,
        /// One sentence for people.
        message: String,
    },
    /// Bytes of a stream. `bytes` must stay the last field: the executor sends it straight from the spool.
    Output {
        /// The job.
        job: JobId,
        /// The stream.
        stream: Stream,
        /// Of the first byte, in this stream.
        offset: u64,
        /// When they were read, nanoseconds since 1970.
        time_ns: u64,
        /// Taken by a former executor: their order against the other stream is not known.
        recovered: bool,
        /// At most [`crate::OUTPUT_BYTES_MAX`].
        bytes: &'a [u8],
    },
    /// Answer to `Stop`.
    Stopped {
        /// The job.
        job: JobId,
        /// What became of it.
        outcome: SignalOutcome,
    },
    /// Answer to `Signal`.
    Signalled {
        /// The job.
        job: JobId,
        /// What became of it.
        outcome: SignalOutcome,
    },
    /// The job has ended and all its output was sent on this connection.
    Exited {
        /// The job.
        job: JobId,
        /// How.
        end: End,
        /// What it used and what happened to it.
        facts: Box<Facts>,
        /// Bytes it wrote, by stream.
        totals: [u64; 2],
        /// Nanoseconds since 1970.
        ended_ns: u64,
    },
}

/// A profile, as far as people need it to use it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct ProfileInfo {
    /// Its name.
    pub name: String,
    /// What a request gets that says nothing.
    pub default: Limits,
    /// The most a request may ask for.
    pub max: Limits,
    /// The fixed command; empty when the request brings its own.
    pub command: Vec<String>,
    /// Whether jobs have the host's network.
    pub network: bool,
    /// Whether a fresh directory may be had.
    pub fresh_cwd: bool,
    /// Other directories a request may name; the first is the default when there is no fresh one.
    pub cwd: Vec<String>,
    /// Where a bare command is looked up.
    pub path: String,
}

/// A job that the executor holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct JobEntry {
    /// Its id.
    pub job: JobId,
    /// Who asked for it.
    pub claimed: Claimed,
    /// Its profile.
    pub profile: String,
    /// The words of its command, cut to 4 KiB in all.
    pub argv: Vec<Vec<u8>>,
    /// Where it stands.
    pub phase: Phase,
    /// The user it runs as.
    pub uid: u32,
    /// In force.
    pub limits: Limits,
    /// Its standard input.
    pub input: Option<InputDigest>,
    /// One pipe for both streams.
    pub merge: bool,
    /// Bytes that are no longer held, by stream: everything below was acknowledged.
    pub acked: [u64; 2],
}

/// Where a held job stands. Its end follows as `Exited`, after its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub enum Phase {
    /// Being born.
    Starting,
    /// Born; it may have ended since.
    Started {
        /// On the host.
        pid: u32,
        /// Nanoseconds since 1970.
        started_ns: u64,
    },
    /// It did not come to life, or nothing is known of its birth.
    #[default]
    NeverStarted,
}

/// Why a command never ran. The sentence for people is the frontend's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct StartError {
    /// Where.
    pub step: Step,
    /// The kernel's errno; 0 when it was not the kernel that refused.
    pub errno: i32,
    /// Of a file that could not be executed, if the job's user may look at it: type and permissions, 0 otherwise.
    pub mode: u32,
    /// Its owner.
    pub owner: u32,
    /// The user that the command was to run as; 0 where no process was made.
    pub uid: u32,
    /// What else is known, such as the limit that did not hold; may be empty.
    pub detail: String,
}

impl StartError {
    /// A step that the kernel refused.
    pub fn new(step: Step, errno: i32) -> Self {
        Self { step, errno, mode: 0, owner: 0, uid: 0, detail: String::new() }
    }

    /// The reason in words: what is known of it, else the kernel's.
    pub fn why(&self) -> String {
        match self.errno {
            _ if !self.detail.is_empty() => self.detail.clone(),
            0 => "its process was killed".into(),
            errno => std::io::Error::from_raw_os_error(errno).to_string(),
        }
    }
}

/// Classes of refusal; the frontend has one gRPC code for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub enum Refusal {
    /// A value is wrong or above what the profile allows.
    Invalid,
    /// No such profile.
    Profile,
    /// A ceiling of the executor is reached; later it may work.
    Ceiling,
    /// The host has no room: no uid, no memory, no descriptor, no disk, no audit line.
    Host,
    /// The frontend's database is older than the executor's memory.
    StaleEpoch,
    /// The id is held by a job with other parameters.
    Conflict,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub enum SignalOutcome {
    /// Sent.
    Sent,
    /// The job is known but does not run, or does not run yet.
    NotRunning,
    /// No such job.
    Unknown,
    /// Not a signal number, or a grace above an hour.
    Invalid,
    /// The kernel refused, with this errno.
    Failed(i32),
}

/// How a job ended. Unknown is a state of its own, never 0 or 137.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub enum End {
    /// The command returned this code.
    Exited(i32),
    /// A signal ended the command.
    Signaled {
        /// Its number.
        signal: u8,
        /// A core was dumped.
        core: bool,
    },
    /// It never ran.
    StartFailed(StartError),
    /// How it ended is not known.
    Lost(LostReason),
}

/// Why nobody knows how a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub enum LostReason {
    /// The job's keeper was killed.
    KeeperDied,
    /// The cgroups of all jobs are gone: airlock-jobs.service was stopped.
    JobsUnitStopped,
    /// The keeper was not where the executor puts them, or its plan was not sealed; everything was killed.
    Untrusted,
}

/// Facts about a job's life beside how it ended. `None` is "this host does not tell".
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Facts {
    /// Processes that the memory limit killed.
    pub oom_kills: u64,
    /// The deadline ended it.
    pub deadline_hit: bool,
    /// Who asked for the end.
    pub stop: Option<StopFact>,
    /// Bytes.
    pub memory_peak: Option<u64>,
    /// Processes and threads together.
    pub pids_peak: Option<u64>,
    /// Nanoseconds.
    pub cpu_ns: u64,
    /// Nanoseconds in which the cpu limit held it back.
    pub throttled_ns: Option<u64>,
    /// Bytes.
    pub io_read: Option<u64>,
    /// Bytes.
    pub io_written: Option<u64>,
}

/// The first request to stop.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct StopFact {
    /// Who, as claimed.
    pub by: String,
    /// The signal asked for.
    pub signal: u8,
    /// Nanoseconds since 1970.
    pub at_ns: u64,
}
