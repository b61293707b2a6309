//! Which ended jobs have been kept long enough. Archived ones are spared.

use ipc_protocol::JobId;
use rusqlite::Connection;

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

    /// The ended jobs, the oldest first and at most so many, that must go so that all records, and the output of the ended
    /// jobs, take no more than `keep_bytes` on disk.
    pub async fn over_total(&self, keep_bytes: u64, at_most: usize) -> Result<Vec<JobId>, StoreError> {
        self.read(move |connection| {
            let mut excess = kept(connection)?.saturating_sub(keep_bytes);
            let mut ids = Vec::new();
            if excess == 0 {
                return Ok(ids);
            }
            let sql = "SELECT id, kept_bytes FROM jobs INDEXED BY jobs_ended WHERE live = 0 AND archived = 0 ORDER BY ended_ns";
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

    /// Removes the records of those that have ended, in one transaction, and remembers that they were. As for
    /// [`Store::delete`], their output is to be removed afterwards.
    pub async fn delete_ended(&self, ids: Vec<JobId>) -> Result<(), StoreError> {
        self.write(move |connection| {
            let remember = "INSERT OR IGNORE INTO deleted SELECT id FROM jobs WHERE id = ?1 AND live = 0";
            for id in ids {
                for sql in [remember, "DELETE FROM jobs WHERE id = ?1 AND live = 0"] {
                    connection.prepare_cached(sql)?.execute([id.to_string()])?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Gives some of the room that removed records left back to the file system, and answers whether there is more to give.
    /// A part of the file stays for records to come. Of a file that was made by a release without this, all of it does.
    pub async fn give_back(&self) -> Result<bool, StoreError> {
        self.write_soon(|connection| {
            let count = |what| connection.pragma_query_value(None, what, |row| row.get::<_, i64>(0));
            let pages = count("page_count")?;
            let surplus = count("freelist_count")? - SPARE.max(pages / 8);
            if surplus <= 0 {
                return Ok(false);
            }
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({})", surplus.min(AT_ONCE)))?;
            let mut steps = statement.query([])?;
            while steps.next()?.is_some() {}
            Ok(surplus > AT_ONCE && count("page_count")? < pages)
        })
        .await
    }
}

/// Free pages of the file that are never given back.
const SPARE: i64 = 1024;
/// Pages that are given back at once: 4 MiB, so that others' changes come between.
const AT_ONCE: i64 = 1024;

/// Bytes that records and the output of ended jobs take on disk.
fn kept(connection: &Connection) -> Result<u64, StoreError> {
    let sum = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    let ended = sum("SELECT coalesce(sum(kept_bytes), 0) FROM jobs INDEXED BY jobs_ended WHERE live = 0")?;
    let live = sum("SELECT coalesce(sum(kept_bytes), 0) FROM jobs INDEXED BY jobs_live WHERE live = 1")?;
    Ok(ended.saturating_add(live).unsigned_abs())
}

fn parse(id: &str) -> Result<JobId, StoreError> {
    id.parse().map_err(|_| StoreError::Failed(format!("'{id}' is recorded as a job id")))
}
