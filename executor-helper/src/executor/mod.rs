//! The executor: one thread, one loop, all decisions.

mod adopt;
mod births;
mod connections;
mod effects;
mod ends;
mod inputs;
mod probe;
mod requests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Write,
    path::PathBuf,
};

use ipc_protocol::{Answer, JobId};
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
    io::Errno,
    process::{WaitId, waitid},
};
use sd_notify::NotifyState;
use serde_json::json;

pub use adopt::keepers;

use crate::{
    audit::Audit,
    birth::Midwife,
    body::Body,
    cgroup::Hierarchy,
    config::Config,
    connection::{Closed, Connection},
    job::{Input, Job},
    listener,
    plan::{Plan, Sweep, boot_ns, timespec},
    sys,
    uid_pool::UidPool,
};

// What no descriptor tells, such as the jobs' unit being stopped, is looked for this often.
const LOOK_EVERY_NS: u64 = 5_000_000_000;

// Tokens of epoll. Connections and jobs have even numbers; a job has the next one besides, for its pipes.
const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const STEP: u64 = 2;

/// A job that the executor holds.
#[derive(Debug)]
struct Held {
    job: Job,
    /// `None` for one whose keeper was gone before this executor came.
    body: Option<Body>,
    fingerprint: [u8; 32],
    /// Its directory, and as whom that is emptied.
    sweep: Option<Sweep>,
}

impl Held {
    fn new(job: Job, body: Body, plan: &Plan) -> Self {
        let sweep = |directory| Sweep { uid: plan.entry.uid, gid: plan.gid, directory };
        Self { job, body: Some(body), fingerprint: plan.fingerprint, sweep: plan.directory.clone().map(sweep) }
    }
}

/// Everything that the root process knows.
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
    jobs: HashMap<u64, Held>,
    serials: HashMap<JobId, u64>,
    connections: BTreeMap<u64, Connection>,
    last_token: u64,
    live: Option<u64>,
    inputs: inputs::Inputs,
    /// Jobs with output to send, and whose turn was the last.
    ready: BTreeSet<u64>,
    turn: u64,
    /// Bytes of output that wait for acknowledgement, and jobs that wait for there being fewer.
    in_flight: u64,
    starved: BTreeSet<u64>,
    /// When the first of the jobs wants to be called, on the boot-time clock.
    wake_ns: u64,
    epoch_seen: u64,
    /// Since when starts are counted, on the boot-time clock, and how many there were.
    starts: (u64, u64),
    sweeps: Vec<ends::Sweeping>,
    looked_ns: u64,
}

impl Executor {
    /// Takes everything over: cgroups, audit trail, running jobs, socket. Proves by a probe job that births work.
    pub fn open(config_path: PathBuf, config: Config, listener: OwnedFd, midwife: Midwife) -> Result<Self, String> {
        let signals = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGCHLD];
        let signals = sys::signal_descriptor(&signals).map_err(|e| format!("signals: {e}"))?;
        let inputs = inputs::Inputs::open(&config.work_dir)?;
        let io_device = config.io_device.clone().or_else(|| listener::block_device_of(&config.work_dir));
        let hierarchy = Hierarchy::open(&config.cgroup, io_device)?;
        hierarchy.set_ceilings(&config.ceilings)?;
        let audit = Audit::open(&config.audit).map_err(|e| format!("{}: {e}", config.audit.display()))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| format!("epoll: {e}"))?;
        let mut somewhere = [0u8; 4];
        let _ = rustix::rand::getrandom(&mut somewhere, rustix::rand::GetRandomFlags::empty());
        let pool = UidPool::new(config.uid_pool, u32::from_le_bytes(somewhere));
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
            connections: BTreeMap::new(),
            last_token: 0,
            live: None,
            inputs,
            ready: BTreeSet::new(),
            turn: 0,
            in_flight: 0,
            starved: BTreeSet::new(),
            wake_ns: u64::MAX,
            epoch_seen: 0,
            starts: (0, 0),
            sweeps: Vec::new(),
            looked_ns: 0,
        };
        let watched = executor.watch(&executor.listener, LISTENER, EventFlags::IN);
        watched.and(executor.watch(&executor.signals, SIGNALS, EventFlags::IN)).map_err(|e| format!("epoll: {e}"))?;
        executor.adopt_all()?;
        let probed = executor.probe();
        probed.map_err(|why| format!("the probe job failed, so no job could run here: {why}"))?;
        kill_point!(Probed);
        executor.audit.tell_head();
        Ok(executor)
    }

    /// Serves until SIGTERM. Jobs go on: the next executor adopts them.
    pub fn run(&mut self) -> Result<(), String> {
        let mut events = Vec::with_capacity(256);
        loop {
            events.clear();
            let timeout = timespec(self.next_wake());
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(format!("epoll: {errno}")),
            }
            for event in events.drain(..) {
                let (token, part) = (event.data.u64() & !(STEP - 1), event.data.u64() % STEP);
                match (token, part) {
                    (0, LISTENER) => self.accept(),
                    (0, _) if !self.on_signal() => return Ok(()),
                    (0, _) => {}
                    (token, _) if self.connections.contains_key(&token) => self.on_connection(token),
                    (serial, 0) => self.on_event(serial),
                    (serial, _) => self.pump(serial),
                }
            }
            self.on_time();
            self.send_output();
        }
    }

    fn next_token(&mut self) -> u64 {
        self.last_token = self.last_token.saturating_add(STEP);
        self.last_token
    }

    fn watch(&self, fd: impl AsFd, token: u64, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)
    }

    // The serial numbers of all jobs, for doing something to each.
    fn held(&self) -> Vec<u64> {
        self.jobs.keys().copied().collect()
    }

    // Nanoseconds until something has to be done.
    fn next_wake(&self) -> u64 {
        let patience = self.connections.values().filter_map(|connection| connection.deadline_ns);
        let moments = self.sweeps.iter().map(|sweep| sweep.deadline_ns).chain(patience);
        moments.fold(self.wake_ns, u64::min).saturating_sub(boot_ns()).min(LOOK_EVERY_NS)
    }

    fn on_time(&mut self) {
        let now = boot_ns();
        if self.wake_ns <= now {
            self.held().into_iter().for_each(|serial| self.happen(serial, Input::Tick { boot_ns: now }));
            let next = self.jobs.values().filter_map(|held| held.job.next_wake(now)).min();
            self.wake_ns = next.unwrap_or(u64::MAX);
        }
        let late = self.connections.iter().filter(|(_, c)| c.deadline_ns.is_some_and(|at| at <= now));
        let late: Vec<u64> = late.map(|(token, _)| *token).collect();
        late.into_iter().for_each(|token| self.close(token, Closed::Late));
        self.check_sweeps(now);
        if self.looked_ns.saturating_add(LOOK_EVERY_NS) <= now {
            self.looked_ns = now;
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            self.feed_starved();
            if !self.hierarchy.is_alive() {
                self.lose_everything();
            }
        }
    }

    // False at the end.
    fn on_signal(&mut self) -> bool {
        let mut info = [0u8; 128];
        while let Ok(128) = rustix::io::read(&self.signals, &mut info) {
            match info.first_chunk::<4>().map_or(0, |n| i32::from_le_bytes(*n)) {
                libc::SIGHUP => self.reload(),
                // Keepers that were let go, and sweepers, which their descriptors know too: on_time looks at those.
                libc::SIGCHLD => while let Ok(Some(_)) = waitid(WaitId::All, ends::ENDED_NOHANG) {},
                _ => return false,
            }
        }
        true
    }

    // The old configuration stays in force when the new one is bad.
    fn reload(&mut self) {
        let _ = NotifyState::monotonic_usec_now().map(|now| sd_notify::notify(&[NotifyState::Reloading, now]));
        let loaded = Config::load(&self.config_path);
        match loaded.and_then(|new| self.hierarchy.set_ceilings(&new.ceilings).map(|()| new)) {
            Ok(new) => {
                self.pool.resize(new.uid_pool);
                self.config = new;
                let _ = self.audit.write("reloaded", &[]);
                self.tell(&Answer::Profiles(self.config.infos()));
                log(5, "configuration reloaded");
            }
            Err(error) => {
                // Some of the new ceilings may stand already.
                let _ = self.hierarchy.set_ceilings(&self.config.ceilings);
                let _ = self.audit.write("reload-refused", &[("why", json!(error))]);
                log(3, &format!("{error}; the configuration from {} stays in force", self.config.read_at));
            }
        }
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }
}

/// One line for the journal, with its priority. One that cannot be written is lost; eprintln would end the executor for it.
pub(crate) fn log(priority: u8, message: &str) {
    let _ = writeln!(std::io::stderr(), "<{priority}>airlock-executor: {message}");
}
