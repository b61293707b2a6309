//! The executor's places. It does one thing after the other, so the place before an effect is behind whichever effect came last.

use crate::{Phase, Point, points};

points! {
    /// Where the executor can be killed.
    Executor {
        /// Adoption: the audit line of a job that is found again is written, the job is not held yet.
        AdoptionAudited,
        /// Adoption: a job is held, and what its keeper recorded meanwhile is done.
        Adopted,
        /// The probe job is let go; nothing was said to anybody yet.
        Probed,
        /// A frontend has the list of jobs in its socket's queue; the audit line of its coming is not written.
        Listed,
        /// A request was taken off the socket, and nothing was done about it.
        RequestRead,
        /// A start: its audit line is written.
        StartAudited,
        /// A start: the directory is made and still root's.
        DirectoryMade,
        /// A start: the directory has its owner.
        DirectoryGiven,
        /// A start: the group in one of the hierarchies is made.
        GroupMade,
        /// A start: one of the limits is written and read back.
        LimitSet,
        /// A start: the keeper is cloned, with its place, its plan and its pipes.
        KeeperBorn,
        /// Bytes were moved from a pipe into a spool, and counted nowhere else.
        Spliced,
        /// Bytes of answers or of output were sent, perhaps in the middle of a frame.
        Sent,
        /// The frontend is about to be told that a command runs.
        BeforeTellSpawned,
        /// The frontend is about to be told of an end.
        BeforeTellExited,
        /// A piece of output is about to be queued.
        BeforeSend,
        /// Acknowledged bytes are about to be let go of.
        BeforePunch,
        /// A stop was asked for and is about to be recorded with the keeper.
        BeforeRecordStop,
        /// A stop is recorded and audited; its signal is not sent.
        StopAudited,
        /// The deadline has passed, or a stop came before the birth: the command is about to be signalled.
        BeforeSignal,
        /// The grace of a stop is over: everything in the group is about to be killed.
        BeforeKillGroup,
        /// A job has ended, and the rest of its output is about to be taken.
        BeforeDrain,
        /// The program that empties a directory is cloned.
        SweeperBorn,
        /// A directory is removed, and its user not given back.
        DirectoryRemoved,
        /// All of the output is taken, and the audit line of the end is about to be written.
        BeforeAuditEnd,
        /// The frontend has recorded the end, and the job is about to be let go.
        BeforeForget,
        /// The group in one of the hierarchies is removed.
        GroupRemoved,
        /// The groups are gone and the keeper is told to end.
        KeeperEnded,
    }
}

impl Point for Executor {
    const ALL: &'static [Self] = Self::EVERY;

    fn name(self) -> &'static str {
        self.word()
    }

    fn is_at_start(self) -> bool {
        matches!(self, Self::AdoptionAudited | Self::Adopted | Self::Probed)
    }

    fn allows(self, phase: Phase) -> bool {
        // A frontend is away for longer than a birth takes: when one comes back, every start of the one before it is over.
        !(self == Self::Listed && phase == Phase::Spawning)
    }
}
