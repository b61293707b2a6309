//! Lists of jobs, newest first, page by page.

use std::{fmt, str::FromStr};

use ipc_protocol::JobId;
use rusqlite::{Connection, ToSql, params_from_iter};

use super::{
    Store,
    error::StoreError,
    model::{Job, Scope},
    row::{self, COLUMNS},
    state::JobState,
};

/// Most jobs on one page.
const PAGE_MAX: usize = 1000;
/// Bytes of words after which a page ends, above what an answer takes: a thousand commands of the greatest length are 128 MiB.
const PAGE_BYTES: usize = 4 << 20;
/// As in the condition of the index `jobs_long`, word for word.
const LONG: &str = "ended_ns - created_ns > 3600000000000";
const LONG_NS: u64 = 3_600_000_000_000;

/// Which jobs. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only live jobs and those that ended at or after this time (nanoseconds since 1970), and none that is archived.
    pub recent_since_ns: Option<u64>,
    /// In one of these states; empty for any.
    pub states: Vec<JobState>,
    /// Only those that have not ended.
    pub live: bool,
    /// With this name.
    pub name: Option<String>,
    /// Of this owner.
    pub owner: Option<String>,
    /// In this profile.
    pub profile: Option<String>,
    /// Created at or after, nanoseconds since 1970.
    pub since_ns: Option<u64>,
    /// Created before, nanoseconds since 1970.
    pub until_ns: Option<u64>,
    /// The words of the command, with spaces between them, contain this text.
    pub command: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Jobs on it: 1 to 1000, others are taken as the nearest of those.
    pub size: usize,
    /// After this place; `None` for the first page.
    pub after: Option<Cursor>,
}

/// A place in a list. Its text form is for the client to bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    created_ns: u64,
    id: JobId,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPage {
    /// Newest first.
    pub jobs: Vec<Job>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

impl Cursor {
    /// Right after a job of the list.
    pub fn after(job: &Job) -> Self {
        Self { created_ns: job.created_ns, id: job.id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_ns, self.id)
    }
}

/// The text is not a place in a list: it was altered, or comes from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a page token of this server; begin again without one")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let (created_ns, id) = text.split_once('.').ok_or(ParseCursorError)?;
        let created_ns = created_ns.parse().ok().filter(|ns| i64::try_from(*ns).is_ok()).ok_or(ParseCursorError)?;
        Ok(Self { created_ns, id: id.parse().map_err(|_| ParseCursorError)? })
    }
}

impl Store {
    /// A page of the jobs that exist for the caller and that the filter selects.
    pub async fn list(&self, filter: Filter, scope: &Scope, page: Page) -> Result<JobPage, StoreError> {
        let owner = match (scope.owner(), filter.owner.clone()) {
            (Some(only), Some(asked)) if only != asked => return Ok(JobPage { jobs: Vec::new(), next: None }),
            (Some(only), _) => Some(only.to_owned()),
            (None, asked) => asked,
        };
        let filter = Filter { owner, ..filter };
        self.read(move |connection| list(connection, &filter, page)).await
    }

    /// All jobs that have not ended, newest first.
    pub async fn live(&self) -> Result<Vec<Job>, StoreError> {
        self.read(|connection| {
            let mut query = Query::new(&Filter { live: true, ..Filter::default() })?;
            let mut room = usize::MAX;
            query.run(connection, usize::MAX, &mut room)
        })
        .await
    }

    /// How many jobs have not ended.
    pub async fn live_count(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM jobs INDEXED BY jobs_live WHERE live = 1";
            let count: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
        .await
    }
}

fn list(connection: &Connection, filter: &Filter, page: Page) -> Result<JobPage, StoreError> {
    let size = page.size.clamp(1, PAGE_MAX);
    // One more shows whether there is another page.
    let wanted = size + 1;
    let (mut jobs, mut room) = (Vec::new(), PAGE_BYTES);
    match filter.recent_since_ns {
        // Live jobs are few and have an index of their own.
        Some(_) | None if filter.live => {
            let mut query = Query::new(filter)?;
            if filter.recent_since_ns.is_some() {
                query.require("archived = 0");
            }
            query.after(page.after)?;
            jobs = query.run(connection, wanted, &mut room)?;
        }
        None => {
            let mut query = Query::new(filter)?;
            query.after(page.after)?;
            jobs = query.run(connection, wanted, &mut room)?;
        }
        Some(recent) => {
            let recent_stored = row::stored(recent)?;
            // Whatever was created since then is recent, so that walking down by creation wastes nothing.
            if page.after.is_none_or(|after| after.created_ns >= recent) {
                let mut query = Query::new(filter)?;
                query.require("archived = 0");
                query.compare("created_ns >= ?", recent_stored);
                query.after(page.after)?;
                jobs = query.run(connection, wanted, &mut room)?;
            }
            if jobs.len() < wanted && room > 0 {
                let mut query = Query::new(filter)?;
                query.among_older(recent)?;
                query.after(page.after)?;
                jobs.extend(query.run(connection, wanted - jobs.len(), &mut room)?);
            }
        }
    }
    let more = jobs.len() > size || room == 0;
    jobs.truncate(size);
    let next = jobs.last().filter(|_| more).map(|job| Cursor { created_ns: job.created_ns, id: job.id });
    Ok(JobPage { jobs, next })
}

/// A query that is being put together.
struct Query {
    index: &'static str,
    conditions: Vec<String>,
    values: Vec<Box<dyn ToSql>>,
}

impl Query {
    /// The filter, except for what is recent. The index is named, because SQLite does not know which values are rare.
    fn new(filter: &Filter) -> Result<Self, StoreError> {
        let index = match filter {
            Filter { live: true, .. } => "jobs_live",
            Filter { name: Some(_), owner: Some(_), .. } => "jobs_owner_name",
            Filter { name: Some(_), .. } => "jobs_name",
            Filter { owner: Some(_), states, .. } if states.len() == 1 => "jobs_owner_state",
            Filter { owner: Some(_), .. } => "jobs_owner",
            Filter { states, .. } if states.len() == 1 => "jobs_state",
            _ => "jobs_created",
        };
        let mut query = Self { index, conditions: Vec::new(), values: Vec::new() };
        if filter.live {
            query.require("live = 1");
        }
        for (condition, value) in
            [("name = ?", &filter.name), ("owner = ?", &filter.owner), ("profile = ?", &filter.profile)]
        {
            if let Some(value) = value {
                query.compare(condition, value.clone());
            }
        }
        if let [state] = filter.states[..] {
            query.compare("state = ?", state.name());
        } else if !filter.states.is_empty() {
            let names: Vec<_> = filter.states.iter().map(|state| format!("'{}'", state.name())).collect();
            query.require(&format!("state IN ({})", names.join(", ")));
        }
        if let Some(since) = filter.since_ns {
            query.compare("created_ns >= ?", row::stored(since)?);
        }
        if let Some(until) = filter.until_ns {
            query.compare("created_ns < ?", row::stored(until)?);
        }
        if let Some(command) = &filter.command {
            query.compare("instr(command, ?) > 0", command.clone());
        }
        Ok(query)
    }

    fn require(&mut self, condition: &str) {
        self.conditions.push(condition.to_owned());
    }

    fn compare(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.values.push(Box::new(value));
        self.conditions.push(condition.replace('?', &format!("?{}", self.values.len())));
    }

    fn after(&mut self, after: Option<Cursor>) -> Result<(), StoreError> {
        if let Some(after) = after {
            self.compare("created_ns <= ?", row::stored(after.created_ns)?);
            let created = self.values.len();
            self.values.push(Box::new(after.id.to_string()));
            self.conditions.push(format!("(created_ns, id) < (?{created}, ?{})", created + 1));
        }
        Ok(())
    }

    /// Restricts the query to jobs created before `recent` that were alive at that time. They are found by when they ended:
    /// within an hour after it, or any time after it if they took longer than an hour. So the jobs between, which may be a
    /// million, are never looked at.
    fn among_older(&mut self, recent: u64) -> Result<(), StoreError> {
        self.index = "";
        self.values.push(Box::new(row::stored(recent)?));
        let from = self.values.len();
        self.values.push(Box::new(row::stored(recent.saturating_add(LONG_NS))?));
        let to = self.values.len();
        self.conditions.push(format!(
            "archived = 0 AND rowid IN (\
             SELECT rowid FROM jobs INDEXED BY jobs_live WHERE live = 1 AND created_ns < ?{from} \
             UNION SELECT rowid FROM jobs INDEXED BY jobs_ended \
             WHERE live = 0 AND ended_ns >= ?{from} AND ended_ns <= ?{to} AND created_ns < ?{from} \
             UNION SELECT rowid FROM jobs INDEXED BY jobs_long \
             WHERE live = 0 AND {LONG} AND ended_ns > ?{to} AND created_ns < ?{from})"
        ));
        Ok(())
    }

    /// Ends at `limit` jobs, or with the one whose words take up the `room`.
    fn run(&mut self, connection: &Connection, limit: usize, room: &mut usize) -> Result<Vec<Job>, StoreError> {
        let table = match self.index {
            "" => "jobs".to_owned(),
            index => format!("jobs INDEXED BY {index}"),
        };
        let conditions = if self.conditions.is_empty() { "1".to_owned() } else { self.conditions.join(" AND ") };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql =
            format!("SELECT {COLUMNS} FROM {table} WHERE {conditions} ORDER BY created_ns DESC, id DESC LIMIT {limit}");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut jobs = Vec::new();
        for job in statement.query_map(params_from_iter(&self.values), row::job)? {
            let job = job?;
            let words = job.argv.iter().map(Vec::len).chain(job.env_names.iter().map(String::len));
            *room = room.saturating_sub(words.sum());
            jobs.push(job);
            if *room == 0 {
                break;
            }
        }
        Ok(jobs)
    }
}
