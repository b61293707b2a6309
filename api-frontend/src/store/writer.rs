//! The one thread that changes the records: group commit.

use std::{io, sync::Mutex, thread::JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Store, error::StoreError};

/// Changes that may wait; whoever brings one more waits with it.
const QUEUE: usize = 1024;
/// Most changes in one transaction.
const BATCH: usize = 512;

/// A change, or word that it cannot be tried. It must leave the records whole by each single statement: it is not rolled back
/// alone.
type Change = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Option<Reply> + Send>;
/// Told when the change is on disk, or is not and never will be.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What the thread is given.
struct Work {
    change: Change,
    /// To be answered when it survives a power cut; otherwise when it survives the end of this process.
    durable: bool,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<Work>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn start(connection: Connection) -> io::Result<Self> {
        let (queue, queued) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("records".into()).spawn(move || run(connection, queued))?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        if let Some(thread) = thread {
            // It ends when the queue is empty; a panic of its own was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Makes a change and answers when it is on disk. Dropping the future after the change was queued does not undo it.
    pub(super) async fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.queue(true, work).await
    }

    /// As `write`, and answers when it stands in the journal: a power cut may take it until the next `write` is answered.
    pub(super) async fn write_soon<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.queue(false, work).await
    }

    async fn queue<T, E>(
        &self,
        durable: bool,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        // Answers that cannot be sent belong to callers that went away.
        let change: Change = Box::new(move |connection| match connection {
            Ok(connection) => {
                let result = work(connection);
                Some(Box::new(move |committed: Result<(), StoreError>| {
                    let _ = answer.send(committed.map_err(E::from).and(result));
                }))
            }
            Err(error) => {
                let _ = answer.send(Err(error.into()));
                None
            }
        });
        let queue = self.inner.writer.queue.as_ref().ok_or(StoreError::Closing)?;
        queue.send(Work { change, durable }).await.map_err(|_| StoreError::Closing)?;
        answered.await.map_err(|_| StoreError::Closing)?
    }
}

fn run(connection: Connection, mut queued: mpsc::Receiver<Work>) {
    let mut synchronous = None;
    while let Some(first) = queued.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(work) = queued.try_recv()
        {
            batch.push(work);
        }
        let durable = batch.iter().any(|work| work.durable);
        if synchronous != Some(durable) {
            // FULL synchronises the journal at the commit, and with it all that NORMAL left to the next one.
            let set = connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" });
            synchronous = set.is_ok().then_some(durable);
        }
        if durable && synchronous != Some(true) {
            let error = StoreError::Failed("the database cannot be told to wait for the disk".into());
            batch.into_iter().for_each(|work| drop((work.change)(Err(error.clone()))));
            continue;
        }
        commit(&connection, batch);
    }
}

/// Makes all changes of the batch in one transaction (in several, when SQLite gives one up) and answers each.
fn commit(connection: &Connection, batch: Vec<Work>) {
    let mut replies: Vec<Reply> = Vec::with_capacity(batch.len());
    for work in batch {
        if connection.is_autocommit()
            && let Err(e) = connection.execute_batch("BEGIN IMMEDIATE")
        {
            (work.change)(Err(e.into()));
            continue;
        }
        replies.extend((work.change)(Ok(connection)));
        if connection.is_autocommit() {
            // A full disk or a failing one can end the transaction in the middle: everything in it is gone.
            let error = StoreError::Failed("the database gave up a transaction; its disk is full or failing".into());
            answer(&mut replies, &Err(error));
        }
    }
    if !connection.is_autocommit() {
        kill_point!(ChangesMade);
        let committed = connection.execute_batch("COMMIT").map_err(StoreError::from);
        kill_point!(Committed);
        if committed.is_err() {
            // Fails when SQLite has rolled back already, which is as good.
            let _ = connection.execute_batch("ROLLBACK");
        }
        answer(&mut replies, &committed);
    }
}

fn answer(replies: &mut Vec<Reply>, result: &Result<(), StoreError>) {
    for reply in replies.drain(..) {
        reply(result.clone());
    }
}
