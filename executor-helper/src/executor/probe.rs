//! The proof at every start: one job is born with limits, found in its group, killed, and its end is learnt. A host that cannot do
//! this is told now and not at the first user's job.

use std::time::{Duration, Instant};

use ipc_protocol::{Claimed, End, JobId, LimitsAsk, Spawn};

use super::Executor;
use crate::{
    admission::admit,
    birth::{Passport, fingerprint},
    cgroup::JobGroup,
    config::{FRESH, Profile, RunAs},
    job::Life,
    shared::plan::namespace,
};

const PATIENCE: Duration = Duration::from_secs(10);

impl Executor {
    /// Runs the probe job; the error says what the host lacks.
    pub(super) fn probe(&mut self) -> Result<(), String> {
        let namespaces =
            self.config.profiles.iter().fold(0, |bits, profile| bits | profile.namespaces) & !namespace::NET;
        self.config.profiles.push(probe_profile(namespaces));
        let result = self.run_probe();
        self.config.profiles.pop();
        result.map_err(|why| format!("the probe job failed, so no job could run here: {why}"))
    }

    fn run_probe(&mut self) -> Result<(), String> {
        let mut id = [0u8; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(|e| e.to_string())?;
        let spawn = Spawn {
            job: JobId::from_bytes(id),
            claimed: Claimed { owner: "airlock-executor".into(), ..Claimed::default() },
            profile: PROBE.into(),
            argv: Vec::new(),
            env: Vec::new(),
            cwd: None,
            limits: LimitsAsk::default(),
            input: None,
            merge: false,
        };
        let uid = self.pool.peek().ok_or("no uid of the pool is free")?;
        let plan = admit(&spawn, &self.config, uid).map_err(|refused| refused.message)?;
        let print = fingerprint(&spawn);
        let newborn = self.midwife.bear(&self.hierarchy, &plan, &Passport::new(&print, 0, &plan), None);
        let newborn = newborn.map_err(|e| format!("step {}: {}", e.step.name(), e.why()))?;
        self.receive(&plan, print, newborn).map_err(|e| e.to_string())?;
        let serial = *self.serials.get(&spawn.job).ok_or("the probe job is not held")?;
        let outcome = self.follow_probe(serial, spawn.job);
        self.let_go(serial);
        outcome
    }

    fn follow_probe(&mut self, serial: u64, id: JobId) -> Result<(), String> {
        self.wait_for(serial, |life| *life != Life::Starting)?;
        let group = JobGroup::open(&self.hierarchy, id).map_err(|e| format!("its cgroup: {e}"))?;
        if group.is_empty() {
            return Err("the command was not born in its cgroup".into());
        }
        group.kill().map_err(|e| format!("cgroup.kill: {e}"))?;
        self.wait_for(serial, |life| matches!(life, Life::Ended(_)))?;
        match self.jobs.get(&serial).map(|job| &job.life) {
            Some(Life::Ended(ended)) if matches!(ended.0, End::Signaled { signal: 9, .. }) => Ok(()),
            other => Err(format!("cgroup.kill did not end it as it should: {other:?}")),
        }
    }

    fn wait_for(&mut self, serial: u64, reached: impl Fn(&Life) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let job = self.jobs.get(&serial).ok_or("the probe job is gone")?;
            if reached(&job.life) {
                return Ok(());
            }
            if let Life::Ended(ended) = &job.life {
                return Err(match &ended.0 {
                    End::StartFailed(error) => error.message.clone(),
                    // 8e3599202166: until 7.3 (and stable kernels since) a process cloned from or into a cgroup that was once killed
                    // as a whole dies at birth.
                    other => format!(
                        "it ended at birth ({other:?}); if the executor's own cgroup was once killed, restart its unit"
                    ),
                });
            }
            if begun.elapsed() > PATIENCE {
                return Err("it did not come to life in ten seconds".into());
            }
            let event = job.event.as_ref().ok_or("its keeper is gone")?;
            let mut wait = [rustix::event::PollFd::new(event, rustix::event::PollFlags::IN)];
            let _ = rustix::event::poll(&mut wait, Some(&rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 }));
            self.on_event(serial);
        }
    }
}

const PROBE: &str = "airlock-probe";

// The keeper program itself is the command: it is there, and needs nothing.
fn probe_profile(namespaces: u64) -> Profile {
    let limits = LimitsAsk {
        cpu_milli: Some(500),
        cpu_weight: Some(100),
        memory: Some(64 * 1024 * 1024),
        swap: Some(0),
        pids: Some(16),
        timeout_ms: Some(30_000),
        ..LimitsAsk::default()
    };
    Profile {
        name: PROBE.into(),
        run_as: RunAs::Pool,
        command: Some(vec!["/proc/self/exe".into(), "probe".into()]),
        path: "/".into(),
        env: Vec::new(),
        env_allow: Vec::new(),
        cwd: vec![FRESH.into()],
        umask: 0o022,
        namespaces,
        seccomp: true,
        oom_score: 500,
        rlimits: Vec::new(),
        default: limits,
        max: limits,
        input_max: 0,
    }
}
