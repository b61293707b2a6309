//! What a frontend says: mostly what fits, sometimes what almost fits, now and then anything.

use std::collections::BTreeMap;

use ipc_protocol::{Claimed, Hello, InputDigest, JobId, Limit, Limits, Request, Spawn, Stream, encode_request};

use super::account::Account;
use crate::input::Input;

/// One of a few jobs, so that messages and events meet.
pub fn job(input: &mut Input<'_>) -> JobId {
    JobId::from_bytes([input.below(4) as u8; 16])
}

/// The first frame of a frontend with this database.
pub fn hello(epoch: u64) -> Vec<u8> {
    Hello { min_version: 1, epoch, build: "fuzz".into() }.encode(1).expect("a short hello")
}

/// The end of a comparison.
pub fn sync_end() -> Vec<u8> {
    encode_request(&Request::SyncEnd).expect("a short request")
}

/// What a frontend says whose log holds something between what it acknowledged and what was sent to it.
pub fn honest_resume(account: &Account, input: &mut Input<'_>) -> Vec<u8> {
    let have = Stream::BOTH.map(|stream| {
        let [acked, _, taken] = account.offsets(stream);
        acked + input.below(taken - acked + 1)
    });
    encode_request(&Request::Resume { job: account.id(), have }).expect("a short request")
}

/// Any frame.
pub fn any(input: &mut Input<'_>, jobs: &BTreeMap<JobId, Account>) -> Vec<u8> {
    if input.below(16) == 0 {
        let length = 1 + usize::from(input.byte()) % 60;
        return [&[0][..], input.take(length)].concat();
    }
    let id = job(input);
    let request = match input.below(12) {
        0 | 1 => spawn(id, input),
        2..=4 => {
            let stream = input.pick(&Stream::BOTH);
            Request::Ack { job: id, stream, offset: offset(input, jobs.get(&id), stream) }
        }
        5 => Request::Resume { job: id, have: Stream::BOTH.map(|stream| offset(input, jobs.get(&id), stream)) },
        6 => Request::SyncEnd,
        7 => Request::Stop { job: id, signal: input.byte() % 70, grace_ms: input.below(400), by: claimed(input) },
        8 => Request::Signal { job: id, signal: input.byte(), by: claimed(input) },
        9 | 10 => Request::Release { job: id },
        _ => Request::Input { job: id, offset: input.below(8), bytes: input.take(6).to_vec() },
    };
    encode_request(&request).expect("a short request")
}

// What is known of the stream, or beside it.
fn offset(input: &mut Input<'_>, account: Option<&Account>, stream: Stream) -> u64 {
    let [acked, sent, taken] = account.map(|account| account.offsets(stream)).unwrap_or_default();
    match input.below(10) {
        0..=3 => sent,
        4 => acked,
        5 => taken,
        6 => acked + input.below(sent.saturating_sub(acked) + 1),
        7 => sent + 1,
        8 => taken + 1,
        _ => u64::from_le_bytes(input.array()),
    }
}

fn spawn(job: JobId, input: &mut Input<'_>) -> Request {
    let words: [&[u8]; 6] = [b"true", b"/bin/sh", b"-c", b"", b"a\0b", b"x"];
    let (mut argv, mut env, mut limits) = (vec![b"true".to_vec()], Vec::new(), Limits::default());
    let mut profile = input.pick(&["standard", "standard", "offline", "fixed"]);
    let mut cwd = None;
    // One in four is not as it should be, or is more than plain.
    if input.below(4) == 0 {
        argv = (0..input.below(4)).map(|_| input.pick(&words).to_vec()).collect();
        for _ in 0..input.below(3) {
            env.push((input.pick(&["A", "LD_PRELOAD", "", "A=B", "VERSION"]).to_owned(), input.take(2).to_vec()));
        }
        for _ in 0..input.below(3) {
            let limit = input.pick(&Limit::ALL);
            let value = input.pick(&[0, 1, 512, 1000, 1 << 20, 1 << 30, 1 << 34, u64::MAX]);
            limits.set(limit, Some(value));
        }
        profile = input.pick(&[profile, "", "nope"]);
        cwd = input.pick(&[None, Some("/srv/www"), Some("/"), Some("..")]);
    }
    Request::Spawn(Box::new(Spawn {
        job,
        claimed: claimed(input),
        profile: profile.to_owned(),
        argv: if profile == "fixed" { Vec::new() } else { argv },
        env,
        cwd: cwd.map(str::to_owned),
        limits,
        input: (input.below(8) == 0).then(|| InputDigest { bytes: input.below(1 << 40), sha256: [0; 32] }),
        merge: input.coin(),
    }))
}

fn claimed(input: &mut Input<'_>) -> Claimed {
    Claimed { owner: input.pick(&["alice", "", "\u{1b}[2J"]).to_owned(), ..Claimed::default() }
}
