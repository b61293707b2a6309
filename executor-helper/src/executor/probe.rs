//! The proof at every start: one job is born with limits, found in its group, killed, and its end is learnt. A host that cannot do
//! this is told now and not at the first user's job.

use std::time::{Duration, Instant};

use ipc_protocol::{Claimed, End, JobId, Limit, Limits, Spawn};
use rustix::event::{PollFd, PollFlags, poll};

use super::{Executor, Held};
use crate::{
    admission::admit,
    cgroup::JobGroup,
    config::Profile,
    job::{Job, Life},
    plan::{namespace, timespec},
};

const PATIENCE: Duration = Duration::from_secs(10);
const PROBE: &str = "airlock-probe";

impl Executor {
    /// Runs the probe job; the error says what the host lacks.
    pub(super) fn probe(&mut self) -> Result<(), String> {
        let mut id = [0u8; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(|e| e.to_string())?;
        let spawn = Spawn {
            job: JobId::from_bytes(id),
            claimed: Claimed { owner: "airlock-executor".into(), ..Claimed::default() },
            profile: PROBE.into(),
            // A tenth of a core, for it may be more than all jobs together are to have.
            limits: Limits::default().with(Limit::Timeout, 30_000).with(Limit::Cpu, 100),
            ..Spawn::default()
        };
        let uid = self.pool.peek().ok_or("no uid of the pool is free")?;
        let used = self.config.profiles.values().fold(0, |bits, profile| bits | profile.namespaces) & !namespace::NET;
        self.config.profiles.insert(PROBE.into(), Profile::probe(PROBE, used));
        let admitted = admit(&spawn, &self.config, uid, 0);
        self.config.profiles.remove(PROBE);
        let plan = admitted.map_err(|refused| refused.message)?;
        let born = self.midwife.bear(&self.hierarchy, &plan, None);
        let body = born.map_err(|e| format!("step {}: {}", e.step.name(), e.why()))?;
        let serial = self.hold(Held::new(Job::new(plan.entry.clone(), false), body, &plan));
        let outcome = self.follow_probe(serial, spawn.job);
        self.let_go(serial);
        outcome
    }

    fn follow_probe(&mut self, serial: u64, id: JobId) -> Result<(), String> {
        let (begun, mut killed) = (Instant::now(), false);
        while begun.elapsed() < PATIENCE {
            let Held { job, body: Some(body), .. } = self.jobs.get(&serial).ok_or("the probe job is gone")? else {
                return Err("its keeper is gone".into());
            };
            match job.life() {
                Life::Running if !killed => {
                    let group = JobGroup::of(&self.hierarchy, id);
                    if group.is_empty() {
                        return Err("the command was not born in its cgroup".into());
                    }
                    group.kill().map_err(|e| format!("cgroup.kill: {e}"))?;
                    killed = true;
                }
                Life::Starting | Life::Running => {}
                Life::Ended { end: End::Signaled { signal: 9, .. }, .. } => return Ok(()),
                // 8e3599202166: until 7.3 (and stable kernels since) a process cloned from or into a cgroup that was once killed as a
                // whole dies at birth.
                Life::Ended { end: End::StartFailed(error), .. } if error.errno == 0 => {
                    return Err("it died at birth; if the executor's cgroup was once killed, restart its unit".into());
                }
                Life::Ended { end: End::StartFailed(error), .. } => {
                    return Err(format!("step {}: {}", error.step.name(), error.why()));
                }
                other => return Err(format!("cgroup.kill did not end it as it should: {other:?}")),
            }
            let _ = poll(&mut [PollFd::new(&body.event, PollFlags::IN)], Some(&timespec(1_000_000_000)));
            self.on_event(serial);
        }
        Err(if killed { "cgroup.kill did not end it" } else { "it did not come to life" }.to_owned()
            + " in ten seconds")
    }
}
