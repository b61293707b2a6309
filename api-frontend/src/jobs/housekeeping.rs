//! What goes by itself: uploads nobody used, old jobs, too much output, logs without a record.

use std::time::Duration;

use ipc_protocol::JobId;

use super::{Jobs, JobsError, now_ns};
use crate::executor::LinkState;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(60);
/// Jobs removed at once, so that others' changes come between.
const AT_ONCE: usize = 100;
/// Deleted jobs that are remembered, some 40 bytes each, before the executor is asked which of them it still holds.
const DELETED_MAX: u64 = 50_000;

impl Jobs {
    /// Looks after the records and the disk, until the frontend ends.
    pub async fn keep_house(&self) {
        // First the executor says which jobs live: after a restore it may hold some that the records do not know, and their logs stand here.
        let mut link = self.core.link.watch();
        let mut unswept = true;
        loop {
            if unswept && matches!(*link.borrow_and_update(), LinkState::Live { .. }) {
                unswept = false;
                if let Err(error) = self.sweep_orphans().await {
                    tracing::warn!(%error, "output without a record could not be swept");
                }
            }
            self.core.inputs.expire();
            if let Err(error) = self.retain().await {
                tracing::warn!(%error, "old jobs could not be removed; trying again in a minute");
            }
            if let Err(error) = self.bound_deleted(DELETED_MAX).await {
                tracing::warn!(%error, "deleted jobs could not be counted; trying again in a minute");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                Ok(()) = link.changed(), if unswept => {}
                () = self.core.closing.cancelled() => return,
            }
        }
    }

    /// Removes ended jobs that are older than the policy keeps, then the oldest while all records and output take more than they
    /// may. Archived jobs stay. Gives how many went.
    pub async fn retain(&self) -> Result<usize, JobsError> {
        let core = &self.core;
        let policy = core.policy.load_full();
        let keep = u64::try_from(policy.output().keep().as_nanos()).unwrap_or(u64::MAX);
        let before = now_ns().saturating_sub(keep);
        let mut removed = 0;
        loop {
            let mut jobs = core.store.ended_before(before, AT_ONCE).await?;
            if jobs.is_empty() {
                let for_ended = policy.output().keep_total().bytes().saturating_sub(core.logs.live_bytes());
                jobs = core.store.over_total(for_ended, AT_ONCE).await?;
            }
            if jobs.is_empty() || core.closing.is_cancelled() {
                break;
            }
            removed += jobs.len();
            self.remove(jobs).await?;
        }
        while core.store.give_back().await? && !core.closing.is_cancelled() {}
        Ok(removed)
    }

    /// Makes a new connection when more than `most` deleted jobs are remembered: only the comparison that begins it tells which of
    /// them the executor does not hold, and forgets those.
    pub(super) async fn bound_deleted(&self, most: u64) -> Result<(), JobsError> {
        let remembered = self.core.store.deleted_count().await?;
        if remembered > most {
            tracing::info!(
                remembered,
                "comparing with the executor again, to forget deleted jobs that it does not hold"
            );
            self.core.link.reconnect();
        }
        Ok(())
    }

    /// The records in one transaction: one after the other they might go more slowly than others come.
    async fn remove(&self, jobs: Vec<JobId>) -> Result<(), JobsError> {
        self.core.store.delete_ended(jobs.clone()).await?;
        let mut outcome = Ok(());
        for job in jobs {
            // Each is tried, also when that of another cannot go: its record is gone.
            outcome = outcome.and(self.core.remove_output(job).await);
        }
        outcome
    }

    /// Removes logs whose record is gone: the frontend died between removing the one and the other.
    async fn sweep_orphans(&self) -> Result<(), JobsError> {
        let core = &self.core;
        let logs = core.logs.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || logs.jobs()).await else { return Ok(()) };
        let found = found?;
        let exist = core.store.exist(found.clone()).await?;
        for (job, _) in found.into_iter().zip(exist).filter(|(_, exists)| !exists) {
            // A job that is being recorded at this moment has no log on disk yet; one that is adopted lives.
            if core.live.get(job).is_none() {
                match core.remove_output(job).await {
                    Ok(()) => tracing::info!(%job, "output without a record removed"),
                    Err(error) => tracing::warn!(%job, %error, "output without a record could not be removed"),
                }
            }
        }
        Ok(())
    }
}
