//! What the frontend says, and what is done about it. Every handler decides from the executor's own state.

use ipc_protocol::{
    Answer, Claimed, Hello, JobId, NAME_MAX, Request, SignalOutcome, StopFact, VersionRange, decode_request, negotiate,
};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};
use serde_json::{Value, json};

use super::{Executor, Held, log};
use crate::{
    connection::{Closed, State},
    job::{Input, Life},
    plan::{Stopping, boot_ns, now_ns},
    sys,
};

/// The longest grace of a stop.
const GRACE_MAX_MS: u64 = 3_600_000;
/// How much further one hello can take the epoch that is remembered. An honest one goes on by one with each start of a frontend. A
/// liar's last number would lock out every frontend after it; this far at a time, the numbers last for longer than the host.
const EPOCH_STEP_MAX: u64 = 1 << 20;

impl Executor {
    /// One frame: parsed whole, then permitted, then done. A job that is not held any more was released: nothing happens to it.
    pub(super) fn serve(&mut self, token: u64, body: &[u8]) -> Result<(), Closed> {
        let connection = self.connections.get_mut(&token).ok_or(Closed::Gone)?;
        if connection.state == State::Fresh {
            let (speaks, hello) = Hello::decode(body).map_err(Closed::Message)?;
            return self.hello(token, speaks, &hello);
        }
        let request = decode_request(body).map_err(Closed::Message)?;
        connection.permit(&request)?;
        kill_point!(RequestRead);
        match request {
            Request::Resume { job, have } => self.happen_to(job, Input::Resume(have)),
            Request::SyncEnd => connection.state = State::Live,
            Request::Input { job, offset, bytes } => {
                self.inputs.receive(job, offset, &bytes, self.config.ceilings.input_in_flight);
            }
            Request::Spawn(spawn) => {
                let may_start = connection.may_start;
                self.spawn(may_start, &spawn);
            }
            Request::Ack { job, stream, offset } => self.happen_to(job, Input::Ack(stream, offset)),
            Request::Stop { job, signal, grace_ms, by } => {
                let outcome = self.stop(job, signal, grace_ms, &by);
                self.tell(&Answer::Stopped { job, outcome });
            }
            Request::Signal { job, signal, by } => {
                let outcome = self.signal(job, signal, &by);
                self.tell(&Answer::Signalled { job, outcome });
            }
            Request::Release { job } => self.happen_to(job, Input::Release),
        }
        Ok(())
    }

    fn happen_to(&mut self, job: JobId, input: Input) {
        if let Some(serial) = self.serials.get(&job) {
            self.happen(*serial, input);
        }
    }

    // The only way to become the live connection; the one before is closed.
    fn hello(&mut self, token: u64, theirs: VersionRange, hello: &Hello) -> Result<(), Closed> {
        let ours = VersionRange::OURS;
        let version = negotiate(ours, theirs);
        if let Some(old) = self.live.filter(|old| *old != token && version.is_some()) {
            self.close(old, Closed::Replaced);
        }
        let connection = self.connections.get_mut(&token).ok_or(Closed::Gone)?;
        connection.answer(&Answer::Welcome {
            version,
            speaks: [ours.min, ours.max],
            epoch_seen: self.epoch_seen,
            build: crate::BUILD.into(),
            cgroups: self.hierarchy.kind().into(),
        })?;
        let Some(version) = version else {
            self.flush(token);
            return Err(Closed::Protocol("no common version"));
        };
        connection.state = State::Syncing;
        connection.may_start = hello.epoch >= self.epoch_seen;
        connection.answer(&Answer::Profiles(self.config.infos()))?;
        self.jobs.values().try_for_each(|held| connection.answer(&Answer::Job(Box::new(held.job.entry()))))?;
        connection.answer(&Answer::SyncEnd)?;
        kill_point!(Listed);
        self.live = Some(token);
        self.epoch_seen = self.epoch_seen.max(hello.epoch.min(self.epoch_seen.saturating_add(EPOCH_STEP_MAX)));
        let build: String = hello.build.chars().take(64).collect();
        self.note("frontend-connected", &[("epoch", json!(hello.epoch)), ("build", json!(build))]);
        log(5, &format!("frontend connected, protocol {version}, {} jobs held", self.jobs.len()));
        Ok(())
    }

    fn signal(&mut self, id: JobId, number: u8, by: &Claimed) -> SignalOutcome {
        if !(1..=64).contains(&number) {
            return SignalOutcome::Invalid;
        }
        let Some(held) = self.serials.get(&id).and_then(|serial| self.jobs.get(serial)) else {
            return SignalOutcome::Unknown;
        };
        let outcome = send(held, number);
        let fields = [("signal", json!(number)), ("outcome", json!(format!("{outcome:?}")))];
        self.note("signalled", &[&asked(id, by), &fields[..]].concat());
        outcome
    }

    fn stop(&mut self, id: JobId, number: u8, grace_ms: u64, by: &Claimed) -> SignalOutcome {
        if !(1..=64).contains(&number) || grace_ms > GRACE_MAX_MS {
            return SignalOutcome::Invalid;
        }
        let Some(serial) = self.serials.get(&id).copied() else { return SignalOutcome::Unknown };
        let fact = StopFact { by: bounded(&by.owner), signal: number, at_ns: now_ns() };
        let kill_at_ns = boot_ns().saturating_add(grace_ms.saturating_mul(1_000_000));
        self.happen(serial, Input::Stop(Stopping { fact, kill_at_ns }));
        let fields = [("signal", json!(number)), ("grace_ms", json!(grace_ms))];
        self.note("stop-asked", &[&asked(id, by), &fields[..]].concat());
        kill_point!(StopAudited);
        // One that is not born yet gets the signal when it is.
        self.jobs.get(&serial).map_or(SignalOutcome::Unknown, |held| match held.job.life() {
            Life::Starting => SignalOutcome::Sent,
            _ => send(held, number),
        })
    }

    // A line that the frontend can cause at will, and that starts nothing.
    fn note(&mut self, event: &str, fields: &[(&str, Value)]) {
        if let Err(error) = self.audit.write_bounded(event, fields) {
            log(2, &format!("audit: {error}"));
        }
    }
}

/// Signals the command's process group. Its leader is not waited for, so the number is not a stranger's.
pub(super) fn send(held: &Held, number: u8) -> SignalOutcome {
    let pid = held.job.running_pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let Some(pid) = pid else { return SignalOutcome::NotRunning };
    match sys::signal_group(pid, number) {
        Ok(()) => {
            // A stopped job would not notice.
            if ![libc::SIGKILL, libc::SIGSTOP, libc::SIGTSTP].contains(&number.into()) {
                let _ = kill_process_group(pid, Signal::CONT);
            }
            SignalOutcome::Sent
        }
        Err(Errno::SRCH) => SignalOutcome::NotRunning,
        Err(errno) => SignalOutcome::Failed(errno.raw_os_error()),
    }
}

/// The first fields of a line about a job that somebody asks something of. Whatever the peer says, a line stays a line.
pub(super) fn asked(id: JobId, by: &Claimed) -> [(&'static str, Value); 3] {
    let claimed = json!({ "owner": bounded(&by.owner), "serial": bounded(&by.serial), "peer": bounded(&by.peer) });
    [("job", json!(id.to_string())), ("request", json!(bounded(&by.request))), ("claimed", claimed)]
}

fn bounded(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}
