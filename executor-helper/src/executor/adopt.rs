//! Taking over the jobs of the executor before: after a crash, a SIGKILL, a restart, an upgrade. There is no other way to start.
//!
//! What proves a keeper is its place in the keepers' cgroup, which only root can enter, and the sealed plan that it holds. What
//! cannot be proved is killed, and its job is told as lost.

use std::{collections::BTreeSet, path::PathBuf};

use ipc_protocol::{Answer, Claimed, JobEntry, JobId, Limits, LostReason, Phase, Stream, decode_answer};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, fcntl_get_seals},
    io::Errno,
    process::{Pid, Signal, kill_process, test_kill_process},
};
use serde_json::json;

use super::{Executor, log, now_ns};
use crate::{
    birth::{Passport, SEALS},
    cgroup::JobGroup,
    job::{Job, keeper_path},
    shared::{
        fd,
        plan::{Number, PlanView, Section},
        status::state,
    },
    spool::Spool,
};

impl Executor {
    /// Finds every job again, clears what belongs to none, and empties directories that were left.
    pub(super) fn adopt_all(&mut self) -> Result<(), String> {
        let mut groups = self.hierarchy.job_ids().map_err(|e| format!("cgroups of jobs: {e}"))?;
        let mut adopted = 0u64;
        for pid in
            self.hierarchy.keeper_pids().map_err(|e| format!("keepers: {e}"))?.into_iter().filter_map(Pid::from_raw)
        {
            match adopt_patiently(pid) {
                Ok((job, epoch)) if groups.remove(&job.entry.job) => {
                    self.take_over(job, epoch).map_err(|e| format!("cannot take over a job: {e}"))?;
                    adopted = adopted.saturating_add(1);
                }
                // Its executor was killed while it let the job go: the end is recorded, the group already removed.
                Ok((job, _)) if job.read_status().is_some_and(|status| status.state == state::ENDED) => {
                    let _ = kill_process(pid, Signal::KILL);
                }
                Ok((job, _)) => self.distrust(pid, &format!("job {} has no cgroup", job.entry.job)),
                Err(why) => self.distrust(pid, &why),
            }
        }
        for id in groups {
            self.orphan(id);
        }
        self.sweep_leftovers();
        if adopted > 0 {
            log(5, &format!("took over {adopted} jobs"));
        }
        Ok(())
    }

    fn take_over(&mut self, mut job: Job, epoch: u64) -> Result<(), Errno> {
        self.epoch_seen = self.epoch_seen.max(epoch);
        job.stopping = job.recorded_stop();
        job.recover(now_ns());
        if job.pooled {
            self.pool.take(job.entry.uid);
        }
        let _ =
            self.audit.write("adopted", &[("job", json!(job.entry.job.to_string())), ("uid", json!(job.entry.uid))]);
        let serial = self.insert(job)?;
        self.look(serial);
        Ok(())
    }

    fn distrust(&mut self, pid: Pid, why: &str) {
        // It may just have ended between the list and the look.
        if kill_process(pid, Signal::KILL).is_ok() {
            log(3, &format!("keeper {} is not trusted and was killed: {why}", pid.as_raw_nonzero()));
            let _ = self.audit.write("lost", &[("keeper", json!(pid.as_raw_nonzero().get())), ("why", json!(why))]);
        }
    }

    // A group without a keeper: its job is lost. It is told once, with what little is known, so that the frontend can record it.
    fn orphan(&mut self, id: JobId) {
        // An executor that was killed between making the group and the birth: no process was ever in it, so nothing was started
        // and nothing is lost. The same holds for groups that are not there in every hierarchy.
        let unborn = JobGroup::open(&self.hierarchy, id)
            .map_or_else(|e| e == Errno::NOENT, |group| group.is_empty() && group.facts().cpu_ns == 0);
        if unborn && JobGroup::remove(&self.hierarchy, id).is_ok() {
            return;
        }
        let directory = self.config.work_dir.join(id.to_string());
        let owner = rustix::fs::stat(&directory).ok().map(|stat| (stat.st_uid, stat.st_gid));
        let (uid, gid) = owner.unwrap_or((0, 0));
        let limits = Limits {
            cpu_milli: 0,
            cpu_weight: 0,
            memory: 0,
            swap: 0,
            pids: 0,
            io_read: None,
            io_write: None,
            io_read_ops: None,
            io_write_ops: None,
            timeout_ms: None,
        };
        let entry = JobEntry {
            job: id,
            claimed: Claimed::default(),
            profile: String::new(),
            argv: Vec::new(),
            phase: Phase::NeverStarted,
            uid,
            limits,
            input: None,
            merge: false,
            acked: [0, 0],
        };
        let empty = || rustix::fs::memfd_create("airlock-lost", rustix::fs::MemfdFlags::CLOEXEC);
        let spools = || Ok([Spool::new(Stream::Stdout, None, empty()?)?, Spool::new(Stream::Stderr, None, empty()?)?]);
        let inserted = spools().and_then(|spools| {
            // Emptied as whoever owns it, never as root.
            let directory = owner.filter(|(uid, gid)| *uid != 0 && *gid != 0).map(|_| directory);
            self.insert(Job::new(entry, gid, directory.is_some(), directory, [0; 32], None, None, spools))
        });
        match inserted {
            Ok(serial) => self.lose(serial, LostReason::KeeperDied),
            Err::<u64, Errno>(errno) => log(3, &format!("job {id} without a keeper: {errno}")),
        }
    }

    // Directories of jobs that are neither alive nor about to be swept: a former executor was killed in between.
    fn sweep_leftovers(&mut self) {
        let Ok(entries) = std::fs::read_dir(&self.config.work_dir) else { return };
        let held: BTreeSet<JobId> = self.serials.keys().copied().collect();
        let left: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        for path in left {
            let id = path.file_name().and_then(|name| name.to_str()?.parse::<JobId>().ok());
            let (Some(id), Ok(stat)) = (id, rustix::fs::lstat(&path)) else { continue };
            if held.contains(&id) {
                continue;
            }
            match (stat.st_uid, stat.st_gid) {
                // Made, and not yet given to its user: empty, or none of ours.
                (0, _) | (_, 0) => drop(rustix::fs::rmdir(&path)),
                (uid, gid) => self.sweep_directory(path, uid, gid, true),
            }
        }
    }
}

// A keeper that was cloned a moment ago is not the keeper's program yet, and cannot be read until it is.
fn adopt_patiently(keeper: Pid) -> Result<(Job, u64), String> {
    let pause = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let mut adopted = adopt(keeper);
    for _ in 0..200 {
        if adopted.is_ok() || test_kill_process(keeper).is_err() {
            break;
        }
        let _ = rustix::thread::nanosleep(&pause);
        adopted = adopt(keeper);
    }
    adopted
}

/// Reads a job back from its keeper, with the epoch of the frontend that asked for it.
pub(super) fn adopt(keeper: Pid) -> Result<(Job, u64), String> {
    let open = |number: i32, flags: OFlags| {
        let path = keeper_path(keeper, number);
        rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|e| format!("{path}: {e}"))
    };
    let plan = read_sealed(&open(fd::PLAN, OFlags::RDONLY)?)?;
    let view = PlanView::new(&plan).ok_or("its plan has another layout than this executor knows")?;
    let passport = view.section(Section::Passport);
    let (prefix, entry) = passport.split_at_checked(Passport::PREFIX).ok_or("its plan has no passport")?;
    let Ok(Answer::Job(entry)) = decode_answer(entry) else { return Err("its passport cannot be read".into()) };
    let (print, epoch) = prefix.split_first_chunk::<32>().ok_or("its passport is too short")?;
    let epoch = epoch.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    // Reopened through /proc, a pipe gives either end; the executor needs the reading one of each.
    let event = open(fd::EVENT, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let stream = |stream: Stream, pipe: i32, spool: i32, used: bool| -> Result<Spool, String> {
        let pipe = if used { Some(open(pipe, OFlags::RDONLY | OFlags::NONBLOCK)?) } else { None };
        Spool::new(stream, pipe, open(spool, OFlags::RDWR)?).map_err(|e| format!("its spool: {e}"))
    };
    let [out_pipe, err_pipe] = fd::PIPES;
    let [out_spool, err_spool] = fd::SPOOLS;
    let spools = [
        stream(Stream::Stdout, out_pipe, out_spool, true)?,
        stream(Stream::Stderr, err_pipe, err_spool, !entry.merge)?,
    ];
    let gid = u32::try_from(view.number(Number::Gid)).map_err(|_| "its gid is none")?;
    let directory = view.strings(Section::Directories).nth(1).and_then(|d| d.to_str().ok()).map(PathBuf::from);
    // A pooled job has a directory and the group of its own number; a named user's has the user's group.
    let pooled = directory.is_some() && gid == entry.uid;
    Ok((Job::new(*entry, gid, pooled, directory, *print, Some(keeper), Some(event), spools), epoch))
}

const PLAN_MAX: u64 = 4 * 1024 * 1024;

fn read_sealed(file: &OwnedFd) -> Result<Vec<u8>, String> {
    let seals = fcntl_get_seals(file).map_err(|e| format!("its plan is no memfd: {e}"))?;
    if !seals.contains(SEALS) {
        return Err("its plan is not sealed".into());
    }
    let length = rustix::fs::fstat(file).map_err(|e| e.to_string())?.st_size;
    let length = u64::try_from(length).ok().filter(|n| *n <= PLAN_MAX).ok_or("its plan is too long")?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    match rustix::io::pread(file, &mut bytes, 0) {
        Ok(n) if n == bytes.len() => Ok(bytes),
        other => Err(format!("its plan cannot be read: {other:?}")),
    }
}
