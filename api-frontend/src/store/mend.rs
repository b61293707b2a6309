//! What the comparison with the executor does to the records: jobs that never were, jobs that only the executor knows, and a
//! database that is older than what the executor has seen.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use ipc_protocol::JobId;
use rusqlite::Connection;

use super::{
    Store,
    change::{Change, update},
    create::{NewJob, insert, used_request},
    error::{StoreError, UpdateError},
    find::by_id,
    model::Job,
    row,
};

impl Store {
    /// Removes the record of a job that is still `queued`, and with it the claim on request id and name. Without such a record,
    /// does nothing: a job that was born stays.
    pub async fn remove_unborn(&self, id: JobId) -> Result<(), StoreError> {
        self.write(move |connection| {
            let sql = "DELETE FROM jobs WHERE id = ?1 AND state = 'queued'";
            connection.prepare_cached(sql)?.execute([id.to_string()])?;
            Ok(())
        })
        .await
    }

    /// Records a live job that the executor holds and no record knows. One that is recorded already stays as it is. Where its
    /// owner's request id belongs to another job, its own id stands for it. It has no name.
    pub async fn adopt(&self, job: Job) -> Result<(), StoreError> {
        self.write(move |connection| adopt(connection, job)).await
    }

    /// Whether a job of this id was deleted and may still be held by the executor.
    pub async fn was_deleted(&self, id: JobId) -> Result<bool, StoreError> {
        self.read(move |connection| {
            Ok(connection.prepare_cached("SELECT 1 FROM deleted WHERE id = ?1")?.exists([id.to_string()])?)
        })
        .await
    }

    /// How many deleted jobs are remembered.
    pub async fn deleted_count(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            let count: i64 = connection.query_row("SELECT count(*) FROM deleted", [], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
        .await
    }

    /// Forgets the deleted jobs that the executor does not hold: whatever it does not list it never lists again.
    pub async fn forget_deleted(&self, held: HashSet<JobId>) -> Result<(), StoreError> {
        let deleted = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM deleted")?;
            let ids = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok::<_, StoreError>(ids)
        });
        let is_held = |id: &String| id.parse().is_ok_and(|id: JobId| held.contains(&id));
        let gone: Vec<String> = deleted.await?.into_iter().filter(|id| !is_held(id)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.write_soon(move |connection| {
            let mut statement = connection.prepare_cached("DELETE FROM deleted WHERE id = ?1")?;
            for id in gone {
                statement.execute([id])?;
            }
            Ok(())
        })
        .await
    }

    /// Makes the epoch larger than `above`, and answers it when that is on disk.
    pub async fn raise_epoch(&self, above: u64) -> Result<u64, StoreError> {
        let least = row::stored(above.saturating_add(1))?;
        let raised = self
            .write(move |connection| {
                let sql = "UPDATE meta SET value = max(value, ?1) WHERE key = 'epoch' RETURNING value";
                let raised: i64 = connection.query_row(sql, [least], |row| row.get(0))?;
                Ok::<_, StoreError>(raised.unsigned_abs())
            })
            .await?;
        self.inner.epoch.fetch_max(raised, Ordering::SeqCst);
        Ok(raised)
    }
}

fn adopt(connection: &Connection, job: Job) -> Result<(), StoreError> {
    if by_id(connection, job.id)?.is_some() {
        return Ok(());
    }
    let used = used_request(connection, &job.owner, &job.request_id)?;
    let request_id = if used { job.id.to_string() } else { job.request_id };
    let birth = job.started_ns.zip(job.pid).zip(job.uid).zip(job.limits);
    insert(
        connection,
        &NewJob {
            id: job.id,
            owner: job.owner,
            name: None,
            request_id,
            fingerprint: job.fingerprint,
            serial: job.serial,
            peer: job.peer,
            profile: job.profile,
            argv: job.argv,
            env_names: job.env_names,
            cwd: job.cwd,
            merge: job.merge,
            input: job.input,
            output_limit: job.output_limit,
            created_ns: job.created_ns,
        },
        // In which group it counted stood in the record that is gone.
        None,
    )?;
    let Some((((started_ns, pid), uid), limits)) = birth else { return Ok(()) };
    match update(connection, job.id, &Change::Started { pid, uid, started_ns, limits }) {
        Ok(_) => Ok(()),
        Err(UpdateError::Store(error)) => Err(error),
        // It was inserted in this same transaction, as queued.
        Err(other) => Err(StoreError::Failed(other.to_string())),
    }
}
