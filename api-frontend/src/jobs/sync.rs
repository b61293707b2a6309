//! The comparison after each connect: what the executor holds against what the records say.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ipc_protocol::{JobEntry, Phase, Request};

use super::end::Ending;
use super::live::{Born, LiveJob, Progress};
use super::{Core, now_ns};
use crate::executor::{Reconnect, Welcome};
use crate::store::{Job, JobState, Scope, StoreError};

/// Why a job is lost that the executor does not hold.
const RESTARTED: &str = "the host was restarted";
const RESTORED: &str = "the records were restored from a backup, and the executor does not know the job";
const UNKNOWN: &str = "the executor does not know the job";

impl Core {
    /// Compares. Runs on the connection's thread and waits for the records. Gives the executor's jobs with where their output
    /// is to go on.
    pub(super) fn compare(
        self: &Arc<Self>,
        generation: u64,
        welcome: &Welcome,
        entries: Vec<JobEntry>,
    ) -> Result<Vec<Request>, Reconnect> {
        let restored = welcome.epoch_seen > self.store.epoch();
        let mut listed = HashSet::with_capacity(entries.len());
        let mut requests = Vec::with_capacity(entries.len() + 1);
        for entry in entries {
            listed.insert(entry.job);
            let job = entry.job;
            let have = self.take_up(generation, entry).map_err(|e| Reconnect(format!("job {job}: {e}")))?;
            requests.push(Request::Resume { job, have });
        }
        for job in self.live.all() {
            if !listed.contains(&job.id) {
                self.miss(&job, restored).map_err(|e| Reconnect(format!("job {}: {e}", job.id)))?;
            }
        }
        if restored {
            // Until the number is above what the executor saw, it starts nothing for us.
            let above = welcome.epoch_seen;
            tracing::warn!(above, "the records are older than what the executor remembers: a restored backup");
            self.runtime.block_on(self.store.raise_epoch(above)).map_err(|e| Reconnect(e.to_string()))?;
            return Err(Reconnect("the records were restored from a backup; connecting again".into()));
        }
        Ok(requests)
    }

    /// A job that the executor holds. Gives where its output is to go on.
    fn take_up(self: &Arc<Self>, generation: u64, entry: JobEntry) -> Result<[u64; 2], StoreError> {
        let Some(job) = self.live.get(entry.job) else { return self.take_up_unknown(generation, entry) };
        job.set_seen(generation);
        let mut feed = job.feed();
        let have = feed.resume(entry.acked);
        let born = born(&entry).filter(|_| feed.born.is_none());
        if born.is_some() {
            feed.born = born;
        }
        drop(feed);
        if let Some(born) = born.filter(|_| job.progress() == Progress::Asked) {
            self.record_birth(&job, born);
        }
        Ok(have)
    }

    fn take_up_unknown(self: &Arc<Self>, generation: u64, entry: JobEntry) -> Result<[u64; 2], StoreError> {
        let recorded = self.runtime.block_on(self.store.get(entry.job, &Scope::All))?;
        if let Some(record) = recorded {
            // It ended here and was not released there yet. Its output is acknowledged as it comes, and nobody keeps it.
            if record.state.is_live() {
                return Err(StoreError::Failed("it ended a moment ago".into()));
            }
            let recorded = record.output.map_or([0; 2], |output| output.streams);
            return Ok([recorded[0].max(entry.acked[0]), recorded[1].max(entry.acked[1])]);
        }
        tracing::warn!(job = %entry.job, owner = entry.claimed.owner, "the executor holds a job without a record; taken over");
        let record = self.adopted(&entry);
        let writer = self.logs.writer(record.id, record.output_limit).map_err(|e| StoreError::Failed(e.to_string()))?;
        let progress = if record.started_ns.is_some() { Progress::Running } else { Progress::Asked };
        let job = LiveJob::new(record.id, writer, progress);
        self.runtime.block_on(self.store.adopt(record))?;
        job.set_seen(generation);
        let mut feed = job.feed();
        feed.born = born(&entry);
        let have = feed.resume(entry.acked);
        drop(feed);
        self.live.insert(job);
        Ok(have)
    }

    /// A live job that the executor does not hold.
    fn miss(self: &Arc<Self>, job: &Arc<LiveJob>, restored: bool) -> Result<(), StoreError> {
        if job.is_starting() || job.feed().ending {
            // Its start, or its end, is under way in this process and knows what to do.
            return Ok(());
        }
        let record = self.runtime.block_on(self.store.get(job.id, &Scope::All))?;
        let before_boot = record.is_some_and(|r| r.created_ns < boot_time_ns());
        match job.progress() {
            // Asked for, and certainly not born: the executor keeps what it bore until it is released.
            Progress::Asked if !before_boot && !restored => self.withdraw(job, Progress::Withdrawn),
            _ => {
                let why = if before_boot {
                    RESTARTED
                } else if restored {
                    RESTORED
                } else {
                    UNKNOWN
                };
                tracing::warn!(job = %job.id, why, "job lost");
                self.end(job, Ending::lost(why, now_ns()));
            }
        }
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
