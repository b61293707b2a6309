//! What the executor tells of a job's beginning and end, in the form in which it goes from the machine's inputs to its effects.

use ipc_protocol::{End, Facts, Limits, Refusal, StartError};

/// Told at the birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Born {
    /// On the host.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// Nanoseconds since 1970.
    pub started_ns: u64,
    /// In force.
    pub limits: Limits,
}

/// Why a job was not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The class of reason.
    pub refusal: Refusal,
    /// The field at fault; empty when none is.
    pub field: String,
    /// One sentence.
    pub message: String,
}

/// What is known of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// `Err` says why nobody knows.
    pub end: Result<End, &'static str>,
    /// What happened to the job beside it.
    pub facts: Facts,
    /// Bytes that the job wrote, by stream; `None` when nobody knows.
    pub totals: Option<[u64; 2]>,
    /// Nanoseconds since 1970.
    pub ended_ns: u64,
    /// The executor holds the job until it is released.
    pub held: bool,
}

impl Ending {
    /// The executor told it, after the last byte of output.
    pub fn exited(end: End, facts: Facts, totals: [u64; 2], ended_ns: u64) -> Self {
        let totals = (!matches!(end, End::Lost(_))).then_some(totals);
        Self { end: Ok(end), facts, totals, ended_ns, held: true }
    }

    /// The command never ran, and the executor keeps nothing of it.
    pub fn not_started(error: StartError, ended_ns: u64) -> Self {
        let end = Ok(End::StartFailed(error));
        Self { end, facts: Facts::default(), totals: Some([0; 2]), ended_ns, held: false }
    }

    /// Nobody knows.
    pub fn lost(why: &'static str, ended_ns: u64) -> Self {
        Self { end: Err(why), facts: Facts::default(), totals: None, ended_ns, held: false }
    }
}

/// Why a job can be missing from the executor's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It was recorded before the host was started.
    HostRestarted,
    /// The records are older than what the executor remembers.
    RecordsRestored,
    /// Nothing explains it.
    Unexplained,
}

impl Missing {
    /// For the record of a job that is lost.
    pub fn words(self) -> &'static str {
        match self {
            Self::HostRestarted => "the host was restarted",
            Self::RecordsRestored => "the records were restored from a backup, and the executor does not know the job",
            Self::Unexplained => "the executor does not know the job",
        }
    }
}
