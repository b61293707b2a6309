//! Who may connect, in which version, and which connection is the one.

use airlock_e2e::{Signal, scale};
use ipc_protocol::{Answer, Hello, Refusal, SignalOutcome};

use super::{
    EPOCH, Executor, FRONTEND, attack,
    peer::{Peer, sleeper, spawn},
};
use airlock_e2e::StackOptions;

#[test]
fn another_user_of_the_frontends_group_is_closed_before_a_byte_is_read() {
    attack(|executor| {
        let mut peer = executor.connect_as(FRONTEND + 1, FRONTEND).unwrap_or_else(|error| panic!("{error}"));
        peer.is_closed();
    });
}

#[test]
fn a_user_outside_the_frontends_group_cannot_connect() {
    attack(|executor| {
        let error = executor.connect_as(FRONTEND + 1, FRONTEND + 1).map(drop).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    });
}

#[test]
fn root_is_not_the_frontend() {
    attack(|executor| {
        let mut peer = executor.connect_as(0, 0).unwrap_or_else(|error| panic!("{error}"));
        peer.is_closed();
    });
}

#[track_caller]
fn hears_no_version(executor: &Executor, min: u8, max: u8) {
    let mut peer = executor.connect();
    peer.hello(min, max, EPOCH);
    let speaks = peer.waits_for("a welcome", |answer| match answer {
        Answer::Welcome { version: None, speaks, .. } => Some(*speaks),
        _ => None,
    });
    assert_eq!(speaks, [1, 1]);
    peer.is_closed();
}

#[test]
fn a_frontend_of_version_0_is_told_what_is_spoken_and_closed() {
    attack(|executor| hears_no_version(executor, 0, 0));
}

#[test]
fn a_frontend_of_version_255_is_told_what_is_spoken_and_closed() {
    attack(|executor| hears_no_version(executor, 255, 255));
}

#[test]
fn a_frontend_that_speaks_no_version_at_all_is_told_what_is_spoken_and_closed() {
    attack(|executor| hears_no_version(executor, 255, 0));
}

#[test]
fn a_frontend_that_also_speaks_2_is_answered_in_1() {
    attack(|executor| {
        let mut peer = executor.connect();
        peer.hello(1, 2, EPOCH);
        let version = peer.waits_for("a welcome", |answer| match answer {
            Answer::Welcome { version, .. } => Some(*version),
            _ => None,
        });
        assert_eq!(version, Some(1));
    });
}

#[test]
fn a_second_hello_closes_the_connection() {
    attack(|executor| {
        let mut peer = executor.live();
        peer.hello(1, 1, EPOCH);
        peer.is_closed();
        let mut peer = executor.connect();
        peer.begins(EPOCH);
        peer.hello(1, 1, EPOCH);
        peer.is_closed();
    });
}

#[test]
fn a_hello_with_a_name_as_long_as_a_frame_costs_a_line_and_no_more() {
    attack(|executor| {
        let before = executor.audit_bytes();
        let mut peer = executor.connect();
        let hello = Hello { min_version: 1, epoch: EPOCH, build: "x\n".repeat(100_000) };
        let body = hello.encode(1).unwrap_or_default();
        peer.frame(&body);
        peer.waits_for("the list", |answer| matches!(answer, Answer::SyncEnd).then_some(()));
        assert!(executor.audit_bytes() < before + 2048);
    });
}

#[test]
fn a_newer_hello_replaces_the_older_connection_and_jobs_go_on() {
    attack(|executor| {
        let mut older = executor.live();
        let job = sleeper();
        let (pid, _) = older.starts(&job);
        let mut newer = executor.live();
        older.is_closed();
        assert!(newer.listed.iter().any(|entry| entry.job == job.job));
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert_eq!(newer.stop(job.job, 9, 0), SignalOutcome::Sent);
    });
}

#[test]
fn a_connection_that_only_begins_replaces_nothing() {
    attack(|executor| {
        let mut live = executor.live();
        let mut half: Vec<Peer> = (0..3).map(|_| executor.connect()).collect();
        half[1].send(&[9, 0]);
        half[2].frame(&[0xff]);
        half[2].is_closed();
        live.is_open();
    });
}

#[test]
fn a_hello_without_a_common_version_replaces_nothing() {
    attack(|executor| {
        let mut live = executor.live();
        hears_no_version(executor, 2, 3);
        live.is_open();
    });
}

#[test]
fn a_connection_opened_before_the_live_one_may_still_replace_it_by_a_valid_hello() {
    attack(|executor| {
        let mut early = executor.connect();
        let mut live = executor.live();
        early.begins(EPOCH);
        live.is_closed();
    });
}

#[test]
fn a_frontend_whose_records_are_older_looks_and_stops_but_starts_nothing() {
    let executor = Executor::start(StackOptions::new());
    let mut peer = executor.connect();
    peer.becomes_live(EPOCH + 7);
    let job = sleeper();
    peer.starts(&job);
    let mut stale = executor.connect();
    stale.becomes_live(EPOCH + 6);
    assert_eq!(stale.is_refused(&spawn(&["true"])).0, Refusal::StaleEpoch);
    assert_eq!(stale.stop(job.job, 9, 0), SignalOutcome::Sent);
    stale.ends(job.job);
    let mut current = executor.connect();
    current.becomes_live(EPOCH + 7);
    current.runs_true();
}

#[test]
fn the_highest_epoch_of_all_locks_out_no_later_frontend() {
    let executor = Executor::start(StackOptions::new());
    for _ in 0..100 {
        executor.connect().begins(u64::MAX);
    }
    // Its job bears the epoch through a restart of the executor.
    let mut liar = executor.connect();
    liar.becomes_live(u64::MAX);
    liar.starts(&sleeper());
    drop(liar);
    executor.stack().end("executor", Signal::KILL);
    executor.stack().up().ends_with(0);
    executor.stack().run_sh("exit 7").ends_with(7);
}

#[test]
fn thousands_of_connections_one_after_the_other_leave_nothing() {
    attack(|executor| {
        for _ in 0..2000 / scale::factor() {
            drop(executor.connect());
        }
    });
}

#[test]
fn hundreds_of_connections_at_once_are_bounded_and_the_live_one_goes_on() {
    attack(|executor| {
        let mut live = executor.live();
        let before = executor.descriptors();
        let held: Vec<_> = (0..300).map_while(|_| executor.connect_as(FRONTEND, FRONTEND).ok()).collect();
        live.is_open();
        assert!(executor.descriptors() < before + 10, "{} connections cost descriptors", held.len());
        drop(held);
        live.is_open();
    });
}
