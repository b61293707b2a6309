//! Where a job stands, and what may follow.

use std::{fmt, str::FromStr};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobState {
    /// Recorded, not yet born.
    Queued,
    /// Alive.
    Running,
    /// Asked to stop, within its grace.
    Stopping,
    /// Over, and so for ever.
    Ended(EndState),
}

/// How a job stands when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndState {
    /// Exit code 0.
    Finished,
    /// Another code, or a signal that nobody asked for.
    Failed,
    /// Somebody asked for it.
    Stopped,
    /// Its deadline was over.
    TimedOut,
    /// Its memory limit ended it.
    OutOfMemory,
    /// It never ran.
    Error,
    /// Nobody knows how.
    Lost,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEvent {
    /// It was born.
    Started,
    /// Somebody asked it to stop.
    StopAsked,
    /// It is over.
    Ended(EndState),
}

impl JobState {
    /// All of them.
    pub const ALL: [JobState; 10] = [
        Self::Queued,
        Self::Running,
        Self::Stopping,
        Self::Ended(EndState::Finished),
        Self::Ended(EndState::Failed),
        Self::Ended(EndState::Stopped),
        Self::Ended(EndState::TimedOut),
        Self::Ended(EndState::OutOfMemory),
        Self::Ended(EndState::Error),
        Self::Ended(EndState::Lost),
    ];

    /// The state after `event`, or `None` when it cannot follow: whatever has ended stays as it is. What is told twice is the
    /// same as told once. A job that is asked to stop before its birth stays queued, and is born stopping when `stop_asked`.
    pub fn after(self, event: JobEvent, stop_asked: bool) -> Option<JobState> {
        match (self, event) {
            (Self::Ended(_), _) => None,
            (_, JobEvent::Ended(end)) => Some(Self::Ended(end)),
            (Self::Queued, JobEvent::Started) if stop_asked => Some(Self::Stopping),
            (Self::Queued | Self::Running, JobEvent::Started) => Some(Self::Running),
            (Self::Stopping, JobEvent::Started) => Some(Self::Stopping),
            (Self::Queued, JobEvent::StopAsked) => Some(Self::Queued),
            (Self::Running | Self::Stopping, JobEvent::StopAsked) => Some(Self::Stopping),
        }
    }

    /// Whether it has not ended.
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Ended(_))
    }

    /// The word for it in text, JSON, filters and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended(EndState::Finished) => "finished",
            Self::Ended(EndState::Failed) => "failed",
            Self::Ended(EndState::Stopped) => "stopped",
            Self::Ended(EndState::TimedOut) => "timed-out",
            Self::Ended(EndState::OutOfMemory) => "out-of-memory",
            Self::Ended(EndState::Error) => "error",
            Self::Ended(EndState::Lost) => "lost",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a state; use queued, running, stopping, finished, failed, stopped, timed-out, out-of-memory, error or lost"
)]
pub struct ParseJobStateError(String);

impl FromStr for JobState {
    type Err = ParseJobStateError;

    fn from_str(text: &str) -> Result<Self, ParseJobStateError> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| ParseJobStateError(text.to_owned()))
    }
}
