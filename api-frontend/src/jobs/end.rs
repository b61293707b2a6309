//! The end of a job: its log is closed, its record written once, and then those who wait are told.

use std::sync::Arc;
use std::time::Duration;

use ipc_protocol::{End, Limit, StartError};

use super::Core;
use super::act::started;
use super::live::LiveJob;
use super::machine::Input;
use super::start_error::{Asked, sentence};
use super::told::{Born, Ending};
use super::verdict::{recorded, verdict};
use crate::output::{LogWriter, OutputError, Totals};
use crate::store::{Change, EndState, Ended, HowEnded, Job, Scope, UpdateError, Usage};

/// Between two attempts to close a log.
const PAUSE: Duration = Duration::from_secs(1);

impl Core {
    /// Closes a job's log, or counts one that a former process closed; tried again until it works.
    pub(super) fn close_log(self: &Arc<Self>, job: &Arc<LiveJob>, ending: Box<Ending>) {
        let writer = {
            let mut feed = job.feed();
            feed.request = None;
            feed.writer.take()
        };
        match self.try_to_close(job, &ending, writer) {
            Ok(totals) => self.step(job, Input::LogClosed(ending, totals)),
            Err((error, writer)) => {
                tracing::warn!(job = %job.id, %error, "the log could not be closed; trying again");
                self.close_later(job, ending, writer);
            }
        }
    }

    fn try_to_close(
        &self,
        job: &LiveJob,
        ending: &Ending,
        writer: Option<Box<LogWriter>>,
    ) -> Result<Totals, (OutputError, Option<Box<LogWriter>>)> {
        match writer {
            Some(writer) => match writer.finish(ending.ended_ns, ending.totals.is_some()) {
                Ok(finished) => Ok(finished.totals()),
                Err(failed) => Err((failed.error, Some(failed.writer))),
            },
            None => self.logs.totals(job.id).map_err(|error| (error, None)),
        }
    }

    fn close_later(self: &Arc<Self>, job: &Arc<LiveJob>, ending: Box<Ending>, mut writer: Option<Box<LogWriter>>) {
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = core.stop.cancelled() => return,
                }
                match core.try_to_close(&job, &ending, writer) {
                    Ok(totals) => return core.step(&job, Input::LogClosed(ending, totals)),
                    Err((_, again)) => writer = again,
                }
            }
        });
    }

    /// Writes the end until it is written; then, and only then, the executor may forget the job. The birth goes with it in one
    /// transaction, so that neither has to wait for the other.
    pub(super) fn record_end(self: &Arc<Self>, job: &Arc<LiveJob>, ending: Ending, totals: Totals) {
        let (core, job) = (self.clone(), job.clone());
        self.runtime.spawn(async move {
            let born = job.feed().born;
            let why = match &ending.end {
                Ok(End::StartFailed(error)) => core.why_not_started(&job, error, ending.facts.stop.is_some()).await,
                _ => String::new(),
            };
            let ended = ended(ending, born, totals, why);
            let state = ended.state;
            let changes: Vec<_> = born.map(started).into_iter().chain([Change::Ended(Box::new(ended))]).collect();
            if core.persist(&job, "the end", || core.store.update_all(job.id, changes.clone())).await {
                core.counts.ended(state);
                core.step(&job, Input::EndRecorded);
                tracing::debug!(job = %job.id, ?state, "ended");
            }
        });
    }

    // In words, with what was asked for. A record that cannot be read leaves names out and holds nobody up.
    async fn why_not_started(&self, job: &LiveJob, error: &StartError, stopped: bool) -> String {
        let record = self.store.get(job.id, &Scope::All).await.ok().flatten();
        let program = record.as_ref().and_then(|record| record.argv.first()).map(|word| String::from_utf8_lossy(word));
        let profile = record.as_ref().map_or("", |record| record.profile.as_str());
        let profiles = self.profiles.load();
        let path = profiles.iter().find(|known| known.name == profile).map_or("", |known| known.path.as_str());
        sentence(error, Asked { program: program.as_deref().unwrap_or_default(), profile, path, stopped })
    }

    /// Makes a change to a record, again and again until it stands. `false` when the program ends before that.
    pub(super) async fn persist<W>(&self, job: &LiveJob, what: &'static str, write: impl Fn() -> W) -> bool
    where
        W: Future<Output = Result<Job, UpdateError>>,
    {
        let mut pause = Duration::from_millis(50);
        loop {
            match write().await {
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
}

fn ended(ending: Ending, born: Option<Born>, output: Totals, why: String) -> Ended {
    let Ending { end, facts, ended_ns, .. } = ending;
    let started_ns = born.map(|b| b.started_ns);
    let timeout_ms = born.and_then(|b| b.limits.get(Limit::Timeout));
    let (state, how) = match end {
        Ok(end) => (verdict(&end, &facts, started_ns, timeout_ms), recorded(end, why)),
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
