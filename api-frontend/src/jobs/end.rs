//! The end of a job: its log is closed, its record written once, those who wait are told, and the executor may forget it.

use std::sync::Arc;
use std::time::Duration;

use ipc_protocol::{End, Facts, Request, StartError, Stream};

use super::Core;
use super::live::{Born, FeedSink, Hold, LiveJob, Progress};
use super::verdict::{recorded, verdict};
use crate::output::{GapReason, LogWriter, Totals};
use crate::store::{Change, EndState, Ended, HowEnded, UpdateError, Usage};

/// What is known of an end.
#[derive(Debug)]
pub(super) struct Ending {
    /// `Err` says why nobody knows.
    end: Result<End, &'static str>,
    facts: Facts,
    /// Bytes that the job wrote, by stream; `None` when nobody knows.
    totals: Option<[u64; 2]>,
    ended_ns: u64,
    /// The executor holds the job until it is released.
    held: bool,
}

impl Ending {
    /// The executor told it, after the last byte of output.
    pub(super) fn exited(end: End, facts: Facts, totals: [u64; 2], ended_ns: u64) -> Self {
        let totals = (!matches!(end, End::Lost(_))).then_some(totals);
        Self { end: Ok(end), facts, totals, ended_ns, held: true }
    }

    /// The command never ran, and the executor keeps nothing of it.
    pub(super) fn not_started(error: StartError, ended_ns: u64) -> Self {
        let end = Ok(End::StartFailed(error));
        Self { end, facts: Facts::default(), totals: Some([0; 2]), ended_ns, held: false }
    }

    /// Nobody knows.
    pub(super) fn lost(why: &'static str, ended_ns: u64) -> Self {
        Self { end: Err(why), facts: Facts::default(), totals: None, ended_ns, held: false }
    }
}

impl Core {
    /// Ends a job. Called again for the same end, it does nothing.
    pub(super) fn end(self: &Arc<Self>, job: &Arc<LiveJob>, ending: Ending) {
        let mut feed = job.feed();
        let born = feed.born;
        if ending.totals.is_some_and(|totals| feed.lengths() != totals)
            && matches!(feed.sink, FeedSink::Held(_, Hold::Disk))
        {
            // The bytes come again when there is room, and the end after them.
            return;
        }
        if std::mem::replace(&mut feed.ending, true) {
            return;
        }
        let Some((mut writer, hold)) = feed.close() else {
            drop(feed);
            // A former process closed the log, and died before it recorded the end.
            match self.logs.totals(job.id) {
                Ok(totals) => self.record_end(job, ending, born, totals),
                Err(error) => {
                    tracing::error!(job = %job.id, %error, "the closed log cannot be counted; the end is recorded later");
                    job.feed().ending = false;
                    self.link.reconnect();
                }
            }
            return;
        };
        drop(feed);
        if let Some(totals) = ending.totals {
            let reason = if hold == Some(Hold::Cap) { GapReason::OutputLimit } else { GapReason::Lost };
            for (stream, to) in Stream::BOTH.into_iter().zip(totals) {
                writer.skip(stream, to, reason);
            }
        }
        let complete = ending.totals.is_some();
        match writer.finish(ending.ended_ns, complete) {
            Ok(finished) => self.record_end(job, ending, born, finished.totals()),
            Err(failed) => {
                tracing::warn!(job = %job.id, error = %failed.error, "the log could not be closed; trying again");
                self.finish_later(job, ending, born, failed.writer, complete);
            }
        }
    }

    fn finish_later(
        self: &Arc<Self>,
        job: &Arc<LiveJob>,
        ending: Ending,
        born: Option<Born>,
        mut writer: Box<LogWriter>,
        complete: bool,
    ) {
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = core.stop.cancelled() => return,
                }
                match writer.finish(ending.ended_ns, complete) {
                    Ok(finished) => return core.record_end(&job, ending, born, finished.totals()),
                    Err(failed) => writer = failed.writer,
                }
            }
        });
    }

    /// Writes the record until it is written; then, and only then, the executor may forget the job.
    pub(super) fn record_end(self: &Arc<Self>, job: &Arc<LiveJob>, ending: Ending, born: Option<Born>, totals: Totals) {
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            if born.is_some() {
                // The birth is recorded first: the end says nothing of it.
                let mut progress = job.watch();
                tokio::select! {
                    _ = progress.wait_for(|p| *p != Progress::Asked) => {}
                    () = core.stop.cancelled() => return,
                }
            }
            let held = ending.held;
            let ended = ended(ending, born, totals);
            let state = ended.state;
            if !core.persist(&job, "the end", || Change::Ended(Box::new(ended.clone()))).await {
                return;
            }
            core.live.remove(job.id);
            job.advance(Progress::Ended);
            core.inputs.discard_of(job.id);
            if held {
                // Without a connection the next comparison releases it.
                let _ = core.link.send(&Request::Release { job: job.id });
            }
            tracing::debug!(job = %job.id, ?state, "ended");
        });
    }

    /// Makes a change to a record, again and again until it stands. `false` when the program ends before that.
    pub(super) async fn persist(&self, job: &LiveJob, what: &'static str, change: impl Fn() -> Change) -> bool {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.store.update(job.id, change()).await {
                // Ended before: what is recorded stays, and there is nothing to add.
                Ok(_) | Err(UpdateError::Ended { .. }) => return true,
                Err(UpdateError::NotFound(_)) => {
                    tracing::warn!(job = %job.id, "{what} of a job without a record");
                    return true;
                }
                Err(error) => tracing::warn!(job = %job.id, %error, "{what} could not be recorded; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return false,
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Takes back a job that was not started: its record goes, and with it the claim on request id and name.
    pub(super) fn withdraw(self: &Arc<Self>, job: &Arc<LiveJob>, outcome: Progress) {
        {
            let mut feed = job.feed();
            if std::mem::replace(&mut feed.ending, true) {
                return;
            }
            // Without output there is no file to close.
            feed.close();
        }
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            while let Err(error) = core.store.remove_unborn(job.id).await {
                tracing::warn!(job = %job.id, %error, "the record of a job that was not started could not be removed");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = core.stop.cancelled() => return,
                }
            }
            core.live.remove(job.id);
            core.inputs.give_back(job.id);
            job.advance(outcome);
        });
    }
}

fn ended(ending: Ending, born: Option<Born>, output: Totals) -> Ended {
    let Ending { end, facts, ended_ns, .. } = ending;
    let started_ns = born.map(|b| b.started_ns);
    let timeout_ms = born.and_then(|b| b.limits.timeout_ms);
    let (state, how) = match end {
        Ok(end) => (verdict(&end, &facts, started_ns, timeout_ms), recorded(end)),
        Err(why) => (EndState::Lost, HowEnded::Lost { reason: why.to_owned() }),
    };
    // Of a job that never ran or was lost there is nothing to tell, and zeros would be an answer.
    let usage = (!matches!(state, EndState::Lost | EndState::Error)).then(|| Usage::from(&facts));
    Ended {
        state,
        how,
        ended_ns,
        oom_kills: facts.oom_kills,
        deadline_hit: facts.deadline_hit,
        stop: facts.stop,
        usage,
        output,
    }
}
