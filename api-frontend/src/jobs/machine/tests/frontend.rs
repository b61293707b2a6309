//! The frontend around the machines, without files and sockets: what is under way in one process, and gone with it.

use std::collections::BTreeSet;

use ipc_protocol::Stream;

use super::disk::{Cap, Disk, Ended, Log, REFUSED, Record, append, born, exited, narrow, not_started, wide};
use super::executor::{Entry, Job, ToExecutor, ToFrontend, Wire};
use crate::jobs::machine::{Compared, Effect, Input, JobMachine, after_comparison};
use crate::jobs::told::Missing;
use crate::output::{GapReason, Totals};

/// Something that takes a disk's time. It is done in any order, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    Create,
    Ask(u64),
    RecordStart,
    CloseLog(Ended),
    RecordEnd(Ended),
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    Running,
    Ended,
    NotStarted,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    pub epoch: u8,
    pub number: u64,
    pub live: bool,
    pub machines: Vec<Option<JobMachine>>,
    pub work: BTreeSet<(Job, Work)>,
    pub waits_for_room: bool,
    /// Jobs whose birth is recorded, or about to be.
    pub births: BTreeSet<Job>,
    /// What callers were told since the last look.
    pub answers: Vec<(Job, Answer)>,
}

impl Process {
    pub fn start(disk: &mut Disk) -> Self {
        disk.epoch += 1;
        // An empty log has no file, and so no end that a new process could find.
        disk.logs.iter_mut().for_each(|log| log.closed &= log.lengths != [0; 2]);
        let found = |(record, log): (&Option<Record>, &Log)| match record {
            Some(Record::Queued) => Some(JobMachine::found(false, wide(log.lengths), log.closed)),
            Some(Record::Running) => Some(JobMachine::found(true, wide(log.lengths), log.closed)),
            Some(Record::Ended(_)) | None => None,
        };
        let machines = disk.records.iter().zip(&disk.logs).map(found).collect();
        let running = |job: &Job| disk.records[*job] == Some(Record::Running);
        Self {
            epoch: disk.epoch,
            number: 0,
            live: false,
            machines,
            work: BTreeSet::new(),
            waits_for_room: false,
            births: (0..disk.records.len()).filter(running).collect(),
            answers: Vec::new(),
        }
    }

    /// A caller asks for a job that has no record.
    pub fn ask(&mut self, job: Job) {
        let mut machine = JobMachine::new();
        if self.live {
            machine.step(Input::Live { connection: self.number });
        }
        self.machines[job] = Some(machine);
        self.work.insert((job, Work::Create));
    }

    pub fn gone(&mut self) {
        self.live = false;
        for machine in self.machines.iter_mut().flatten() {
            machine.step(Input::Gone { connection: self.number });
        }
    }

    pub fn go_live(&mut self, disk: &mut Disk, wire: &mut Wire) -> Result<(), String> {
        wire.to_executor.push_back(ToExecutor::SyncEnd);
        self.live = true;
        (0..self.machines.len())
            .try_for_each(|job| self.step(job, Input::Live { connection: self.number }, disk, &mut Some(wire)))
    }

    /// Reads the executor's list. `false` when the connection is given up.
    pub fn compare(
        &mut self,
        entries: &[Entry],
        epoch_seen: u8,
        disk: &mut Disk,
        wire: &mut Wire,
    ) -> Result<bool, String> {
        let connection = self.number;
        let restored = epoch_seen > self.epoch;
        for entry in entries {
            let job = entry.job;
            let input = Input::Listed { connection, born: entry.born.then(born), from: wide(entry.acked) };
            let known = match disk.records[job] {
                Some(Record::Ended(_)) => Some(JobMachine::over(wide(disk.logs[job].lengths))),
                None if disk.deleted[job] => Some(JobMachine::over([0; 2])),
                _ => None,
            };
            match (self.machines[job].is_some(), known) {
                (true, _) => {}
                (false, Some(mut over)) => {
                    for effect in over.step(input) {
                        self.perform(job, effect, None, disk, &mut Some(wire))?;
                    }
                    continue;
                }
                (false, None) => {
                    self.machines[job] = Some(JobMachine::unknown(wide(disk.logs[job].lengths)));
                    disk.records[job] = Some(if entry.born { Record::Running } else { Record::Queued });
                    self.births.extend(entry.born.then_some(job));
                }
            }
            self.step(job, input, disk, &mut Some(wire))?;
        }
        for job in 0..self.machines.len() {
            if entries.iter().any(|entry| entry.job == job) {
                continue;
            }
            let why = match (disk.before_boot[job], restored) {
                (true, _) => Missing::HostRestarted,
                (false, true) => Missing::RecordsRestored,
                (false, false) => Missing::Unexplained,
            };
            self.step(job, Input::NotListed { connection, why, now_ns: 0 }, disk, &mut Some(wire))?;
        }
        let settling = self.machines.iter().flatten().any(JobMachine::is_settling);
        match after_comparison(restored, settling) {
            Compared::GoOn => {
                let held = |job| entries.iter().any(|entry| entry.job == job);
                disk.deleted.iter_mut().enumerate().for_each(|(job, deleted)| *deleted &= held(job));
                return Ok(true);
            }
            Compared::Again => {}
            Compared::RaiseEpoch => (disk.epoch, self.epoch) = (epoch_seen + 1, epoch_seen + 1),
        }
        Ok(false)
    }

    /// Takes one answer of a live connection.
    pub fn read(
        &mut self,
        answer: &ToFrontend,
        disk: &mut Disk,
        wire: &mut Wire,
        cap: Option<Cap>,
    ) -> Result<(), String> {
        let (job, input) = match *answer {
            ToFrontend::List { .. } => return Err("a second list".into()),
            ToFrontend::Spawned(job) => (job, Input::Spawned(born())),
            ToFrontend::NotStarted(job) => (job, Input::NotStarted(Box::new(not_started()))),
            ToFrontend::Refused(job) => (job, Input::Refused(REFUSED)),
            ToFrontend::Output { job, stream, offset } => {
                (job, Input::Output { stream, offset: offset.into(), length: 1 })
            }
            ToFrontend::Exited { job, end, totals } => (job, Input::Exited(Box::new(exited(end, totals)))),
        };
        let effects = match &mut self.machines[job] {
            Some(machine) => machine.step(input),
            None => {
                let mut over = JobMachine::over([0; 2]);
                let mut effects = over.step(input);
                effects.extend(over.step(Input::Drained));
                effects
            }
        };
        let piece =
            if let ToFrontend::Output { stream, offset, .. } = answer { Some((*stream, *offset, cap)) } else { None };
        effects.into_iter().try_for_each(|effect| self.perform(job, effect, piece, disk, &mut Some(wire)))
    }

    /// Whether acknowledgements wait to be sent.
    pub fn has_due(&self) -> bool {
        self.machines.iter().flatten().any(JobMachine::has_due)
    }

    /// Everything that was received is handed on.
    pub fn drain(&mut self, disk: &mut Disk, wire: &mut Wire) -> Result<(), String> {
        (0..self.machines.len()).try_for_each(|job| self.step(job, Input::Drained, disk, &mut Some(wire)))
    }

    /// Something that was under way is done.
    pub fn done(&mut self, job: Job, work: Work, disk: &mut Disk, wire: &mut Option<&mut Wire>) -> Result<(), String> {
        self.work.remove(&(job, work));
        let input = match work {
            Work::Create => {
                disk.records[job] = Some(Record::Queued);
                Input::Recorded
            }
            Work::Ask(connection) => match wire {
                Some(wire) if self.live && wire.number == connection => {
                    wire.to_executor.push_back(ToExecutor::Spawn(job));
                    return Ok(());
                }
                _ => Input::NotAsked { connection },
            },
            Work::RecordStart => {
                match &mut disk.records[job] {
                    // The end came first, and the job may have been deleted since.
                    Some(Record::Ended(_)) | None => {}
                    Some(record) => *record = Record::Running,
                }
                Input::StartRecorded
            }
            Work::CloseLog(ended) => {
                disk.logs[job].closed = true;
                let bytes = disk.logs[job].lengths.iter().map(|n| u64::from(*n)).sum();
                Input::LogClosed(Box::new(ended.ending()), Totals { bytes, ..Totals::default() })
            }
            Work::RecordEnd(ended) => match &mut disk.records[job] {
                Some(Record::Ended(_)) => return Err("a second end".into()),
                Some(record) => {
                    *record = Record::Ended(ended.end());
                    Input::EndRecorded
                }
                None => return Err("an end without a record".into()),
            },
            Work::Remove => {
                match disk.records[job].take() {
                    Some(Record::Queued) | None => {}
                    Some(record) => return Err(format!("a record was taken back that is {record:?}")),
                }
                Input::Removed(None)
            }
        };
        self.step(job, input, disk, wire)
    }

    /// What the request needs is gone.
    pub fn cannot_ask(&mut self, job: Job, connection: u64, disk: &mut Disk) -> Result<(), String> {
        self.work.remove(&(job, Work::Ask(connection)));
        self.step(job, Input::CannotAsk { connection, refused: REFUSED }, disk, &mut None)
    }

    pub fn step(
        &mut self,
        job: Job,
        input: Input,
        disk: &mut Disk,
        wire: &mut Option<&mut Wire>,
    ) -> Result<(), String> {
        let Some(machine) = &mut self.machines[job] else { return Ok(()) };
        machine.step(input).into_iter().try_for_each(|effect| self.perform(job, effect, None, disk, wire))
    }

    fn perform(
        &mut self,
        job: Job,
        effect: Effect,
        piece: Option<(Stream, u8, Option<Cap>)>,
        disk: &mut Disk,
        wire: &mut Option<&mut Wire>,
    ) -> Result<(), String> {
        let log = &mut disk.logs[job];
        match effect {
            Effect::Ask { connection } => drop(self.work.insert((job, Work::Ask(connection)))),
            Effect::Resume(have) => self.say(ToExecutor::Resume { job, have: narrow(have) }, wire)?,
            Effect::Ack { stream, offset } => {
                let offset = u8::try_from(offset).expect("small");
                let answers_for = self.machines[job].is_none() || offset <= log.lengths[stream as usize];
                if !answers_for {
                    return Err("acknowledged what the log does not answer for".into());
                }
                self.say(ToExecutor::Ack { job, stream, offset }, wire)?;
            }
            Effect::Stop => self.say(ToExecutor::Stop(job), wire)?,
            Effect::Release => match disk.records[job] {
                None | Some(Record::Ended(_)) => self.say(ToExecutor::Release(job), wire)?,
                Some(_) => return Err("released before the end was recorded".into()),
            },
            Effect::Adopt => {}
            Effect::RecordStart(_) => {
                self.births.insert(job);
                self.work.insert((job, Work::RecordStart));
            }
            Effect::RecordEnd(ending, _) => drop(self.work.insert((job, Work::RecordEnd(Ended::of(&ending))))),
            Effect::Remove(_) => drop(self.work.insert((job, Work::Remove))),
            Effect::Skip { reason: GapReason::Lost, .. } if !disk.restored => {
                return Err("bytes were given up that are not lost".into());
            }
            Effect::Skip { stream, to, .. } => {
                let length = &mut log.lengths[stream as usize];
                let to = u8::try_from(to).expect("small");
                if log.closed || to <= *length {
                    return Err("a gap where there is none".into());
                }
                log.gaps += to - *length;
                *length = to;
            }
            Effect::Append => {
                let (stream, offset, cap) = piece.ok_or("nothing to append")?;
                let written = append(disk, job, stream, offset, cap)?;
                self.step(job, written, disk, wire)?;
            }
            Effect::WaitForRoom => self.waits_for_room = true,
            Effect::CloseLog(ending) => drop(self.work.insert((job, Work::CloseLog(Ended::of(&ending))))),
            Effect::TellRunning => self.answers.push((job, Answer::Running)),
            Effect::TellEnded => self.over(job, Answer::Ended),
            Effect::TellNotStarted(_) => self.over(job, Answer::NotStarted),
        }
        Ok(())
    }

    /// While the two sides compare, only the answer to the list goes out; and without a connection nothing is said.
    fn say(&self, request: ToExecutor, wire: &mut Option<&mut Wire>) -> Result<(), String> {
        let always = matches!(request, ToExecutor::Resume { .. } | ToExecutor::Ack { .. });
        match wire {
            Some(wire) if self.live || always => wire.to_executor.push_back(request),
            _ => return Err(format!("{request:?} was to be said, and nobody listens")),
        }
        Ok(())
    }

    fn over(&mut self, job: Job, answer: Answer) {
        self.machines[job] = None;
        self.answers.push((job, answer));
    }
}
