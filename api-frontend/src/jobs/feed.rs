//! The executor's answers, handed to the jobs they concern. Runs on the connection's thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipc_protocol::{Answer, Hello, JobEntry, JobId, ProfileInfo, Request, Stream, VersionRange};

use super::Core;
use super::act::request_of;
use super::live::{AskKind, LiveJob};
use super::machine::{Effect, Input, JobMachine, Written};
use super::now_ns;
use super::told::{Born, Ending, Refused};
use crate::executor::{Reconnect, Sink, Welcome};
use crate::output::WhenFull;

/// Takes the executor's answers.
#[derive(Debug)]
pub(super) struct ExecutorSink {
    core: Arc<Core>,
    /// The connection that was compared last.
    connection: u64,
    /// Jobs with acknowledgements due since the last time everything was handed on.
    due: Vec<Arc<LiveJob>>,
    /// Other requests to make then.
    requests: Vec<Request>,
}

/// Bytes of a stream, as they came.
#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    stream: Stream,
    offset: u64,
    time_ns: u64,
    recovered: bool,
    bytes: &'a [u8],
}

/// What a request gets that names no profile, where the executor has it.
const DEFAULT_PROFILE: &str = "standard";

impl ExecutorSink {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, connection: 0, due: Vec::new(), requests: Vec::new() }
    }

    /// Hands an answer to the job it concerns. Of one that does not live any more, the executor still holds what it may forget.
    fn hand_on(&mut self, id: JobId, input: Input) {
        match self.core.live.get(id) {
            Some(job) => self.core.step_into(&job, input, &mut self.requests),
            None => {
                let effects = JobMachine::over([0; 2]).step(input);
                self.requests.extend(effects.iter().filter_map(|effect| request_of(id, effect)));
            }
        }
    }

    fn output(&mut self, id: JobId, piece: Piece<'_>) {
        let input = Input::Output { stream: piece.stream, offset: piece.offset, length: piece.bytes.len() as u64 };
        let Some(job) = self.core.live.get(id) else {
            // Nobody wants it: the record says that the job has ended, or is gone. It must not wait for us.
            let mut machine = JobMachine::over([0; 2]);
            machine.step(input);
            self.requests.extend(machine.step(Input::Drained).iter().filter_map(|effect| request_of(id, effect)));
            return;
        };
        for effect in job.step(input) {
            if effect != Effect::Append {
                self.core.perform(&job, effect, &mut self.requests);
            } else if let Some(written) = self.append(&job, piece) {
                self.core.step_into(&job, written, &mut self.requests);
            }
        }
        if job.machine().has_due() && !std::mem::replace(&mut job.feed().listed, true) {
            self.due.push(job);
        }
    }

    fn append(&self, job: &LiveJob, piece: Piece<'_>) -> Option<Input> {
        let Piece { stream, offset, time_ns, recovered, bytes } = piece;
        kill_point!(before(&Effect::Append));
        let mut feed = job.feed();
        let writer = feed.writer.as_mut()?;
        let before = writer.lengths()[stream as usize];
        let (to, outcome) = match writer.append(stream, offset, time_ns, recovered, bytes) {
            Ok(appended) => {
                if self.core.disk_failures.load(Ordering::Relaxed) > 0 {
                    self.core.disk_failures.store(0, Ordering::Relaxed);
                }
                let outcome = match appended.full {
                    None | Some(WhenFull::DropOldest) => Written::Whole,
                    Some(WhenFull::Wait) => Written::Capped,
                    Some(WhenFull::Stop) => Written::Stop,
                };
                (appended.length, outcome)
            }
            Err(error) => {
                if !self.core.disk_trouble.load(Ordering::SeqCst) {
                    tracing::error!(job = %job.id, %error, "output cannot be written; jobs that write wait until it can");
                }
                (writer.lengths()[stream as usize], Written::NoRoom)
            }
        };
        // Also of a piece of which the disk took a part.
        self.core.counts.took(to.saturating_sub(before));
        Some(Input::Written { stream, to, outcome })
    }

    fn forget_due(&mut self) {
        self.due.drain(..).for_each(|job| job.feed().listed = false);
        self.requests.clear();
    }
}

impl Sink for ExecutorSink {
    fn hello(&mut self) -> Hello {
        Hello { min_version: VersionRange::OURS.min, epoch: self.core.store.epoch(), build: crate::BUILD.to_owned() }
    }

    fn sync(&mut self, connection: u64, welcome: &Welcome, jobs: Vec<JobEntry>) -> Result<Vec<Request>, Reconnect> {
        self.forget_due();
        self.connection = connection;
        self.core.compare(connection, welcome, jobs)
    }

    fn live(&mut self) {
        for job in self.core.live.all() {
            self.core.step_into(&job, Input::Live { connection: self.connection }, &mut self.requests);
        }
    }

    fn profiles(&mut self, mut profiles: Vec<ProfileInfo>) {
        // The first is everybody's default; the sort keeps the order of the others.
        profiles.sort_by_key(|profile| profile.name != DEFAULT_PROFILE);
        self.core.profiles.store(Arc::new(profiles));
        self.core.warn_of_missing_profiles();
    }

    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Reconnect> {
        match answer {
            Answer::Output { job, stream, offset, time_ns, recovered, bytes } => {
                self.output(job, Piece { stream, offset, time_ns, recovered, bytes });
            }
            Answer::Spawned { job, pid, uid, started_ns, limits } => {
                self.hand_on(job, Input::Spawned(Born { pid, uid, started_ns, limits }));
            }
            Answer::NotStarted { job, error } => {
                self.hand_on(job, Input::NotStarted(Box::new(Ending::not_started(error, now_ns()))));
            }
            Answer::Refused { job, refusal, field, message } => {
                self.hand_on(job, Input::Refused(Refused { refusal, field, message }));
            }
            Answer::Stopped { job, outcome } => {
                if let Some(live) = self.core.live.get(job) {
                    live.answered(AskKind::Stop, outcome);
                }
            }
            Answer::Signalled { job, outcome } => {
                if let Some(live) = self.core.live.get(job) {
                    live.answered(AskKind::Signal, outcome);
                }
            }
            Answer::Exited { job, end, facts, totals, ended_ns } => {
                self.hand_on(job, Input::Exited(Box::new(Ending::exited(end, *facts, totals, ended_ns))));
            }
            Answer::Welcome { .. } | Answer::Profiles(_) | Answer::Job(_) | Answer::SyncEnd => {
                return Err(Reconnect("the executor compared twice".into()));
            }
        }
        Ok(())
    }

    fn drained(&mut self, due: &mut Vec<Request>) {
        due.append(&mut self.requests);
        for job in self.due.drain(..) {
            job.feed().listed = false;
            self.core.step_into(&job, Input::Drained, due);
        }
    }

    fn gone(&mut self) {
        for job in self.core.live.all() {
            job.unanswered();
            self.core.step(&job, Input::Gone { connection: self.connection });
        }
    }
}
