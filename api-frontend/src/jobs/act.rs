//! Carries out what a job's machine decides.
//!
//! Everything that an input leads to is done in order by whoever brings the input; what takes a disk's time is done beside it and
//! comes back as another input. Nothing is decided here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipc_protocol::{Claimed, JobId, Request, SignalOutcome, StopFact};

use super::live::{AskKind, LiveJob, Progress};
use super::machine::{Effect, Input};
use super::start::AskError;
use super::told::{Born, Refused};
use super::{Core, now_ns};
use crate::output::GapReason;
use crate::store::Change;

/// Free bytes above which a log that could not be written is tried again.
const ROOM_TO_GO_ON: u64 = 16 << 20;
/// Between two looks whether there is room again, or the records take a change.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a job has between the signal and the kill when its log is full and it is to be stopped.
const FULL_GRACE_MS: u64 = 10_000;
const SIGTERM: u8 = 15;
/// Who asks for the stop of such a job.
const OUTPUT_LIMIT: &str = "output limit";

impl Core {
    /// Takes an input and does what follows. Requests go out on the live connection; without one, the next list says what is to
    /// be done.
    pub(super) fn step(self: &Arc<Self>, job: &Arc<LiveJob>, input: Input) {
        let mut requests = Vec::new();
        self.step_into(job, input, &mut requests);
        for request in requests {
            let _ = self.link.send(&request);
        }
    }

    /// As [`Core::step`], for the connection's own thread, which sends the requests together.
    pub(super) fn step_into(self: &Arc<Self>, job: &Arc<LiveJob>, input: Input, requests: &mut Vec<Request>) {
        for effect in job.step(input) {
            self.perform(job, effect, requests);
        }
    }

    /// Carries out one effect. `Append` and `Adopt` belong to whoever has the bytes and the list's entry.
    pub(super) fn perform(self: &Arc<Self>, job: &Arc<LiveJob>, effect: Effect, requests: &mut Vec<Request>) {
        kill_point!(before(&effect));
        if effect == Effect::Stop {
            self.note_stop(job);
        }
        if let Some(request) = request_of(job.id, &effect) {
            return requests.push(request);
        }
        match effect {
            Effect::Ask { connection } => self.ask_executor(job, connection),
            Effect::RecordStart(born) => {
                // The executor has the whole of it, for as long as the job lives.
                self.inputs.discard_of(job.id);
                self.record_start(job, born);
            }
            Effect::RecordEnd(ending, totals) => self.record_end(job, *ending, totals),
            Effect::Remove(refused) => self.remove_record(job, refused),
            Effect::Skip { stream, to, reason } => {
                let told = job.feed().writer.as_mut().map(|writer| writer.skip(stream, to, reason));
                if told.unwrap_or(reason) == GapReason::Lost {
                    tracing::warn!(job = %job.id, ?stream, to, "output before this offset will not come");
                }
            }
            Effect::CloseLog(ending) => self.close_log(job, ending),
            Effect::WaitForRoom => self.wait_for_room(),
            Effect::TellRunning => job.advance(Progress::Running),
            Effect::TellEnded => {
                self.live.remove(job.id);
                job.advance(Progress::Ended);
                self.inputs.discard_of(job.id);
            }
            Effect::TellNotStarted(refused) => {
                self.live.remove(job.id);
                self.inputs.give_back(job.id);
                job.advance(refused.map_or(Progress::Withdrawn, Progress::Refused));
            }
            Effect::Append | Effect::Adopt => {}
            Effect::Resume(_) | Effect::Ack { .. } | Effect::Stop | Effect::Release => {}
        }
    }

    fn ask_executor(self: &Arc<Self>, job: &Arc<LiveJob>, connection: u64) {
        let Some(request) = job.feed().request.clone() else {
            return self.step(job, Input::NotAsked { connection });
        };
        if !request.has_input() {
            // Nothing to wait for: it goes out from here.
            let asked = request.send(&self.link, connection);
            return self.asked(job, connection, asked);
        }
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn_blocking(move || {
            let asked = request.send(&core.link, connection);
            core.asked(&job, connection, asked);
        });
    }

    fn asked(self: &Arc<Self>, job: &Arc<LiveJob>, connection: u64, asked: Result<(), AskError>) {
        match asked {
            // The answer comes, or the connection breaks.
            Ok(()) => {
                kill_point!(SpawnSent);
            }
            Err(AskError::Away) => self.step(job, Input::NotAsked { connection }),
            Err(AskError::Input(refused)) => self.step(job, Input::CannotAsk { connection, refused }),
        }
    }

    fn record_start(self: &Arc<Self>, job: &Arc<LiveJob>, born: Born) {
        {
            let mut feed = job.feed();
            feed.born = Some(born);
            feed.request = None;
        }
        self.counts.started();
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            if core.persist(&job, "the start", || core.store.update_soon(job.id, started(born))).await {
                core.step(&job, Input::StartRecorded);
            }
        });
    }

    /// A stop because of the output limit is recorded as anybody's is, once the executor has said that it took it. Expected
    /// here, the answer is not taken for that to a user who asks at the same time.
    fn note_stop(self: &Arc<Self>, job: &Arc<LiveJob>) {
        let answer = job.expect(AskKind::Stop);
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            // Without an answer the next connection asks again.
            if let Ok(SignalOutcome::Sent) = answer.await {
                let fact = StopFact { by: OUTPUT_LIMIT.into(), signal: SIGTERM, at_ns: now_ns() };
                core.persist(&job, "the stop", || core.store.update(job.id, Change::StopAsked(fact.clone()))).await;
            }
        });
    }

    /// The record goes, and with it the claim on request id and name.
    fn remove_record(self: &Arc<Self>, job: &Arc<LiveJob>, refused: Option<Refused>) {
        {
            let mut feed = job.feed();
            // Without output there is no file to close.
            feed.writer = None;
            feed.request = None;
        }
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            while let Err(error) = core.store.remove_unborn(job.id).await {
                tracing::warn!(job = %job.id, %error, "the record of a job that was not started could not be removed");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = core.stop.cancelled() => return,
                }
            }
            core.step(&job, Input::Removed(refused));
        });
    }

    /// Waits until logs can be written again, and has the executor send once more what was dropped. One wait is for all jobs.
    fn wait_for_room(self: &Arc<Self>) {
        if self.disk_trouble.swap(true, Ordering::SeqCst) {
            return;
        }
        let core = self.clone();
        // What fails again and again, and not for want of room, must not cost all others their connection each second.
        let times = self.disk_failures.fetch_add(1, Ordering::SeqCst).min(6);
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE * 2u32.pow(times)) => {}
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

/// The request that an effect consists of, if it is one.
pub(super) fn request_of(job: JobId, effect: &Effect) -> Option<Request> {
    match *effect {
        Effect::Resume(have) => Some(Request::Resume { job, have }),
        Effect::Ack { stream, offset } => Some(Request::Ack { job, stream, offset }),
        Effect::Release => Some(Request::Release { job }),
        Effect::Stop => {
            let by = Claimed { owner: OUTPUT_LIMIT.into(), ..Claimed::default() };
            Some(Request::Stop { job, signal: SIGTERM, grace_ms: FULL_GRACE_MS, by })
        }
        _ => None,
    }
}

/// The birth, as it is recorded.
pub(super) fn started(born: Born) -> Change {
    let Born { pid, uid, started_ns, limits } = born;
    Change::Started { pid, uid, started_ns, limits }
}
