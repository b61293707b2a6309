//! What the frontend says, and what is done about it. Every handler decides from the executor's own state.

use ipc_protocol::{
    Answer, Claimed, Hello, JobId, NAME_MAX, Request, SignalOutcome, StopFact, Stream, Version, VersionRange,
    decode_request, negotiate,
};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};
use serde_json::json;

use super::{Executor, Timer, boot_ns, log, now_ns};
use crate::{
    connection::{Closed, State},
    job::{Job, Life, Stopping},
    sys::process,
};

/// The longest grace of a stop.
const GRACE_MAX_MS: u64 = 3_600_000;

impl Executor {
    /// One frame: parsed whole, then permitted, then done.
    pub(super) fn serve(&mut self, token: u64, body: &[u8]) -> Result<(), Closed> {
        let state = self.connections.get(&token).map_or(State::Fresh, |c| c.state);
        if state == State::Fresh {
            let (speaks, hello) = Hello::decode(body).map_err(Closed::Message)?;
            return self.hello(token, speaks, hello);
        }
        let request = decode_request(body).map_err(Closed::Message)?;
        if let Some(connection) = self.connections.get(&token) {
            connection.permit(&request)?;
        }
        match request {
            Request::Resume { job, have } => self.resume(job, have),
            Request::SyncEnd => {
                self.connections.entry(token).and_modify(|c| c.state = State::Live);
                Ok(())
            }
            Request::Input { job, offset, bytes } => {
                self.inputs.receive(job, offset, &bytes, self.config.ceilings.input_in_flight);
                Ok(())
            }
            Request::Spawn(spawn) => self.spawn(token, &spawn),
            Request::Ack { job, stream, offset } => self.ack(job, stream, offset),
            Request::Stop { job, signal, grace_ms, by } => {
                let outcome = self.stop(job, signal, grace_ms, &by);
                self.tell(&Answer::Stopped { job, outcome });
                Ok(())
            }
            Request::Signal { job, signal, by } => {
                let outcome = self.signal(job, signal, &by);
                self.tell(&Answer::Signalled { job, outcome });
                Ok(())
            }
            Request::Release { job } => {
                self.release_ended(job);
                Ok(())
            }
        }
    }

    // The only way to become the live connection; the one before is closed.
    fn hello(&mut self, token: u64, theirs: VersionRange, hello: Hello) -> Result<(), Closed> {
        let ours = VersionRange::OURS;
        let version = negotiate(ours, theirs);
        if let Some(old) = self.live.filter(|old| *old != token && version.is_some()) {
            self.close(old, Closed::Replaced);
        }
        let may_start = hello.epoch >= self.epoch_seen;
        let welcome = Answer::Welcome {
            version,
            speaks: [ours.min, ours.max],
            epoch_seen: self.epoch_seen,
            build: env!("CARGO_PKG_VERSION").into(),
            cgroups: self.hierarchy.kind().into(),
        };
        let connection = self.connections.get_mut(&token).ok_or(Closed::Gone)?;
        connection.answer(&welcome)?;
        let Some(version) = version else {
            self.flush(token);
            return Err(Closed::Protocol("no common version"));
        };
        connection.version = version as Version;
        connection.state = State::Syncing;
        connection.may_start = may_start;
        self.live = Some(token);
        self.epoch_seen = self.epoch_seen.max(hello.epoch);
        let fields =
            [("epoch", json!(hello.epoch)), ("build", json!(hello.build.chars().take(64).collect::<String>()))];
        if let Err(error) = self.audit.write("frontend-connected", &fields) {
            log(2, &format!("audit: {error}"));
        }
        log(5, &format!("frontend connected, protocol {version}, {} jobs held", self.jobs.len()));
        self.jobs.values_mut().for_each(Job::begin_again);
        let profiles = self.config.profiles.iter().map(crate::config::Profile::info).collect();
        self.tell(&Answer::Profiles(profiles));
        if let Some(connection) = self.connections.get_mut(&token) {
            self.jobs.values().try_for_each(|job| connection.list(&Answer::Job(Box::new(job.entry.clone()))))?;
        }
        self.tell(&Answer::SyncEnd);
        if self.live == Some(token) { Ok(()) } else { Err(Closed::NotReading) }
    }

    fn job_mut(&mut self, id: JobId) -> Option<(u64, &mut Job)> {
        let serial = *self.serials.get(&id)?;
        self.jobs.get_mut(&serial).map(|job| (serial, job))
    }

    fn resume(&mut self, id: JobId, have: [u64; 2]) -> Result<(), Closed> {
        // A job may have been lost between the list and this: then its end follows, and there is nothing to compare.
        let Some((serial, job)) = self.job_mut(id) else { return Ok(()) };
        let before = job.in_flight();
        // With its keeper a job's spools went too: what a former executor took of its output is nowhere but in the frontend's log.
        let have = if job.keeper.is_some() { have } else { [0, 0] };
        job.resume(have).map_err(|_| Closed::Protocol("resume beyond what was taken"))?;
        let freed = before.saturating_sub(job.in_flight());
        self.after_ack(freed);
        self.make_ready(serial);
        self.tell_end(serial);
        Ok(())
    }

    fn ack(&mut self, id: JobId, stream: Stream, offset: u64) -> Result<(), Closed> {
        let Some((serial, job)) = self.job_mut(id) else { return Ok(()) }; // released meanwhile
        if offset > job.sent(stream) {
            return Err(Closed::Protocol("acknowledged what was never sent"));
        }
        let before = job.in_flight();
        job.ack(stream, offset).map_err(|_| Closed::Protocol("acknowledged what was never sent"))?;
        let freed = before.saturating_sub(job.in_flight());
        let waits_for_end = matches!(job.life, Life::Ended(_)) && !job.drained;
        self.after_ack(freed);
        if waits_for_end {
            self.drain(serial);
        }
        Ok(())
    }

    fn after_ack(&mut self, freed: u64) {
        self.in_flight = self.in_flight.saturating_sub(freed);
        if freed > 0 && !self.starved.is_empty() {
            self.feed_starved();
        }
    }

    pub(super) fn make_ready(&mut self, serial: u64) {
        if let Some(job) = self.jobs.get_mut(&serial)
            && job.resumed
            && job.has_piece()
            && !std::mem::replace(&mut job.queued, true)
        {
            self.ready.push_back(serial);
        }
    }

    fn signal(&mut self, id: JobId, number: u8, by: &Claimed) -> SignalOutcome {
        if !(1..=64).contains(&number) {
            return SignalOutcome::Invalid;
        }
        let Some((_, job)) = self.job_mut(id) else { return SignalOutcome::Unknown };
        let outcome = send(job, number);
        let fields = [
            ("job", json!(id.to_string())),
            ("request", json!(bounded(&by.request))),
            ("claimed", claimed(by)),
            ("signal", json!(number)),
            ("outcome", json!(format!("{outcome:?}"))),
        ];
        let _ = self.audit.write("signalled", &fields);
        outcome
    }

    // The first request to stop is the one that is told; a later one may only bring the kill nearer.
    fn stop(&mut self, id: JobId, number: u8, grace_ms: u64, by: &Claimed) -> SignalOutcome {
        if !(1..=64).contains(&number) || grace_ms > GRACE_MAX_MS {
            return SignalOutcome::Invalid;
        }
        let kill_at_ns = boot_ns().saturating_add(grace_ms.saturating_mul(1_000_000));
        let Some((serial, job)) = self.job_mut(id) else { return SignalOutcome::Unknown };
        if matches!(job.life, Life::Ended(_)) {
            return SignalOutcome::NotRunning;
        }
        let fact = StopFact { by: bounded(&by.owner), signal: number, at_ns: now_ns() };
        // One timer, however often it is asked.
        let former = job.stopping.as_ref().map_or(u64::MAX, |stopping| stopping.kill_at_ns);
        let kill_at_ns = kill_at_ns.min(former);
        match &mut job.stopping {
            Some(stopping) => stopping.kill_at_ns = kill_at_ns,
            none => *none = Some(Stopping { fact, kill_at_ns }),
        }
        let _ = job.record_stop();
        let starting = job.life == Life::Starting;
        // One that is not born yet gets the signal when it is.
        let outcome = if starting { SignalOutcome::Sent } else { send(job, number) };
        self.timers.remove(&(former, serial, Timer::Kill));
        self.timers.insert((kill_at_ns, serial, Timer::Kill));
        let fields = [
            ("job", json!(id.to_string())),
            ("request", json!(bounded(&by.request))),
            ("claimed", claimed(by)),
            ("signal", json!(number)),
            ("grace_ms", json!(grace_ms)),
        ];
        let _ = self.audit.write("stop-asked", &fields);
        outcome
    }
}

/// Signals the command's process group. Its leader is not waited for, so the number is not a stranger's.
pub(super) fn send(job: &Job, number: u8) -> SignalOutcome {
    let pid = match (&job.life, job.entry.phase) {
        (Life::Running, ipc_protocol::Phase::Started { pid, .. }) => i32::try_from(pid).ok().and_then(Pid::from_raw),
        _ => None,
    };
    let Some(pid) = pid else { return SignalOutcome::NotRunning };
    match process::signal_group(pid, number) {
        Ok(()) => {
            // A stopped job would not notice.
            if number != 9 && number != 19 && number != 20 {
                let _ = kill_process_group(pid, Signal::CONT);
            }
            SignalOutcome::Sent
        }
        Err(Errno::SRCH) => SignalOutcome::NotRunning,
        Err(errno) => SignalOutcome::Failed(errno.raw_os_error()),
    }
}

/// Who asks, as the audit trail has it: whatever the peer says, a line stays a line.
pub(super) fn claimed(by: &Claimed) -> serde_json::Value {
    json!({ "owner": bounded(&by.owner), "serial": bounded(&by.serial), "peer": bounded(&by.peer) })
}

/// A name that a peer gave, cut to what a name may have.
pub(super) fn bounded(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}
