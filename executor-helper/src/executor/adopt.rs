//! Taking over the jobs of the executor before: after a crash, a SIGKILL, a restart, an upgrade. There is no other way to start.
//!
//! What proves a keeper is its place in the keepers' cgroup, which only root can enter, and the sealed plan that it holds. What
//! cannot be proved is killed, and its job is told as lost.

use std::{ffi::CString, os::unix::ffi::OsStrExt, path::Path};

use ipc_protocol::{JobEntry, JobId, LostReason, Phase};
use rustix::{
    fs::{lstat, rmdir},
    process::{Pid, Signal, kill_process, test_kill_process},
};
use serde_json::json;

use super::{Executor, Held, log};
use crate::{
    body::Body,
    cgroup::{Hierarchy, JobGroup},
    job::Job,
    plan::{Plan, Sweep, now_ns, timespec},
    spool::Spool,
};

impl Executor {
    /// Finds every job again, clears what belongs to none, and empties directories that were left.
    pub(super) fn adopt_all(&mut self) -> Result<(), String> {
        let mut groups = self.hierarchy.job_ids().map_err(|e| format!("cgroups of jobs: {e}"))?;
        #[cfg(feature = "kill-points")]
        kill_points::half_born(groups.iter().filter(|id| JobGroup::of(&self.hierarchy, **id).is_unborn()).count());
        for (pid, adopted) in keepers(&self.hierarchy)? {
            match adopted {
                Ok((body, plan)) if groups.remove(&plan.entry.job) => self.take_over(body, plan)?,
                // Its executor was killed while it let the job go: the end is recorded, the group already removed.
                Ok((body, _)) if body.record().is_some_and(|record| record.end.is_some()) => {
                    let _ = kill_process(pid, Signal::KILL);
                }
                Ok((_, plan)) => self.distrust(pid, &format!("job {} has no cgroup", plan.entry.job)),
                Err(why) => self.distrust(pid, &why),
            }
        }
        if !self.jobs.is_empty() {
            log(5, &format!("took over {} jobs", self.jobs.len()));
        }
        groups.into_iter().for_each(|id| self.orphan(id));
        self.sweep_leftovers();
        Ok(())
    }

    fn take_over(&mut self, body: Body, plan: Plan) -> Result<(), String> {
        self.epoch_seen = self.epoch_seen.max(plan.epoch);
        let offsets = |spool: &Spool| spool.offsets().map_err(|e| format!("cannot take over a job: its spool: {e}"));
        let [out, err] = body.spools.each_ref().map(offsets);
        let job = Job::adopted(plan.entry.clone(), [out?, err?], body.stopping(), now_ns());
        let fields = [("job", json!(plan.entry.job.to_string())), ("uid", json!(plan.entry.uid))];
        let _ = self.audit.write("adopted", &fields);
        kill_point!(AdoptionAudited);
        let serial = self.hold(Held::new(job, body, &plan));
        self.look(serial);
        // A stop may have come due meanwhile, also of one that hangs before its start.
        self.wake_ns = 0;
        kill_point!(Adopted);
        Ok(())
    }

    fn distrust(&mut self, pid: Pid, why: &str) {
        // It may just have ended between the list and the look.
        if kill_process(pid, Signal::KILL).is_ok() {
            log(3, &format!("keeper {} is not trusted and was killed: {why}", pid.as_raw_nonzero()));
            let _ = self.audit.write("lost", &[("keeper", json!(pid.as_raw_nonzero().get())), ("why", json!(why))]);
        }
    }

    // A group without a keeper: its job is lost. It is told once, with what little is known, so that the frontend can record it. One that
    // nothing was ever born into loses nothing.
    fn orphan(&mut self, id: JobId) {
        let group = JobGroup::of(&self.hierarchy, id);
        if group.is_unborn() && group.remove().is_ok() {
            return;
        }
        // Emptied as whoever owns it, never as root.
        let sweep = directory(&self.config.work_dir.join(id.to_string()));
        let uid = sweep.as_ref().map_or(0, |sweep| sweep.uid);
        let entry = JobEntry { job: id, uid, phase: Phase::NeverStarted, ..JobEntry::default() };
        let serial = self.hold(Held { job: Job::new(entry, false), body: None, fingerprint: [0; 32], sweep });
        self.lose(serial, LostReason::KeeperDied);
    }

    // Directories of jobs that are neither alive nor about to be swept: a former executor was killed in between.
    fn sweep_leftovers(&mut self) {
        let Ok(entries) = std::fs::read_dir(&self.config.work_dir) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let id = path.file_name().and_then(|name| name.to_str()?.parse::<JobId>().ok());
            if id.is_none_or(|id| self.serials.contains_key(&id)) {
                continue;
            }
            match directory(&path) {
                Some(sweep) => {
                    self.pool.take(sweep.uid);
                    self.sweep(sweep);
                }
                // Made, and not yet given to its user: empty, or none of ours.
                None => drop(rmdir(&path)),
            }
        }
    }
}

/// A job's body and plan, or why its keeper is not believed.
pub type Adopted = Result<(Body, Plan), String>;

/// Every keeper that lives, and what it holds. Changes nothing.
pub fn keepers(hierarchy: &Hierarchy) -> Result<Vec<(Pid, Adopted)>, String> {
    let pids = hierarchy.keeper_pids().map_err(|e| format!("keepers: {e}"))?;
    Ok(pids.into_iter().filter_map(Pid::from_raw).map(|pid| (pid, adopt_patiently(pid))).collect())
}

// A keeper that was cloned a moment ago is not the keeper's program yet, and cannot be read until it is.
fn adopt_patiently(keeper: Pid) -> Adopted {
    let mut again = 0..200;
    loop {
        let adopted = Body::adopt(keeper);
        if adopted.is_ok() || again.next().is_none() || test_kill_process(keeper).is_err() {
            return adopted;
        }
        let _ = rustix::thread::nanosleep(&timespec(1_000_000));
    }
}

// A job's directory and its owner; `None` when that is root.
fn directory(path: &Path) -> Option<Sweep> {
    let stat = lstat(path).ok().filter(|stat| stat.st_uid != 0 && stat.st_gid != 0)?;
    Some(Sweep { uid: stat.st_uid, gid: stat.st_gid, directory: CString::new(path.as_os_str().as_bytes()).ok()? })
}
