//! What of the frontend survives a kill: records and logs, as far as the machines can tell the difference.

use ipc_protocol::{End as Told, Facts, LostReason, Refusal, StartError, Step, Stream};

use super::executor::{End, Job};
use crate::executor::fake::limits;
use crate::jobs::machine::{Input, Written};
use crate::jobs::told::{Born, Ending, Refused};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Record {
    Queued,
    Running,
    Ended(End),
}

/// A log: how much it answers for, and how much of that is marked as missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Log {
    pub lengths: [u8; 2],
    pub gaps: u8,
    pub closed: bool,
}

/// What survives a kill.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disk {
    pub epoch: u8,
    pub records: Vec<Option<Record>>,
    pub deleted: Vec<bool>,
    pub before_boot: Vec<bool>,
    pub logs: Vec<Log>,
    pub full: bool,
    /// It is a backup, and what was written since is lost.
    pub restored: bool,
}

/// How a log reacts at its cap, in bytes of both streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cap {
    pub bytes: u8,
    pub stops: bool,
}

/// An end as it travels through the effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ended {
    lost: bool,
    failed: bool,
    held: bool,
}

impl Disk {
    pub fn new(jobs: usize) -> Self {
        Self {
            epoch: 0,
            records: vec![None; jobs],
            deleted: vec![false; jobs],
            before_boot: vec![false; jobs],
            logs: vec![Log::default(); jobs],
            full: false,
            restored: false,
        }
    }
}

/// As the log's writer does it: what is known is left out, and a hole is nobody's right.
pub fn append(disk: &mut Disk, job: Job, stream: Stream, offset: u8, cap: Option<Cap>) -> Result<Input, String> {
    let full = disk.full;
    let log = &mut disk.logs[job];
    let held = log.lengths[0] + log.lengths[1] - log.gaps;
    let length = &mut log.lengths[stream as usize];
    if offset > *length || log.closed {
        return Err("bytes for a log that has no place for them".into());
    }
    let outcome = if offset < *length {
        Written::Whole
    } else if full {
        Written::NoRoom
    } else {
        match cap.filter(|cap| held >= cap.bytes) {
            Some(cap) if cap.stops => {
                (*length, log.gaps) = (*length + 1, log.gaps + 1);
                Written::Stop
            }
            Some(_) => Written::Capped,
            None => {
                *length += 1;
                Written::Whole
            }
        }
    };
    Ok(Input::Written { stream, to: (*length).into(), outcome })
}

impl Ended {
    pub fn of(ending: &Ending) -> Self {
        let lost = matches!(ending.end, Err(_) | Ok(Told::Lost(_)));
        Self { lost, failed: matches!(ending.end, Ok(Told::StartFailed(_))), held: ending.held }
    }

    pub fn end(self) -> End {
        match self {
            Self { lost: true, .. } => End::Lost,
            Self { failed: true, .. } => End::StartFailed,
            _ => End::Exited,
        }
    }

    pub fn ending(self) -> Ending {
        Ending { held: self.held, ..exited(self.end(), [0; 2]) }
    }
}

pub fn exited(end: End, totals: [u8; 2]) -> Ending {
    let end = match end {
        End::Exited => Told::Exited(0),
        End::StartFailed => return Ending { totals: Some(wide(totals)), held: true, ..not_started() },
        End::Lost => Told::Lost(LostReason::KeeperDied),
    };
    Ending::exited(end, Facts::default(), wide(totals), 0)
}

pub fn not_started() -> Ending {
    Ending::not_started(StartError::new(Step::Exec, 2), 0)
}

pub const REFUSED: Refused = Refused { refusal: Refusal::Ceiling, field: String::new(), message: String::new() };

pub fn born() -> Born {
    Born { pid: 1, uid: 1, started_ns: 1, limits: limits() }
}

pub fn wide(small: [u8; 2]) -> [u64; 2] {
    small.map(u64::from)
}

pub fn narrow(wide: [u64; 2]) -> [u8; 2] {
    wide.map(|n| u8::try_from(n).expect("small"))
}
