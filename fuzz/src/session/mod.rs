//! The executor's half of a connection, and the lives of its jobs, under any row of messages and events of a host that is made up.
//!
//! What the frontend says is encoded, framed, cut anywhere, decoded and held against the permit table as the executor does it; the
//! jobs are its own state machine. Beside them stands a plain account of what was taken, sent and acknowledged.
//!
//! Claims: nothing panics; only what was never taken or never sent closes a connection; bytes go out in order, each once per
//! comparison; what waits for acknowledgement is bounded while a job lives; an end is told once per connection, after the last
//! byte; nothing is signalled that does not run; and what an executor forgets had ended.

mod account;
mod messages;

use std::{collections::BTreeMap, fs::File};

use executor_helper::{
    connection::{Connection, State},
    job::Input as Happening,
    plan::Stopping,
};
use ipc_protocol::{
    Answer, End, Facts, FrameBuffer, Hello, JobId, LostReason, REQUEST_FRAME_MAX, Request, StartError, Step, StopFact,
    Stream, VersionRange, decode_answer, decode_request, encode_answer, frame_header, negotiate,
};

use crate::{input::Input, root_files, tally};
use account::Account;

/// Messages of a session, at least; what an input does not say is drawn from a seed.
const MESSAGES: u64 = 24;
/// Steps of a session, at most.
const STEPS_MAX: usize = 400;

/// Replays one session.
pub fn run(data: &[u8]) {
    let mut executor = Executor::new();
    let mut input = Input::new(data);
    let mut steps = 0;
    while !input.is_empty() && steps < STEPS_MAX {
        executor.step(&mut input);
        steps += 1;
    }
    let mut seed = u64::from(crc32fast::hash(data)) | 1;
    while executor.messages < MESSAGES {
        let bytes: [u8; 64] = std::array::from_fn(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        });
        let mut input = Input::new(&bytes);
        while !input.is_empty() && executor.messages < MESSAGES {
            executor.step(&mut input);
        }
    }
    tally::add("sessions of 20 or more messages", 1);
    tally::add("messages", executor.messages);
}

/// An executor without a host.
struct Executor {
    connection: Option<(Connection, FrameBuffer)>,
    jobs: BTreeMap<JobId, Account>,
    epoch_seen: u64,
    boot_ns: u64,
    messages: u64,
}

impl Executor {
    fn new() -> Self {
        Self { connection: None, jobs: BTreeMap::new(), epoch_seen: 0, boot_ns: 1, messages: 0 }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(24) {
            0 => self.connect(),
            1 => {
                self.connect();
                self.say_all(input);
            }
            2..=10 => {
                // Most of what matters is said on a connection that has compared its jobs.
                if self.connection.is_none() {
                    self.connect();
                    self.say_all(input);
                }
                let body = messages::any(input, &self.jobs);
                self.say(&body, input);
            }
            11 => self.say_all(input),
            12 => self.disconnect(),
            13 => self.restart(),
            14 | 15 => self.event(input, |_, input| Happening::Started {
                pid: 2 + u32::from(input.byte()),
                started_ns: 5,
                deadline_ns: input.below(3) * 100,
            }),
            16 | 17 => self.event(input, |account, input| {
                let stream = input.pick(&Stream::BOTH);
                let asked = 1 + input.length(2 << 20) as u64;
                // As much as there is room for, as the pump takes it.
                Happening::Took { stream, bytes: asked.min(account.room(stream)), at_ns: 7 }
            }),
            18 => {
                self.event(input, |_, input| Happening::Ended { end: end(input), facts: Facts::default(), ended_ns: 9 })
            }
            19 => {
                self.boot_ns += input.below(300);
                let boot_ns = self.boot_ns;
                self.event(input, |_, _| Happening::Tick { boot_ns });
            }
            _ => {
                for _ in 0..1 + input.below(8) {
                    self.event(input, |_, _| Happening::Turn);
                }
            }
        }
    }

    /// A new connection; the one before is gone.
    fn connect(&mut self) {
        self.disconnect();
        let nothing = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
        self.connection = Some((Connection::new(nothing.into()), FrameBuffer::new(REQUEST_FRAME_MAX)));
    }

    fn disconnect(&mut self) {
        if self.connection.take().is_some() {
            let ids: Vec<JobId> = self.jobs.keys().copied().collect();
            for id in ids {
                self.happen(id, Happening::Disconnected);
            }
        }
    }

    // All jobs are found again with what their keepers hold; nobody is connected.
    fn restart(&mut self) {
        self.connection = None;
        self.jobs.retain(|_, account| !account.is_lost());
        self.jobs.values_mut().for_each(Account::adopted);
    }

    // Hello and a whole comparison, as an honest frontend begins.
    fn say_all(&mut self, input: &mut Input<'_>) {
        self.say(&messages::hello(self.epoch_seen + input.below(2)), input);
        let resumes: Vec<Vec<u8>> = self.jobs.values().map(|job| messages::honest_resume(job, input)).collect();
        resumes.into_iter().for_each(|body| self.say(&body, input));
        self.say(&messages::sync_end(), input);
    }

    /// The frontend says one frame, in one piece or two.
    fn say(&mut self, body: &[u8], input: &mut Input<'_>) {
        self.messages += 1;
        let Some((_, buffer)) = &mut self.connection else { return };
        let frame = [&frame_header(body.len())[..], body].concat();
        let (one, other) = frame.split_at(input.place(frame.len().min(200)));
        buffer.extend(one);
        let early = buffer.next_body().map(|body| body.map(<[u8]>::to_vec));
        buffer.extend(other);
        let body = match early {
            Ok(None) => buffer.next_body().map(|body| body.map(<[u8]>::to_vec)),
            early => early,
        };
        match body {
            Ok(Some(body)) => {
                if !self.serve(&body) {
                    self.disconnect();
                }
            }
            Ok(None) => panic!("a whole frame is not there"),
            Err(_) => self.disconnect(),
        }
    }

    /// What the executor does with one frame; false when it closes the connection.
    fn serve(&mut self, body: &[u8]) -> bool {
        let Some((connection, _)) = &mut self.connection else { return false };
        if connection.state == State::Fresh {
            return self.hello(body);
        }
        let Ok(request) = decode_request(body) else { return false };
        if connection.permit(&request).is_err() {
            tally::add("messages not permitted", 1);
            return false;
        }
        tally::add("messages served", 1);
        match request {
            Request::Resume { job, have } => self.happen(job, Happening::Resume(have)),
            Request::SyncEnd => {
                connection.state = State::Live;
                true
            }
            Request::Input { .. } => true,
            Request::Spawn(spawn) => {
                let may_start = connection.may_start;
                if self.jobs.contains_key(&spawn.job) {
                    return self.happen(spawn.job, Happening::Repeated);
                }
                if let Some(entry) = root_files::admitted(&spawn).filter(|_| may_start) {
                    self.jobs.insert(spawn.job, Account::newborn(entry));
                }
                true
            }
            Request::Ack { job, stream, offset } => self.happen(job, Happening::Ack(stream, offset)),
            Request::Stop { job, signal, grace_ms, by } => {
                let fact = StopFact { by: by.owner, signal, at_ns: 3 };
                let kill_at_ns = self.boot_ns.saturating_add(grace_ms);
                (1..=64).contains(&signal).then(|| self.happen(job, Happening::Stop(Stopping { fact, kill_at_ns })));
                true
            }
            Request::Signal { .. } => true,
            Request::Release { job } => self.happen(job, Happening::Release),
        }
    }

    fn hello(&mut self, body: &[u8]) -> bool {
        let (Some((connection, _)), Ok((theirs, hello))) = (&mut self.connection, Hello::decode(body)) else {
            return false;
        };
        if negotiate(VersionRange::OURS, theirs).is_none() {
            return false;
        }
        connection.state = State::Syncing;
        connection.may_start = hello.epoch >= self.epoch_seen;
        self.epoch_seen = self.epoch_seen.max(hello.epoch);
        for account in self.jobs.values() {
            arrives(&Answer::Job(Box::new(account.entry())));
        }
        true
    }

    /// Something happens to one of the jobs.
    fn event(&mut self, input: &mut Input<'_>, what: impl Fn(&mut Account, &mut Input<'_>) -> Happening) {
        let which = usize::from(input.byte()) % self.jobs.len().max(1);
        let Some((&id, account)) = self.jobs.iter_mut().nth(which) else { return };
        // The keeper tells a thing once it is so, and an executor takes nothing that is not there.
        let happening = what(account, input);
        let idle = match &happening {
            Happening::Took { bytes, .. } => *bytes == 0 || account.is_drained(),
            Happening::Turn => self.connection.is_none(),
            _ => false,
        };
        if !idle && !self.happen(id, happening) {
            self.disconnect();
        }
    }

    /// One input of a job's life, and everything that follows from it. False when the frontend said what cannot be.
    fn happen(&mut self, id: JobId, happening: Happening) -> bool {
        let Some(account) = self.jobs.get_mut(&id) else { return true };
        let Some(outcome) = account.happen(happening, self.boot_ns) else { return false };
        outcome.told.iter().for_each(arrives);
        if outcome.forgotten {
            self.jobs.remove(&id);
        }
        true
    }
}

// Whatever is told can be said, and is heard as it was said.
fn arrives(answer: &Answer<'_>) {
    let body = encode_answer(answer).expect("an answer fits a frame");
    assert_eq!(decode_answer(&body).as_ref(), Ok(answer));
}

fn end(input: &mut Input<'_>) -> End {
    match input.below(5) {
        0 | 1 => End::Exited(i32::from(input.byte())),
        2 => End::Signaled { signal: input.byte(), core: false },
        3 => End::StartFailed(StartError::new(Step::Exec, 2)),
        _ => End::Lost(LostReason::KeeperDied),
    }
}
