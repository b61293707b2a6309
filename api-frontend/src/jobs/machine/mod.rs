//! What the frontend does about one job, decided in one place: `step(input) → effects`. No file, no socket, no clock, no lock.
//!
//! ```text
//! Recording ──Recorded──> Queued ──Spawned, Listed as born──> Running ──Exited, missing from a list──> Ending ──EndRecorded──> Over
//!                           │ └──NotStarted, Exited, missing after a restart or a restore──────────────> Ending
//!                           └──Refused, away too long and never asked, missing and asked by nobody───> Withdrawing ──Removed──> Over
//! ```
//!
//! The rules that every transition serves:
//! - A `Spawn` goes out only when the record is durable, on a connection whose list does not hold the job. The executor keeps what
//!   it bore until it is released, so a job that is missing from a list was not born, whatever was sent before that list.
//! - A record is taken back only when the executor cannot have the job: nothing was sent since the list that lacks it.
//! - A byte is acknowledged when the log answers for it, and a job is released when its end is recorded.
//! - What was told and not done when a connection broke is told again by the next list; so nothing here waits for a message.
//!
//! Whoever carries out the effects does so in their order, and reports what came of them as further inputs.

mod alphabet;
mod end;
mod start;
#[cfg(test)]
mod tests;

pub use alphabet::{Effect, Input, Written};

/// One job as this process knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobMachine {
    phase: Phase,
    connection: Connection,
    log: Log,
    /// The log is full and the job to be stopped, until it has ended.
    stop_wanted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// There is no record, and no process of ours asked: only the executor knows it.
    Unknown,
    /// The record is on its way to the disk; nobody else knows of the job.
    Recording,
    /// Recorded.
    Queued(Asked),
    /// Born.
    Running,
    /// How it ended is known, and on its way to the records.
    Ending { held: bool },
    /// It was not started, and its record is being removed.
    Withdrawing,
    /// Nothing is left to be done, except to let the executor forget it.
    Over,
}

/// Whether the executor was asked to start the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    /// It cannot have heard of it.
    Never,
    /// It may have heard, and is asked again if it has not.
    Perhaps,
    /// It may have heard, and is not asked again: the process that would have is gone, or its callers were told that it is
    /// unknown what became of the job.
    NoMore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Connection {
    /// Which one of this process's life, from 1.
    number: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    /// Gone, or not there yet.
    Away,
    /// The executor's list was read; nothing but the answer to it may be said.
    Compared { listed: bool },
    /// Everything may be said.
    Live,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Log {
    /// Bytes of each stream that it answers for.
    lengths: [u64; 2],
    /// Acknowledgements to send.
    due: [Option<u64>; 2],
    intake: Intake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Intake {
    Open,
    /// It has reached its cap, and the job waits in its write. What comes is dropped, and counts as missing at the end.
    Capped,
    /// The disk is full or fails. What comes is dropped, and comes again on the connection that is made when there is room.
    NoRoom,
    /// What comes again is dropped.
    Closed,
}

impl JobMachine {
    /// A job that is about to be recorded.
    pub fn new() -> Self {
        Self::with(Phase::Recording, [0; 2], Intake::Open)
    }

    /// A job that a former process recorded. `closed` when that process closed its log and did not record the end.
    pub fn found(born: bool, lengths: [u64; 2], closed: bool) -> Self {
        let phase = if born { Phase::Running } else { Phase::Queued(Asked::NoMore) };
        Self::with(phase, lengths, if closed { Intake::Closed } else { Intake::Open })
    }

    /// A job without a record whose log has these lengths.
    pub fn unknown(lengths: [u64; 2]) -> Self {
        Self::with(Phase::Unknown, lengths, Intake::Open)
    }

    /// A job whose end is recorded, or whose record was deleted; its log was closed at these lengths.
    pub fn over(lengths: [u64; 2]) -> Self {
        Self::with(Phase::Over, lengths, Intake::Closed)
    }

    fn with(phase: Phase, lengths: [u64; 2], intake: Intake) -> Self {
        let connection = Connection { number: 0, stage: Stage::Away };
        Self { phase, connection, log: Log { lengths, due: [None; 2], intake }, stop_wanted: false }
    }

    /// Whether missing from a list means something for it.
    pub fn relies_on_lists(&self) -> bool {
        matches!(self.phase, Phase::Queued(Asked::NoMore) | Phase::Running)
    }

    /// Whether something is known of it that does not stand in the records yet.
    pub fn is_settling(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. } | Phase::Withdrawing)
    }

    /// Whether acknowledgements are due.
    pub fn has_due(&self) -> bool {
        self.log.due != [None; 2]
    }

    /// What the job is doing, for the storm's statistics.
    #[cfg(feature = "kill-points")]
    pub fn census(&self) -> Option<kill_points::Phase> {
        let runs = !matches!(self.phase, Phase::Unknown | Phase::Recording | Phase::Queued(_) | Phase::Withdrawing);
        // One that a former process closed the log of has ended, though nobody has said so to this one.
        let ended = matches!(self.phase, Phase::Ending { .. } | Phase::Over)
            || self.phase == Phase::Running && self.log.intake == Intake::Closed;
        kill_points::Phase::of(runs, self.log.lengths != [0; 2], ended)
    }

    /// Takes one input. Inputs that cannot follow, or follow too late, change nothing.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Recorded => self.recorded(),
            Input::CannotAsk { connection, refused } => self.cannot_ask(connection, refused),
            Input::NotAsked { connection } => self.not_asked(connection),
            Input::AwayTooLong => self.away_too_long(),
            Input::Listed { connection, born, from } => self.listed(connection, born, from),
            Input::NotListed { connection, why, now_ns } => self.not_listed(connection, why, now_ns),
            Input::Live { connection } => self.live(connection),
            Input::Gone { connection } => self.gone(connection),
            Input::Spawned(born) => self.born(born),
            Input::NotStarted(ending) => self.ended(ending),
            Input::Refused(refused) => self.refused(refused),
            Input::Output { stream, offset, length } => self.output(stream, offset, length),
            Input::Written { stream, to, outcome } => self.written(stream, to, outcome),
            Input::Drained => self.drained(),
            Input::Exited(ending) => self.ended(ending),
            Input::StartRecorded => self.start_recorded(),
            Input::LogClosed(ending, totals) => vec![Effect::RecordEnd(ending, totals)],
            Input::EndRecorded => self.end_recorded(),
            Input::Removed(refused) => self.removed(refused),
        }
    }
}

impl Default for JobMachine {
    fn default() -> Self {
        Self::new()
    }
}

/// What follows a comparison with every job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compared {
    /// The connection is live.
    GoOn,
    /// The records are a restored backup, and do not say yet what that cost: connect again until they do.
    Again,
    /// They do: their number can be raised above what the executor has seen, and a new connection may start jobs.
    RaiseEpoch,
}

/// Decides it. `restored` when the executor has seen a later number than the records have; `settling` when a job is. A process
/// that dies between the two finds the records as old as they were, and loses again what it lost before. Were the number raised
/// first, it would take what is lost for what was never started.
pub fn after_comparison(restored: bool, settling: bool) -> Compared {
    match (restored, settling) {
        (false, _) => Compared::GoOn,
        (true, true) => Compared::Again,
        (true, false) => Compared::RaiseEpoch,
    }
}
