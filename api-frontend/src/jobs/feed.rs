//! The executor's answers, handed to the jobs they concern. Runs on the connection's thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipc_protocol::{Answer, Claimed, Hello, JobEntry, JobId, ProfileInfo, Request, Stream, VersionRange};

use super::end::Ending;
use super::live::{AskKind, Born, FeedSink, Hold, LiveJob, Progress};
use super::{Core, now_ns};
use crate::executor::{Reconnect, Sink, Welcome};
use crate::output::{GapReason, OutputError, WhenFull};
use crate::store::Change;

/// Takes the executor's answers.
#[derive(Debug)]
pub(super) struct ExecutorSink {
    core: Arc<Core>,
    /// Jobs with acknowledgements due since the last time everything was handed on.
    due: Vec<Arc<LiveJob>>,
    /// Requests about jobs that are not live here.
    loose: Vec<Request>,
}

/// Free bytes above which a log that could not be written is tried again.
const ROOM_TO_GO_ON: u64 = 16 << 20;
/// How long a job has between the signal and the kill when its log is full and it is to be stopped.
const FULL_GRACE_MS: u64 = 10_000;
const SIGTERM: u8 = 15;
/// What a request gets that names no profile, where the executor has it.
const DEFAULT_PROFILE: &str = "standard";

impl ExecutorSink {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, due: Vec::new(), loose: Vec::new() }
    }

    fn output(&mut self, id: JobId, stream: Stream, offset: u64, time_ns: u64, recovered: bool, bytes: &[u8]) {
        let Some(job) = self.core.live.get(id) else {
            // Nobody wants it: the record says that the job has ended, or is gone. It must not wait for us.
            let offset = offset.saturating_add(bytes.len() as u64);
            self.loose.push(Request::Ack { job: id, stream, offset });
            return;
        };
        let mut feed = job.feed();
        let length = match &mut feed.sink {
            FeedSink::Closed(_) => offset.saturating_add(bytes.len() as u64),
            FeedSink::Held(..) => return,
            FeedSink::Log(writer) => {
                if offset > writer.lengths()[stream as usize] {
                    tracing::warn!(job = %id, ?stream, offset, "output between this and what the log holds did not come");
                    writer.skip(stream, offset, GapReason::Lost);
                }
                match writer.append(stream, offset, time_ns, recovered, bytes) {
                    Ok(appended) => {
                        match appended.full {
                            Some(WhenFull::Wait) => feed.hold(Hold::Cap),
                            Some(WhenFull::Stop) if !feed.stop_sent => {
                                feed.stop_sent = true;
                                self.loose.push(stop_for_full_log(id));
                            }
                            _ => {}
                        }
                        appended.length
                    }
                    Err(error) => {
                        let length = writer.lengths()[stream as usize];
                        feed.hold(Hold::Disk);
                        self.core.wait_for_room(id, &error);
                        length
                    }
                }
            }
        };
        feed.set_due(stream, length);
        if !feed.listed {
            feed.listed = true;
            drop(feed);
            self.due.push(job);
        }
    }

    fn spawned(&self, id: JobId, born: Born) {
        let Some(job) = self.core.live.get(id) else { return };
        job.feed().born = Some(born);
        self.core.record_birth(&job, born);
    }
}

impl Core {
    /// Records that a job runs, then tells those who wait for it.
    pub(super) fn record_birth(self: &Arc<Self>, job: &Arc<LiveJob>, born: Born) {
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            let Born { pid, uid, started_ns, limits } = born;
            if core.persist(&job, "the start", || Change::Started { pid, uid, started_ns, limits }).await {
                job.advance(Progress::Running);
            }
        });
    }

    /// A log could not be written. Says so once, waits until there is room, and has the executor send again what was dropped.
    fn wait_for_room(self: &Arc<Self>, job: JobId, error: &OutputError) {
        if self.disk_trouble.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::error!(%job, %error, "output cannot be written; jobs that write wait until it can");
        let core = self.clone();
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = core.stop.cancelled() => return,
                }
                if core.logs.free_bytes().is_ok_and(|free| free >= ROOM_TO_GO_ON) {
                    break;
                }
            }
            tracing::info!("output is tried again");
            core.disk_trouble.store(false, Ordering::SeqCst);
            core.link.reconnect();
        });
    }
}

impl Sink for ExecutorSink {
    fn hello(&mut self) -> Hello {
        Hello {
            min_version: VersionRange::OURS.min,
            epoch: self.core.store.epoch(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn sync(&mut self, generation: u64, welcome: &Welcome, jobs: Vec<JobEntry>) -> Result<Vec<Request>, Reconnect> {
        self.due.clear();
        self.loose.clear();
        self.core.compare(generation, welcome, jobs)
    }

    fn profiles(&mut self, mut profiles: Vec<ProfileInfo>) {
        // The first is everybody's default; the sort keeps the order of the others.
        profiles.sort_by_key(|profile| profile.name != DEFAULT_PROFILE);
        self.core.profiles.store(Arc::new(profiles));
    }

    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Reconnect> {
        match answer {
            Answer::Output { job, stream, offset, time_ns, recovered, bytes } => {
                self.output(job, stream, offset, time_ns, recovered, bytes);
            }
            Answer::Spawned { job, pid, uid, started_ns, limits } => {
                self.spawned(job, Born { pid, uid, started_ns, limits });
            }
            Answer::NotStarted { job, error } => {
                if let Some(live) = self.core.live.get(job) {
                    self.core.end(&live, Ending::not_started(error, now_ns()));
                }
            }
            Answer::Refused { job, refusal, field, message } => {
                if let Some(live) = self.core.live.get(job) {
                    self.core.withdraw(&live, Progress::Refused { refusal, field, message });
                }
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
            Answer::Exited { job, end, facts, totals, ended_ns } => match self.core.live.get(job) {
                Some(live) => self.core.end(&live, Ending::exited(end, *facts, totals, ended_ns)),
                None => self.loose.push(Request::Release { job }),
            },
            Answer::Welcome { .. } | Answer::Profiles(_) | Answer::Job(_) | Answer::SyncEnd => {
                return Err(Reconnect("the executor compared twice".into()));
            }
        }
        Ok(())
    }

    fn drained(&mut self, due: &mut Vec<Request>) {
        due.append(&mut self.loose);
        for job in self.due.drain(..) {
            let mut feed = job.feed();
            feed.listed = false;
            for stream in Stream::BOTH {
                if let Some(offset) = feed.due[stream as usize].take() {
                    due.push(Request::Ack { job: job.id, stream, offset });
                }
            }
        }
    }

    fn gone(&mut self) {
        for job in self.core.live.all() {
            job.unanswered();
        }
    }
}

fn stop_for_full_log(job: JobId) -> Request {
    let by = Claimed { owner: "output limit".into(), ..Claimed::default() };
    Request::Stop { job, signal: SIGTERM, grace_ms: FULL_GRACE_MS, by }
}
