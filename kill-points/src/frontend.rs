//! The frontend's places. Its threads work side by side: what one of them is about to do, another has not heard of.

use crate::{Phase, Point, points};

points! {
    /// Where the frontend can be killed.
    Frontend {
        /// Start: the logs of all jobs that live are open again, cut to their last whole record.
        LogsTakenUp,
        /// The executor's list is compared with the records; the answer is not sent.
        Compared,
        /// Changes of the records are made and not committed.
        ChangesMade,
        /// They are committed; nobody was told.
        Committed,
        /// Standard input for a job to come is whole in its file; whoever sent it was not told its id.
        InputStored,
        /// A job is recorded as queued; the executor knows nothing of it.
        JobRecorded,
        /// The file of its input has its name; the executor was not asked.
        InputGiven,
        /// The executor is about to be asked to start a job.
        BeforeAsk,
        /// It was asked, and has not answered.
        SpawnSent,
        /// A birth is known and about to be recorded.
        BeforeRecordStart,
        /// A birth is recorded; those who asked for the job do not know.
        BeforeTellRunning,
        /// Output arrived and is about to be written.
        BeforeAppend,
        /// The file of a new segment is made and empty.
        SegmentMade,
        /// A log is full: the file of its oldest segment is gone, and what made room necessary is not written.
        OldestDropped,
        /// A log is full: the executor is about to be asked to stop its job.
        BeforeStop,
        /// Output stands in the log; nothing of it is acknowledged.
        LogWritten,
        /// It is about to be acknowledged.
        BeforeAck,
        /// Acknowledgements and releases were sent.
        RequestsSent,
        /// The last byte is there, and the log is about to be closed.
        BeforeCloseLog,
        /// The log is closed, and the end about to be recorded.
        BeforeRecordEnd,
        /// The end is recorded; those who wait do not know.
        BeforeTellEnded,
        /// The executor is about to be told that it may let a job go.
        BeforeRelease,
        /// A start that came to nothing is about to be taken out of the records.
        BeforeRemove,
        /// The record of a deleted job is gone, its log is not.
        RecordDeleted,
        /// Record and log of a deleted job are gone; nobody was told.
        OutputDeleted,
    }
}

impl Point for Frontend {
    const ALL: &'static [Self] = Self::EVERY;

    fn name(self) -> &'static str {
        self.word()
    }

    fn is_at_start(self) -> bool {
        matches!(self, Self::LogsTakenUp | Self::Compared)
    }

    fn allows(self, _: Phase) -> bool {
        true
    }
}
