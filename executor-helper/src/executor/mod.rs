//! The executor: one thread, one loop, all decisions.

mod adopt;
mod births;
mod connections;
mod ends;
mod inputs;
mod probe;
mod requests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    path::PathBuf,
    time::Instant,
};

use ipc_protocol::{Answer, JobId, Stream};
use rustix::{
    event::epoll,
    fd::OwnedFd,
    io::Errno,
    process::Pid,
    time::{ClockId, Timespec, clock_gettime},
};
use serde_json::json;

use crate::{
    audit::Audit,
    birth::Midwife,
    cgroup::Hierarchy,
    config::Config,
    connection::{Closed, Connection},
    job::Job,
    listener,
    spool::Taken,
    sys::process,
    uid_pool::UidPool,
};

/// Connections that may be open at once, the live one included.
const CONNECTIONS_MAX: usize = 8;
/// Descriptors that belong to no job: what a birth needs for a moment, connections, inputs, and some.
const DESCRIPTORS_RESERVED: u64 = 256;
/// Descriptors of a job while it lives.
const DESCRIPTORS_PER_JOB: u64 = 5;

const LOOK_EVERY_NS: u64 = 5_000_000_000;

const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const FIRST_CONNECTION: u64 = 2;
const FIRST_JOB: u64 = 1 << 32;

const SIGHUP: u32 = 1;
const SIGTERM: u32 = 15;
const SIGINT: u32 = 2;
const SIGCHLD: u32 = 17;

/// What a moment brings for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Its deadline: ask it to stop.
    Deadline,
    /// The end of a grace: kill its group.
    Kill,
}

/// Everything the root process knows.
pub struct Executor {
    config_path: PathBuf,
    config: Config,
    epoll: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    hierarchy: Hierarchy,
    midwife: Midwife,
    pool: UidPool,
    audit: Audit,
    jobs: HashMap<u64, Job>,
    serials: HashMap<JobId, u64>,
    next_serial: u64,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    live: Option<u64>,
    inputs: inputs::Inputs,
    /// Jobs with output to send, in turn.
    ready: VecDeque<u64>,
    /// Pipes that wait for the in-flight ceiling.
    starved: VecDeque<(u64, Stream)>,
    in_flight: u64,
    timers: BTreeSet<(u64, u64, Timer)>,
    epoch_seen: u64,
    starts: (Option<Instant>, u64),
    released: Vec<Pid>,
    sweeps: Vec<ends::Sweep>,
    looked_ns: u64,
}

impl Executor {
    /// Takes everything over: cgroups, audit trail, running jobs, socket. Proves by a probe job that births work.
    pub fn open(config_path: PathBuf, config: Config, listener: OwnedFd, midwife: Midwife) -> Result<Self, String> {
        let signals =
            process::signal_descriptor(&[SIGHUP, SIGINT, SIGTERM, SIGCHLD]).map_err(|e| format!("signals: {e}"))?;
        let inputs = inputs::Inputs::open(&config.work_dir)?;
        let io_device = config.io_device.clone().or_else(|| listener::block_device_of(&config.work_dir));
        let hierarchy = Hierarchy::open(&config.cgroup, &config.ceilings, io_device)?;
        let audit = Audit::open(&config.audit).map_err(|e| format!("{}: {e}", config.audit.display()))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| format!("epoll: {e}"))?;
        let watch =
            |fd: &OwnedFd, token| epoll::add(&epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN);
        watch(&listener, LISTENER).and_then(|()| watch(&signals, SIGNALS)).map_err(|e| format!("epoll: {e}"))?;
        let mut somewhere = [0u8; 4];
        let _ = rustix::rand::getrandom(&mut somewhere, rustix::rand::GetRandomFlags::empty());
        let pool = UidPool::new(config.pool, u32::from_le_bytes(somewhere));
        let mut executor = Self {
            config_path,
            config,
            epoll,
            listener,
            signals,
            hierarchy,
            midwife,
            pool,
            audit,
            jobs: HashMap::new(),
            serials: HashMap::new(),
            next_serial: FIRST_JOB,
            connections: BTreeMap::new(),
            next_connection: FIRST_CONNECTION,
            live: None,
            inputs,
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            in_flight: 0,
            timers: BTreeSet::new(),
            epoch_seen: 0,
            starts: (None, 0),
            released: Vec::new(),
            sweeps: Vec::new(),
            looked_ns: 0,
        };
        executor.adopt_all()?;
        executor.probe()?;
        executor.audit.tell_head();
        Ok(executor)
    }

    /// Serves until SIGTERM. Jobs go on: the next executor adopts them.
    pub fn run(&mut self) -> Result<(), String> {
        let mut events = Vec::with_capacity(256);
        loop {
            events.clear();
            let timeout = self.next_timeout();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(format!("epoll: {errno}")),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    SIGNALS => {
                        if !self.on_signal() {
                            return Ok(());
                        }
                    }
                    token if token < FIRST_JOB => self.on_connection(token),
                    token => self.on_job(token),
                }
            }
            self.on_time();
            self.send_output();
        }
    }

    fn next_timeout(&self) -> Timespec {
        let now = boot_ns();
        let job = self.timers.first().map(|(at, ..)| at.saturating_sub(now));
        let patience = self.connections.values().filter_map(Connection::deadline).min();
        let patience = patience.map(|at| at.saturating_duration_since(Instant::now()).as_nanos() as u64);
        let sweep = self.sweeps.iter().map(|sweep| sweep.deadline_ns.saturating_sub(now)).min();
        // What no descriptor tells, such as the jobs' unit being stopped, is looked for now and then.
        let ns = [job, patience, sweep].into_iter().flatten().fold(LOOK_EVERY_NS, u64::min);
        Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ }
    }

    fn on_job(&mut self, token: u64) {
        let serial = FIRST_JOB.saturating_add((token.saturating_sub(FIRST_JOB)) / 4);
        match token % 4 {
            0 => self.on_event(serial),
            1 => self.on_pipe(serial, Stream::Stdout),
            _ => self.on_pipe(serial, Stream::Stderr),
        }
    }

    fn on_pipe(&mut self, serial: u64, stream: Stream) {
        let room = self.config.ceilings.output_in_flight.saturating_sub(self.in_flight);
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        match job.take(stream, room, now_ns()) {
            Ok(Taken::Bytes(n)) => {
                self.in_flight = self.in_flight.saturating_add(n);
                self.make_ready(serial);
            }
            Ok(Taken::Nothing) => {}
            // Nothing more is read until an acknowledgement makes room; the job then waits in its write.
            Ok(Taken::Full) => {
                self.unwatch_pipe(serial, stream);
                self.starved.push_back((serial, stream));
            }
            Ok(Taken::End) => self.end_stream(serial, stream),
            Err(errno) => {
                // No memory for the spool is the host's trouble: wait as if the window were full.
                log(3, &format!("output of a job: {errno}"));
                self.unwatch_pipe(serial, stream);
                self.starved.push_back((serial, stream));
            }
        }
    }

    /// Goes on with the pipes that waited for room.
    fn feed_starved(&mut self) {
        for (serial, stream) in std::mem::take(&mut self.starved) {
            self.watch_pipe(serial, stream);
        }
    }

    fn watch_pipe(&self, serial: u64, stream: Stream) {
        if let Some(pipe) =
            self.jobs.get(&serial).and_then(|job| job.spools.iter().find(|s| s.stream == stream)?.pipe.as_ref())
        {
            let token = job_token(serial, if stream == Stream::Stdout { 1 } else { 2 });
            let _ = epoll::add(&self.epoll, pipe, epoll::EventData::new_u64(token), epoll::EventFlags::IN);
        }
    }

    // Closing would not do: the keeper has the same open file, and epoll forgets only what nobody has open.
    fn unwatch_pipe(&self, serial: u64, stream: Stream) {
        if let Some(pipe) =
            self.jobs.get(&serial).and_then(|job| job.spools.iter().find(|s| s.stream == stream)?.pipe.as_ref())
        {
            let _ = epoll::delete(&self.epoll, pipe);
        }
    }

    /// Nothing more comes from this stream.
    fn end_stream(&mut self, serial: u64, stream: Stream) {
        self.unwatch_pipe(serial, stream);
        if let Some(job) = self.jobs.get_mut(&serial) {
            job.spool(stream).pipe = None;
        }
    }

    fn insert(&mut self, job: Job) -> Result<u64, Errno> {
        let serial = self.next_serial;
        self.next_serial = serial.saturating_add(1);
        if let Some(event) = &job.event {
            epoll::add(&self.epoll, event, epoll::EventData::new_u64(job_token(serial, 0)), epoll::EventFlags::IN)?;
        }
        self.in_flight = self.in_flight.saturating_add(job.in_flight());
        self.serials.insert(job.entry.job, serial);
        self.jobs.insert(serial, job);
        Stream::BOTH.into_iter().for_each(|stream| self.watch_pipe(serial, stream));
        Ok(serial)
    }

    fn on_time(&mut self) {
        let now = boot_ns();
        while let Some(&(at, serial, timer)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.on_timer(serial, timer);
        }
        let late = |c: &Connection| c.deadline().is_some_and(|at| at <= Instant::now());
        let late: Vec<u64> = self.connections.iter().filter(|(_, c)| late(c)).map(|(token, _)| *token).collect();
        late.into_iter().for_each(|token| self.close(token, Closed::Late));
        self.check_sweeps(now);
        if self.looked_ns.saturating_add(LOOK_EVERY_NS) <= now {
            self.looked_ns = now;
            listener::notify_alive();
            if !self.hierarchy.is_alive() {
                self.lose_everything();
            }
        }
    }

    // False at the end.
    fn on_signal(&mut self) -> bool {
        let mut info = [0u8; 128];
        while let Ok(128) = rustix::io::read(&self.signals, &mut info) {
            let number = info.first_chunk::<4>().map_or(0, |n| u32::from_le_bytes(*n));
            match number {
                SIGHUP => self.reload(),
                SIGCHLD => self.reap(),
                _ => return false,
            }
        }
        true
    }

    // The old configuration stays in force when the new one is bad.
    fn reload(&mut self) {
        listener::notify_reloading();
        match Config::load(&self.config_path).and_then(|new| {
            self.hierarchy.set_ceilings(&new.ceilings).map_err(crate::config::ConfigError::from)?;
            Ok(new)
        }) {
            Ok(new) => {
                self.pool.resize(new.pool);
                self.config = new;
                let _ = self.audit.write("reloaded", &[]);
                let profiles = self.config.profiles.iter().map(crate::config::Profile::info).collect();
                self.tell(&Answer::Profiles(profiles));
                log(5, "configuration reloaded");
            }
            Err(error) => {
                let _ = self.audit.write("reload-refused", &[("why", json!(error.to_string()))]);
                log(3, &format!("{error}; the configuration in force stays"));
            }
        }
        listener::notify_ready();
    }
}

fn job_token(serial: u64, kind: u64) -> u64 {
    FIRST_JOB.saturating_add(serial.saturating_sub(FIRST_JOB).saturating_mul(4)).saturating_add(kind)
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// Nanoseconds since boot, sleep included.
pub(crate) fn boot_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
}

/// One line for the journal, with its priority.
pub(crate) fn log(priority: u8, message: &str) {
    eprintln!("<{priority}>airlock-executor: {message}");
}
