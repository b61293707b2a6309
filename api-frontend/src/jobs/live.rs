//! Jobs that have not ended, as this process holds them: the machine that decides, the writer of each log, who waits for what.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ipc_protocol::{JobId, SignalOutcome};
use tokio::sync::{oneshot, watch};

use super::machine::{Effect, Input, JobMachine};
use super::start::StartRequest;
use super::told::{Born, Refused};
use crate::output::LogWriter;

/// How far a job has come, as far as its record says so too: each value is set when the record can be read, and an end when it
/// is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Recorded, and the executor is or will be asked.
    Asked,
    /// Its command runs, or ran.
    Running,
    /// It has ended; the record says how.
    Ended,
    /// It was not admitted and has no record any more.
    Refused(Refused),
    /// The executor was never asked and will not be; it has no record any more.
    Withdrawn,
}

/// One live job.
#[derive(Debug)]
pub struct LiveJob {
    /// Its id.
    pub id: JobId,
    progress: watch::Sender<Progress>,
    /// Held for the time of one step and never while something is written: workers that serve clients take it too.
    machine: Mutex<JobMachine>,
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

/// What the effects of a job's machine work with.
#[derive(Debug, Default)]
pub struct Feed {
    /// `None` when the log is closed.
    pub writer: Option<Box<LogWriter>>,
    /// Told by the executor at the birth.
    pub born: Option<Born>,
    /// To be made, as long as it is open what becomes of the start.
    pub request: Option<Arc<StartRequest>>,
    /// It stands in the list of jobs with acknowledgements due.
    pub listed: bool,
}

impl LiveJob {
    /// A job with the writer of its log; none for a log that a process closed which died before it recorded the end.
    pub fn new(id: JobId, machine: JobMachine, writer: Option<LogWriter>, progress: Progress) -> Arc<Self> {
        let feed = Feed { writer: writer.map(Box::new), ..Feed::default() };
        Arc::new(Self {
            id,
            progress: watch::Sender::new(progress),
            machine: Mutex::new(machine),
            feed: Mutex::new(feed),
            asks: Mutex::default(),
        })
    }

    /// Takes one input. What follows is to be done in its order.
    pub fn step(&self, input: Input) -> Vec<Effect> {
        self.machine().step(input)
    }

    /// Looks at where the job stands.
    pub fn machine(&self) -> MutexGuard<'_, JobMachine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows how far it comes.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Notes progress, and never takes any back.
    pub fn advance(&self, to: Progress) {
        self.progress.send_if_modified(|now| {
            let forward = match (&*now, &to) {
                (Progress::Asked, to) => *to != Progress::Asked,
                (Progress::Running, to) => *to == Progress::Ended,
                (Progress::Ended | Progress::Refused(_) | Progress::Withdrawn, _) => false,
            };
            if forward {
                *now = to;
            }
            forward
        });
    }

    /// What its effects work with. Held while output is written.
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

    /// What they are doing, for the storm's statistics. One whose machine is at work is left out.
    #[cfg(feature = "kill-points")]
    pub fn census(&self) -> kill_points::Census {
        kill_points::Census::of(self.all().iter().map(|job| job.machine.try_lock().ok()?.census()))
    }
}
