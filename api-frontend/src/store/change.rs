//! What happens to a recorded job.

use ipc_protocol::{JobId, Limit, Limits, StopFact};
use rusqlite::{Connection, named_params};

use super::{
    Store,
    error::{StoreError, UpdateError},
    find::{by_id, expect},
    model::{HowEnded, Job, OutputRecord, Usage},
    row,
    state::{EndState, JobEvent, JobState},
};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The command was executed.
    Started {
        /// Process id on the host.
        pid: u32,
        /// The user it runs as.
        uid: u32,
        /// When, nanoseconds since 1970.
        started_ns: u64,
        /// In force.
        limits: Limits,
    },
    /// Somebody asked for its end. The first one who is recorded is kept while the job lives.
    StopAsked(StopFact),
    /// It is over.
    Ended(Box<Ended>),
}

/// How a job ended, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Where it stands from now on.
    pub state: EndState,
    /// How the command ended.
    pub how: HowEnded,
    /// When, nanoseconds since 1970.
    pub ended_ns: u64,
    /// Processes that the memory limit killed.
    pub oom_kills: u64,
    /// The deadline ended it.
    pub deadline_hit: bool,
    /// Who asked first for its end. The executor knows the order in which it was asked, so its word stands above what was recorded
    /// on the way.
    pub stop: Option<StopFact>,
    /// What it used, where that is known.
    pub usage: Option<Usage>,
    /// What its closed output log holds.
    pub output: OutputRecord,
}

impl Store {
    /// Records what happened to a job and answers with the job as it then stands, when that is on disk. Told twice is told once.
    ///
    /// # Errors
    /// `Ended` when the job has ended before, which never changes; `NotFound`; a failing database.
    pub async fn update(&self, id: JobId, change: Change) -> Result<Job, UpdateError> {
        self.update_all(id, vec![change]).await
    }

    /// As [`Store::update`], for several changes that become true together.
    ///
    /// # Errors
    /// Those of the first change that cannot be made; the ones before it stand.
    pub async fn update_all(&self, id: JobId, changes: Vec<Change>) -> Result<Job, UpdateError> {
        self.write(move |connection| {
            let mut job = Err(UpdateError::NotFound(id));
            for change in &changes {
                job = Ok(update(connection, id, change)?);
            }
            job
        })
        .await
    }

    /// As [`Store::update`], and answers when everybody can read it: it survives the end of this process, and a power cut only
    /// once something else is on disk. For what is known elsewhere too as long as the host runs.
    ///
    /// # Errors
    /// As `update`.
    pub async fn update_soon(&self, id: JobId, change: Change) -> Result<Job, UpdateError> {
        self.write_soon(move |connection| update(connection, id, &change)).await
    }

    /// Takes an ended job out of the default list and spares it from retention. Twice is once.
    ///
    /// # Errors
    /// `StillLive`, `NotFound`; a failing database.
    pub async fn archive(&self, id: JobId) -> Result<Job, UpdateError> {
        self.write(move |connection| {
            ended(connection, id)?;
            let mut statement = prepare(connection, "UPDATE jobs SET archived = 1 WHERE id = ?1")?;
            statement.execute([id.to_string()]).map_err(StoreError::from)?;
            Ok(expect(connection, id)?)
        })
        .await
    }

    /// Removes the record of an ended job, and remembers that it was: the executor may hold the job still. Its output is not
    /// touched: remove that afterwards, so that a record without output is never seen.
    ///
    /// # Errors
    /// `StillLive`, `NotFound`; a failing database.
    pub async fn delete(&self, id: JobId) -> Result<Job, UpdateError> {
        self.write(move |connection| {
            let job = ended(connection, id)?;
            for sql in ["INSERT OR IGNORE INTO deleted (id) VALUES (?1)", "DELETE FROM jobs WHERE id = ?1"] {
                prepare(connection, sql)?.execute([id.to_string()]).map_err(StoreError::from)?;
            }
            Ok(job)
        })
        .await
    }
}

fn ended(connection: &Connection, id: JobId) -> Result<Job, UpdateError> {
    let job = by_id(connection, id)?.ok_or(UpdateError::NotFound(id))?;
    if job.state.is_live() { Err(UpdateError::StillLive { job: id, state: job.state }) } else { Ok(job) }
}

pub(super) fn update(connection: &Connection, id: JobId, change: &Change) -> Result<Job, UpdateError> {
    let job = by_id(connection, id)?.ok_or(UpdateError::NotFound(id))?;
    let event = match change {
        Change::Started { .. } => JobEvent::Started,
        Change::StopAsked(_) => JobEvent::StopAsked,
        Change::Ended(ended) => JobEvent::Ended(ended.state),
    };
    let state = job.state.after(event, job.stop.is_some()).ok_or(UpdateError::Ended { job: id, state: job.state })?;
    match change {
        Change::Started { pid, uid, started_ns, limits } => {
            started(connection, id, state, (*pid, *uid, *started_ns), limits)?;
        }
        Change::StopAsked(stop) => set_stop(connection, id, state, job.stop.as_ref().unwrap_or(stop))?,
        Change::Ended(ended) => {
            if let Some(stop) = &ended.stop {
                set_stop(connection, id, job.state, stop)?;
            }
            end(connection, id, ended)?;
        }
    }
    Ok(expect(connection, id)?)
}

fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<rusqlite::CachedStatement<'c>, StoreError> {
    Ok(connection.prepare_cached(sql)?)
}

fn started(
    connection: &Connection,
    id: JobId,
    state: JobState,
    (pid, uid, started_ns): (u32, u32, u64),
    limits: &Limits,
) -> Result<(), StoreError> {
    // What an operator allows beyond the largest number here is recorded as that: a job that runs must become a record.
    let limit = |limit| limits.get(limit).map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let sql = "UPDATE jobs SET state = :state, pid = :pid, uid = :uid, started_ns = :started_ns, cpu_milli = :cpu_milli, \
               cpu_weight = :cpu_weight, memory = :memory, swap = :swap, pids = :pids, io_read = :io_read, \
               io_write = :io_write, io_read_ops = :io_read_ops, io_write_ops = :io_write_ops, timeout_ms = :timeout_ms \
               WHERE id = :id";
    prepare(connection, sql)?.execute(named_params! {
        ":id": id.to_string(),
        ":state": state.name(),
        ":pid": pid,
        ":uid": uid,
        ":started_ns": row::stored(started_ns)?,
        ":cpu_milli": limit(Limit::Cpu),
        ":cpu_weight": limit(Limit::CpuWeight),
        ":memory": limit(Limit::Memory),
        ":swap": limit(Limit::Swap),
        ":pids": limit(Limit::Pids),
        ":io_read": limit(Limit::IoRead),
        ":io_write": limit(Limit::IoWrite),
        ":io_read_ops": limit(Limit::IoReadOps),
        ":io_write_ops": limit(Limit::IoWriteOps),
        ":timeout_ms": limit(Limit::Timeout),
    })?;
    Ok(())
}

/// Sets the state, and who asked for the end.
fn set_stop(connection: &Connection, id: JobId, state: JobState, stop: &StopFact) -> Result<(), StoreError> {
    let sql =
        "UPDATE jobs SET state = :state, stop_by = :by, stop_signal = :signal, stop_at_ns = :at_ns WHERE id = :id";
    prepare(connection, sql)?.execute(named_params! {
        ":id": id.to_string(),
        ":state": state.name(),
        ":by": stop.by,
        ":signal": stop.signal,
        ":at_ns": row::stored(stop.at_ns)?,
    })?;
    Ok(())
}

fn end(connection: &Connection, id: JobId, ended: &Ended) -> Result<(), StoreError> {
    let (mut code, mut signal, mut core) = (None, None, None);
    let (mut step, mut errno, mut message) = (None, None, None);
    let mut lost = None;
    match &ended.how {
        HowEnded::Exited(value) => code = Some(*value),
        HowEnded::Signaled { signal: number, core: dumped } => (signal, core) = (Some(*number), Some(*dumped)),
        HowEnded::NotStarted { step: name, errno: number, message: sentence } => {
            (step, errno, message) = (Some(name), Some(*number), Some(sentence));
        }
        HowEnded::Lost { reason } => lost = Some(reason),
    }
    let sql = "UPDATE jobs SET state = :state, live = 0, ended_ns = :ended_ns, exit_code = :code, exit_signal = :signal, \
               exit_core = :core, start_step = :step, start_errno = :errno, start_message = :message, lost_reason = :lost, \
               oom_kills = :oom_kills, deadline_hit = :deadline_hit, used_cpu_ns = :cpu_ns, \
               used_memory_peak = :memory_peak, used_pids_peak = :pids_peak, used_io_read = :io_read, \
               used_io_written = :io_written, used_throttled_ns = :throttled_ns, out_stdout = :stdout, out_stderr = :stderr, \
               out_first = :first, out_missing = :missing, out_complete = :complete, out_disk = :disk WHERE id = :id";
    let (usage, output) = (ended.usage.as_ref(), &ended.output);
    prepare(connection, sql)?.execute(named_params! {
        ":id": id.to_string(),
        ":state": JobState::Ended(ended.state).name(),
        ":ended_ns": row::stored(ended.ended_ns)?,
        ":code": code,
        ":signal": signal,
        ":core": core,
        ":step": step,
        ":errno": errno,
        ":message": message,
        ":lost": lost,
        ":oom_kills": row::stored(ended.oom_kills)?,
        ":deadline_hit": ended.deadline_hit,
        ":cpu_ns": row::stored_option(usage.map(|usage| usage.cpu_ns))?,
        ":memory_peak": row::stored_option(usage.and_then(|usage| usage.memory_peak))?,
        ":pids_peak": row::stored_option(usage.and_then(|usage| usage.pids_peak))?,
        ":io_read": row::stored_option(usage.and_then(|usage| usage.io_read))?,
        ":io_written": row::stored_option(usage.and_then(|usage| usage.io_written))?,
        ":throttled_ns": row::stored_option(usage.and_then(|usage| usage.throttled_ns))?,
        ":stdout": row::stored(output.streams[0])?,
        ":stderr": row::stored(output.streams[1])?,
        ":first": row::stored(output.first_offset)?,
        ":missing": row::stored(output.missing)?,
        ":complete": output.complete,
        ":disk": row::stored(output.disk_bytes)?,
    })?;
    Ok(())
}
