//! What the live jobs of a group take together.
//!
//! Nothing is kept beside the records: the sums are counted from them, in the transaction that records one more job. So they
//! are right whatever was started, ended or killed at the same time, and after every restart.

use std::sync::Arc;

use rusqlite::Connection;

use super::{Store, error::StoreError};
use crate::policy::{Charge, Group, Sums};

/// The group in which a new job counts, and for how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The group, with the bounds of this moment.
    pub group: Arc<Group>,
    /// What the job is expected to get. From its birth on, what it got counts.
    pub charge: Charge,
}

impl Store {
    /// What the live jobs of a group take together; of a group that nobody is in, nothing.
    pub async fn group_sums(&self, group: &str) -> Result<Sums, StoreError> {
        let group = group.to_owned();
        self.read(move |connection| sums(connection, &group)).await
    }
}

/// As [`Store::group_sums`], with what the transaction has changed so far.
pub(super) fn sums(connection: &Connection, group: &str) -> Result<Sums, StoreError> {
    // Added up here, where a sum that does not fit stays the greatest number instead of failing.
    let sql = "SELECT coalesce(memory, group_memory, 0), coalesce(cpu_milli, group_cpu_milli, 0) FROM jobs \
               INDEXED BY jobs_group WHERE live = 1 AND job_group = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([group])?;
    let mut sums = Sums::default();
    while let Some(row) = rows.next()? {
        let number = |column| row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0));
        sums = sums.with(Charge { memory: number(0)?, cpu_milli: number(1)? });
    }
    Ok(sums)
}
