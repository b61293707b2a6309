//! Which ended jobs have been kept long enough. Archived ones are spared.

use ipc_protocol::JobId;

use super::{Store, error::StoreError, row};

impl Store {
    /// Jobs that ended before a time (nanoseconds since 1970), the oldest first, at most so many.
    pub async fn ended_before(&self, ended_ns: u64, at_most: usize) -> Result<Vec<JobId>, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT id FROM jobs INDEXED BY jobs_ended WHERE live = 0 AND archived = 0 AND ended_ns < ?1 \
                       ORDER BY ended_ns LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let values = (row::stored(ended_ns)?, i64::try_from(at_most).unwrap_or(i64::MAX));
            let ids = statement.query_map(values, |row| row.get::<_, String>(0))?;
            ids.map(|id| parse(&id?)).collect()
        })
        .await
    }

    /// The ended jobs, the oldest first and at most so many, that must go so that the output of all ended ones takes no more
    /// than `keep_bytes` on disk. Jobs without output free nothing and are left alone.
    pub async fn over_total(&self, keep_bytes: u64, at_most: usize) -> Result<Vec<JobId>, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT coalesce(sum(out_disk), 0) FROM jobs INDEXED BY jobs_ended WHERE live = 0";
            let total: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            let mut excess = total.unsigned_abs().saturating_sub(keep_bytes);
            let mut ids = Vec::new();
            if excess == 0 {
                return Ok(ids);
            }
            let sql = "SELECT id, out_disk FROM jobs INDEXED BY jobs_ended WHERE live = 0 AND archived = 0 AND out_disk > 0 \
                       ORDER BY ended_ns";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while excess > 0
                && ids.len() < at_most
                && let Some(row) = rows.next()?
            {
                ids.push(parse(&row.get::<_, String>(0)?)?);
                excess = excess.saturating_sub(row.get::<_, i64>(1)?.unsigned_abs());
            }
            Ok(ids)
        })
        .await
    }
}

fn parse(id: &str) -> Result<JobId, StoreError> {
    id.parse().map_err(|_| StoreError::Failed(format!("'{id}' is recorded as a job id")))
}
