//! What a keeper tells, the end of a job, and how everything of it goes away.

use ipc_protocol::{End, Facts, LostReason, Phase};
use rustix::{
    event::epoll,
    fd::AsFd,
    fs::rmdir,
    io::Errno,
    process::{PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid},
};
use serde_json::json;

use super::{Executor, Held, log};
use crate::{
    cgroup::{Hierarchy, JobGroup},
    job::{Input, Life},
    plan::{Sweep, boot_ns, now_ns, timespec},
    sys::Child,
};

/// A directory that is being emptied as its job's user.
#[derive(Debug)]
pub(super) struct Sweeping {
    child: Child,
    sweep: Sweep,
    pub(super) deadline_ns: u64,
}

const SWEEP_DEADLINE_NS: u64 = 60_000_000_000;
pub(super) const ENDED_NOHANG: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);

impl Executor {
    /// The keeper has something to tell, or is gone.
    pub(super) fn on_event(&mut self, serial: u64) {
        let Some(body) = self.jobs.get(&serial).and_then(|held| held.body.as_ref()) else { return };
        match rustix::io::read(&body.event, &mut [0u8; 16]) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(1..) => self.look(serial),
            // Gone without having said how the job ended: nobody can know. What still lives of the job is killed.
            Ok(0) | Err(_) => {
                let _ = epoll::delete(&self.epoll, &body.event);
                let stopped = !self.hierarchy.is_alive();
                self.lose(serial, if stopped { LostReason::JobsUnitStopped } else { LostReason::KeeperDied });
            }
        }
    }

    /// Follows the keeper's record to where it stands.
    pub(super) fn look(&mut self, serial: u64) {
        let Some(Held { job, body: Some(body), .. }) = self.jobs.get(&serial) else { return };
        let (id, Some(record)) = (job.id(), body.record()) else { return };
        if record.started_ns > 0 && *job.life() == Life::Starting {
            let pid = body.command_pid(record.pidfd).unwrap_or(0);
            let (started_ns, deadline_ns) = (record.started_ns, record.deadline_ns);
            self.happen(serial, Input::Started { pid, started_ns, deadline_ns });
        }
        if let Some((end, ended_ns)) = record.end {
            let facts = Facts { deadline_hit: record.deadline_hit, ..JobGroup::of(&self.hierarchy, id).facts() };
            self.happen(serial, Input::Ended { end, facts, ended_ns });
        }
    }

    pub(super) fn lose(&mut self, serial: u64, reason: LostReason) {
        let Some(held) = self.jobs.get(&serial).filter(|held| !held.job.has_ended()) else { return };
        let id = held.job.id();
        log(3, &format!("job {id} is lost: {reason:?}"));
        let group = JobGroup::of(&self.hierarchy, id);
        end_group(&group);
        let facts = group.facts();
        self.happen(serial, Input::Ended { end: End::Lost(reason), facts, ended_ns: now_ns() });
    }

    /// airlock-jobs.service was stopped: every group is gone, and with them every job. New ones can start where it is back.
    pub(super) fn lose_everything(&mut self) {
        if !self.jobs.is_empty() {
            log(2, "the cgroups of all jobs are gone: was airlock-jobs.service stopped?");
        }
        self.held().into_iter().for_each(|serial| self.lose(serial, LostReason::JobsUnitStopped));
        let device = self.hierarchy.io_device.clone();
        if let Ok(hierarchy) = Hierarchy::open(&self.config.cgroup, device)
            && hierarchy.is_alive()
            && hierarchy.set_ceilings(&self.config.ceilings).is_ok()
        {
            log(5, "the cgroups are there again: jobs can start");
            self.hierarchy = hierarchy;
        }
    }

    pub(super) fn audit_end(&mut self, serial: u64) {
        let Some(held) = self.jobs.get(&serial) else { return };
        let Life::Ended { end, facts, .. } = held.job.life() else { return };
        let exit = match end {
            End::Exited(code) => json!({ "code": code }),
            End::Signaled { signal, core } => json!({ "signal": signal, "core": core }),
            End::StartFailed(error) => json!({ "start_error": error.step.name(), "errno": error.errno }),
            End::Lost(reason) => json!({ "lost": format!("{reason:?}") }),
        };
        let entry = held.job.entry();
        let pid = if let Phase::Started { pid, .. } = entry.phase { Some(pid) } else { None };
        let [out, err] = held.job.totals();
        let fields = [
            ("job", json!(entry.job.to_string())),
            ("pid", json!(pid)),
            ("exit", exit),
            ("oom_kills", json!(facts.oom_kills)),
            ("deadline_hit", json!(facts.deadline_hit)),
            ("stop", json!(facts.stop.as_ref().map(|s| json!({ "by": s.by, "signal": s.signal })))),
            ("output", json!({ "bytes": out.saturating_add(err) })),
            ("cpu_ns", json!(facts.cpu_ns)),
            ("memory_peak", json!(facts.memory_peak)),
        ];
        if let Err(error) = self.audit.write("ended", &fields) {
            log(2, &format!("audit: {error}"));
        }
    }

    /// Forgets a job of which nothing lives: keeper, groups, spools, uid.
    pub(super) fn let_go(&mut self, serial: u64) {
        let Some(held) = self.jobs.remove(&serial) else { return };
        let id = held.job.id();
        self.serials.remove(&id);
        self.ready.remove(&serial);
        self.in_flight = self.in_flight.saturating_sub(held.job.in_flight());
        // The groups first: a keeper without a group is what an executor killed right here leaves, and the next one ends it.
        let group = JobGroup::of(&self.hierarchy, id);
        if let Err(errno) = group.remove() {
            // Something still lives in one, for a moment after its kill: the next start of the executor clears what remains.
            end_group(&group);
            if group.remove().is_err() {
                log(3, &format!("the cgroup of job {id} cannot be removed: {errno}"));
            }
        }
        if let Some(body) = held.body
            && let Ok(pidfd) = pidfd_open(body.keeper, PidfdFlags::empty())
            && body.record().is_some()
        {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            kill_point!(KeeperEnded);
        }
        match held.sweep {
            Some(sweep) => self.sweep(sweep),
            None => self.pool.give_back(held.job.uid()),
        }
        self.feed_starved();
    }

    /// Empty directories go at once; others are emptied by a process that has the job's uid and nothing else. The uid is free again when
    /// its directory is gone: there is no other way back into the pool for one that had a directory.
    pub(super) fn sweep(&mut self, sweep: Sweep) {
        if self.remove_directory(&sweep).is_ok() {
            return;
        }
        match self.midwife.sweep(&self.hierarchy, &sweep) {
            Ok(child) => {
                kill_point!(SweeperBorn);
                let deadline_ns = boot_ns().saturating_add(SWEEP_DEADLINE_NS);
                self.sweeps.push(Sweeping { child, sweep, deadline_ns });
            }
            Err(errno) => not_swept(&sweep, errno),
        }
    }

    pub(super) fn check_sweeps(&mut self, now: u64) {
        for mut sweeping in std::mem::take(&mut self.sweeps) {
            let Sweeping { child, sweep, deadline_ns } = &mut sweeping;
            if let Ok(None) = waitid(WaitId::PidFd(child.pidfd.as_fd()), ENDED_NOHANG) {
                if *deadline_ns <= now {
                    let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
                    // Once: what the kernel holds back must not keep the loop awake.
                    *deadline_ns = u64::MAX;
                }
                self.sweeps.push(sweeping);
                continue;
            }
            if let Err(errno) = self.remove_directory(sweep) {
                not_swept(sweep, errno);
            }
        }
    }

    fn remove_directory(&mut self, sweep: &Sweep) -> Result<(), Errno> {
        match rmdir(sweep.directory.as_c_str()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        kill_point!(DirectoryRemoved);
        self.pool.give_back(sweep.uid);
        Ok(())
    }
}

fn not_swept(Sweep { uid, directory, .. }: &Sweep, errno: Errno) {
    log(3, &format!("{} could not be emptied: {errno}; uid {uid} stays out of the pool", directory.to_string_lossy()));
}

// Kills what lives in a job's group and waits for a moment until it is empty. Used where no keeper does it.
fn end_group(group: &JobGroup<'_>) {
    for _ in 0..50 {
        if group.kill().is_err() || group.is_empty() {
            return;
        }
        let _ = rustix::thread::nanosleep(&timespec(1_000_000));
    }
}
