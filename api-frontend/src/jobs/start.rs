//! Starting a job exactly once.
//!
//! The record is durable before the executor is asked, and carries the request id: whoever repeats the request finds it. The
//! job's machine has the executor asked, again over each new connection, until it is known what became of the job; callers only
//! watch, so one that goes away changes nothing.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipc_protocol::{Claimed, INPUT_BYTES_MAX, InputDigest, JobId, Refusal, Request, Spawn};
use tokio::time::timeout;
use uuid::Uuid;

use super::admission::membership;
use super::live::{LiveJob, Progress};
use super::machine::{Input, JobMachine};
use super::told::Refused;
use super::{Core, Jobs, JobsError, StartAsk, StartSpec, now_ns};
use crate::authorize::{Caller, Verb};
use crate::config::roughly;
use crate::echo::shown as echoed;
use crate::executor::{Away, Link, LinkState};
use crate::output::OutputLimit;
use crate::store::{Job, NewJob, Scope};

/// How long a start waits for an executor that is away.
const AWAY_MAX: Duration = Duration::from_secs(3);

/// What came of a request to start.
#[derive(Debug)]
pub struct Started {
    /// The job, born or known not to have been.
    pub job: Job,
    /// The request id was known, and this call started nothing.
    pub existed: bool,
}

impl Jobs {
    /// Starts a job, or finds the one that the same request made. Answers when its command runs or is known not to.
    pub async fn start(&self, caller: &Caller, ask: StartAsk) -> Result<Started, JobsError> {
        self.allow(caller, Verb::Start)?;
        let (words, env) = ask.lengths();
        // Until it has its turn it is the caller's alone: when they go away, nothing of it stays.
        let turn = tokio::select! {
            turn = caller.turns.start(words + env) => turn,
            () = self.core.away_for(AWAY_MAX) => {
                let away = self.core.away("start jobs", "nothing was started");
                let _turn = caller.turns.record().await;
                return self.found_or(caller, &ask, away).await;
            }
            () = self.core.stop.cancelled() => return Err(JobsError::Stopping { host: self.core.host.clone() }),
        };
        let (this, caller) = (self.clone(), caller.clone());
        // On its own: a caller that goes away in the middle must not leave a record that nobody drives.
        let start = self.core.runtime.spawn(async move {
            let _turn = turn;
            match this.start_anew(&caller, &ask).await {
                Err(
                    error @ (JobsError::Invalid { .. } | JobsError::Exhausted { .. } | JobsError::ExecutorAway { .. }),
                ) => this.found_or(&caller, &ask, error).await,
                other => other,
            }
        });
        start.await.map_err(|_| JobsError::Stopping { host: self.core.host.clone() })?
    }

    /// What is refused now may have been granted when it was asked first: then the answer is the job it made.
    async fn found_or(&self, caller: &Caller, ask: &StartAsk, refused: JobsError) -> Result<Started, JobsError> {
        let found = self.core.repeated(caller, ask).await?;
        found.map(|job| Started { job, existed: true }).ok_or(refused)
    }

    async fn start_anew(&self, caller: &Caller, ask: &StartAsk) -> Result<Started, JobsError> {
        let core = &self.core;
        core.meet_executor().await?;
        let spec = StartSpec::check(ask.clone(), &self.profiles_to_start_in(caller)?)?;
        let input = core.input_of(caller, &spec)?;
        let fingerprint = ask.fingerprint(input.as_ref());
        core.has_room()?;
        loop {
            let id = JobId::from_bytes(*Uuid::new_v4().as_bytes());
            let limit = core.output_limit(ask);
            // In the table before it is recorded: whoever finds the record finds who feeds it too.
            let writer = core.logs.writer(id, limit)?;
            let live = LiveJob::new(id, JobMachine::new(), Some(writer), Progress::Asked);
            core.live.insert(live.clone());
            let new = new_job(id, caller, &spec, fingerprint, input, limit);
            let created = core.store.create_in(new, membership(caller, &spec)).await;
            let created = created.inspect_err(|_| core.live.remove(id))?;
            if !created.existed {
                kill_point!(JobRecorded);
                let file = core.take_input(caller, &spec, id);
                let spawn = spawn_request(id, caller, &spec, input);
                live.feed().request = Some(Arc::new(StartRequest { spawn, input: file }));
                core.runtime.spawn(mind_absence(core.clone(), live.clone()));
                if let Some(connection) = core.link.state().generation() {
                    core.step(&live, Input::Live { connection });
                }
                core.step(&live, Input::Recorded);
                let job = core.outcome(id, &live).await?;
                let job = job.ok_or_else(|| core.away("start jobs", "nothing was started"))?;
                return Ok(Started { job, existed: false });
            }
            core.live.remove(id);
            // None when that start came to nothing meanwhile; then this one is the first.
            if let Some(job) = core.outcome_of(created.job.id).await? {
                return Ok(Started { job, existed: true });
            }
        }
    }
}

impl Core {
    /// Without the executor's profiles nothing can be checked: they come with the first connection of this process.
    async fn meet_executor(&self) -> Result<(), JobsError> {
        if !self.profiles.load().is_empty() {
            return Ok(());
        }
        let mut link = self.link.watch();
        let met = timeout(AWAY_MAX, link.wait_for(|state| state.generation().is_some())).await;
        if met.is_ok() { Ok(()) } else { Err(self.away("start jobs", "nothing was started")) }
    }

    /// The job that this same request made before, if it did.
    async fn repeated(&self, caller: &Caller, ask: &StartAsk) -> Result<Option<Job>, JobsError> {
        let Some(job) = self.store.by_request(&caller.name, &ask.request_id).await? else { return Ok(None) };
        // An upload may be gone that the job was started with; whether there was one is compared in any case.
        let input = job.input.filter(|_| !ask.input_id.is_empty());
        let same = ask.fingerprint(input.as_ref()) == job.fingerprint;
        if same { self.outcome_of(job.id).await } else { Ok(None) }
    }

    async fn outcome_of(&self, id: JobId) -> Result<Option<Job>, JobsError> {
        match self.live.get(id) {
            Some(live) => self.outcome(id, &live).await,
            None => Ok(self.store.get(id, &Scope::All).await?),
        }
    }

    /// Waits until a job is born or known not to be; `None` when it was withdrawn.
    async fn outcome(&self, id: JobId, live: &LiveJob) -> Result<Option<Job>, JobsError> {
        let mut progress = live.watch();
        let found = tokio::select! {
            found = progress.wait_for(|p| *p != Progress::Asked) => found.map(|p| p.clone()),
            () = self.away_for(AWAY_GRACE) => return Err(JobsError::OutcomeUnknown { host: self.host.clone() }),
            () = self.stop.cancelled() => return Err(JobsError::Stopping { host: self.host.clone() }),
        };
        match found {
            Ok(Progress::Refused(refused)) => {
                Err(JobsError::refused(refused.refusal, &refused.field, &refused.message))
            }
            Ok(Progress::Withdrawn) => Ok(None),
            // Deleted since, at the earliest possible moment; there is nothing to show any more.
            _ => match self.store.get(id, &Scope::All).await? {
                Some(job) => Ok(Some(job)),
                None => Err(JobsError::NotFound { reference: id.to_string(), host: self.host.clone() }),
            },
        }
    }

    /// Waits until the executor has been away for so long without a break.
    async fn away_for(&self, time: Duration) {
        let mut link = self.link.watch();
        loop {
            let away = link.borrow_and_update().generation().is_none();
            if !away {
                // The other end lives as long as the process.
                let _ = link.changed().await;
            } else if timeout(time, link.wait_for(|state| state.generation().is_some())).await.is_err() {
                return;
            }
        }
    }

    /// The sentence for an executor that is away.
    pub(super) fn away(&self, what: &'static str, consequence: &'static str) -> JobsError {
        let host = self.host.clone();
        match self.link.state() {
            LinkState::Away { no_common_version: true, .. } => JobsError::NoCommonVersion { host },
            LinkState::Away { since, .. } => {
                let since = SystemTime::now().duration_since(since).unwrap_or_default();
                JobsError::ExecutorAway { host, what, consequence, since }
            }
            LinkState::Live { .. } => JobsError::ExecutorAway { host, what, consequence, since: Duration::ZERO },
        }
    }

    pub(super) fn has_room(&self) -> Result<(), JobsError> {
        let reserve = self.policy.load().output().reserve().bytes();
        let free = self.logs.free_bytes()?;
        if free >= reserve {
            return Ok(());
        }
        let message = format!(
            "{} has no room for output ({} reserve reached); nothing was started; running jobs go on",
            self.host,
            roughly(reserve)
        );
        Err(JobsError::Exhausted { what: "reserve", message })
    }

    fn output_limit(&self, ask: &StartAsk) -> OutputLimit {
        let policy = self.policy.load();
        let bytes = ask.output_limit.unwrap_or(policy.output().per_job().bytes());
        OutputLimit::new(bytes, ask.output_full.unwrap_or(policy.output().when_full()).into())
    }

    /// For a job whose request is not known.
    pub(super) fn default_output_limit(&self) -> OutputLimit {
        self.output_limit(&StartAsk::default())
    }

    fn input_of(&self, caller: &Caller, spec: &StartSpec) -> Result<Option<InputDigest>, JobsError> {
        let id = &spec.ask().input_id;
        if id.is_empty() {
            return Ok(None);
        }
        let digest = self.inputs.digest(&caller.name, id).ok_or_else(|| {
            let message =
                format!("input '{}' is not known: it expired or was never uploaded; send it again", echoed(id));
            JobsError::invalid("input_id", message)
        })?;
        if digest.bytes > spec.input_max() {
            let message = format!(
                "input of {} is above the most that profile {} allows, {}; airlock whoami shows all limits",
                roughly(digest.bytes),
                spec.ask().profile,
                roughly(spec.input_max())
            );
            return Err(JobsError::invalid("input_id", message));
        }
        Ok(Some(digest))
    }

    fn take_input(&self, caller: &Caller, spec: &StartSpec, job: JobId) -> Option<PathBuf> {
        let input_id = &spec.ask().input_id;
        if input_id.is_empty() { None } else { self.inputs.give(&caller.name, input_id, job) }
    }
}

/// A little longer than a start waits: it is withdrawn first, and then the answer is definite.
const AWAY_GRACE: Duration = Duration::from_millis(3500);

/// What is asked of the executor for one start, over as many connections as it takes.
#[derive(Debug)]
pub(super) struct StartRequest {
    spawn: Box<Spawn>,
    /// Standard input, where it waits to be sent; none when there is none, or when another start took it.
    input: Option<PathBuf>,
}

/// Why a request did not go out.
#[derive(Debug)]
pub(super) enum AskError {
    /// There is no such connection any more.
    Away,
    /// Its input cannot be had.
    Input(Refused),
}

impl From<Away> for AskError {
    fn from(_: Away) -> Self {
        Self::Away
    }
}

impl StartRequest {
    /// Whether something is sent before the request itself, so that sending may wait.
    pub(super) fn has_input(&self) -> bool {
        self.spawn.input.is_some()
    }

    /// Sends it on that connection. Blocks while it has input to send.
    ///
    /// # Errors
    /// The executor did not get the request.
    pub(super) fn send(&self, link: &Link, connection: u64) -> Result<(), AskError> {
        if self.has_input() {
            self.send_input(link, connection)?;
        }
        Ok(link.send_on(Some(connection), &Request::Spawn(self.spawn.clone()))?)
    }

    fn send_input(&self, link: &Link, connection: u64) -> Result<(), AskError> {
        let refused =
            |message: String| AskError::Input(Refused { refusal: Refusal::Invalid, field: "input_id".into(), message });
        let Some(path) = &self.input else {
            return Err(refused("the input was used by another start already; send it again".into()));
        };
        let unreadable = |e: std::io::Error| refused(format!("the input cannot be read any more ({e}); send it again"));
        let mut file = File::open(path).map_err(unreadable)?;
        let mut offset = 0;
        loop {
            let mut bytes = vec![0; INPUT_BYTES_MAX];
            let n = file.read(&mut bytes).map_err(unreadable)?;
            if n == 0 {
                return Ok(());
            }
            bytes.truncate(n);
            link.send_waiting(connection, &Request::Input { job: self.spawn.job, offset, bytes })?;
            offset += n as u64;
        }
    }
}

/// Tells a job's machine each time there has been no connection for too long, until it is known what becomes of its start.
async fn mind_absence(core: Arc<Core>, job: Arc<LiveJob>) {
    let mut link = core.link.watch();
    let mut progress = job.watch();
    let mind = async {
        loop {
            // Neither wait fails: the other end lives as long as the process.
            let _ = link.wait_for(|state| state.generation().is_none()).await;
            if timeout(AWAY_MAX, link.wait_for(|state| state.generation().is_some())).await.is_err() {
                core.step(&job, Input::AwayTooLong);
            }
        }
    };
    tokio::select! {
        _ = progress.wait_for(|p| *p != Progress::Asked) => {}
        () = mind => {}
        // The record stays as it is; the next process compares it with what the executor knows.
        () = core.stop.cancelled() => {}
    }
}

fn new_job(
    id: JobId,
    caller: &Caller,
    spec: &StartSpec,
    fingerprint: [u8; 32],
    input: Option<InputDigest>,
    limit: OutputLimit,
) -> NewJob {
    let ask = spec.ask();
    NewJob {
        id,
        owner: caller.name.clone(),
        name: Some(ask.name.clone()).filter(|n| !n.is_empty()),
        request_id: ask.request_id.clone(),
        fingerprint,
        serial: caller.serial.clone(),
        peer: caller.peer.ip().to_string(),
        profile: ask.profile.clone(),
        argv: spec.command().to_vec(),
        env_names: ask.env.iter().map(|(name, _)| name.clone()).collect(),
        cwd: Some(ask.cwd.clone()).filter(|c| !c.is_empty()),
        merge: ask.merge,
        input,
        output_limit: limit,
        created_ns: now_ns(),
    }
}

fn spawn_request(id: JobId, caller: &Caller, spec: &StartSpec, input: Option<InputDigest>) -> Box<Spawn> {
    let ask = spec.ask();
    Box::new(Spawn {
        job: id,
        claimed: Claimed {
            owner: caller.name.clone(),
            serial: caller.serial.clone(),
            peer: caller.peer.ip().to_string(),
            request: ask.request_id.clone(),
        },
        profile: ask.profile.clone(),
        argv: ask.command.clone(),
        env: ask.env.clone(),
        cwd: Some(ask.cwd.clone()).filter(|c| !c.is_empty()),
        limits: ask.limits,
        input,
        merge: ask.merge,
    })
}
