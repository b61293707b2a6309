//! Requests about jobs: foreign and dead ones, offsets that never were, signals that are none.

use std::path::Path;

use ipc_protocol::{Answer, Claimed, End, JobId, Refusal, Request, SignalOutcome, Spawn, Stream};

use super::{
    EPOCH, attack,
    peer::{Peer, fresh_id, sleeper, spawn},
};

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[track_caller]
fn knows_nothing_of(peer: &mut Peer, job: JobId) {
    assert_eq!(peer.stop(job, 15, 0), SignalOutcome::Unknown);
    assert_eq!(peer.signal(job, 9), SignalOutcome::Unknown);
    peer.say(&Request::Release { job });
    for stream in Stream::BOTH {
        peer.say(&Request::Ack { job, stream, offset: u64::MAX });
    }
    peer.is_open();
}

#[test]
fn a_job_that_never_was_is_unknown_to_every_request() {
    attack(|executor| {
        let mut peer = executor.live();
        for job in [
            fresh_id(),
            JobId::from_bytes([0; 16]),
            JobId::from_bytes([255; 16]),
            JobId::from_bytes(*b"../../../../../."),
        ] {
            knows_nothing_of(&mut peer, job);
        }
    });
}

#[test]
fn a_released_job_is_unknown_to_every_request() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = spawn(&["true"]);
        peer.starts(&job);
        peer.ends(job.job);
        peer.say(&Request::Release { job: job.job });
        knows_nothing_of(&mut peer, job.job);
    });
}

#[test]
fn a_comparison_of_jobs_that_never_were_is_passed_over() {
    attack(|executor| {
        let mut peer = executor.connect();
        peer.begins(EPOCH);
        for _ in 0..100 {
            peer.say(&Request::Resume { job: fresh_id(), have: [u64::MAX, u64::MAX] });
        }
        peer.say(&Request::SyncEnd);
        peer.is_open();
    });
}

#[test]
fn a_signal_to_a_job_that_has_ended_reaches_nobody() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = spawn(&["true"]);
        peer.starts(&job);
        peer.ends(job.job);
        assert_eq!(peer.signal(job.job, 9), SignalOutcome::NotRunning);
        assert_eq!(peer.stop(job.job, 9, 0), SignalOutcome::NotRunning);
    });
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_closes_the_connection() {
    attack(|executor| {
        for offset in [1, 4096, u64::MAX] {
            for stream in Stream::BOTH {
                let mut peer = executor.live();
                let job = sleeper();
                peer.starts(&job);
                peer.say(&Request::Ack { job: job.job, stream, offset });
                peer.is_closed();
            }
        }
    });
}

#[test]
fn an_acknowledgement_before_the_comparison_of_its_job_closes_the_connection() {
    attack(|executor| {
        let mut first = executor.live();
        let job = spawn(&["sh", "-c", "echo twelve bytes; sleep 1000"]);
        first.starts(&job);
        first.waits_for("output", |answer| matches!(answer, Answer::Output { .. }).then_some(()));
        let mut second = executor.connect();
        second.begins(EPOCH);
        second.say(&Request::Ack { job: job.job, stream: Stream::Stdout, offset: 5 });
        second.is_closed();
    });
}

#[test]
fn a_comparison_beyond_what_was_written_closes_the_connection_and_loses_nothing() {
    attack(|executor| {
        let mut first = executor.live();
        let job = spawn(&["sh", "-c", "echo bytes; sleep 1000"]);
        first.starts(&job);
        first.waits_for("output", |answer| matches!(answer, Answer::Output { .. }).then_some(()));
        for have in [[7, 0], [0, 1], [u64::MAX, u64::MAX]] {
            let mut second = executor.connect();
            second.begins(EPOCH);
            second.say(&Request::Resume { job: job.job, have });
            second.is_closed();
        }
        let mut third = executor.live();
        let sent = third.waits_for("the output again", |answer| match answer {
            Answer::Output { bytes, .. } => Some(bytes.to_vec()),
            _ => None,
        });
        assert_eq!(sent, b"bytes\n");
    });
}

#[test]
fn a_repeated_spawn_starts_nothing_twice() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = sleeper();
        let first = peer.starts(&job);
        for _ in 0..20 {
            assert_eq!(peer.starts(&job), first);
        }
        let again = Spawn { claimed: Claimed { owner: "mallory".into(), ..Claimed::default() }, ..job.clone() };
        assert_eq!(peer.starts(&again), first);
        assert_eq!(executor.keepers().len(), 1);
    });
}

#[test]
fn a_spawn_of_a_held_id_with_other_words_is_refused_and_the_job_goes_on() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = sleeper();
        let (pid, _) = peer.starts(&job);
        let other = Spawn { argv: vec![b"sleep".to_vec(), b"1".to_vec()], ..job.clone() };
        assert_eq!(peer.is_refused(&other).0, Refusal::Conflict);
        let offline = Spawn { profile: "offline".into(), ..job.clone() };
        assert_eq!(peer.is_refused(&offline).0, Refusal::Conflict);
        assert!(lives(pid));
    });
}

#[test]
fn a_released_id_may_be_used_again() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = spawn(&["true"]);
        for _ in 0..3 {
            peer.starts(&job);
            assert_eq!(peer.ends(job.job), End::Exited(0));
            peer.say(&Request::Release { job: job.job });
        }
    });
}

#[test]
fn a_live_job_is_not_released() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = sleeper();
        let (pid, _) = peer.starts(&job);
        peer.say(&Request::Release { job: job.job });
        peer.is_open();
        assert!(lives(pid));
        assert_eq!(peer.stop(job.job, 15, 10_000), SignalOutcome::Sent);
        assert_eq!(peer.ends(job.job), End::Signaled { signal: 15, core: false });
    });
}

#[test]
fn a_job_is_released_whose_output_nobody_took() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = spawn(&["sh", "-c", "head -c 100000 /dev/zero"]);
        peer.starts(&job);
        peer.waits_for("the end", |answer| matches!(answer, Answer::Exited { .. }).then_some(()));
        peer.say(&Request::Release { job: job.job });
        peer.is_open();
    });
}

#[test]
fn a_signal_that_is_none_is_refused_and_the_job_goes_on() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = sleeper();
        let (pid, _) = peer.starts(&job);
        for number in [0, 65, 128, 255] {
            assert_eq!(peer.signal(job.job, number), SignalOutcome::Invalid, "signal {number}");
            assert_eq!(peer.stop(job.job, number, 0), SignalOutcome::Invalid, "stop with {number}");
        }
        assert!(lives(pid));
    });
}

#[test]
fn every_signal_number_can_be_sent() {
    attack(|executor| {
        let mut peer = executor.live();
        for number in [1, 10, 31, 32, 33, 34, 50, 64] {
            let job = sleeper();
            peer.starts(&job);
            assert_eq!(peer.signal(job.job, number), SignalOutcome::Sent, "signal {number}");
            assert_eq!(peer.ends(job.job), End::Signaled { signal: number, core: false });
            peer.say(&Request::Release { job: job.job });
        }
    });
}

#[test]
fn a_grace_above_an_hour_is_refused_and_the_job_goes_on() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = sleeper();
        let (pid, _) = peer.starts(&job);
        for grace in [3_600_001, u64::MAX / 1_000_000 + 1, u64::MAX] {
            assert_eq!(peer.stop(job.job, 15, grace), SignalOutcome::Invalid, "{grace}");
        }
        assert!(lives(pid));
    });
}

#[test]
fn a_later_stop_never_puts_the_kill_off() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = spawn(&["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]);
        peer.starts(&job);
        peer.waits_for("the trap", |answer| matches!(answer, Answer::Output { .. }).then_some(()));
        // One right behind the other, so that the first one's grace is not over before the second is there.
        for grace_ms in [1_000, 3_600_000] {
            peer.say(&Request::Stop { job: job.job, signal: 15, grace_ms, by: Claimed::default() });
        }
        for _ in 0..2 {
            let outcome = peer.waits_for("the answer to a stop", |answer| match answer {
                Answer::Stopped { outcome, .. } => Some(*outcome),
                _ => None,
            });
            assert_eq!(outcome, SignalOutcome::Sent);
        }
        assert_eq!(peer.ends(job.job), End::Signaled { signal: 9, core: false });
    });
}

#[test]
fn a_stop_at_once_after_the_spawn_ends_the_job() {
    attack(|executor| {
        let mut peer = executor.live();
        for _ in 0..20 {
            let job = sleeper();
            peer.say(&Request::Spawn(Box::new(job.clone())));
            peer.say(&Request::Stop { job: job.job, signal: 9, grace_ms: 0, by: Claimed::default() });
            // It may come before the exec; the job then never ran. Lost it never is.
            let end = peer.waits_for("the end", |answer| match answer {
                Answer::NotStarted { job: id, error } if *id == job.job => Some(End::StartFailed(error.clone())),
                Answer::Exited { job: id, end, .. } if *id == job.job => Some(end.clone()),
                _ => None,
            });
            match end {
                End::Signaled { signal: 9, .. } => {}
                End::StartFailed(error) => assert_eq!(error.errno, 0, "{error:?}"),
                other => panic!("{other:?}"),
            }
            peer.say(&Request::Release { job: job.job });
        }
    });
}

#[test]
fn stops_without_end_of_one_job_cost_no_memory() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = sleeper();
        peer.starts(&job);
        let before = executor.memory_kib("VmRSS");
        for grace in 0..50_000 {
            peer.say(&Request::Stop { job: job.job, signal: 18, grace_ms: 3_600_000 - grace, by: Claimed::default() });
            if grace % 100 == 0 {
                peer.is_open();
            }
        }
        let grown = executor.memory_kib("VmRSS").saturating_sub(before);
        assert!(grown < 512, "{grown} KiB were kept");
    });
}

#[test]
fn long_claims_of_who_asks_do_not_fill_the_audit_trail() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = sleeper();
        peer.starts(&job);
        let before = executor.audit_bytes();
        let by = Claimed { owner: "\n".repeat(100_000), request: "x".repeat(100_000), ..Claimed::default() };
        for _ in 0..20 {
            peer.say(&Request::Signal { job: job.job, signal: 18, by: by.clone() });
            peer.say(&Request::Stop { job: job.job, signal: 18, grace_ms: 3_600_000, by: by.clone() });
            peer.say(&Request::Spawn(Box::new(Spawn { claimed: by.clone(), ..spawn(&["true"]) })));
        }
        peer.is_open();
        let grown = executor.audit_bytes() - before;
        assert!(grown < 60 * 8 * 1024, "60 requests made {grown} bytes of audit");
        // The names of what is set are part of a line, too.
        let env = (0..12_000).map(|n| (format!("NAME{n}"), Vec::new())).collect();
        let many = Spawn { env, ..spawn(&["true"]) };
        peer.starts(&many);
        let more = executor.audit_bytes() - before - grown;
        assert!(more < 24 * 1024, "one start made {more} bytes of audit");
    });
}
