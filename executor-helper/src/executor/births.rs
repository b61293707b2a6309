//! From `Spawn` to a keeper, or to the reason why not.

use ipc_protocol::{Answer, LostReason, Refusal, Spawn};
use rustix::{
    event::epoll::EventFlags,
    fd::OwnedFd,
    io::Errno,
    process::{Resource, getrlimit},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Executor, Held, log, requests::asked};
use crate::{
    admission::{JobPlan, Refused, admit, fingerprint, printable, shown},
    audit::hex,
    job::{Input, Job},
    plan::boot_ns,
};

/// Descriptors that belong to no job: what a birth needs for a moment, connections, inputs, and some.
const DESCRIPTORS_RESERVED: u64 = 256;
/// Descriptors of a job while it lives.
const DESCRIPTORS_PER_JOB: u64 = 5;

impl Executor {
    /// Idempotent by job id: what exists is told again, and nothing is started twice.
    pub(super) fn spawn(&mut self, may_start: bool, spawn: &Spawn) {
        let known = self.serials.get(&spawn.job).and_then(|serial| self.jobs.get(serial).map(|held| (*serial, held)));
        let refused = match known {
            Some((serial, held)) if held.fingerprint == fingerprint(spawn) => {
                return self.happen(serial, Input::Repeated);
            }
            Some(_) => {
                Err(Refused::new(Refusal::Conflict, "job_id", "this job id is held by a job with other parameters"))
            }
            None => self.room(may_start).and_then(|uid| {
                let plan = admit(spawn, &self.config, uid, self.epoch_seen)?;
                let input = self.inputs.take(&plan)?;
                self.start(spawn, &plan, input)
            }),
        };
        if let Err(Refused { refusal, field, message }) = refused {
            let fields = [("why", json!(message)), ("argv", words(spawn.argv.iter().map(Vec::as_slice)))];
            let line = [&asked(spawn.job, &spawn.claimed), &fields[..]].concat();
            if let Ok(true) = self.audit.write_bounded("refused", &line) {
                log(5, &format!("refused request {}: {message}", printable(spawn.claimed.request.as_bytes())));
            }
            self.tell(&Answer::Refused { job: spawn.job, refusal, field, message });
        }
    }

    // The ceilings that do not depend on the request. Gives the uid that the pool would use.
    fn room(&mut self, may_start: bool) -> Result<u32, Refused> {
        let ceiling = |message: String| Err(Refused::new(Refusal::Ceiling, "", message));
        if !may_start {
            let message = "the frontend's records are older than this executor has seen; a restored backup starts nothing by itself";
            return Err(Refused::new(Refusal::StaleEpoch, "", message));
        }
        let jobs = self.config.ceilings.jobs;
        // What is still being emptied has a process and a descriptor too, though its job may be released.
        let held = self.jobs.len().saturating_add(self.sweeps.len()) as u64;
        if held >= jobs {
            return ceiling(format!("this host holds {jobs} jobs, its most"));
        }
        let fds = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = fds.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_PER_JOB;
        if held >= most {
            return ceiling(format!("the executor's limit of {fds} descriptors holds {most} jobs; raise LimitNOFILE"));
        }
        // A bucket of two seconds' worth, so that a burst of the configured rate passes.
        let (rate, now) = (self.config.ceilings.starts_per_second, boot_ns());
        let (since_ns, used) = &mut self.starts;
        if since_ns.saturating_add(2_000_000_000) <= now {
            (*since_ns, *used) = (now, 0);
        }
        if *used >= rate.saturating_mul(2) {
            return ceiling(format!("more than {rate} starts a second, the most of this host; try again in a moment"));
        }
        self.pool.peek().ok_or_else(|| Refused::host("no uid of the pool is free"))
    }

    // No line, no start; and a line for what did not work after all.
    fn start(&mut self, spawn: &Spawn, plan: &JobPlan, input: Option<OwnedFd>) -> Result<(), Refused> {
        self.starts.1 = self.starts.1.saturating_add(1);
        self.audit
            .write("started", &started_line(spawn, plan))
            .map_err(|e| Refused::host(format!("the audit line cannot be written, so nothing is started: {e}")))?;
        kill_point!(StartAudited);
        let id = plan.entry.job;
        let error = match self.midwife.bear(&self.hierarchy, plan, input) {
            Ok(body) => {
                let job = Job::new(plan.entry.clone(), self.live.is_some());
                self.hold(Held::new(job, body, plan));
                return Ok(());
            }
            Err(error) => error,
        };
        let why = json!({ "step": error.step.name(), "errno": error.errno, "detail": error.detail });
        let _ = self.audit.write("ended", &[("job", json!(id.to_string())), ("start_error", why)]);
        // The host lacks something for the moment: nothing ran, and the same request may work later.
        let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOSPC, Errno::DQUOT];
        if let Some(errno) = shortages.into_iter().find(|e| e.raw_os_error() == error.errno) {
            let step = error.step.name();
            return Err(Refused::host(format!("the host has no room for the job: step {step}: {errno}")));
        }
        self.tell(&Answer::NotStarted { job: id, error });
        Ok(())
    }

    /// From here on the job is watched. Gives its serial number.
    pub(super) fn hold(&mut self, held: Held) -> u64 {
        let (serial, id) = (self.next_token(), held.job.id());
        self.pool.take(held.job.uid());
        let watched = held.body.iter().try_for_each(|body| {
            self.watch(&body.event, serial, EventFlags::IN)?;
            // Reported once for each change: the keeper has the same open file, so closing ours would not end its being watched.
            let (token, flags) = (serial.saturating_add(1), EventFlags::IN | EventFlags::ET);
            body.spools
                .iter()
                .filter_map(|spool| spool.pipe.as_ref())
                .try_for_each(|pipe| self.watch(pipe, token, flags))
        });
        self.in_flight = self.in_flight.saturating_add(held.job.in_flight());
        self.serials.insert(id, serial);
        self.jobs.insert(serial, held);
        if let Err(errno) = watched {
            log(3, &format!("job {id} cannot be watched: {errno}"));
            self.lose(serial, LostReason::Untrusted);
        }
        serial
    }
}

fn started_line(spawn: &Spawn, plan: &JobPlan) -> Vec<(&'static str, Value)> {
    let entry = &plan.entry;
    let limits: serde_json::Map<_, _> = entry.limits.iter().map(|(l, value)| (l.name().into(), value.into())).collect();
    let input = entry.input.map_or(json!({ "bytes": 0 }), |i| json!({ "bytes": i.bytes, "sha256": hex(&i.sha256) }));
    let fields = [
        ("profile", json!(entry.profile)),
        ("uid", json!(entry.uid)),
        ("argv", words(spawn.argv.iter().map(Vec::as_slice))),
        ("argv_whole", whole(&spawn.argv)),
        ("env_names", words(spawn.env.iter().map(|(name, _)| name.as_bytes()))),
        ("cwd", json!(spawn.cwd.as_deref().unwrap_or("default"))),
        ("limits", Value::Object(limits)),
        ("input", input),
        ("merge", json!(entry.merge)),
    ];
    [&asked(entry.job, &entry.claimed), &fields[..]].concat()
}

fn words<'a>(all: impl Iterator<Item = &'a [u8]>) -> Value {
    shown(all).iter().map(|word| String::from_utf8_lossy(word)).collect()
}

// What the words that are not shown were: length and hash of all, each with its NUL. Null when all are shown.
fn whole(argv: &[Vec<u8>]) -> Value {
    if shown(argv.iter().map(Vec::as_slice)) == argv {
        return Value::Null;
    }
    let bytes: Vec<u8> = argv.iter().flat_map(|word| word.iter().chain(&[0])).copied().collect();
    json!({ "bytes": bytes.len(), "sha256": hex(&Sha256::digest(&bytes)) })
}

#[cfg(test)]
mod tests;
