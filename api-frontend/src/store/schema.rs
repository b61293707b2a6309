//! The form of the database, its history, and opening it.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use rusqlite::{Connection, TransactionBehavior};

use super::error::OpenError;

/// Each entry brings a database from the format that is its place in this list to the next. Entries that were released never
/// change. One that the release before can still work with (it only adds columns with defaults, tables or indexes) leaves
/// `readable_by` alone; every other one raises it to its own number, and releases that know less then refuse the database.
pub(super) const STEPS: &[&str] = &[FIRST, GROUPS, DELETED, KEPT];

/// "ARLK": tells our database from those of other programs.
const APPLICATION_ID: i32 = 0x4152_4C4B;
/// How long to wait for another program that holds the database, such as a backup.
const BUSY: Duration = Duration::from_secs(10);

const FIRST: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('epoch', 0), ('readable_by', 1);

    -- Times are nanoseconds since 1970, sizes bytes.
    CREATE TABLE jobs (
        id            TEXT PRIMARY KEY NOT NULL,
        owner         TEXT NOT NULL,
        name          TEXT,
        request_id    TEXT NOT NULL,
        fingerprint   BLOB NOT NULL,
        serial        TEXT NOT NULL,
        peer          TEXT NOT NULL,
        profile       TEXT NOT NULL,
        argv          BLOB NOT NULL,     -- each word with a NUL after it
        command       TEXT NOT NULL,     -- the words with spaces between, for searching
        env_names     TEXT NOT NULL,     -- JSON
        cwd           TEXT,
        merge         INTEGER NOT NULL,
        input_bytes   INTEGER,
        input_sha256  BLOB,
        output_limit  INTEGER NOT NULL,
        when_full     TEXT NOT NULL,
        created_ns    INTEGER NOT NULL,
        state         TEXT NOT NULL,
        live          INTEGER NOT NULL,
        started_ns    INTEGER,
        ended_ns      INTEGER,
        pid           INTEGER,
        uid           INTEGER,
        cpu_milli     INTEGER,
        cpu_weight    INTEGER,
        memory        INTEGER,
        swap          INTEGER,
        pids          INTEGER,
        io_read       INTEGER,
        io_write      INTEGER,
        io_read_ops   INTEGER,
        io_write_ops  INTEGER,
        timeout_ms    INTEGER,
        stop_by       TEXT,
        stop_signal   INTEGER,
        stop_at_ns    INTEGER,
        exit_code     INTEGER,
        exit_signal   INTEGER,
        exit_core     INTEGER,
        start_step    TEXT,
        start_errno   INTEGER,
        start_message TEXT,
        lost_reason   TEXT,
        oom_kills     INTEGER NOT NULL DEFAULT 0,
        deadline_hit  INTEGER NOT NULL DEFAULT 0,
        used_cpu_ns       INTEGER,
        used_memory_peak  INTEGER,
        used_pids_peak    INTEGER,
        used_io_read      INTEGER,
        used_io_written   INTEGER,
        used_throttled_ns INTEGER,
        out_stdout    INTEGER,
        out_stderr    INTEGER,
        out_first     INTEGER,
        out_missing   INTEGER,
        out_complete  INTEGER,
        out_disk      INTEGER,
        archived      INTEGER NOT NULL DEFAULT 0
    ) STRICT;

    CREATE UNIQUE INDEX jobs_request   ON jobs (owner, request_id);
    CREATE UNIQUE INDEX jobs_live_name ON jobs (owner, name) WHERE live = 1 AND name IS NOT NULL;
    CREATE INDEX jobs_named_live  ON jobs (name, created_ns, id) WHERE live = 1 AND name IS NOT NULL;
    CREATE INDEX jobs_name        ON jobs (name, created_ns, id) WHERE name IS NOT NULL;
    CREATE INDEX jobs_owner_name  ON jobs (owner, name, created_ns, id) WHERE name IS NOT NULL;
    CREATE INDEX jobs_created     ON jobs (created_ns, id);
    CREATE INDEX jobs_owner       ON jobs (owner, created_ns, id);
    CREATE INDEX jobs_state       ON jobs (state, created_ns, id);
    CREATE INDEX jobs_owner_state ON jobs (owner, state, created_ns, id);
    CREATE INDEX jobs_live        ON jobs (created_ns, id) WHERE live = 1;
    CREATE INDEX jobs_ended ON jobs (ended_ns, archived, out_disk, created_ns) WHERE live = 0;
    -- Jobs that took longer than an hour: those that may have ended much later than they were created.
    CREATE INDEX jobs_long  ON jobs (ended_ns, created_ns) WHERE live = 0 AND ended_ns - created_ns > 3600000000000;
";

/// What a job counts for until it is born stands in the two columns; afterwards, its limits count.
const GROUPS: &str = "
    ALTER TABLE jobs ADD COLUMN job_group TEXT;
    ALTER TABLE jobs ADD COLUMN group_memory INTEGER;
    ALTER TABLE jobs ADD COLUMN group_cpu_milli INTEGER;
    CREATE INDEX jobs_group ON jobs (job_group, memory, cpu_milli, group_memory, group_cpu_milli)
        WHERE live = 1 AND job_group IS NOT NULL;
";

/// Jobs that the executor may hold although nobody here wants to know of them any more; without this, the next comparison would
/// take them for jobs whose record was lost.
const DELETED: &str = "
    CREATE TABLE deleted (id TEXT PRIMARY KEY NOT NULL) STRICT, WITHOUT ROWID;
";

/// What goes from the disk with a job. The release before can work with the index that takes the place of its own: it has one
/// column more.
const KEPT: &str = "
    -- Bytes: the words, the rest of the row with its places in the indexes (which is about the same for all jobs), the output.
    ALTER TABLE jobs ADD COLUMN kept_bytes INTEGER GENERATED ALWAYS AS (
        length(argv) + length(CAST(command AS BLOB)) + length(CAST(env_names AS BLOB)) + 1024 + coalesce(out_disk, 0)
    ) VIRTUAL;
    DROP INDEX jobs_ended;
    CREATE INDEX jobs_ended ON jobs (ended_ns, archived, out_disk, created_ns, kept_bytes) WHERE live = 0;
";

/// Opens the database for writing, brings it up to date, and counts the opening. Answers the count.
pub(super) fn open(path: &Path) -> Result<(Connection, u64), OpenError> {
    open_with(path, STEPS)
}

pub(super) fn open_with(path: &Path, steps: &[&str]) -> Result<(Connection, u64), OpenError> {
    let unusable = |reason: String| OpenError::Unusable { path: path.to_owned(), reason };
    // SQLite would create it readable for everybody; its companions take over the mode.
    let created = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    created.map_err(|e| unusable(e.to_string()))?;
    let mut connection = Connection::open(path).map_err(|e| unusable(e.to_string()))?;
    prepare(&connection).map_err(|e| unusable(e.to_string()))?;
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    match state(&connection).map_err(|e| unusable(e.to_string()))? {
        Found::Foreign => return Err(OpenError::Foreign { path: path.to_owned() }),
        Found::Ours { format, readable_by } if format > known && readable_by > known => {
            return Err(OpenError::Newer { path: path.to_owned(), found: format, known });
        }
        Found::Empty | Found::Ours { .. } => {}
    }
    let epoch = upgrade(&mut connection, steps).map_err(|e| unusable(e.to_string()))?;
    Ok((connection, epoch))
}

/// Settings of a connection that writes.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // Pages of removed records can be given back to the file system. Taken by a database without tables alone: before WAL.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    // WAL lets others read meanwhile. FULL: what is committed survives a power cut.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

enum Found {
    Empty,
    Ours { format: u32, readable_by: u32 },
    Foreign,
}

fn state(connection: &Connection) -> rusqlite::Result<Found> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, format, tables) {
        (0, 0, 0) => Ok(Found::Empty),
        (APPLICATION_ID, ..) => {
            let readable_by =
                connection.query_row("SELECT value FROM meta WHERE key = 'readable_by'", [], |row| row.get(0))?;
            Ok(Found::Ours { format, readable_by })
        }
        _ => Ok(Found::Foreign),
    }
}

fn upgrade(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let format: usize = transaction.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? as usize;
    for step in steps.iter().skip(format) {
        transaction.execute_batch(step)?;
    }
    if format < steps.len() {
        transaction.pragma_update(None, "user_version", steps.len() as u32)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    let epoch: i64 =
        transaction
            .query_row("UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(epoch.unsigned_abs())
}
