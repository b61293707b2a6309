//! The end of a job: what is final and when, what is told, and how everything of it goes away.

use std::path::PathBuf;

use ipc_protocol::{Answer, End, JobId, LostReason};
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use serde_json::json;

use super::{Executor, Timer, boot_ns, log, now_ns, requests};
use crate::{
    cgroup::JobGroup,
    job::{Job, Life},
    shared::status::KeeperStatus,
    spool::Taken,
    sys::process::Child,
};

/// A directory that is being emptied as its job's user.
#[derive(Debug)]
pub(super) struct Sweep {
    child: Child,
    uid: Option<u32>,
    directory: PathBuf,
    pub(super) deadline_ns: u64,
}

/// The most that fs.pipe-max-size lets an unprivileged process make of a pipe, by default.
const PIPE_MAX: u64 = 1024 * 1024;
const SWEEP_DEADLINE_NS: u64 = 60_000_000_000;

impl Executor {
    /// The keeper says that the command ended and that nothing of the job lives.
    pub(super) fn ended(&mut self, serial: u64, status: &KeeperStatus) {
        let Some(job) = self.jobs.get_mut(&serial).filter(|job| !matches!(job.life, Life::Ended(_))) else { return };
        let number = status.wait_status as u8;
        let end = match status.wait_code {
            1 => End::Exited(number.into()),
            code => End::Signaled { signal: number, core: code == 3 },
        };
        let mut facts = JobGroup::open(&self.hierarchy, job.entry.job).map(|group| group.facts()).unwrap_or_default();
        facts.deadline_hit = status.deadline_hit != 0;
        facts.stop = job.stopping.as_ref().map(|s| s.fact.clone());
        job.life = Life::Ended(Box::new((end, facts, status.ended_ns)));
        self.after_end(serial);
    }

    /// The keeper is gone without having said how the job ended: nobody can know. What still lives of the job is killed.
    pub(super) fn keeper_died(&mut self, serial: u64) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        job.event = None;
        let unit_stopped = !self.hierarchy.is_alive();
        self.lose(serial, if unit_stopped { LostReason::JobsUnitStopped } else { LostReason::KeeperDied });
    }

    pub(super) fn lose(&mut self, serial: u64, reason: LostReason) {
        let Some(job) = self.jobs.get_mut(&serial).filter(|job| !matches!(job.life, Life::Ended(_))) else { return };
        let mut facts = ipc_protocol::Facts::default();
        if let Ok(group) = JobGroup::open(&self.hierarchy, job.entry.job) {
            end_group(&group);
            facts = group.facts();
        }
        facts.stop = job.stopping.as_ref().map(|s| s.fact.clone());
        job.life = Life::Ended(Box::new((End::Lost(reason), facts, now_ns())));
        log(3, &format!("job {} is lost: {reason:?}", job.entry.job));
        self.after_end(serial);
    }

    /// airlock-jobs.service was stopped: every group is gone, and with them every job. New ones can start where it is back.
    pub(super) fn lose_everything(&mut self) {
        let serials: Vec<u64> = self.jobs.keys().copied().collect();
        if !serials.is_empty() {
            log(2, "the cgroups of all jobs are gone: was airlock-jobs.service stopped?");
        }
        serials.into_iter().for_each(|serial| self.lose(serial, LostReason::JobsUnitStopped));
        let reopened = self.hierarchy.reopen(&self.config.cgroup, &self.config.ceilings);
        if reopened.is_ok() && self.hierarchy.is_alive() {
            log(5, "the cgroups are there again: jobs can start");
        }
    }

    fn after_end(&mut self, serial: u64) {
        self.timers.retain(|(_, s, _)| *s != serial);
        self.drain(serial);
        self.clean_directory(serial);
    }

    /// Takes what the pipes of an ended job still hold. All writers are dead, so a pipe that has nothing now has nothing ever; no
    /// window holds it back, or a log that takes no more would keep the end from being known.
    pub(super) fn drain(&mut self, serial: u64) {
        let now = now_ns();
        let Some(job) = self.jobs.get_mut(&serial).filter(|job| !job.drained) else { return };
        let mut failed = false;
        for stream in ipc_protocol::Stream::BOTH {
            // Somebody outside the job may hold the pipe and go on writing: what fits into one is all that is taken.
            let mut room = PIPE_MAX;
            loop {
                match job.take(stream, room, now) {
                    Ok(Taken::Bytes(n)) => {
                        self.in_flight = self.in_flight.saturating_add(n);
                        room = room.saturating_sub(n);
                        if room == 0 {
                            break;
                        }
                    }
                    Ok(Taken::Nothing | Taken::Full | Taken::End) => break,
                    Err(errno) => {
                        log(3, &format!("output of job {}: {errno}", job.entry.job));
                        failed = true;
                        break;
                    }
                }
            }
        }
        // Without memory for the spool the rest waits in the pipe for the next acknowledgement.
        if !failed {
            job.drained = true;
            ipc_protocol::Stream::BOTH.into_iter().for_each(|stream| self.end_stream(serial, stream));
            self.audit_end(serial);
        }
        self.make_ready(serial);
        self.tell_end(serial);
    }

    /// Tells the end, after the last byte of output, once per connection.
    pub(super) fn tell_end(&mut self, serial: u64) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        let Life::Ended(ended) = &job.life else { return };
        if !job.drained || !job.resumed || job.has_piece() || job.exit_told || self.live.is_none() {
            return;
        }
        job.exit_told = true;
        let (end, facts, ended_ns) = (**ended).clone();
        let totals = job.totals();
        let id = job.entry.job;
        self.tell(&Answer::Exited { job: id, end, facts: Box::new(facts), totals, ended_ns });
    }

    pub(super) fn audit_end(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(&serial) else { return };
        let Life::Ended(ended) = &job.life else { return };
        let (end, facts, _) = &**ended;
        let exit = match end {
            End::Exited(code) => json!({ "code": code }),
            End::Signaled { signal, core } => json!({ "signal": signal, "core": core }),
            End::StartFailed(error) => json!({ "start_error": error.name, "errno": error.errno }),
            End::Lost(reason) => json!({ "lost": format!("{reason:?}") }),
        };
        let pid = match job.entry.phase {
            ipc_protocol::Phase::Started { pid, .. } => json!(pid),
            _ => serde_json::Value::Null,
        };
        let [out, err] = job.totals();
        let fields = [
            ("job", json!(job.entry.job.to_string())),
            ("pid", pid),
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

    pub(super) fn on_timer(&mut self, serial: u64, timer: Timer) {
        let Some(job) = self.jobs.get_mut(&serial).filter(|job| !matches!(job.life, Life::Ended(_))) else { return };
        match timer {
            // The keeper marks the deadline and kills a little later; a command that listens ends by itself.
            Timer::Deadline => {
                requests::send(job, 15);
            }
            Timer::Kill => {
                if job.stopping.as_ref().is_some_and(|s| s.kill_at_ns <= boot_ns())
                    && let Ok(group) = JobGroup::open(&self.hierarchy, job.entry.job)
                {
                    let _ = group.kill();
                }
            }
        }
    }

    /// The frontend has recorded the end, or wants nothing of it. A live job is not let go.
    pub(super) fn release_ended(&mut self, id: JobId) {
        let serial = self.serials.get(&id).copied();
        if let Some(serial) = serial
            && self.jobs.get(&serial).is_some_and(|job| matches!(job.life, Life::Ended(_)))
        {
            self.let_go(serial);
        }
    }

    /// Forgets a job of which nothing lives: keeper, groups, spools, uid.
    pub(super) fn let_go(&mut self, serial: u64) {
        ipc_protocol::Stream::BOTH.into_iter().for_each(|stream| self.end_stream(serial, stream));
        let Some(job) = self.jobs.remove(&serial) else { return };
        self.serials.remove(&job.entry.job);
        self.timers.retain(|(_, s, _)| *s != serial);
        self.in_flight = self.in_flight.saturating_sub(job.in_flight());
        // The groups first: a keeper without a group is what an executor killed right here leaves, and the next one ends it.
        if let Err(errno) = JobGroup::remove(&self.hierarchy, job.entry.job) {
            self.remove_later(&job, errno);
        }
        if let Some(keeper) = job.keeper
            && let Ok(pidfd) = pidfd_open(keeper, PidfdFlags::empty())
            && (job.is_child || job.read_status().is_some())
        {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            if job.is_child {
                self.released.push(keeper);
            }
        }
        let swept = !self.sweeps.iter().any(|sweep| sweep.uid == Some(job.entry.uid));
        let left = job.directory.as_ref().is_some_and(|path| path.exists());
        if job.pooled && swept && !left {
            self.pool.give_back(job.entry.uid);
        }
        if !self.starved.is_empty() {
            self.feed_starved();
        }
    }

    // A group that something still lives in, for a moment after its kill: the next start of the executor clears what remains.
    fn remove_later(&mut self, job: &Job, errno: rustix::io::Errno) {
        let id = job.entry.job;
        let emptied = JobGroup::open(&self.hierarchy, id).is_ok_and(|group| end_group(&group));
        if !emptied || JobGroup::remove(&self.hierarchy, id).is_err() {
            log(3, &format!("the cgroup of job {id} cannot be removed: {errno}"));
        }
    }

    /// Waits for what was let go; called when a child ended.
    pub(super) fn reap(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        self.released.retain(|pid| matches!(waitid(WaitId::Pid(*pid), options), Ok(None)));
        self.check_sweeps(boot_ns());
    }

    // Empty directories go at once; others are emptied by a process that has the job's uid and nothing else.
    pub(super) fn clean_directory(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(&serial) else { return };
        let Some(directory) = job.directory.clone() else { return };
        let (uid, gid, pooled) = (job.entry.uid, job.gid, job.pooled);
        self.sweep_directory(directory, uid, gid, pooled);
    }

    pub(super) fn sweep_directory(&mut self, directory: PathBuf, uid: u32, gid: u32, pooled: bool) {
        match rustix::fs::rmdir(&directory) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => return,
            Err(_) => {}
        }
        if pooled {
            self.pool.take(uid);
        }
        match self.midwife.sweep(&self.hierarchy, uid, gid, &self.config.work_dir, &directory) {
            Ok(child) => {
                let deadline_ns = boot_ns().saturating_add(SWEEP_DEADLINE_NS);
                self.sweeps.push(Sweep { child, uid: pooled.then_some(uid), directory, deadline_ns });
            }
            Err(errno) => {
                log(3, &format!("cannot start the sweeper of {}: {errno}; uid {uid} stays taken", directory.display()))
            }
        }
    }

    pub(super) fn check_sweeps(&mut self, now: u64) {
        for sweep in std::mem::take(&mut self.sweeps) {
            match waitid(WaitId::Pid(sweep.child.pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(None) => {
                    if sweep.deadline_ns <= now {
                        let _ = pidfd_send_signal(&sweep.child.pidfd, Signal::KILL);
                    }
                    self.sweeps.push(sweep);
                }
                _ => self.swept(sweep),
            }
        }
    }

    fn swept(&mut self, sweep: Sweep) {
        let Sweep { uid, directory, .. } = sweep;
        match rustix::fs::rmdir(&directory) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {
                let held = |job: &Job| job.pooled && Some(job.entry.uid) == uid;
                if let Some(uid) = uid.filter(|_| !self.jobs.values().any(held)) {
                    self.pool.give_back(uid);
                }
            }
            Err(errno) => log(
                3,
                &format!("{} could not be emptied: {errno}; its uid {uid:?} is not used again", directory.display()),
            ),
        }
    }
}

// Kills what lives in a group and waits for a moment until it is empty. Used where no keeper does it.
fn end_group(group: &JobGroup<'_>) -> bool {
    let _ = group.kill();
    for _ in 0..50 {
        if group.is_empty() {
            return true;
        }
        let _ = rustix::thread::nanosleep(&rustix::thread::Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
    }
    group.is_empty()
}
