//! Standard input that is not what was announced.

use airlock_e2e::StackOptions;
use ipc_protocol::{End, INPUT_BYTES_MAX, InputDigest, JobId, Refusal, Request, Spawn};
use sha2::{Digest, Sha256};

use super::{
    Executor, attack,
    peer::{Peer, fresh_id, spawn},
};

fn digest(bytes: &[u8]) -> Option<InputDigest> {
    Some(InputDigest { bytes: bytes.len() as u64, sha256: Sha256::digest(bytes).into() })
}

fn cat(input: &[u8]) -> Spawn {
    Spawn { input: digest(input), ..spawn(&["cat"]) }
}

fn sends(peer: &mut Peer, job: JobId, offset: u64, bytes: &[u8]) {
    peer.say(&Request::Input { job, offset, bytes: bytes.to_vec() });
}

#[track_caller]
fn refused(peer: &mut Peer, asked: &Spawn, says: &str) {
    let (refusal, field, message) = peer.is_refused(asked);
    assert_eq!((refusal, field.as_str()), (Refusal::Host, "input_id"), "{message}");
    assert!(message.contains(says), "expected '{says}' in: {message}");
}

#[test]
fn input_as_announced_arrives() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = cat(b"one two");
        sends(&mut peer, job.job, 0, b"one ");
        sends(&mut peer, job.job, 4, b"two");
        peer.starts(&job);
        assert_eq!(peer.output_until_end(job.job), (b"one two".to_vec(), End::Exited(0)));
    });
}

#[test]
fn input_out_of_order_is_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        for (first, second) in [(0, 3), (0, 5), (4, 0), (u64::MAX, u64::MAX)] {
            let job = cat(b"one two");
            sends(&mut peer, job.job, first, b"one ");
            sends(&mut peer, job.job, second, b"two");
            let says = match first {
                0 => "input is not in order",
                4 => "3 bytes of input arrived, not the 7 announced",
                _ => "no input arrived",
            };
            refused(&mut peer, &job, says);
        }
    });
}

#[test]
fn other_bytes_than_announced_are_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = cat(b"one two");
        sends(&mut peer, job.job, 0, b"one six");
        refused(&mut peer, &job, "7 bytes of input arrived, not the 7 announced, or others");
    });
}

#[test]
fn fewer_and_more_bytes_than_announced_are_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        for sent in [&b"one"[..], b"one two three"] {
            let job = cat(b"one two");
            sends(&mut peer, job.job, 0, sent);
            refused(&mut peer, &job, "bytes of input arrived, not the 7 announced");
        }
    });
}

#[test]
fn announced_input_that_never_came_is_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        refused(&mut peer, &cat(b"one"), "no input arrived");
    });
}

#[test]
fn input_of_another_job_is_not_taken() {
    attack(|executor| {
        let mut peer = executor.live();
        sends(&mut peer, fresh_id(), 0, b"one");
        refused(&mut peer, &cat(b"one"), "no input arrived");
    });
}

#[test]
fn input_is_used_once() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = cat(b"one");
        sends(&mut peer, job.job, 0, b"one");
        peer.starts(&job);
        peer.ends(job.job);
        peer.say(&Request::Release { job: job.job });
        refused(&mut peer, &job, "no input arrived");
    });
}

#[test]
fn input_goes_with_the_connection_that_sent_it() {
    attack(|executor| {
        let job = cat(b"one");
        let mut first = executor.live();
        sends(&mut first, job.job, 0, b"one");
        first.is_open();
        let mut second = executor.live();
        refused(&mut second, &job, "no input arrived");
    });
}

#[test]
fn more_input_than_the_profile_allows_is_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        for bytes in [(256 << 20) + 1, u64::MAX] {
            let asked = Spawn { input: Some(InputDigest { bytes, sha256: [0; 32] }), ..spawn(&["cat"]) };
            let (refusal, field, _) = peer.is_refused(&asked);
            assert_eq!((refusal, field.as_str()), (Refusal::Invalid, "input_id"));
        }
    });
}

#[test]
fn more_input_on_the_way_than_the_ceiling_is_refused_and_what_came_before_is_not_lost() {
    let small = StackOptions::new().edit(
        "executor.toml",
        "starts_per_second = 200",
        "starts_per_second = 200\ninput_in_flight = \"1M\"",
    );
    let executor = Executor::start(small);
    let mut peer = executor.live();
    let early = cat(b"early");
    sends(&mut peer, early.job, 0, b"early");
    let big = vec![7; INPUT_BYTES_MAX];
    let whole = big.repeat(16);
    let late = cat(&whole);
    for part in 0..16 {
        sends(&mut peer, late.job, part * INPUT_BYTES_MAX as u64, &big);
    }
    refused(&mut peer, &late, "no room for more input");
    peer.starts(&early);
    assert_eq!(peer.output_until_end(early.job), (b"early".to_vec(), End::Exited(0)));
    peer.say(&Request::Release { job: early.job });
    // There is room again.
    let job = cat(b"again");
    sends(&mut peer, job.job, 0, b"again");
    peer.starts(&job);
    peer.ends(job.job);
    peer.say(&Request::Release { job: job.job });
    executor.serves_and_nothing_is_left();
}

#[test]
fn input_for_thousands_of_jobs_that_never_come_costs_few_descriptors_and_little_memory() {
    attack(|executor| {
        let mut peer = executor.live();
        let (descriptors, memory) = (executor.descriptors(), executor.memory_kib("VmRSS"));
        for n in 0..100_000u128 {
            sends(&mut peer, JobId::from_bytes(n.to_le_bytes()), 0, b"x");
        }
        peer.is_open();
        let (more, grown) =
            (executor.descriptors().saturating_sub(descriptors), executor.memory_kib("VmRSS").saturating_sub(memory));
        assert!(more <= 200, "{more} descriptors are held, and births and connections have 256 beside the jobs'");
        assert!(grown < 8 * 1024, "{grown} KiB are held");
        peer.runs_true();
    });
}
