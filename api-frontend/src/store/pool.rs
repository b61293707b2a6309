//! Connections for queries.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Store, error::StoreError};

/// Queries at a time; more wait their turn.
const CONNECTIONS: usize = 4;

/// Connections that cannot write, opened as they are needed.
#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), turns: Arc::new(Semaphore::new(CONNECTIONS)), idle: Mutex::default() }
    }

    fn take(&self) -> rusqlite::Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }
}

impl Store {
    /// Runs a query. It sees everything that was committed before the call.
    pub(super) async fn read<T, E>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let turn = Arc::clone(&self.inner.pool.turns).acquire_owned().await.map_err(|_| StoreError::Closing)?;
        let inner = Arc::clone(&self.inner);
        let work = spawn_blocking(move || {
            let connection = inner.pool.take().map_err(StoreError::from)?;
            let result = query(&connection);
            inner.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(turn);
            result
        });
        work.await.unwrap_or_else(|e| Err(StoreError::Failed(e.to_string()).into()))
    }
}
