//! From the record to the birth, over as many connections as it takes.

use super::alphabet::Effect;
use super::{Asked, Connection, Intake, JobMachine, Phase, Stage};
use crate::jobs::told::{Born, Ending, Missing, Refused};

impl JobMachine {
    pub(super) fn recorded(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Recording {
            return Vec::new();
        }
        self.phase = Phase::Queued(Asked::Never);
        if self.connection.stage == Stage::Live { self.ask() } else { Vec::new() }
    }

    fn ask(&mut self) -> Vec<Effect> {
        self.phase = Phase::Queued(Asked::Perhaps);
        vec![Effect::Ask { connection: self.connection.number }]
    }

    pub(super) fn cannot_ask(&mut self, connection: u64, refused: Refused) -> Vec<Effect> {
        if connection == self.connection.number && self.phase == Phase::Queued(Asked::Perhaps) {
            return self.withdraw(Some(refused));
        }
        Vec::new()
    }

    pub(super) fn not_asked(&mut self, connection: u64) -> Vec<Effect> {
        // What was sent on former connections came to nothing: this one's list did not hold the job.
        if connection == self.connection.number && self.phase == Phase::Queued(Asked::Perhaps) {
            self.phase = Phase::Queued(Asked::Never);
        }
        Vec::new()
    }

    pub(super) fn away_too_long(&mut self) -> Vec<Effect> {
        match (self.connection.stage, self.phase) {
            (Stage::Away, Phase::Queued(Asked::Never)) => self.withdraw(None),
            (Stage::Away, Phase::Queued(Asked::Perhaps)) => {
                self.phase = Phase::Queued(Asked::NoMore);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn listed(&mut self, connection: u64, born: Option<Born>, from: [u64; 2]) -> Vec<Effect> {
        self.compared(connection, true);
        let mut effects = Vec::new();
        if self.phase == Phase::Unknown {
            effects.push(Effect::Adopt);
            self.phase = if born.is_some() { Phase::Running } else { Phase::Queued(Asked::NoMore) };
        } else if let Some(born) = born {
            effects.extend(self.born(born));
        }
        // A log that was restored or removed may hold less than was acknowledged: that cannot be had again.
        let have = [self.log.lengths[0].max(from[0]), self.log.lengths[1].max(from[1])];
        effects.push(Effect::Resume(have));
        effects
    }

    pub(super) fn not_listed(&mut self, connection: u64, why: Missing, now_ns: u64) -> Vec<Effect> {
        self.compared(connection, false);
        match (self.phase, why) {
            (Phase::Queued(Asked::NoMore), Missing::Unexplained) if !self.has_output() => self.withdraw(None),
            (Phase::Queued(Asked::NoMore) | Phase::Running, why) => {
                self.conclude(Box::new(Ending::lost(why.words(), now_ns)))
            }
            _ => Vec::new(),
        }
    }

    /// Whether there is output of it, so that it certainly ran, whatever its record says.
    fn has_output(&self) -> bool {
        self.log.lengths != [0; 2]
    }

    fn compared(&mut self, number: u64, listed: bool) {
        self.connection = Connection { number, stage: Stage::Compared { listed } };
        if self.log.intake == Intake::NoRoom {
            self.log.intake = Intake::Open;
        }
    }

    pub(super) fn live(&mut self, number: u64) -> Vec<Effect> {
        let former = self.connection;
        let listed = match former.stage {
            Stage::Compared { listed } if number == former.number => listed,
            // It came too late for that connection's comparison, as jobs do that nobody else knows of.
            _ if number > former.number => false,
            _ => return Vec::new(),
        };
        self.connection = Connection { number, stage: Stage::Live };
        match self.phase {
            Phase::Queued(Asked::Never | Asked::Perhaps) if !listed => self.ask(),
            Phase::Queued(_) | Phase::Running if self.stop_wanted => vec![Effect::Stop],
            _ => Vec::new(),
        }
    }

    pub(super) fn gone(&mut self, number: u64) -> Vec<Effect> {
        if number >= self.connection.number {
            self.connection = Connection { number, stage: Stage::Away };
            self.log.due = [None; 2];
        }
        Vec::new()
    }

    pub(super) fn born(&mut self, born: Born) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Queued(_)) {
            return Vec::new();
        }
        self.phase = Phase::Running;
        vec![Effect::RecordStart(born)]
    }

    pub(super) fn refused(&mut self, refused: Refused) -> Vec<Effect> {
        if matches!(self.phase, Phase::Queued(_)) { self.withdraw(Some(refused)) } else { Vec::new() }
    }

    fn withdraw(&mut self, refused: Option<Refused>) -> Vec<Effect> {
        self.phase = Phase::Withdrawing;
        self.log.intake = Intake::Closed;
        vec![Effect::Remove(refused)]
    }

    pub(super) fn removed(&mut self, refused: Option<Refused>) -> Vec<Effect> {
        self.phase = Phase::Over;
        vec![Effect::TellNotStarted(refused)]
    }

    pub(super) fn start_recorded(&mut self) -> Vec<Effect> {
        match self.phase {
            Phase::Running | Phase::Ending { .. } => vec![Effect::TellRunning],
            _ => Vec::new(),
        }
    }
}
