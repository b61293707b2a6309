//! Jobs that have not ended, as this process holds them: the writer of each log, and who waits for what.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ipc_protocol::{JobId, Limits, Refusal, SignalOutcome, Stream};
use tokio::sync::{oneshot, watch};

use crate::output::{GapReason, LogWriter};

/// How far a job has come, as far as its record says so too: each value is set when the record is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Recorded, and the executor is or will be asked.
    Asked,
    /// Its command runs, or ran.
    Running,
    /// It has ended; the record says how.
    Ended,
    /// It was not admitted and has no record any more.
    Refused {
        /// The class of reason.
        refusal: Refusal,
        /// The field at fault.
        field: String,
        /// One sentence.
        message: String,
    },
    /// The executor was never asked and will not be; it has no record any more.
    Withdrawn,
}

/// One live job.
#[derive(Debug)]
pub struct LiveJob {
    /// Its id.
    pub id: JobId,
    progress: watch::Sender<Progress>,
    /// The number of the last connection in whose list it stood.
    seen: AtomicU64,
    /// A start is under way in this process: the comparison leaves the job to it.
    starting: AtomicBool,
    feed: Mutex<Feed>,
    asks: Mutex<VecDeque<(AskKind, oneshot::Sender<SignalOutcome>)>>,
}

/// What was asked of the executor about one job; it answers each kind in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskKind {
    /// A stop.
    Stop,
    /// A signal.
    Signal,
}

/// Where a job's output goes.
#[derive(Debug)]
pub struct Feed {
    /// What it does at present.
    pub sink: FeedSink,
    /// Acknowledgements that are due: the length of each stream's log.
    pub due: [Option<u64>; 2],
    /// It stands in the list of jobs with something due.
    pub listed: bool,
    /// Told by the executor at the birth.
    pub born: Option<Born>,
    /// The stop for a full log was asked for.
    pub stop_sent: bool,
    /// What became of the job is known, and its record is being written.
    pub ending: bool,
}

/// Told by the executor at the birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Born {
    /// On the host.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// Nanoseconds since 1970.
    pub started_ns: u64,
    /// In force.
    pub limits: Limits,
}

/// What becomes of bytes.
#[derive(Debug)]
pub enum FeedSink {
    /// They go to the log.
    Log(Box<LogWriter>),
    /// The log takes no more at present: bytes are dropped here, not acknowledged, and come again later or never.
    Held(Box<LogWriter>, Hold),
    /// The log is closed with so many bytes of each stream, the record about to be; what comes again is acknowledged and
    /// dropped.
    Closed([u64; 2]),
}

/// Why a log takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It has reached its cap, and the job waits in its write.
    Cap,
    /// The disk is full, or fails. When it works again, a new connection brings the bytes again.
    Disk,
}

impl LiveJob {
    /// A job that will be asked for, or that a record speaks of.
    pub fn new(id: JobId, writer: LogWriter, progress: Progress) -> Arc<Self> {
        Self::with(id, FeedSink::Log(Box::new(writer)), progress)
    }

    /// A job whose log, of so many bytes of each stream, was closed by a process that died before it recorded the end.
    pub fn closed(id: JobId, lengths: [u64; 2], progress: Progress) -> Arc<Self> {
        Self::with(id, FeedSink::Closed(lengths), progress)
    }

    fn with(id: JobId, sink: FeedSink, progress: Progress) -> Arc<Self> {
        let feed = Feed { sink, due: [None; 2], listed: false, born: None, stop_sent: false, ending: false };
        Arc::new(Self {
            id,
            progress: watch::Sender::new(progress),
            seen: AtomicU64::new(0),
            starting: AtomicBool::new(false),
            feed: Mutex::new(feed),
            asks: Mutex::default(),
        })
    }

    /// Follows how far it comes.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Notes progress, and never takes any back.
    pub fn advance(&self, to: Progress) {
        self.progress.send_if_modified(|now| {
            let forward = match (&*now, &to) {
                (Progress::Asked, to) => *to != Progress::Asked,
                (Progress::Running, to) => *to == Progress::Ended,
                (Progress::Ended | Progress::Refused { .. } | Progress::Withdrawn, _) => false,
            };
            if forward {
                *now = to;
            }
            forward
        });
    }

    /// Notes that it stood in the list of a connection.
    pub fn set_seen(&self, generation: u64) {
        self.seen.store(generation, Ordering::SeqCst);
    }

    /// Whether it stood in the list of that connection.
    pub fn was_seen(&self, generation: u64) -> bool {
        self.seen.load(Ordering::SeqCst) == generation
    }

    /// Notes whether a start is under way in this process.
    pub fn set_starting(&self, starting: bool) {
        self.starting.store(starting, Ordering::SeqCst);
    }

    /// Whether a start is under way in this process.
    pub fn is_starting(&self) -> bool {
        self.starting.load(Ordering::SeqCst)
    }

    /// Where its output goes.
    pub fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an answer of this kind. To be called before the request is sent.
    pub fn expect(&self, kind: AskKind) -> oneshot::Receiver<SignalOutcome> {
        let (sender, receiver) = oneshot::channel();
        self.asks().push_back((kind, sender));
        receiver
    }

    /// Takes back the newest expectation of this kind: its request could not be sent.
    pub fn expect_no_more(&self, kind: AskKind) {
        let mut asks = self.asks();
        if let Some(at) = asks.iter().rposition(|(k, _)| *k == kind) {
            asks.remove(at);
        }
    }

    /// An answer came.
    pub fn answered(&self, kind: AskKind, outcome: SignalOutcome) {
        let mut asks = self.asks();
        if let Some((_, waiting)) = asks.iter().position(|(k, _)| *k == kind).and_then(|at| asks.remove(at)) {
            // The caller may have gone.
            let _ = waiting.send(outcome);
        }
    }

    /// The connection is gone, and no answer will come.
    pub fn unanswered(&self) {
        self.asks().clear();
    }

    fn asks(&self) -> MutexGuard<'_, VecDeque<(AskKind, oneshot::Sender<SignalOutcome>)>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    /// Bytes of each stream that the log answers for.
    pub fn lengths(&self) -> [u64; 2] {
        match &self.sink {
            FeedSink::Log(writer) | FeedSink::Held(writer, _) => writer.lengths(),
            FeedSink::Closed(lengths) => *lengths,
        }
    }

    /// Whether it is known what became of the start.
    pub fn is_decided(&self) -> bool {
        self.born.is_some() || self.ending
    }

    /// Takes the writer out, to close the log; `None` when somebody did before.
    pub fn close(&mut self) -> Option<(Box<LogWriter>, Option<Hold>)> {
        let lengths = self.lengths();
        match std::mem::replace(&mut self.sink, FeedSink::Closed(lengths)) {
            FeedSink::Log(writer) => Some((writer, None)),
            FeedSink::Held(writer, hold) => Some((writer, Some(hold))),
            FeedSink::Closed(_) => None,
        }
    }

    /// The log takes no more, until further notice.
    pub fn hold(&mut self, hold: Hold) {
        if let Some((writer, _)) = self.close() {
            self.sink = FeedSink::Held(writer, hold);
        }
    }

    /// A new connection: nothing is due on it, and what was held for the disk's sake is tried again. `from` is where the
    /// executor's output begins; what the log lacks before that is gone. Gives where output is to go on.
    pub fn resume(&mut self, from: [u64; 2]) -> [u64; 2] {
        self.due = [None; 2];
        self.listed = false;
        if let FeedSink::Held(_, Hold::Disk) = self.sink
            && let Some((writer, _)) = self.close()
        {
            self.sink = FeedSink::Log(writer);
        }
        if let FeedSink::Log(writer) | FeedSink::Held(writer, _) = &mut self.sink {
            for (stream, offset) in Stream::BOTH.into_iter().zip(from) {
                writer.skip(stream, offset, GapReason::Lost);
            }
        }
        self.lengths()
    }

    /// Notes that everything below `length` of a stream can be acknowledged.
    pub fn set_due(&mut self, stream: Stream, length: u64) {
        self.due[stream as usize] = Some(length);
    }
}

/// All live jobs.
#[derive(Debug, Default)]
pub struct LiveJobs {
    table: RwLock<HashMap<JobId, Arc<LiveJob>>>,
}

impl LiveJobs {
    /// The job, if it lives.
    pub fn get(&self, id: JobId) -> Option<Arc<LiveJob>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Adds a job.
    pub fn insert(&self, job: Arc<LiveJob>) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).insert(job.id, job);
    }

    /// Takes a job out.
    pub fn remove(&self, id: JobId) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// All of them, at this moment.
    pub fn all(&self) -> Vec<Arc<LiveJob>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
