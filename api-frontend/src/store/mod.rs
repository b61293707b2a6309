//! The records of all jobs, in one SQLite database.
//!
//! Whatever changes the records goes through one thread, which puts everything that waits into one transaction and answers each
//! caller when that is on disk (`writer.rs`). Queries run beside it on connections of their own (`pool.rs`). Anybody with the
//! right to the file may read it with the `sqlite3` program meanwhile; `schema.rs` is its description.

mod change;
mod create;
mod error;
mod find;
mod groups;
mod list;
mod mend;
mod model;
mod pool;
mod retention;
mod row;
mod schema;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub use change::{Change, Ended};
pub use create::{Created, NewJob};
pub use error::{CreateError, OpenError, ResolveError, StoreError, UpdateError};
pub use find::{CANDIDATES, PREFIX_MIN};
pub use groups::Membership;
pub use list::{Cursor, Filter, JobPage, Page, ParseCursorError};
pub use model::{HowEnded, Job, OutputRecord, Scope, Usage};
pub use state::{EndState, JobEvent, JobState, ParseJobStateError};

use pool::Pool;
use writer::Writer;

/// The records. Cheap to clone; clones are the same. When the last one is dropped, what was accepted is still committed.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    epoch: AtomicU64,
    writer: Writer,
    pool: Pool,
}

impl Store {
    /// Opens the database, creates it (mode 0600) if it is missing, and brings an older one up to date. Blocks.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (connection, epoch) = schema::open(path)?;
        let writer = Writer::start(connection).map_err(|e| OpenError::Thread(e.to_string()))?;
        Ok(Self { inner: Arc::new(Inner { epoch: epoch.into(), writer, pool: Pool::new(path) }) })
    }

    /// How often this database was opened, this time included. A restored backup shows by a number that was seen before.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch.load(Ordering::SeqCst)
    }
}
