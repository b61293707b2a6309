//! Jobs against an executor that does what the test says.

mod access;
mod disk;
mod groups;
mod life;
mod spec;
mod start;
mod sync;
mod turns;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use airlock_proto::identity::Role;
use ipc_protocol::{End, Facts, Stream};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::authorize::Caller;
use crate::executor::fake::FakeExecutor;
use crate::output::{Event, LogReader, ReadOptions};
use crate::policy::{Terms, Visibility};
use crate::store::JobState;
use crate::turns::Turns;
use ipc_protocol::JobId;

/// A frontend's jobs, the executor they talk to, and a way to kill the former.
pub(super) struct Rig {
    pub dir: TempDir,
    pub fake: FakeExecutor,
    pub policy: Policy,
    jobs: Option<Jobs>,
    stops: Stops,
    runtime: Option<Runtime>,
}

impl Rig {
    /// Connected and ready.
    pub fn new() -> Self {
        Self::with_policy("")
    }

    /// With a policy file of this text. Tests run on disks of any size, so nothing is reserved unless the text says so.
    pub fn with_policy(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let fake = FakeExecutor::start(dir.path());
        let text = if text.contains("[output]") { text.to_owned() } else { format!("{text}\n[output]\nreserve = 0\n") };
        let policy = Policy::parse(Path::new("policy.toml"), &text).expect("a good policy");
        let mut rig = Self { dir, fake, policy, jobs: None, stops: Stops::default(), runtime: None };
        rig.boot();
        rig.wait_connected();
        rig
    }

    /// Starts the frontend's half.
    pub fn boot(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        self.stops = Stops::default();
        let state = self.dir.path().join("state");
        std::fs::create_dir_all(&state).expect("a folder");
        let policy = Arc::new(ArcSwap::from_pointee(self.policy.clone()));
        let (connector, stops) = (Connector::new(&self.fake.path), self.stops.clone());
        let open = runtime.spawn_blocking(move || Jobs::open(&state, "build1", connector, policy, &stops));
        let jobs = runtime.block_on(open).expect("no panic").expect("the jobs open");
        self.jobs = Some(jobs);
        self.runtime = Some(runtime);
    }

    /// Ends the frontend's half as abruptly as can be done inside one process.
    pub fn kill(&mut self) {
        self.stops.closing.cancel();
        self.stops.quit.cancel();
        self.fake.disconnect();
        if let Some(jobs) = self.jobs.take() {
            jobs.close();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    pub fn jobs(&self) -> Jobs {
        self.jobs.clone().expect("booted")
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("booted")
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(Duration::from_secs(20), work).await };
        self.runtime().block_on(bounded).expect("it ends in time")
    }

    pub fn wait_connected(&self) {
        self.until("a connection", || self.jobs().executor().generation());
    }

    /// Takes the executor away, and waits until the frontend has noticed.
    pub fn take_the_executor_away(&self) {
        self.fake.go_away();
        self.until("the end of the connection", || self.jobs().executor().generation().is_none().then_some(()));
    }

    /// Looks again and again until there is something, at most ten seconds.
    pub fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "{what} did not come");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn start(&self, caller: &Caller, ask: StartAsk) -> Result<Started, JobsError> {
        let jobs = self.jobs();
        self.run(async move { jobs.start(caller, ask).await })
    }

    /// A running job of alice.
    pub fn running(&self) -> JobId {
        let request = uuid::Uuid::new_v4().to_string();
        self.start(&alice(), ask(&request)).expect("it starts").job.id
    }

    pub fn status(&self, job: JobId) -> JobView {
        let jobs = self.jobs();
        self.run(async move { jobs.get(&admin(), &job.to_string()).await }).expect("it is recorded")
    }

    pub fn wait_state(&self, job: JobId, state: JobState) -> JobView {
        self.until(&format!("state {state}"), || Some(self.status(job)).filter(|v| v.job.state == state))
    }

    /// Reads what is there, or to the end of a log that is followed.
    pub fn read(&self, job: JobId, options: ReadOptions) -> (Vec<u8>, Vec<Event>) {
        let jobs = self.jobs();
        self.run(async move {
            let (_, reader) = jobs.output(&admin(), &job.to_string(), options).await.expect("it can be read");
            drain(reader).await
        })
    }

    pub fn exit(&self, job: JobId, code: i32) {
        self.fake.exit(job, End::Exited(code), Facts::default());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn drain(mut reader: LogReader) -> (Vec<u8>, Vec<Event>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    loop {
        let event = reader.next().await.expect("it can be read");
        if let Event::Chunk(chunk) = &event {
            bytes.extend_from_slice(&chunk.bytes);
        }
        let end = matches!(event, Event::End(_));
        events.push(event);
        if end {
            return (bytes, events);
        }
    }
}

pub(super) fn caller(name: &str, role: Role) -> Caller {
    Caller {
        name: name.into(),
        serial: "5e1f".into(),
        peer: SocketAddr::from(([10, 0, 4, 17], 40_000)),
        role,
        visibility: Visibility::Own,
        terms: Terms::default(),
        request_id: format!("call-of-{name}"),
        turns: Turns::default(),
    }
}

pub(super) fn alice() -> Caller {
    caller("alice", Role::User)
}

pub(super) fn bob() -> Caller {
    caller("bob", Role::User)
}

pub(super) fn rita() -> Caller {
    caller("rita", Role::Reader)
}

pub(super) fn admin() -> Caller {
    caller("admin", Role::Admin)
}

pub(super) fn ask(request_id: &str) -> StartAsk {
    StartAsk { request_id: request_id.into(), command: vec![b"true".to_vec()], ..StartAsk::default() }
}

pub(super) const OUT: Stream = Stream::Stdout;
pub(super) const ERR: Stream = Stream::Stderr;
