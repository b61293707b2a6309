//! What the frontend says.

use bincode::{Decode, Encode};

use crate::{JobId, Limits, Stream};

/// A version of this protocol; the first byte of `Hello` and of `Welcome`.
pub type Version = u8;

/// The versions one side speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// Lowest.
    pub min: Version,
    /// Highest.
    pub max: Version,
}

impl VersionRange {
    /// What this build speaks.
    pub const OURS: VersionRange = VersionRange { min: 1, max: 1 };
}

/// The highest version that both sides speak, if there is one.
pub fn negotiate(ours: VersionRange, theirs: VersionRange) -> Option<Version> {
    let version = ours.max.min(theirs.max);
    (version >= ours.min && version >= theirs.min).then_some(version)
}

/// The first frame of a connection. Its layout is the same in every version: the highest version that the sender speaks as one
/// byte, then this in bincode.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Hello {
    /// The lowest version that the frontend speaks.
    pub min_version: Version,
    /// How often the frontend's database was opened. One below the highest that the executor has seen is a restored backup:
    /// the connection may look and stop, but not start.
    pub epoch: u64,
    /// The frontend's build, for the journal.
    pub build: String,
}

/// Everything the frontend may say after `Hello`. Which of it is permitted when is the executor's permit table.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub enum Request {
    /// The frontend's log of this job holds so many bytes of each stream; send what follows.
    Resume {
        /// A job of the executor's list.
        job: JobId,
        /// Bytes in the log, by stream.
        have: [u64; 2],
    },
    /// Every job of the list was compared; the connection is live.
    SyncEnd,
    /// A piece of the standard input for a job that will be spawned on this connection.
    Input {
        /// The job to come.
        job: JobId,
        /// Must be the number of bytes sent so far; 0 begins anew.
        offset: u64,
        /// At most [`crate::INPUT_BYTES_MAX`].
        bytes: Vec<u8>,
    },
    /// Start a job. Boxed because it is much larger than the rest.
    Spawn(Box<Spawn>),
    /// These bytes stand in the log file.
    Ack {
        /// The job.
        job: JobId,
        /// The stream.
        stream: Stream,
        /// All bytes below this offset.
        offset: u64,
    },
    /// Signal the job's process group, and after the grace kill everything in its cgroup.
    Stop {
        /// The job.
        job: JobId,
        /// 1 to 64.
        signal: u8,
        /// Until the kill; at most an hour.
        grace_ms: u64,
        /// Who asked, for the audit line and the job's record.
        by: Claimed,
    },
    /// Signal the job's process group and do nothing more.
    Signal {
        /// The job.
        job: JobId,
        /// 1 to 64.
        signal: u8,
        /// Who asked.
        by: Claimed,
    },
    /// The end of the job is recorded (or nobody wants it any more); forget the job.
    Release {
        /// An ended job.
        job: JobId,
    },
}

impl Request {
    /// Its name in the permit table and in the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resume { .. } => "Resume",
            Self::SyncEnd => "SyncEnd",
            Self::Input { .. } => "Input",
            Self::Spawn(_) => "Spawn",
            Self::Ack { .. } => "Ack",
            Self::Stop { .. } => "Stop",
            Self::Signal { .. } => "Signal",
            Self::Release { .. } => "Release",
        }
    }
}

/// Who asks, as the frontend says. The executor cannot know it; it is written to the audit trail as a claim.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Claimed {
    /// CN of the certificate.
    pub owner: String,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    /// Address the connection came from.
    pub peer: String,
    /// The request id, which both journals carry.
    pub request: String,
}

/// Length and SHA-256 of a job's standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct InputDigest {
    /// Bytes.
    pub bytes: u64,
    /// Of the whole.
    pub sha256: [u8; 32],
}

/// A job to start. Names and numbers only: never a uid, a path of a cgroup, a capability, a flag or a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Spawn {
    /// Made and recorded by the frontend before this is sent.
    pub job: JobId,
    /// Who asks.
    pub claimed: Claimed,
    /// A profile of the executor's configuration.
    pub profile: String,
    /// The words of the command; empty exactly when the profile fixes it.
    pub argv: Vec<Vec<u8>>,
    /// Names and values.
    pub env: Vec<(String, Vec<u8>)>,
    /// An absolute path that the profile lists; `None` for the profile's default.
    pub cwd: Option<String>,
    /// Limits.
    pub limits: Limits,
    /// Standard input, sent by `Input` before; `None` for /dev/null.
    pub input: Option<InputDigest>,
    /// One pipe for both streams.
    pub merge: bool,
}
