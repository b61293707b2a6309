//! A log that was closed.

use super::state::Totals;

/// What a closed log holds; for the job's record, against which the log is held from then on.
#[derive(Debug)]
pub struct FinishedLog {
    totals: Totals,
}

impl FinishedLog {
    pub(super) fn new(totals: Totals) -> Self {
        Self { totals }
    }

    /// What the log holds, counted; final.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}
