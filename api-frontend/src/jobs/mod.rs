//! Jobs: started, watched, stopped, remembered. Knows nothing of gRPC or TLS.
//!
//! What is done about a job is decided by its machine (`machine`) and nowhere else: a pure function from what happens to what is
//! to be done. It is recorded (`queued`) before the executor is asked (`start`), fed by the executor's answers on their own
//! thread (`feed`), ended by one write of its record after its log is closed (`end`), and only then released on the executor's
//! side. Whatever breaks in between is mended by the comparison at the next connection (`sync`). `act` carries the decisions out.

mod act;
mod admission;
mod counts;
mod end;
mod error;
mod feed;
mod housekeeping;
mod inputs;
mod kept;
mod live;
mod machine;
mod manage;
mod spec;
mod start;
mod start_error;
mod sync;
mod told;
mod verdict;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use ipc_protocol::ProfileInfo;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::executor::{self, Connector, Link, LinkState};
use crate::output::{OutputError, OutputLogs};
use crate::policy::{Policy, WhenFull};
use crate::store::{OpenError, Store, StoreError};

pub use admission::GroupView;
pub use counts::JobCounts;
pub use error::{JobsError, short};
pub use inputs::{Upload, Uploaded};
pub use manage::{JobView, Listing, Waited};
pub use spec::{StartAsk, StartSpec, is_request_id};
pub use start::Started;
pub use verdict::{exit_status, verdict};

use inputs::Inputs;
use live::{LiveJob, LiveJobs, Progress};
use machine::JobMachine;

/// Why the jobs could not be set up. The operator is at fault, or the disk.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The state folder cannot be used.
    #[error("{}: {source}", path.display())]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The records cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The records cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output logs cannot be used.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The system gives no thread.
    #[error("no thread for the executor's connection: {0}")]
    Thread(io::Error),
}

/// The two steps in which the frontend ends.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    /// No new connections; streams and long waits end with UNAVAILABLE, so that their clients come back to the next process.
    pub closing: CancellationToken,
    /// Whatever still waits ends.
    pub quit: CancellationToken,
}

/// All jobs of this host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    core: Arc<Core>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

#[derive(Debug)]
struct Core {
    host: String,
    store: Store,
    logs: OutputLogs,
    inputs: Inputs,
    live: LiveJobs,
    link: Link,
    policy: Arc<ArcSwap<Policy>>,
    profiles: ArcSwap<Vec<ProfileInfo>>,
    counts: JobCounts,
    runtime: Handle,
    closing: CancellationToken,
    stop: CancellationToken,
    /// A log could not be written; somebody is waiting for room already.
    disk_trouble: std::sync::atomic::AtomicBool,
    /// How often in a row that was so, with nothing written in between.
    disk_failures: std::sync::atomic::AtomicU32,
}

impl Jobs {
    /// Opens records and logs below `state_dir`, takes up the jobs that live, and begins to connect to the executor. Blocks, and
    /// needs a runtime around it. `stop` ends what waits.
    pub fn open(
        state_dir: &Path,
        host: &str,
        connector: Connector,
        policy: Arc<ArcSwap<Policy>>,
        stops: &Stops,
    ) -> Result<Self, SetupError> {
        let store = Store::open(&state_dir.join("records.db"))?;
        let logs = OutputLogs::open(&state_dir.join("output"))?;
        let input_dir = state_dir.join("input");
        let inputs = Inputs::open(&input_dir).map_err(|source| SetupError::Folder { path: input_dir, source })?;
        let runtime = Handle::current();
        let live = LiveJobs::default();
        for record in runtime.block_on(store.live())? {
            let born = record.started_ns.is_some();
            let progress = if born { Progress::Running } else { Progress::Asked };
            let (machine, writer) = match logs.writer(record.id, record.output_limit) {
                Ok(writer) => (JobMachine::found(born, writer.lengths(), false), Some(writer)),
                // The log was closed, and then this program died before it could record the end.
                Err(OutputError::Closed { .. }) => {
                    (JobMachine::found(born, logs.totals(record.id)?.streams, true), None)
                }
                Err(error) => return Err(error.into()),
            };
            live.insert(LiveJob::new(record.id, machine, writer, progress));
        }
        let mut made = None;
        let make_sink = |link: Link| {
            let core = Arc::new(Core {
                host: host.to_owned(),
                store,
                logs,
                inputs,
                live,
                link,
                policy,
                profiles: ArcSwap::default(),
                counts: JobCounts::default(),
                runtime,
                closing: stops.closing.clone(),
                stop: stops.quit.clone(),
                disk_trouble: false.into(),
                disk_failures: 0.into(),
            });
            made = Some(core.clone());
            #[cfg(feature = "kill-points")]
            {
                let core = Arc::downgrade(&core);
                kill_points::count_with(move || core.upgrade().map(|core| core.live.census()).unwrap_or_default());
            }
            kill_point!(LogsTakenUp);
            feed::ExecutorSink::new(core)
        };
        let (link, threads) = executor::start(connector, make_sink).map_err(SetupError::Thread)?;
        let Some(core) = made else {
            link.stop();
            return Err(SetupError::Thread(io::Error::other("not started")));
        };
        Ok(Self { core, threads: Arc::new(Mutex::new(threads)) })
    }

    /// The server's own name.
    pub fn host(&self) -> &str {
        &self.core.host
    }

    /// How the connection to the executor stands.
    pub fn executor(&self) -> LinkState {
        self.core.link.state()
    }

    /// The profiles that the executor last told of; the first is the default. Empty until it was met.
    pub fn profiles(&self) -> Arc<Vec<ProfileInfo>> {
        self.core.profiles.load_full()
    }

    /// How many jobs live.
    pub fn live_count(&self) -> usize {
        self.core.live.len()
    }

    /// Ends the connection to the executor. Jobs run on. Blocks. The records are closed when the last handle goes.
    pub fn close(&self) {
        self.core.link.stop();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the executor's connection ended badly");
            }
        }
    }
}

impl From<WhenFull> for crate::output::WhenFull {
    fn from(when: WhenFull) -> Self {
        match when {
            WhenFull::DropOldest => Self::DropOldest,
            WhenFull::Wait => Self::Wait,
            WhenFull::Stop => Self::Stop,
        }
    }
}

/// Nanoseconds since 1970.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
