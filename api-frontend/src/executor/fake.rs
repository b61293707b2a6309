//! An executor for tests: speaks the protocol over a real socket, runs nothing, and does what the test says.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use ipc_protocol::*;

/// What a fake executor remembers of a job, across its own restarts.
#[derive(Debug, Clone)]
pub struct FakeJob {
    pub spawn: Spawn,
    pub input: Vec<u8>,
    pub phase: Phase,
    pub output: [Vec<u8>; 2],
    pub acked: [u64; 2],
    pub end: Option<(End, Facts)>,
    pub told_end: bool,
    /// Who asked first for its end.
    pub stop: Option<StopFact>,
}

#[derive(Debug, Default)]
pub struct World {
    pub jobs: HashMap<JobId, FakeJob>,
    pub inputs: HashMap<JobId, Vec<u8>>,
    pub epoch_seen: u64,
    /// Every request after Hello, in order.
    pub log: Vec<Request>,
    pub hellos: Vec<Hello>,
    /// What to do with the next spawns; empty: start them.
    pub script: VecDeque<OnSpawn>,
    pub connection: Option<UnixStream>,
    /// How many connections there were.
    accepted: u64,
    /// The newest connection has answered the list. Before that, nothing is said on it but the list.
    live: bool,
    pub refuse_connections: bool,
    pub version: Option<Version>,
    pub released: Vec<JobId>,
    /// Requests to stop that it loses.
    pub deaf_to_stops: u32,
    /// Jobs go on after a stop until the test ends them.
    pub jobs_outlive_stops: bool,
}

/// What the fake does with a Spawn.
#[derive(Debug, Clone)]
pub enum OnSpawn {
    /// Starts it and says so.
    Start,
    /// Starts it, and it ends at once with this code.
    StartAndEnd(i32),
    /// Starts it, and the connection breaks before it says so.
    StartAndBreak,
    /// The connection breaks before it was read.
    BreakBefore,
    /// Admits it not.
    Refuse(Refusal, &'static str, &'static str),
    /// Its birth fails.
    NotStarted(Step, i32),
    /// Says nothing.
    Silent,
}

#[derive(Debug, Clone)]
pub struct FakeExecutor {
    pub path: PathBuf,
    world: Arc<(Mutex<World>, Condvar)>,
}

pub const PROFILE_MEMORY_MAX: u64 = 16 << 30;

pub fn profiles() -> Vec<ProfileInfo> {
    let default = limits();
    let max = default.with(Limit::Cpu, 8000).with(Limit::Memory, PROFILE_MEMORY_MAX).with(Limit::Pids, 4096);
    let standard = ProfileInfo {
        name: "standard".into(),
        default,
        max: max.with(Limit::Timeout, 604_800_000).with(Limit::CpuWeight, 10_000).with(Limit::Input, 1 << 20),
        command: Vec::new(),
        network: true,
        fresh_cwd: true,
        cwd: vec!["/srv/src".into()],
        path: "/usr/local/bin:/usr/bin:/bin".into(),
    };
    let fixed = ProfileInfo {
        name: "deploy-web".into(),
        command: vec!["/usr/local/bin/deploy-web".into()],
        ..standard.clone()
    };
    vec![standard, fixed]
}

pub fn limits() -> Limits {
    [
        (Limit::Cpu, 2000),
        (Limit::CpuWeight, 100),
        (Limit::Memory, 1 << 30),
        (Limit::Swap, 0),
        (Limit::Pids, 512),
        (Limit::Timeout, 86_400_000),
    ]
    .into_iter()
    .fold(Limits::default(), |limits, (limit, value)| limits.with(limit, value))
}

impl FakeExecutor {
    /// Listens on a socket in `dir`, for as long as the process lives.
    pub fn start(dir: &Path) -> Self {
        let path = dir.join("executor.sock");
        let listener = UnixListener::bind(&path).expect("the socket can be bound");
        let fake = Self { path, world: Arc::default() };
        let this = fake.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let mut world = this.world();
                if world.refuse_connections {
                    continue;
                }
                if let Some(old) = world.connection.take() {
                    let _ = old.shutdown(Shutdown::Both);
                }
                world.connection = socket.try_clone().ok();
                world.accepted += 1;
                world.live = false;
                let number = world.accepted;
                drop(world);
                let this = this.clone();
                thread::spawn(move || this.serve(socket, number));
            }
        });
        fake
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.0.lock().expect("no test panics while it holds the world")
    }

    /// Waits until the world is as wished, at most ten seconds.
    pub fn wait(&self, what: &str, wish: impl Fn(&World) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        let mut world = self.world();
        while !wish(&world) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not come; requests: {:?}", world.log);
            world = self.world.1.wait_timeout(world, left).expect("the lock is good").0;
        }
    }

    /// Breaks the connection; the jobs stay.
    pub fn disconnect(&self) {
        if let Some(socket) = self.world().connection.take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Away until told otherwise.
    pub fn go_away(&self) {
        self.world().refuse_connections = true;
        self.disconnect();
    }

    pub fn come_back(&self) {
        self.world().refuse_connections = false;
    }

    /// The job writes.
    pub fn write(&self, job: JobId, stream: Stream, bytes: &[u8]) {
        let mut world = self.world();
        let known = world.jobs.get_mut(&job).expect("the job exists");
        let offset = known.output[stream as usize].len() as u64;
        known.output[stream as usize].extend_from_slice(bytes);
        if !world.live {
            return;
        }
        for (i, part) in bytes.chunks(OUTPUT_BYTES_MAX).enumerate() {
            let offset = offset + (i * OUTPUT_BYTES_MAX) as u64;
            say(
                &world,
                &Answer::Output { job, stream, offset, time_ns: 1_000 + offset, recovered: false, bytes: part },
            );
        }
    }

    /// Starts after all what it was silent about.
    pub fn bear(&self, job: JobId) {
        let mut world = self.world();
        let asked = world.log.iter().rev().find_map(|request| match request {
            Request::Spawn(spawn) if spawn.job == job => Some((**spawn).clone()),
            _ => None,
        });
        spawned(&mut world, asked.expect("it was asked for"));
    }

    /// The job ends.
    pub fn exit(&self, job: JobId, end: End, facts: Facts) {
        let mut world = self.world();
        world.jobs.get_mut(&job).expect("the job exists").end = Some((end, facts));
        if world.live {
            tell_end(&mut world, job);
        }
    }

    fn serve(&self, mut socket: UnixStream, number: u64) -> Option<()> {
        let body = read_frame(&mut socket)?;
        let (_, hello) = Hello::decode(&body).expect("a good hello");
        {
            let mut world = self.world();
            world.hellos.push(hello.clone());
            let (version, epoch_seen) = (world.version.or(Some(1)).filter(|v| *v != 0), world.epoch_seen);
            let speaks = [world.version.unwrap_or(1).max(1); 2];
            world.epoch_seen = epoch_seen.max(hello.epoch);
            let welcome = Answer::Welcome { version, speaks, epoch_seen, build: "fake".into(), cgroups: "v2".into() };
            write_answer(&mut socket, &welcome);
            write_answer(&mut socket, &Answer::Profiles(profiles()));
            for (id, job) in &world.jobs {
                let entry = JobEntry {
                    job: *id,
                    claimed: job.spawn.claimed.clone(),
                    profile: job.spawn.profile.clone(),
                    argv: job.spawn.argv.clone(),
                    phase: job.phase,
                    uid: 1_900_000_000,
                    limits: limits(),
                    input: job.spawn.input,
                    merge: job.spawn.merge,
                    acked: job.acked,
                };
                write_answer(&mut socket, &Answer::Job(Box::new(entry)));
            }
            write_answer(&mut socket, &Answer::SyncEnd);
            self.world.1.notify_all();
        }
        let mut resumed = Vec::new();
        loop {
            let body = read_frame(&mut socket)?;
            let request = decode_request(&body).expect("a good request");
            let mut world = self.world();
            world.log.push(request.clone());
            match request {
                Request::Resume { job, have } => resumed.push((job, have)),
                Request::SyncEnd => {
                    for (id, have) in resumed.drain(..) {
                        let job = world.jobs.get_mut(&id).expect("only listed jobs are resumed").clone();
                        for stream in Stream::BOTH {
                            let from = have[stream as usize];
                            let bytes = job.output[stream as usize].get(from as usize..).expect("not beyond the end");
                            let (recovered, time_ns) = (true, 2_000);
                            for (i, part) in bytes.chunks(OUTPUT_BYTES_MAX).enumerate() {
                                let offset = from + (i * OUTPUT_BYTES_MAX) as u64;
                                say(
                                    &world,
                                    &Answer::Output { job: id, stream, offset, time_ns, recovered, bytes: part },
                                );
                            }
                        }
                        if job.end.is_some() {
                            tell_end(&mut world, id);
                        }
                    }
                    world.live = number == world.accepted;
                }
                Request::Input { job, offset, bytes } => {
                    let input = world.inputs.entry(job).or_default();
                    assert_eq!(offset, if offset == 0 { 0 } else { input.len() as u64 });
                    if offset == 0 {
                        input.clear();
                    }
                    input.extend(bytes);
                }
                Request::Spawn(spawn) => spawned(&mut world, *spawn),
                Request::Ack { job, stream, offset } => {
                    if let Some(job) = world.jobs.get_mut(&job) {
                        job.acked[stream as usize] = offset;
                    }
                }
                Request::Stop { .. } if world.deaf_to_stops > 0 => world.deaf_to_stops -= 1,
                Request::Stop { job, signal, by, .. } => {
                    let known = world.jobs.get_mut(&job).map(|job| job.end.is_some());
                    let outcome = match known {
                        None => SignalOutcome::Unknown,
                        Some(true) => SignalOutcome::NotRunning,
                        Some(false) => SignalOutcome::Sent,
                    };
                    say(&world, &Answer::Stopped { job, outcome });
                    if outcome == SignalOutcome::Sent {
                        let outlived = world.jobs_outlive_stops;
                        let known = world.jobs.get_mut(&job).expect("known");
                        known.stop.get_or_insert(StopFact { by: by.owner, signal, at_ns: 5 });
                        if !outlived {
                            known.end = Some((End::Signaled { signal, core: false }, Facts::default()));
                            tell_end(&mut world, job);
                        }
                    }
                }
                Request::Signal { job, .. } => {
                    let running = world.jobs.get(&job).is_some_and(|j| j.end.is_none());
                    let outcome = if running { SignalOutcome::Sent } else { SignalOutcome::NotRunning };
                    say(&world, &Answer::Signalled { job, outcome });
                }
                Request::Release { job } => {
                    world.jobs.remove(&job);
                    world.released.push(job);
                }
            }
            self.world.1.notify_all();
        }
    }
}

fn spawned(world: &mut World, spawn: Spawn) {
    let job = spawn.job;
    let step = world.script.pop_front().unwrap_or(OnSpawn::Start);
    match step {
        OnSpawn::Start | OnSpawn::StartAndEnd(_) | OnSpawn::StartAndBreak => {
            let phase = Phase::Started { pid: 4711, started_ns: 1_000_000 };
            let input = world.inputs.remove(&job).unwrap_or_default();
            let new = FakeJob {
                spawn,
                input,
                phase,
                output: Default::default(),
                acked: [0; 2],
                end: None,
                told_end: false,
                stop: None,
            };
            world.jobs.entry(job).or_insert(new);
            if matches!(step, OnSpawn::StartAndBreak) {
                return break_off(world);
            }
            let (pid, uid, started_ns) = (4711, 1_900_000_000, 1_000_000);
            say(world, &Answer::Spawned { job, pid, uid, started_ns, limits: limits() });
            if let OnSpawn::StartAndEnd(code) = step {
                world.jobs.get_mut(&job).expect("it was started").end = Some((End::Exited(code), Facts::default()));
                tell_end(world, job);
            }
        }
        OnSpawn::BreakBefore => break_off(world),
        OnSpawn::Refuse(refusal, field, message) => {
            say(world, &Answer::Refused { job, refusal, field: field.into(), message: message.into() });
        }
        OnSpawn::NotStarted(step, errno) => {
            say(world, &Answer::NotStarted { job, error: StartError::new(step, errno) });
        }
        OnSpawn::Silent => {}
    }
}

fn break_off(world: &mut World) {
    if let Some(socket) = world.connection.take() {
        let _ = socket.shutdown(Shutdown::Both);
    }
}

fn tell_end(world: &mut World, job: JobId) {
    let known = world.jobs.get_mut(&job).expect("the job exists");
    let Some((end, mut facts)) = known.end.clone() else { return };
    facts.stop = facts.stop.or(known.stop.clone());
    known.told_end = true;
    let totals = [known.output[0].len() as u64, known.output[1].len() as u64];
    say(world, &Answer::Exited { job, end, facts: Box::new(facts), totals, ended_ns: 9_000_000 });
}

fn say(world: &World, answer: &Answer<'_>) {
    if let Some(mut socket) = world.connection.as_ref() {
        write_to(&mut socket, answer);
    }
}

fn write_answer(socket: &mut UnixStream, answer: &Answer<'_>) {
    write_to(socket, answer);
}

fn write_to(socket: &mut impl Write, answer: &Answer<'_>) {
    let body = encode_answer(answer).expect("answers of tests fit");
    // A broken connection is what some tests are about.
    let _ = socket.write_all(&frame_header(body.len())).and_then(|()| socket.write_all(&body));
}

fn read_frame(socket: &mut UnixStream) -> Option<Vec<u8>> {
    let mut header = [0; 4];
    socket.read_exact(&mut header).ok()?;
    let mut body = vec![0; body_length(header, REQUEST_FRAME_MAX).ok()?];
    socket.read_exact(&mut body).ok()?;
    Some(body)
}
