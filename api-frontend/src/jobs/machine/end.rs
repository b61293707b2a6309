//! Output, and the end after it.

use ipc_protocol::Stream;

use super::alphabet::{Effect, Written};
use super::{Intake, JobMachine, Phase, Stage};
use crate::jobs::told::Ending;
use crate::output::GapReason;

impl JobMachine {
    pub(super) fn output(&mut self, stream: Stream, offset: u64, length: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self.log.intake {
            Intake::Open => {
                let mut to = self.log.lengths;
                to[stream as usize] = to[stream as usize].max(offset);
                self.skip_to(to, GapReason::Lost, &mut effects);
                effects.push(Effect::Append);
            }
            // Nobody wants it any more, and the executor must not wait for that.
            Intake::Closed if self.phase == Phase::Over => {
                self.log.due[stream as usize] = Some(offset.saturating_add(length));
            }
            Intake::Capped | Intake::NoRoom | Intake::Closed => {}
        }
        effects
    }

    pub(super) fn written(&mut self, stream: Stream, to: u64, outcome: Written) -> Vec<Effect> {
        self.log.lengths[stream as usize] = to;
        self.log.due[stream as usize] = Some(to);
        match outcome {
            Written::Whole => Vec::new(),
            Written::Capped => {
                self.log.intake = Intake::Capped;
                Vec::new()
            }
            Written::NoRoom => {
                self.log.intake = Intake::NoRoom;
                vec![Effect::WaitForRoom]
            }
            Written::Stop if self.stop_wanted => Vec::new(),
            Written::Stop => {
                self.stop_wanted = true;
                vec![Effect::Stop]
            }
        }
    }

    pub(super) fn drained(&mut self) -> Vec<Effect> {
        let due = std::mem::take(&mut self.log.due);
        let acks = Stream::BOTH.into_iter().zip(due);
        acks.filter_map(|(stream, offset)| offset.map(|offset| Effect::Ack { stream, offset })).collect()
    }

    pub(super) fn ended(&mut self, ending: Box<Ending>) -> Vec<Effect> {
        match self.phase {
            // The bytes come again when there is room, and the end after them.
            Phase::Queued(_) | Phase::Running if self.is_short_of_room_for(&ending) => Vec::new(),
            Phase::Queued(_) | Phase::Running => self.conclude(ending),
            Phase::Over if ending.held => vec![Effect::Release],
            Phase::Unknown | Phase::Recording | Phase::Ending { .. } | Phase::Withdrawing | Phase::Over => Vec::new(),
        }
    }

    fn is_short_of_room_for(&self, ending: &Ending) -> bool {
        self.log.intake == Intake::NoRoom && ending.totals != Some(self.log.lengths)
    }

    /// The end is known: what the log lacks will not come.
    pub(super) fn conclude(&mut self, ending: Box<Ending>) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(totals) = ending.totals {
            let reason = if self.log.intake == Intake::Capped { GapReason::OutputLimit } else { GapReason::Lost };
            self.skip_to(totals, reason, &mut effects);
        }
        self.log.intake = Intake::Closed;
        self.phase = Phase::Ending { held: ending.held };
        effects.push(Effect::CloseLog(ending));
        effects
    }

    pub(super) fn skip_to(&mut self, to: [u64; 2], reason: GapReason, effects: &mut Vec<Effect>) {
        for (stream, to) in Stream::BOTH.into_iter().zip(to) {
            let length = &mut self.log.lengths[stream as usize];
            if *length < to {
                *length = to;
                effects.push(Effect::Skip { stream, to, reason });
            }
        }
    }

    pub(super) fn end_recorded(&mut self) -> Vec<Effect> {
        let Phase::Ending { held } = self.phase else { return Vec::new() };
        self.phase = Phase::Over;
        // Without a live connection the next list brings the job once more, and then it is released.
        let release = (held && self.connection.stage == Stage::Live).then_some(Effect::Release);
        [Effect::TellEnded].into_iter().chain(release).collect()
    }
}
