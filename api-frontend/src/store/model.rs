//! A job as recorded.

use ipc_protocol::{Facts, InputDigest, JobId, Limits, StopFact};

use super::state::JobState;
use crate::output::{OutputLimit, Totals};

/// Everything that is recorded of a job. Times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// CN of the certificate that started it.
    pub owner: String,
    /// Free again for the owner when the job has ended.
    pub name: Option<String>,
    /// Chosen by the client; unique for the owner.
    pub request_id: String,
    /// SHA-256 of the request's parameters: what a repeated request is compared with.
    pub fingerprint: [u8; 32],
    /// Serial number of the certificate, lower-case hexadecimal.
    pub serial: String,
    /// Address the request came from.
    pub peer: String,
    /// The profile it was asked for in.
    pub profile: String,
    /// The words of the command.
    pub argv: Vec<Vec<u8>>,
    /// Names of the environment variables of the request.
    pub env_names: Vec<String>,
    /// As requested; `None` for the profile's default.
    pub cwd: Option<String>,
    /// One pipe for both streams.
    pub merge: bool,
    /// Standard input.
    pub input: Option<InputDigest>,
    /// How much of its output is kept.
    pub output_limit: OutputLimit,
    /// When it was recorded.
    pub created_ns: u64,
    /// Where it stands.
    pub state: JobState,
    /// When the command was executed.
    pub started_ns: Option<u64>,
    /// When it ended.
    pub ended_ns: Option<u64>,
    /// Process id on the host.
    pub pid: Option<u32>,
    /// The user it runs as.
    pub uid: Option<u32>,
    /// In force, known from the start on.
    pub limits: Option<Limits>,
    /// Who asked first for its end.
    pub stop: Option<StopFact>,
    /// How it ended, once it has.
    pub end: Option<HowEnded>,
    /// Processes that the memory limit killed.
    pub oom_kills: u64,
    /// The deadline ended it.
    pub deadline_hit: bool,
    /// What it used; of an ended job.
    pub usage: Option<Usage>,
    /// Its output, once it has ended. Of a live job, ask the log.
    pub output: Option<OutputRecord>,
    /// Out of the default list, spared from retention.
    pub archived: bool,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HowEnded {
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
    NotStarted {
        /// At which step of its birth.
        step: String,
        /// The kernel's errno, 0 when it was not the kernel that refused.
        errno: i32,
        /// One sentence for people.
        message: String,
    },
    /// Not known.
    Lost {
        /// One sentence or less, for people.
        reason: String,
    },
}

/// What a job used. `None` is "this host does not tell".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Nanoseconds.
    pub cpu_ns: u64,
    /// Bytes.
    pub memory_peak: Option<u64>,
    /// Processes and threads together.
    pub pids_peak: Option<u64>,
    /// Bytes.
    pub io_read: Option<u64>,
    /// Bytes.
    pub io_written: Option<u64>,
    /// Nanoseconds in which the cpu limit held it back.
    pub throttled_ns: Option<u64>,
}

impl From<&Facts> for Usage {
    fn from(facts: &Facts) -> Self {
        Self {
            cpu_ns: facts.cpu_ns,
            memory_peak: facts.memory_peak,
            pids_peak: facts.pids_peak,
            io_read: facts.io_read,
            io_written: facts.io_written,
            throttled_ns: facts.throttled_ns,
        }
    }
}

/// What an ended job's output log held when it was closed.
pub type OutputRecord = Totals;

/// Whose jobs exist for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// This owner's.
    Owner(String),
}

impl Scope {
    /// The only owner whose jobs exist, if there is but one.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Owner(owner) => Some(owner),
        }
    }

    /// Whether a job of `owner` exists.
    pub fn covers(&self, owner: &str) -> bool {
        self.owner().is_none_or(|only| only == owner)
    }
}
