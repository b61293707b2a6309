//! What is counted of jobs since this process began, for those who watch the server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::Jobs;
use super::live::Progress;
use crate::store::{EndState, JobState};

/// The counters. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct JobCounts {
    started: Counter,
    ended: Family<[(&'static str, &'static str); 1], Counter>,
    output: Counter,
}

impl JobCounts {
    /// Gives them their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("jobs_started", "Commands that came to life", self.started.clone());
        registry.register("jobs_ended", "Jobs that ended, by the state they ended in", self.ended.clone());
        registry.register_with_unit(
            "output",
            "Output of jobs taken in, with what an output limit did not keep",
            Unit::Bytes,
            self.output.clone(),
        );
        // A rate needs a first value, and an alert that names a state must not wait for the first of them.
        for state in JobState::ALL.into_iter().filter(|state| !state.is_live()) {
            drop(self.ended.get_or_create(&[("state", state.name())]));
        }
    }

    pub(super) fn started(&self) {
        self.started.inc();
    }

    pub(super) fn ended(&self, state: EndState) {
        self.ended.get_or_create(&[("state", JobState::Ended(state).name())]).inc();
    }

    pub(super) fn took(&self, bytes: u64) {
        self.output.inc_by(bytes);
    }
}

impl Jobs {
    /// What was counted.
    pub fn counts(&self) -> &JobCounts {
        &self.core.counts
    }

    /// How many live jobs wait for their birth, and how many were born.
    pub fn live_counts(&self) -> [u64; 2] {
        let all = self.core.live.all();
        let queued = all.iter().filter(|job| *job.watch().borrow() == Progress::Asked).count();
        [queued as u64, (all.len() - queued) as u64]
    }

    /// Bytes free for output; `None` when the file system does not tell. Blocks for a system call.
    pub fn free_bytes(&self) -> Option<u64> {
        self.core.logs.free_bytes().ok()
    }
}
