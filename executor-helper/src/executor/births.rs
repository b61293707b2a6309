//! From `Spawn` to a running command, or to the reason why not.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use ipc_protocol::{Answer, End, JobEntry, Phase, Refusal, Spawn, StartError, Stream};
use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};
use serde_json::{Value, json};

use super::{DESCRIPTORS_PER_JOB, DESCRIPTORS_RESERVED, Executor, Timer, requests};
use crate::{
    admission::{JobPlan, Refused, admit, printable},
    audit::hex,
    birth::{BirthError, Newborn, Passport, fingerprint},
    cgroup::JobGroup,
    connection::Closed,
    job::{Job, Life},
    shared::{
        status::{KeeperStatus, kernel_error, state},
        steps::Step,
    },
    spool::Spool,
};

impl Executor {
    /// Idempotent by job id: what exists is told again, and nothing is started twice.
    pub(super) fn spawn(&mut self, token: u64, spawn: &Spawn) -> Result<(), Closed> {
        let print = fingerprint(spawn);
        let known = self
            .serials
            .get(&spawn.job)
            .and_then(|serial| self.jobs.get(serial).map(|job| (*serial, job.fingerprint == print)));
        match known {
            Some((serial, true)) => {
                self.tell_start(serial);
                self.jobs.entry(serial).and_modify(|job| job.exit_told = false);
                self.tell_end(serial);
                return Ok(());
            }
            Some((_, false)) => {
                self.refuse(
                    spawn,
                    &Refused::new(Refusal::Conflict, "job_id", "this job id is held by a job with other parameters"),
                );
                return Ok(());
            }
            None => {}
        }
        let may_start = self.connections.get(&token).is_some_and(|c| c.may_start);
        let started = self.room(may_start).and_then(|uid| {
            let plan = admit(spawn, &self.config, uid)?;
            let input = self.inputs.take(&plan)?;
            self.start(spawn, &plan, &print, input)
        });
        match started {
            Ok(()) => {}
            Err(refused) => self.refuse(spawn, &refused),
        }
        Ok(())
    }

    fn refuse(&mut self, spawn: &Spawn, refused: &Refused) {
        let fields = [
            ("job", json!(spawn.job.to_string())),
            ("request", json!(requests::bounded(&spawn.claimed.request))),
            ("claimed", requests::claimed(&spawn.claimed)),
            ("why", json!(refused.message)),
            ("argv", shown(spawn.argv.iter().map(Vec::as_slice))),
        ];
        let _ = self.audit.write_refusal("refused", &fields);
        let Refused { refusal, field, message } = refused.clone();
        self.tell(&Answer::Refused { job: spawn.job, refusal, field, message });
    }

    // The ceilings that do not depend on the request. Gives the uid that the pool would use.
    fn room(&mut self, may_start: bool) -> Result<u32, Refused> {
        let ceiling = |message: String| Refused::new(Refusal::Ceiling, "", message);
        if !may_start {
            let message = "the frontend's records are older than this executor has seen; a restored backup starts nothing by itself";
            return Err(Refused::new(Refusal::StaleEpoch, "", message));
        }
        let jobs = self.config.ceilings.jobs;
        // What is still being emptied has a process and a descriptor too, though its job may be released.
        let held = self.jobs.len().saturating_add(self.sweeps.len()) as u64;
        if held >= jobs {
            return Err(ceiling(format!("this host holds {jobs} jobs, its most")));
        }
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = descriptors.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_PER_JOB;
        if held >= most {
            return Err(ceiling(format!(
                "the executor's limit of {descriptors} descriptors holds {most} jobs; raise LimitNOFILE"
            )));
        }
        // A bucket of two seconds' worth, so that a burst of the configured rate passes.
        let rate = self.config.ceilings.starts_per_second;
        let now = Instant::now();
        let (since, used) = &mut self.starts;
        if since.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(2)) {
            (*since, *used) = (Some(now), 0);
        }
        if *used >= rate.saturating_mul(2) {
            return Err(ceiling(format!(
                "more than {rate} starts a second, the most of this host; try again in a moment"
            )));
        }
        self.pool.peek().ok_or_else(|| Refused::new(Refusal::Host, "", "no uid of the pool is free"))
    }

    // No line, no start; and a line for what did not work after all.
    fn start(
        &mut self,
        spawn: &Spawn,
        plan: &JobPlan,
        print: &[u8; 32],
        input: Option<rustix::fd::OwnedFd>,
    ) -> Result<(), Refused> {
        self.starts.1 = self.starts.1.saturating_add(1);
        let line = self.audit.write("started", &started_line(spawn, plan));
        line.map_err(|e| {
            Refused::new(Refusal::Host, "", format!("the audit line cannot be written, so nothing is started: {e}"))
        })?;
        let passport = Passport::new(print, self.epoch_seen, plan);
        match self.midwife.bear(&self.hierarchy, plan, &passport, input) {
            Ok(newborn) => {
                let inserted = self.receive(plan, *print, newborn);
                inserted.map_err(|e| Refused::new(Refusal::Host, "", format!("the executor has no room: {e}")))
            }
            Err(error) => {
                let error = birth_error(&error);
                let fields = [
                    ("job", json!(spawn.job.to_string())),
                    ("start_error", json!({ "step": error.name, "errno": error.errno, "message": error.message })),
                ];
                let _ = self.audit.write("ended", &fields);
                // The host lacks something for the moment: nothing ran, and the same request may work later.
                let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOSPC, Errno::DQUOT];
                if shortages.iter().any(|e| e.raw_os_error() == error.errno) {
                    return Err(Refused::new(Refusal::Host, "", error.message));
                }
                self.tell(&Answer::NotStarted { job: spawn.job, error });
                Ok(())
            }
        }
    }

    pub(super) fn receive(&mut self, plan: &JobPlan, print: [u8; 32], newborn: Newborn) -> Result<(), Errno> {
        let Newborn { keeper, event, pipes: [out, err], spools: [out_spool, err_spool] } = newborn;
        let spools = [Spool::new(Stream::Stdout, out, out_spool)?, Spool::new(Stream::Stderr, err, err_spool)?];
        let (uid, gid) = plan.ids();
        let directory = plan.directory().and_then(|path| path.to_str().ok()).map(PathBuf::from);
        if plan.is_pooled() {
            self.pool.take(uid);
        }
        let mut job =
            Job::new(plan.entry().clone(), gid, plan.is_pooled(), directory, print, Some(keeper), Some(event), spools);
        (job.is_child, job.resumed) = (true, self.live.is_some());
        self.insert(job).map(drop)
    }

    /// The keeper has something to tell, or is gone.
    pub(super) fn on_event(&mut self, serial: u64) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        let mut bytes = [0u8; 16];
        let gone = match job.event.as_ref().map(|event| rustix::io::read(event, &mut bytes)) {
            Some(Err(Errno::AGAIN | Errno::INTR)) | None => return,
            Some(Ok(0)) | Some(Err(_)) => true,
            Some(Ok(_)) => false,
        };
        if gone { self.keeper_died(serial) } else { self.look(serial) }
    }

    /// Follows the status record to where it stands.
    pub(super) fn look(&mut self, serial: u64) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        let Some(status) = job.read_status() else { return };
        if job.life == Life::Starting && matches!(status.state, state::STARTED | state::ENDED) {
            let pid = job.command_pid(&status).unwrap_or(0);
            job.life = Life::Running;
            job.entry.phase = Phase::Started { pid, started_ns: status.started_ns };
            self.begin_timers(serial, &status);
            self.tell_start(serial);
        }
        match status.state {
            state::FAILED => self.never_started(serial, &status),
            state::ENDED => self.ended(serial, &status),
            _ => {}
        }
    }

    fn begin_timers(&mut self, serial: u64, status: &KeeperStatus) {
        if status.deadline_boot_ns > 0 {
            self.timers.insert((status.deadline_boot_ns, serial, Timer::Deadline));
        }
        let Some(job) = self.jobs.get(&serial) else { return };
        if let Some(stopping) = &job.stopping {
            requests::send(job, stopping.fact.signal);
            self.timers.insert((stopping.kill_at_ns, serial, Timer::Kill));
        }
    }

    /// Tells that the job runs, if it does.
    pub(super) fn tell_start(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(&serial) else { return };
        let JobEntry { job: id, uid, limits, phase, .. } = job.entry;
        if let Phase::Started { pid, started_ns } = phase {
            self.tell(&Answer::Spawned { job: id, pid, uid, started_ns, limits });
        }
    }

    // A live connection hears of it at once and the job is forgotten; otherwise it waits for the next comparison.
    fn never_started(&mut self, serial: u64, status: &KeeperStatus) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        if matches!(job.life, Life::Ended(_)) {
            return;
        }
        let profile = self.config.profile(&job.entry.profile);
        let error = start_error(&job.entry, status, profile.map_or("", |p| p.path.as_str()), job.stopping.is_some());
        job.entry.phase = Phase::NeverStarted;
        let mut facts = JobGroup::open(&self.hierarchy, job.entry.job).map(|group| group.facts()).unwrap_or_default();
        facts.stop = job.stopping.as_ref().map(|s| s.fact.clone());
        let id = job.entry.job;
        job.life = Life::Ended(Box::new((End::StartFailed(error.clone()), facts, status.ended_ns)));
        job.drained = true;
        let told = job.resumed && self.live.is_some_and(|token| self.is_live(token));
        Stream::BOTH.into_iter().for_each(|stream| self.end_stream(serial, stream));
        self.audit_end(serial);
        self.clean_directory(serial);
        if told {
            self.tell(&Answer::NotStarted { job: id, error });
            self.let_go(serial);
        } else {
            self.tell_end(serial);
        }
    }
}

fn birth_error(error: &BirthError) -> StartError {
    let name = error.step.name();
    let why = error.why();
    StartError {
        step: error.step as u8,
        name: name.into(),
        errno: error.errno,
        message: format!("the job could not be started: step {name}: {why}"),
    }
}

/// The keeper's record of a failed start, as a sentence.
fn start_error(entry: &JobEntry, status: &KeeperStatus, path: &str, stopped: bool) -> StartError {
    let step = u8::try_from(status.step).ok().and_then(Step::from_number).unwrap_or(Step::Birth);
    let errno = kernel_error(status.errno);
    let program = printable(entry.argv.first().map_or(&[], Vec::as_slice));
    let (uid, profile) = (entry.uid, &entry.profile);
    let mode = status.mode & 0o7777;
    let message = match (step, errno) {
        (_, None) if stopped => "the job was stopped before its command ran".to_owned(),
        (step, None) => {
            format!(
                "the command's process was killed at step {} before it ran; is its memory limit too small?",
                step.name()
            )
        }
        (Step::Exec, Some(Errno::NOENT | Errno::NOTDIR)) if status.mode != 0 => {
            format!("{program} exists, but the interpreter that it names does not")
        }
        (Step::Exec, Some(Errno::NOENT | Errno::NOTDIR)) if program.contains('/') => {
            format!("no program '{program}' (profile {profile})")
        }
        (Step::Exec, Some(Errno::NOENT | Errno::NOTDIR)) => {
            let shell = if program.contains(' ') {
                format!("; for a shell line use: airlock run -- sh -c '{program}'")
            } else {
                String::new()
            };
            format!("no program '{program}' in {path} (profile {profile}){shell}")
        }
        (Step::Exec, Some(Errno::ACCESS)) if status.mode != 0 => {
            format!(
                "{program} exists but is not executable for uid {uid} (mode {mode:04o}, owner uid {})",
                status.owner
            )
        }
        (Step::Exec, Some(Errno::ACCESS)) => {
            format!("{program} cannot be executed by uid {uid}: permission denied on the way to it")
        }
        (Step::Exec, Some(Errno::NOEXEC)) => {
            format!("{program} is not a program for this host; a script needs a first line such as #!/bin/sh")
        }
        (Step::Exec, Some(errno)) => format!("{program} cannot be executed: {errno}"),
        (Step::Chdir, Some(errno)) => format!("the job's directory cannot be entered by uid {uid}: {errno}"),
        (step, Some(errno)) => format!("the job could not be started: step {} ({}): {errno}", step as u8, step.name()),
    };
    StartError { step: step as u8, name: step.name().into(), errno: errno.map_or(0, Errno::raw_os_error), message }
}

fn started_line<'a>(spawn: &Spawn, plan: &JobPlan) -> [(&'a str, Value); 12] {
    let entry = plan.entry();
    let limits = entry.limits;
    let limits = json!({
        "cpu_milli": limits.cpu_milli, "cpu_weight": limits.cpu_weight, "memory": limits.memory, "swap": limits.swap, "pids": limits.pids,
        "io_read": limits.io_read, "io_write": limits.io_write, "io_read_ops": limits.io_read_ops, "io_write_ops": limits.io_write_ops,
        "timeout_ms": limits.timeout_ms,
    });
    let input = entry.input.map_or(json!({ "bytes": 0 }), |i| json!({ "bytes": i.bytes, "sha256": hex(&i.sha256) }));
    [
        ("job", json!(entry.job.to_string())),
        ("request", json!(entry.claimed.request)),
        ("claimed", requests::claimed(&entry.claimed)),
        ("profile", json!(entry.profile)),
        ("uid", json!(entry.uid)),
        ("argv", shown(spawn.argv.iter().map(Vec::as_slice))),
        ("argv_sha256", argv_hash(&spawn.argv)),
        ("env_names", shown(spawn.env.iter().map(|(name, _)| name.as_bytes()))),
        ("cwd", json!(spawn.cwd.as_deref().unwrap_or("default"))),
        ("limits", limits),
        ("input", input),
        ("merge", json!(entry.merge)),
    ]
}

const ARGV_MAX: usize = 4096;

// Cut at 4 KiB in all; the hash of the whole then says what was cut.
fn shown<'a>(all: impl Iterator<Item = &'a [u8]>) -> Value {
    let mut left = ARGV_MAX;
    let mut words = Vec::new();
    for word in all {
        let cut = word.get(..word.len().min(left)).unwrap_or_default();
        words.push(String::from_utf8_lossy(cut).into_owned());
        left = left.saturating_sub(word.len().max(1));
        if left == 0 {
            break;
        }
    }
    json!(words)
}

fn argv_hash(argv: &[Vec<u8>]) -> Value {
    use sha2::Digest;
    let length = argv.iter().map(Vec::len).fold(0usize, usize::saturating_add);
    if length <= ARGV_MAX {
        return Value::Null;
    }
    let mut hash = sha2::Sha256::new();
    argv.iter().for_each(|word| {
        hash.update(word);
        hash.update([0]);
    });
    json!({ "bytes": length, "sha256": hex(&hash.finalize()) })
}

#[cfg(test)]
mod tests;
