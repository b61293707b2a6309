//! Everything that can happen around one frontend and one executor, and what must hold after each of it.

use ipc_protocol::Stream;

use super::disk::{Disk, Record};
use super::events::{Event, Scope};
use super::executor::{End, Executor, Job, ToExecutor, ToFrontend, Wire};
use super::frontend::{Answer, Process, Work};
use crate::jobs::machine::{Input, JobMachine};

/// What really happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Truth {
    asked: bool,
    started: u8,
    ended: bool,
    /// Nobody can know its end: its keeper was killed, or the host went down.
    lost: bool,
    /// Its record was removed, on somebody's demand or by a restored backup.
    record_gone: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    left: Scope,
    truth: Vec<Truth>,
    disk: Disk,
    backup: Option<Disk>,
    process: Option<Process>,
    comparing: bool,
    /// The last connection was given up to wait for something that is under way. Another one before that would change nothing.
    waiting: bool,
    executor: Executor,
    wire: Option<Wire>,
}

impl World {
    pub fn new(scope: Scope) -> Self {
        let jobs = scope.jobs();
        Self {
            left: scope,
            truth: vec![Truth::default(); jobs],
            disk: Disk::new(jobs),
            backup: None,
            process: None,
            comparing: false,
            waiting: false,
            executor: Executor::new(jobs),
            wire: None,
        }
    }

    /// What can happen next, what must happen some time first.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut may = |can: bool, event: Event| events.extend(can.then_some(event));
        let left = &self.left;
        let jobs = 0..self.truth.len();
        let process = self.process.as_ref();
        may(process.is_none(), Event::StartFrontend);
        may(!self.executor.up, Event::StartExecutor);
        may(process.is_some() && self.executor.up && self.wire.is_none() && !self.waiting, Event::Connect);
        may(self.comparing, Event::GoLive);
        if let Some(wire) = &self.wire {
            may(!wire.to_executor.is_empty(), Event::ToExecutor);
            may(!wire.to_frontend.is_empty() && !self.comparing, Event::ToFrontend);
            let spawn = matches!(wire.to_executor.front(), Some(ToExecutor::Spawn(job)) if !self.executor.holds(*job));
            may(process.is_some_and(|process| process.live && process.has_due()), Event::Drain);
            may(spawn && left.refusals > 0, Event::Refuse);
            may(left.breaks > 0, Event::Break);
        }
        if let Some(process) = process {
            // A log cannot be closed while there is no room for its end.
            let can = |work: &Work| !(self.disk.full && matches!(work, Work::CloseLog(_)));
            process
                .work
                .iter()
                .filter(|(_, work)| can(work))
                .for_each(|(job, work)| may(true, Event::Done(*job, *work)));
            for (job, work) in &process.work {
                if let Work::Ask(connection) = work {
                    may(left.lost_inputs > 0, Event::CannotAsk(*job, *connection));
                }
            }
            may(process.waits_for_room && !self.disk.full, Event::RoomAgain);
            may(left.frontend_kills > 0, Event::KillFrontend);
            (0..left.requests).for_each(|request| may(self.can_ask(request, process), Event::Ask(request)));
        }
        for job in jobs {
            may(self.executor.is_starting(job), Event::Birth(job));
            Stream::BOTH.into_iter().for_each(|s| may(self.executor.can_take(job, s), Event::Take(job, s)));
            // One that waits for room in its log ends when somebody ends it.
            may(self.executor.runs(job) && (self.executor.has_written(job) || left.cap.is_some()), Event::End(job));
            may(left.failures > 0 && self.executor.is_starting(job), Event::BirthFails(job));
            let waits = process.is_some_and(|p| p.machines[job].is_some());
            may(left.absences > 0 && waits && self.wire.is_none(), Event::AwayTooLong(job));
            let lives = self.executor.is_starting(job) || self.executor.runs(job);
            may(left.keeper_kills > 0 && lives, Event::KillKeeper(job));
            let ended = matches!(self.disk.records[job], Some(Record::Ended(_)));
            let shown = process.is_some_and(|p| p.machines[job].is_none());
            may(left.deletions > 0 && ended && shown, Event::Delete(job));
        }
        may(left.executor_kills > 0 && self.executor.up, Event::KillExecutor { unborn_go: false });
        let unborn = (0..self.truth.len()).any(|job| self.executor.is_starting(job));
        may(left.executor_kills > 0 && self.executor.up && unborn, Event::KillExecutor { unborn_go: true });
        may(left.full_disks > 0 && !self.disk.full && process.is_some(), Event::DiskFull);
        may(self.disk.full, Event::DiskFree);
        may(left.reboots > 0, Event::Reboot);
        may(left.restores > 0 && self.backup.is_none() && self.disk.epoch > 0, Event::Backup);
        may(left.restores > 0 && self.backup.is_some() && process.is_none(), Event::Restore { logs: false });
        may(left.restores > 0 && self.backup.is_some() && process.is_none(), Event::Restore { logs: true });
        events
    }

    fn slots(&self, request: usize) -> std::ops::Range<Job> {
        request * self.left.attempts..(request + 1) * self.left.attempts
    }

    /// Whether a caller's attempt would make a new job: no record and no start of the request is under way.
    fn can_ask(&self, request: usize, process: &Process) -> bool {
        let mut slots = self.slots(request);
        !self.disk.restored
            && slots.clone().all(|job| {
                self.disk.records[job].is_none() && process.machines[job].is_none() && !self.truth[job].record_gone
            })
            && slots.any(|job| !self.truth[job].asked)
    }

    /// Lets something happen. `Err` says what must never be.
    pub fn apply(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::StartFrontend => self.process = Some(Process::start(&mut self.disk)),
            Event::StartExecutor => self.executor.start(),
            Event::Connect => {
                if let Some(process) = &mut self.process {
                    process.number += 1;
                    self.wire = Some(self.executor.connect(process.number, process.epoch));
                }
            }
            Event::GoLive => {
                self.comparing = false;
                if let (Some(process), Some(wire)) = (&mut self.process, &mut self.wire) {
                    process.go_live(&mut self.disk, wire)?;
                }
            }
            Event::Drain => {
                if let (Some(process), Some(wire)) = (&mut self.process, &mut self.wire) {
                    process.drain(&mut self.disk, wire)?;
                }
            }
            Event::ToExecutor => {
                if let Some(wire) = &mut self.wire {
                    self.executor.read(wire, self.left.writes)?;
                }
            }
            Event::ToFrontend => self.hand_on()?,
            Event::Done(job, work) => {
                self.waiting = false;
                if let Some(process) = &mut self.process {
                    process.done(job, work, &mut self.disk, &mut self.wire.as_mut())?;
                }
                self.check_record(job, work)?;
            }
            Event::Birth(job) => {
                self.executor.birth(job, &mut self.wire);
                self.truth[job].started += 1;
            }
            Event::Take(job, stream) => self.executor.take(job, stream, &mut self.wire),
            Event::End(job) => {
                self.executor.end(job, End::Exited, &mut self.wire);
                self.truth[job].ended = true;
            }
            Event::DiskFree => self.disk.full = false,
            Event::RoomAgain => {
                if let Some(process) = &mut self.process {
                    process.waits_for_room = false;
                }
                self.cut();
            }
            Event::Ask(request) => {
                let free = self.slots(request).find(|job| !self.truth[*job].asked);
                if let (Some(process), Some(job)) = (&mut self.process, free) {
                    self.truth[job].asked = true;
                    process.ask(job);
                }
            }
            event => self.trouble(event)?,
        }
        self.check()
    }

    fn trouble(&mut self, event: Event) -> Result<(), String> {
        let left = &mut self.left;
        match event {
            Event::Refuse => {
                left.refusals -= 1;
                if let Some(wire) = &mut self.wire {
                    self.executor.refuse(wire);
                }
            }
            Event::CannotAsk(job, connection) => {
                left.lost_inputs -= 1;
                if let Some(process) = &mut self.process {
                    process.cannot_ask(job, connection, &mut self.disk)?;
                }
            }
            Event::BirthFails(job) => {
                left.failures -= 1;
                self.executor.birth_fails(job, &mut self.wire);
            }
            Event::AwayTooLong(job) => {
                left.absences -= 1;
                if let Some(process) = &mut self.process {
                    process.step(job, Input::AwayTooLong, &mut self.disk, &mut None)?;
                }
            }
            Event::Break => {
                left.breaks -= 1;
                self.cut();
            }
            Event::KillFrontend => {
                left.frontend_kills -= 1;
                self.kill_frontend();
            }
            Event::KillExecutor { unborn_go } => {
                left.executor_kills -= 1;
                self.cut();
                self.executor.kill(unborn_go);
            }
            Event::KillKeeper(job) => {
                left.keeper_kills -= 1;
                self.truth[job].lost = true;
                self.executor.end(job, End::Lost, &mut self.wire);
            }
            Event::DiskFull => {
                left.full_disks -= 1;
                self.disk.full = true;
            }
            Event::Delete(job) => {
                left.deletions -= 1;
                (self.disk.records[job], self.disk.deleted[job]) = (None, true);
                self.truth[job].record_gone = true;
            }
            Event::Reboot => {
                left.reboots -= 1;
                self.kill_frontend();
                for (job, truth) in self.truth.iter_mut().enumerate() {
                    // Also of what was only recorded, nobody can know.
                    truth.lost |= matches!(self.disk.records[job], Some(Record::Queued | Record::Running));
                    self.disk.before_boot[job] = self.disk.records[job].is_some();
                }
                self.executor.vanish();
            }
            Event::Backup => self.backup = Some(self.disk.clone()),
            Event::Restore { logs } => {
                left.restores -= 1;
                // Far above what the backup says: what the executor cannot tell is not what this is about.
                self.executor.epoch_seen = self.disk.epoch + 10;
                if let Some(backup) = self.backup.take() {
                    let now = std::mem::replace(&mut self.disk, backup);
                    self.disk.restored = true;
                    if !logs {
                        self.disk.logs = now.logs;
                    }
                    for (job, truth) in self.truth.iter_mut().enumerate() {
                        truth.record_gone |= self.disk.records[job].is_none();
                        truth.lost |= !self.executor.holds(job);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), String> {
        let (Some(process), Some(wire)) = (&mut self.process, &mut self.wire) else { return Ok(()) };
        match wire.to_frontend.pop_front() {
            Some(ToFrontend::List { entries, epoch_seen }) => {
                self.comparing = process.compare(&entries, epoch_seen, &mut self.disk, wire)?;
                if !self.comparing {
                    self.waiting = process.machines.iter().flatten().any(JobMachine::is_settling);
                    self.cut();
                }
            }
            Some(answer) => process.read(&answer, &mut self.disk, wire, self.left.cap)?,
            None => {}
        }
        Ok(())
    }

    /// The connection breaks, and what is on its way is lost.
    fn cut(&mut self) {
        (self.wire, self.comparing) = (None, false);
        if let Some(process) = &mut self.process {
            process.gone();
        }
    }

    fn kill_frontend(&mut self) {
        self.cut();
        (self.process, self.waiting) = (None, false);
    }
}

/// What must hold.
impl World {
    fn check(&mut self) -> Result<(), String> {
        for request in 0..self.left.requests {
            let started: u8 = self.slots(request).map(|job| self.truth[job].started).sum();
            if started > 1 {
                return Err(format!("request {request} was started {started} times"));
            }
        }
        for (job, truth) in self.truth.iter().enumerate() {
            let known = self.disk.records[job].is_some() || truth.record_gone;
            if truth.started > 0 && !known {
                return Err(format!("job {job} ran and has no record"));
            }
        }
        let answers = self.process.as_mut().map(|process| std::mem::take(&mut process.answers)).unwrap_or_default();
        answers.into_iter().try_for_each(|(job, answer)| self.check_answer(job, answer))
    }

    fn check_answer(&self, job: Job, answer: Answer) -> Result<(), String> {
        let record = self.disk.records[job];
        let holds = match answer {
            Answer::Running => self.truth[job].started == 1 && !matches!(record, Some(Record::Queued) | None),
            Answer::Ended => matches!(record, Some(Record::Ended(_))),
            Answer::NotStarted => {
                let asked = |wire: &Wire| wire.to_executor.contains(&ToExecutor::Spawn(job));
                record.is_none() && !self.executor.holds(job) && !self.wire.as_ref().is_some_and(asked)
            }
        };
        if holds { Ok(()) } else { Err(format!("job {job}: callers were told {answer:?}, and it is {record:?}")) }
    }

    /// An end is recorded as it was, and with every byte.
    fn check_record(&self, job: Job, work: Work) -> Result<(), String> {
        let Some(process) = &self.process else { return Ok(()) };
        let told = process.answers.contains(&(job, Answer::Running));
        if work == Work::RecordStart && process.machines[job].is_some() && !told {
            return Err(format!("job {job} runs, and nobody is told"));
        }
        let (Work::RecordEnd(_), Some(Record::Ended(end))) = (work, self.disk.records[job]) else { return Ok(()) };
        if end == End::Exited && !process.births.contains(&job) {
            return Err(format!("job {job} ran, and its record says nothing of it until the end"));
        }
        let (truth, log) = (self.truth[job], self.disk.logs[job]);
        let true_end = match end {
            End::Exited => truth.ended,
            End::StartFailed => truth.started == 0,
            End::Lost => truth.lost,
        };
        if !true_end {
            return Err(format!("job {job} is recorded as {end:?}, and that is not what happened: {truth:?}"));
        }
        let marked = self.left.cap.is_some() || self.disk.restored;
        if end == End::Exited && (log.lengths != self.left.writes || !log.closed || log.gaps > 0 && !marked) {
            return Err(format!("job {job} wrote {:?}, and its log holds {log:?}", self.left.writes));
        }
        Ok(())
    }

    /// Whether everything is settled: every job that was recorded has ended or gone, and nobody holds anything.
    pub fn is_settled(&self) -> bool {
        let (Some(process), Some(wire)) = (&self.process, &self.wire) else { return false };
        let quiet =
            wire.to_executor.is_empty() && wire.to_frontend.is_empty() && process.live && process.work.is_empty();
        quiet
            && (0..self.truth.len()).all(|job| {
                let recorded = matches!(self.disk.records[job], None | Some(Record::Ended(_)));
                recorded && process.machines[job].is_none() && !self.executor.holds(job)
            })
    }
}
