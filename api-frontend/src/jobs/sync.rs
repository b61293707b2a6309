//! The comparison after each connect: what the executor holds against what the records say.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ipc_protocol::{JobEntry, Phase, Request};

use super::act::request_of;
use super::live::{LiveJob, Progress};
use super::machine::{Compared, Effect, Input, JobMachine, after_comparison};
use super::told::{Born, Missing};
use super::{Core, now_ns};
use crate::executor::{Reconnect, Welcome};
use crate::store::{Job, JobState, Scope, StoreError};

impl Core {
    /// Compares. Runs on the connection's thread and waits for the records. Gives the executor's jobs with where their output
    /// is to go on.
    pub(super) fn compare(
        self: &Arc<Self>,
        connection: u64,
        welcome: &Welcome,
        entries: Vec<JobEntry>,
    ) -> Result<Vec<Request>, Reconnect> {
        let restored = welcome.epoch_seen > self.store.epoch();
        let mut listed = HashSet::with_capacity(entries.len());
        let mut requests = Vec::with_capacity(entries.len() + 1);
        for entry in entries {
            let job = entry.job;
            listed.insert(job);
            self.take_up(connection, entry, &mut requests).map_err(|e| Reconnect(format!("job {job}: {e}")))?;
        }
        for job in self.live.all() {
            if !listed.contains(&job.id) {
                let missed = self.miss(connection, &job, restored, &mut requests);
                missed.map_err(|e| Reconnect(format!("job {}: {e}", job.id)))?;
            }
        }
        let settling = restored && self.live.all().iter().any(|job| job.machine().is_settling());
        match after_comparison(restored, settling) {
            Compared::GoOn => {
                self.runtime.block_on(self.store.forget_deleted(listed)).map_err(|e| Reconnect(e.to_string()))?;
                Ok(requests)
            }
            Compared::Again => Err(Reconnect("the records were restored from a backup; recording what is lost".into())),
            Compared::RaiseEpoch => {
                let above = welcome.epoch_seen;
                tracing::warn!(above, "the records are older than what the executor remembers: a restored backup");
                self.runtime.block_on(self.store.raise_epoch(above)).map_err(|e| Reconnect(e.to_string()))?;
                Err(Reconnect("the records were restored from a backup; connecting again".into()))
            }
        }
    }

    /// A job that the executor holds.
    fn take_up(
        self: &Arc<Self>,
        connection: u64,
        entry: JobEntry,
        requests: &mut Vec<Request>,
    ) -> Result<(), StoreError> {
        let input = Input::Listed { connection, born: born(&entry), from: entry.acked };
        let Some(job) = self.live.get(entry.job) else { return self.take_up_unknown(&entry, input, requests) };
        let mut feed = job.feed();
        feed.born = feed.born.or(born(&entry));
        drop(feed);
        self.step_into(&job, input, requests);
        Ok(())
    }

    fn take_up_unknown(
        self: &Arc<Self>,
        entry: &JobEntry,
        input: Input,
        requests: &mut Vec<Request>,
    ) -> Result<(), StoreError> {
        let id = entry.job;
        let recorded = self.runtime.block_on(self.store.get(id, &Scope::All))?;
        if recorded.as_ref().is_some_and(|record| record.state.is_live()) {
            return Err(StoreError::Failed("it ended a moment ago".into()));
        }
        if recorded.is_some() || self.runtime.block_on(self.store.was_deleted(id))? {
            // It ended here and was not released there yet. Its output is acknowledged as it comes, and nobody keeps it.
            let lengths = recorded.and_then(|record| record.output).map_or([0; 2], |output| output.streams);
            let effects = JobMachine::over(lengths).step(input);
            requests.extend(effects.iter().filter_map(|effect| request_of(id, effect)));
            return Ok(());
        }
        tracing::warn!(job = %id, owner = entry.claimed.owner, "the executor holds a job without a record; taken over");
        let record = self.adopted(entry);
        let writer = self.logs.writer(id, record.output_limit).map_err(|e| StoreError::Failed(e.to_string()))?;
        let progress = if record.started_ns.is_some() { Progress::Running } else { Progress::Asked };
        let job = LiveJob::new(id, JobMachine::unknown(writer.lengths()), Some(writer), progress);
        job.feed().born = born(entry);
        for effect in job.step(input) {
            match effect {
                Effect::Adopt => self.runtime.block_on(self.store.adopt(record.clone()))?,
                effect => self.perform(&job, effect, requests),
            }
        }
        self.live.insert(job);
        Ok(())
    }

    /// A live job that the executor does not hold.
    fn miss(
        self: &Arc<Self>,
        connection: u64,
        job: &Arc<LiveJob>,
        restored: bool,
        requests: &mut Vec<Request>,
    ) -> Result<(), StoreError> {
        let mut why = if restored { Missing::RecordsRestored } else { Missing::Unexplained };
        if job.machine().relies_on_lists() {
            let record = self.runtime.block_on(self.store.get(job.id, &Scope::All))?;
            if record.is_some_and(|r| r.created_ns < boot_time_ns()) {
                why = Missing::HostRestarted;
            }
            tracing::warn!(job = %job.id, why = why.words(), "the executor does not hold a job that is recorded as live");
        }
        self.step_into(job, Input::NotListed { connection, why, now_ns: now_ns() }, requests);
        Ok(())
    }

    /// The record of a job that only the executor knows.
    fn adopted(&self, entry: &JobEntry) -> Job {
        let born = born(entry);
        let request_id = Some(entry.claimed.request.clone()).filter(|r| !r.is_empty());
        Job {
            id: entry.job,
            owner: entry.claimed.owner.clone(),
            name: None,
            // Nobody's request, so that no repeated one can be taken for it by a fingerprint that is not known.
            request_id: request_id.unwrap_or_else(|| entry.job.to_string()),
            fingerprint: [0; 32],
            serial: entry.claimed.serial.clone(),
            peer: entry.claimed.peer.clone(),
            profile: entry.profile.clone(),
            argv: entry.argv.clone(),
            env_names: Vec::new(),
            cwd: None,
            merge: entry.merge,
            input: entry.input,
            output_limit: self.default_output_limit(),
            created_ns: born.map_or_else(now_ns, |b| b.started_ns),
            state: if born.is_some() { JobState::Running } else { JobState::Queued },
            started_ns: born.map(|b| b.started_ns),
            ended_ns: None,
            pid: born.map(|b| b.pid),
            uid: born.map(|b| b.uid),
            limits: born.map(|b| b.limits),
            stop: None,
            end: None,
            oom_kills: 0,
            deadline_hit: false,
            usage: None,
            output: None,
            archived: false,
        }
    }
}

fn born(entry: &JobEntry) -> Option<Born> {
    match entry.phase {
        Phase::Started { pid, started_ns } => Some(Born { pid, uid: entry.uid, started_ns, limits: entry.limits }),
        Phase::Starting | Phase::NeverStarted => None,
    }
}

/// When the host was started, nanoseconds since 1970.
fn boot_time_ns() -> u64 {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up = Duration::new(up.tv_sec.unsigned_abs(), u32::try_from(up.tv_nsec).unwrap_or(0));
    now_ns().saturating_sub(u64::try_from(up.as_nanos()).unwrap_or(u64::MAX))
}
