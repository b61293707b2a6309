//! What goes into a job's machine, and what comes out of it.

use ipc_protocol::Stream;

use crate::jobs::told::{Born, Ending, Missing, Refused};
use crate::output::{GapReason, Totals};

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// The record is durable.
    Recorded,
    /// The request cannot be made: what it needs is gone. Told of the `Ask` on this connection.
    CannotAsk { connection: u64, refused: Refused },
    /// Nothing of the `Ask` on this connection reached the executor.
    NotAsked { connection: u64 },
    /// There has been no connection for longer than a start waits.
    AwayTooLong,
    /// The job stands in the list of a new connection: born or not, and the executor's output begins at `from`.
    Listed { connection: u64, born: Option<Born>, from: [u64; 2] },
    /// It does not stand in that list.
    NotListed { connection: u64, why: Missing, now_ns: u64 },
    /// The comparison is over: everything may be said.
    Live { connection: u64 },
    /// The connection is gone.
    Gone { connection: u64 },
    /// The executor: its command runs.
    Spawned(Born),
    /// The executor: its command never ran, and nothing of it is kept.
    NotStarted(Box<Ending>),
    /// The executor: not admitted.
    Refused(Refused),
    /// The executor: bytes.
    Output { stream: Stream, offset: u64, length: u64 },
    /// What came of an `Append`: the log answers for the stream up to `to`.
    Written { stream: Stream, to: u64, outcome: Written },
    /// Everything that was received is handed on.
    Drained,
    /// The executor: it has ended, and all its output was sent.
    Exited(Box<Ending>),
    /// The birth stands in the records.
    StartRecorded,
    /// The log is closed, and holds so much.
    LogClosed(Box<Ending>, Totals),
    /// The end is durable.
    EndRecorded,
    /// The record is gone.
    Removed(Option<Refused>),
}

/// How a log took bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// All of them.
    Whole,
    /// It is full, and the job is to wait.
    Capped,
    /// It is full, and the job is to be stopped.
    Stop,
    /// The disk refused.
    NoRoom,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send the request on this connection, or tell `NotAsked` or `CannotAsk`.
    Ask { connection: u64 },
    /// Answer the list.
    Resume([u64; 2]),
    /// Acknowledge.
    Ack { stream: Stream, offset: u64 },
    /// Ask the executor to stop the job, whose log is full.
    Stop,
    /// Let the executor forget the job.
    Release,
    /// Record a job that only the executor knows, then follow it like any other.
    Adopt,
    /// Record the birth; then `StartRecorded`.
    RecordStart(Born),
    /// Record the end, durably, and with it the birth; then `EndRecorded`.
    RecordEnd(Box<Ending>, Totals),
    /// Remove the record; then `Removed`.
    Remove(Option<Refused>),
    /// Mark these bytes of the log as missing.
    Skip { stream: Stream, to: u64, reason: GapReason },
    /// Add the bytes that came with the input to the log; then `Written`.
    Append,
    /// When there is room again, make a new connection.
    WaitForRoom,
    /// Close the log; then `LogClosed`.
    CloseLog(Box<Ending>),
    /// Tell those who wait that it runs.
    TellRunning,
    /// Tell those who wait that it has ended.
    TellEnded,
    /// Tell those who wait that it was not started, and why.
    TellNotStarted(Option<Refused>),
}
