//! Everything that is asked about a job that exists.

use std::time::Duration;

use ipc_protocol::{Claimed, JobId, Request, SignalOutcome, StopFact};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::live::{AskKind, LiveJob, Progress};
use super::{Core, Jobs, JobsError, now_ns};
use crate::authorize::{Access, Caller, Reach, Verb};
use crate::echo::shown as echoed;
use crate::output::{LogReader, ReadOptions, Totals};
use crate::store::{Change, Cursor, Filter, Job, Page, ResolveError, Scope, UpdateError};

/// A job with its output as it stands.
#[derive(Debug, Clone)]
pub struct JobView {
    /// The record.
    pub job: Job,
    /// Its output; of a live job, counted now.
    pub output: Totals,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Newest first.
    pub jobs: Vec<JobView>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// What came of waiting.
#[derive(Debug, Clone)]
pub struct Waited {
    /// The job as it stands.
    pub view: JobView,
    /// False when the time was over first.
    pub ended: bool,
}

/// How long the executor may take to say what became of a signal.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a birth or an end that is under way is waited for.
const MOMENT: Duration = Duration::from_secs(3);
/// How long a job that is to be stopped may take to be born.
const UNBORN_MAX: Duration = Duration::from_secs(30);
/// Jobs that ended longer ago than this are listed only on request.
const RECENT: Duration = Duration::from_secs(7 * 86_400);

impl Jobs {
    /// One job.
    pub async fn get(&self, caller: &Caller, reference: &str) -> Result<JobView, JobsError> {
        self.find(caller, Verb::See, reference).await.map(|job| self.core.view(job))
    }

    /// A job as it stands in the records, for whoever was allowed to see it before.
    pub async fn refresh(&self, id: JobId) -> Result<JobView, JobsError> {
        self.core.current(id).await.map(|job| self.core.view(job))
    }

    /// As [`Jobs::refresh`], for a job whose log is closed: waits for the end that is being recorded.
    pub async fn settled(&self, id: JobId) -> Result<JobView, JobsError> {
        if let Some(live) = self.core.live.get(id) {
            let mut progress = live.watch();
            tokio::select! {
                _ = progress.wait_for(|p| !matches!(p, Progress::Asked | Progress::Running)) => {}
                () = self.core.closing.cancelled() => return Err(JobsError::Stopping { host: self.core.host.clone() }),
            }
        }
        self.refresh(id).await
    }

    /// Adds the output to a record.
    pub fn view(&self, job: Job) -> JobView {
        self.core.view(job)
    }

    /// Jobs that the caller may see and the filter selects. Without `all`, archived jobs and those that ended more than seven
    /// days ago are left out.
    pub async fn list(&self, caller: &Caller, mut filter: Filter, all: bool, page: Page) -> Result<Listing, JobsError> {
        self.allow(caller, Verb::See)?;
        let recent = u64::try_from(RECENT.as_nanos()).unwrap_or(u64::MAX);
        filter.recent_since_ns = (!all).then(|| now_ns().saturating_sub(recent));
        let page = self.core.store.list(filter, &scope(caller), page).await?;
        let jobs = page.jobs.into_iter().map(|job| self.core.view(job)).collect();
        Ok(Listing { jobs, next: page.next })
    }

    /// Waits for the end of a job, at most for `time`; an ended one is answered at once.
    pub async fn wait(&self, caller: &Caller, reference: &str, time: Option<Duration>) -> Result<Waited, JobsError> {
        let job = self.find(caller, Verb::See, reference).await?;
        let core = &self.core;
        let Some(live) = core.live.get(job.id) else {
            let job = core.current(job.id).await?;
            let ended = !job.state.is_live();
            return Ok(Waited { view: core.view(job), ended });
        };
        let mut progress = live.watch();
        let over = async {
            match time {
                // A time that no clock reaches is no limit.
                Some(time) => match Instant::now().checked_add(time) {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let done = |p: &Progress| !matches!(p, Progress::Asked | Progress::Running);
        let ended = tokio::select! {
            _ = progress.wait_for(done) => true,
            () = over => false,
            () = core.closing.cancelled() => return Err(JobsError::Stopping { host: core.host.clone() }),
        };
        let job = core.current(job.id).await?;
        Ok(Waited { view: core.view(job), ended })
    }

    /// Asks a job to stop; answers when that was done, not when it has ended. An ended job is answered as it stands.
    pub async fn stop(
        &self,
        caller: &Caller,
        reference: &str,
        signal: u8,
        grace: Duration,
    ) -> Result<JobView, JobsError> {
        let job = self.find(caller, Verb::Stop, reference).await?;
        let core = &self.core;
        let Some(live) = core.live.get(job.id) else { return self.refresh(job.id).await };
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Stop { job: job.id, signal, grace_ms, by: claimed(caller) };
        let begun = Instant::now();
        let outcome = loop {
            core.birth(&live).await;
            // Looked at before it is asked: the job may be born between the answer and this.
            let unborn = *live.watch().borrow() == Progress::Asked;
            let outcome = core.ask(&live, AskKind::Stop, &request, "stop jobs").await?;
            // The executor does not know it yet: its input is on the way, and then it will run.
            if outcome != SignalOutcome::Unknown || !unborn {
                break outcome;
            }
            if begun.elapsed() > UNBORN_MAX {
                return Err(core.away("stop jobs", "it is not started yet, and was not asked to stop"));
            }
        };
        match outcome {
            SignalOutcome::Sent => {
                let fact = StopFact { by: caller.name.clone(), signal, at_ns: now_ns() };
                let _turn = caller.turns.record().await;
                match core.store.update(job.id, Change::StopAsked(fact)).await {
                    Ok(job) => Ok(core.view(job)),
                    Err(UpdateError::Store(error)) => Err(error.into()),
                    Err(_) => self.refresh(job.id).await,
                }
            }
            SignalOutcome::NotRunning | SignalOutcome::Unknown => {
                core.end_of(&live).await;
                self.refresh(job.id).await
            }
            SignalOutcome::Invalid => {
                let message =
                    format!("signal {signal} with {grace:?} of grace is not possible; use 1 to 64 and at most an hour");
                Err(JobsError::invalid("signal", message))
            }
            SignalOutcome::Failed(errno) => Err(JobsError::Signal(errno)),
        }
    }

    /// Sends one signal to a job's process group.
    pub async fn signal(&self, caller: &Caller, reference: &str, signal: u8) -> Result<JobView, JobsError> {
        let job = self.find(caller, Verb::Signal, reference).await?;
        let core = &self.core;
        let not_running = |job: &Job| JobsError::NotRunning { job: job.id, state: job.state.name() };
        let Some(live) = core.live.get(job.id) else { return Err(not_running(&core.current(job.id).await?)) };
        core.birth(&live).await;
        let request = Request::Signal { job: job.id, signal, by: claimed(caller) };
        match core.ask(&live, AskKind::Signal, &request, "signal jobs").await? {
            SignalOutcome::Sent => self.refresh(job.id).await,
            SignalOutcome::NotRunning | SignalOutcome::Unknown => {
                core.end_of(&live).await;
                Err(not_running(&core.current(job.id).await?))
            }
            SignalOutcome::Invalid => {
                Err(JobsError::invalid("signal", format!("{signal} is not a signal number; use 1 to 64")))
            }
            SignalOutcome::Failed(errno) => Err(JobsError::Signal(errno)),
        }
    }

    /// Removes an ended job's record and output.
    pub async fn delete(&self, caller: &Caller, reference: &str) -> Result<JobId, JobsError> {
        let job = self.find(caller, Verb::Delete, reference).await?;
        let (id, core, turn) = (job.id, self.core.clone(), caller.turns.record().await);
        // On its own: a caller that goes away between the two must not leave output without a record.
        let deleted = self.core.runtime.spawn(async move {
            let _turn = turn;
            core.store.delete(id).await.map_err(|e| core.update_error(e, "deleted"))?;
            kill_point!(RecordDeleted);
            let removed = core.remove_output(id).await;
            kill_point!(OutputDeleted);
            removed
        });
        deleted.await.map_err(|_| JobsError::Stopping { host: self.core.host.clone() })??;
        Ok(id)
    }

    /// Takes an ended job out of the default list and spares it from retention.
    pub async fn archive(&self, caller: &Caller, reference: &str) -> Result<JobView, JobsError> {
        let job = self.find(caller, Verb::Archive, reference).await?;
        let (core, turn) = (self.core.clone(), caller.turns.record().await);
        // On its own: a change that is queued is made, and has its turn until then, also when its caller has gone.
        let archived = self.core.runtime.spawn(async move {
            let _turn = turn;
            core.store.archive(job.id).await
        });
        let archived = archived.await.map_err(|_| JobsError::Stopping { host: self.core.host.clone() })?;
        Ok(self.core.view(archived.map_err(|e| self.core.update_error(e, "archived"))?))
    }

    /// Opens a job's output for reading.
    pub async fn output(
        &self,
        caller: &Caller,
        reference: &str,
        options: ReadOptions,
    ) -> Result<(JobView, LogReader), JobsError> {
        let job = self.find(caller, Verb::Output, reference).await?;
        let reader = self.core.logs.reader(job.id, options).await?;
        // After the reader exists: what the job is said to be is never older than where the reader begins.
        let view = self.refresh(job.id).await?;
        Ok((view, reader))
    }

    /// Whether the caller's role has the verb at all.
    pub fn allow(&self, caller: &Caller, verb: Verb) -> Result<(), JobsError> {
        if caller.reach(verb) != Reach::None {
            return Ok(());
        }
        let (name, role) = (caller.name.clone(), caller.role.as_str());
        Err(JobsError::Denied { name, role, host: self.core.host.clone(), verb })
    }

    /// The job that a reference means to this caller, if the verb may be used on it.
    async fn find(&self, caller: &Caller, verb: Verb, reference: &str) -> Result<Job, JobsError> {
        self.allow(caller, verb)?;
        let core = &self.core;
        let _turn = caller.turns.record().await;
        match core.store.resolve(reference, &caller.name, &scope(caller)).await {
            Ok(job) => match caller.access(verb, &job.owner) {
                Access::Allowed => Ok(job),
                Access::NotTheirs => {
                    let name = caller.name.clone();
                    Err(JobsError::NotTheirs { job: job.id, owner: job.owner, name, verb })
                }
                Access::Invisible => Err(self.not_found(reference)),
            },
            Err(ResolveError::NotFound(_)) => {
                self.tell_journal(caller, verb, reference).await;
                Err(self.not_found(reference))
            }
            Err(ResolveError::Ambiguous { candidates, .. }) => {
                Err(JobsError::Ambiguous { reference: reference.to_owned(), candidates })
            }
            Err(ResolveError::TooShort { candidates, .. }) => {
                Err(JobsError::TooShort { reference: reference.to_owned(), candidates })
            }
            Err(ResolveError::Store(error)) => Err(error.into()),
        }
    }

    fn not_found(&self, reference: &str) -> JobsError {
        JobsError::NotFound { reference: echoed(reference), host: self.core.host.clone() }
    }

    /// The caller is told that there is no such job; the journal, whose it is.
    async fn tell_journal(&self, caller: &Caller, verb: Verb, reference: &str) {
        if caller.sees_only().is_some()
            && let Ok(job) = self.core.store.resolve(reference, &caller.name, &Scope::All).await
        {
            tracing::info!(
                request_id = caller.request_id,
                serial = caller.serial,
                peer = %caller.peer,
                "refused {} {} {}: owned by {}",
                caller.name,
                verb.word(),
                super::short(&job.id),
                job.owner
            );
        }
    }
}

impl Core {
    fn view(&self, job: Job) -> JobView {
        // A live job's log is open here, so counting reads no file.
        let live = || self.logs.totals(job.id).ok();
        let output = job.output.or_else(live).unwrap_or_default();
        JobView { job, output }
    }

    async fn current(&self, id: JobId) -> Result<Job, JobsError> {
        let job = self.store.get(id, &Scope::All).await?;
        job.ok_or_else(|| JobsError::NotFound { reference: id.to_string(), host: self.host.clone() })
    }

    /// Waits a moment for a birth that is under way.
    async fn birth(&self, live: &LiveJob) {
        let mut progress = live.watch();
        // When it takes longer, the executor says that it does not run yet.
        let _ = timeout(MOMENT, progress.wait_for(|p| *p != Progress::Asked)).await;
    }

    /// Waits a moment for an end that the executor knows of already.
    async fn end_of(&self, live: &LiveJob) {
        let mut progress = live.watch();
        let _ = timeout(MOMENT, progress.wait_for(|p| !matches!(p, Progress::Asked | Progress::Running))).await;
    }

    async fn ask(
        &self,
        live: &LiveJob,
        kind: AskKind,
        request: &Request,
        what: &'static str,
    ) -> Result<SignalOutcome, JobsError> {
        let answer: oneshot::Receiver<SignalOutcome> = live.expect(kind);
        if self.link.send(request).is_err() {
            live.expect_no_more(kind);
            return Err(self.away(what, "nothing was sent"));
        }
        match timeout(ANSWER_MAX, answer).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) | Err(_) => Err(self.away(what, "it may have been sent")),
        }
    }

    fn update_error(&self, error: UpdateError, done: &'static str) -> JobsError {
        match error {
            UpdateError::NotFound(id) => JobsError::NotFound { reference: id.to_string(), host: self.host.clone() },
            UpdateError::StillLive { job, state } => JobsError::Live { job, state: state.name(), done },
            // Only changes to a job's life are refused so, and these are none.
            UpdateError::Ended { job, state } => JobsError::NotRunning { job, state: state.name() },
            UpdateError::Store(error) => error.into(),
        }
    }

    /// Removes the log of a job whose record is gone.
    pub(super) async fn remove_output(&self, id: JobId) -> Result<(), JobsError> {
        let logs = self.logs.clone();
        match tokio::task::spawn_blocking(move || logs.delete(id)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(JobsError::Stopping { host: self.host.clone() }),
        }
    }
}

/// The jobs that exist for a caller.
fn scope(caller: &Caller) -> Scope {
    match caller.sees_only() {
        None => Scope::All,
        Some(owner) => Scope::Owner(owner.to_owned()),
    }
}

fn claimed(caller: &Caller) -> Claimed {
    Claimed {
        owner: caller.name.clone(),
        serial: caller.serial.clone(),
        peer: caller.peer.ip().to_string(),
        request: caller.request_id.clone(),
    }
}
