//! A job's life and its bytes, without a host: what goes in, what comes out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod interleavings;
mod life;
mod output;
mod stops;

use ipc_protocol::{Answer, Claimed, End, Facts, JobEntry, JobId, Limit, Limits, Phase, Stream};

use super::{Chunk, Effect, Input, Job};

const ID: JobId = JobId::from_bytes([1; 16]);

pub(crate) fn entry() -> JobEntry {
    JobEntry {
        job: ID,
        claimed: Claimed::default(),
        profile: "p".into(),
        argv: Vec::new(),
        phase: Phase::Starting,
        uid: 5000,
        limits: Limits::default().with(Limit::Pids, 10),
        input: None,
        merge: false,
        acked: [0, 0],
    }
}

const STARTED: Input = Input::Started { pid: 70, started_ns: 3, deadline_ns: 0 };

fn ended(end: End) -> Input {
    Input::Ended { end, facts: Facts { cpu_ns: 9, ..Facts::default() }, ended_ns: 8 }
}

/// A job whose frontend is there, with short words for what happens to it.
#[derive(Debug)]
struct Lived {
    job: Job,
    now: u64,
}

impl Lived {
    fn newborn() -> Self {
        Self { job: Job::new(entry(), true), now: 0 }
    }

    fn running() -> Self {
        let mut lived = Self::newborn();
        lived.step(STARTED);
        lived
    }

    fn ended() -> Self {
        let mut lived = Self::running();
        lived.step(ended(End::Exited(0)));
        lived
    }

    #[track_caller]
    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.job.step(input).unwrap()
    }

    // The job writes and the executor takes.
    #[track_caller]
    fn says(&mut self, stream: Stream, bytes: u64) -> Vec<Effect> {
        self.now += 1;
        self.step(Input::Took { stream, bytes, at_ns: self.now })
    }

    #[track_caller]
    fn sends_one(&mut self) -> Chunk {
        let effects = self.step(Input::Turn);
        let sent: Vec<_> =
            effects.iter().filter_map(|e| if let Effect::Send(c) = e { Some(*c) } else { None }).collect();
        assert_eq!(sent.len(), 1, "{effects:?}");
        sent[0]
    }

    // (stream, offset, length) of everything that is sent now.
    fn sends(&mut self) -> Vec<(Stream, u64, u64)> {
        let mut sent = Vec::new();
        while let Some(Effect::Send(piece)) = self.step(Input::Turn).first() {
            sent.push((piece.stream, piece.offset, piece.length));
        }
        sent
    }

    // A new connection, whose frontend has so much in its log.
    fn comes_back_with(&mut self, have: [u64; 2]) -> Vec<Effect> {
        self.step(Input::Disconnected);
        self.step(Input::Resume(have))
    }
}

fn spawned() -> Effect {
    let JobEntry { job, uid, limits, .. } = entry();
    Effect::Tell(Box::new(Answer::Spawned { job, pid: 70, uid, started_ns: 3, limits }))
}

fn exited(effects: &[Effect]) -> Option<(End, Facts, [u64; 2], u64)> {
    let mut told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(answer) => match &**answer {
            Answer::Exited { job, end, facts, totals, ended_ns } if *job == ID => {
                Some((end.clone(), (**facts).clone(), *totals, *ended_ns))
            }
            _ => None,
        },
        _ => None,
    });
    let first = told.next();
    assert!(told.next().is_none(), "the end was told twice: {effects:?}");
    first
}
