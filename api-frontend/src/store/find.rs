//! Finding one job.

use ipc_protocol::JobId;
use rusqlite::{Connection, OptionalExtension, Params};

use super::{
    Store,
    error::{ResolveError, StoreError},
    model::{Job, Scope},
    row::{self, COLUMNS},
};

/// The shortest beginning of an id that is taken for one.
pub const PREFIX_MIN: usize = 4;
/// Most candidates that an unclear reference names. One more is looked for, so that it can be said that there are more.
pub const CANDIDATES: usize = 10;
/// A beginning that is too short is compared with so many of the newest jobs: it never means one of them, and whoever writes it
/// must not have all records read.
const COMPARED: usize = 10_000;

impl Store {
    /// The job, if it exists for the caller.
    pub async fn get(&self, id: JobId, scope: &Scope) -> Result<Option<Job>, StoreError> {
        let scope = scope.clone();
        self.read(move |connection| Ok(by_id(connection, id)?.filter(|job| scope.covers(&job.owner)))).await
    }

    /// The job that a reference means: an id; the beginning of one, at least 4 characters; `last`, the caller's newest; or a
    /// name, which is the live job of that name (the caller's own first), else the newest.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, `TooShort`; a failing database.
    pub async fn resolve(&self, reference: &str, caller: &str, scope: &Scope) -> Result<Job, ResolveError> {
        let (reference, caller, scope) = (reference.to_owned(), caller.to_owned(), scope.clone());
        self.read(move |connection| resolve(connection, reference, &caller, &scope)).await
    }

    /// Whether there is a record, for each id in order. For finding output that belongs to nothing.
    pub async fn exist(&self, ids: Vec<JobId>) -> Result<Vec<bool>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?;
            ids.iter().map(|id| Ok(statement.exists([id.to_string()])?)).collect()
        })
        .await
    }
}

/// The job with an id.
pub(super) fn by_id(connection: &Connection, id: JobId) -> Result<Option<Job>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.to_string()], row::job).optional()?)
}

/// The job with an id that was just seen or written.
pub(super) fn expect(connection: &Connection, id: JobId) -> Result<Job, StoreError> {
    by_id(connection, id)?.ok_or_else(|| StoreError::Failed(format!("the record of {id} is gone")))
}

fn resolve(connection: &Connection, reference: String, caller: &str, scope: &Scope) -> Result<Job, ResolveError> {
    let found = if reference == "last" {
        some(connection, "WHERE owner = ?1 ORDER BY created_ns DESC, id DESC LIMIT 1", [caller])?
    } else if let Ok(id) = reference.parse::<JobId>() {
        by_id(connection, id)?.into_iter().filter(|job| scope.covers(&job.owner)).collect()
    } else if is_beginning(&reference) && reference.len() >= PREFIX_MIN {
        // '~' sorts after everything that an id holds.
        let rest = "WHERE id >= ?1 AND id < ?1 || '~' AND (?2 IS NULL OR owner = ?2) ORDER BY id LIMIT ?3";
        some(connection, rest, (&reference, scope.owner(), CANDIDATES as i64 + 1))?
    } else {
        let named = by_name(connection, &reference, caller, scope)?;
        if named.is_empty() && is_beginning(&reference) {
            let candidates = newest_beginning_with(connection, &reference, scope)?;
            if !candidates.is_empty() {
                return Err(ResolveError::TooShort { reference, candidates });
            }
        }
        named
    };
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(ResolveError::NotFound(reference)),
        (Some(job), None) => Ok(job),
        (Some(first), Some(second)) => {
            let candidates = [first, second].into_iter().chain(found).map(|job| job.id).collect();
            Err(ResolveError::Ambiguous { reference, candidates })
        }
    }
}

/// The live jobs of that name that exist for the caller (one, if it is the caller's own), else the newest.
fn by_name(connection: &Connection, name: &str, caller: &str, scope: &Scope) -> Result<Vec<Job>, StoreError> {
    if scope.covers(caller) {
        let own = some(connection, "WHERE owner = ?1 AND name = ?2 AND live = 1", [caller, name])?;
        if !own.is_empty() {
            return Ok(own);
        }
    }
    // One condition for each scope, so that each has an index that leads straight to the answer.
    let newest = "ORDER BY created_ns DESC, id DESC LIMIT";
    if let Some(owner) = scope.owner() {
        let live = some(connection, "WHERE owner = ?1 AND name = ?2 AND live = 1", [owner, name])?;
        if !live.is_empty() {
            return Ok(live);
        }
        return some(connection, &format!("WHERE owner = ?1 AND name = ?2 {newest} 1"), [owner, name]);
    }
    let most = CANDIDATES + 1;
    let named_live = format!("INDEXED BY jobs_named_live WHERE name = ?1 AND live = 1 {newest} {most}");
    let live = some(connection, &named_live, [name])?;
    if !live.is_empty() {
        return Ok(live);
    }
    some(connection, &format!("WHERE name = ?1 {newest} 1"), [name])
}

/// Some of the newest jobs that exist for the caller and whose ids begin so.
fn newest_beginning_with(connection: &Connection, text: &str, scope: &Scope) -> Result<Vec<JobId>, StoreError> {
    let (index, of) = match scope {
        Scope::All => ("jobs_created", "?1 IS NULL"),
        Scope::Owner(_) => ("jobs_owner", "owner = ?1"),
    };
    let rest = format!(
        "WHERE id IN (SELECT id FROM (SELECT id FROM jobs INDEXED BY {index} WHERE {of} ORDER BY created_ns DESC, id DESC \
         LIMIT {COMPARED}) WHERE id >= ?2 AND id < ?2 || '~' LIMIT {}) ORDER BY created_ns DESC, id DESC",
        CANDIDATES + 1
    );
    Ok(some(connection, &rest, (scope.owner(), text))?.into_iter().map(|job| job.id).collect())
}

fn some(connection: &Connection, rest: &str, values: impl Params) -> Result<Vec<Job>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs {rest}"))?;
    let jobs = statement.query_map(values, row::job)?.collect::<rusqlite::Result<_>>()?;
    Ok(jobs)
}

/// Whether the text can be the beginning of an id.
fn is_beginning(text: &str) -> bool {
    let fits = |(i, c): (usize, char)| match i {
        8 | 13 | 18 | 23 => c == '-',
        _ => matches!(c, '0'..='9' | 'a'..='f'),
    };
    (1..36).contains(&text.len()) && text.chars().enumerate().all(fits)
}
