//! The half of the trust statement that a frontend can do when it is taken over. What it cannot do is in the other files; these
//! tests hold that nobody relies on more.

use std::fs;

use airlock_e2e::StackOptions;
use ipc_protocol::{Answer, Claimed, End, SignalOutcome};
use serde_json::Value;

use super::{
    Executor, attack,
    peer::{sleeper, spawn},
};

/// The trail's lines about a job.
fn lines_about(executor: &Executor, job: &str) -> Vec<Value> {
    let trail = fs::read_to_string(executor.stack().path("audit/audit.jsonl")).expect("the trail");
    let lines = trail.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line"));
    lines.filter(|line| line["job"] == job).collect()
}

#[test]
fn whoever_the_frontend_names_is_believed_and_written_down_as_a_claim() {
    attack(|executor| {
        let mut peer = executor.live();
        let mut job = spawn(&["true"]);
        let (owner, serial, from) = ("somebody else", "5e1f", "192.0.2.7");
        job.claimed = Claimed { owner: owner.into(), serial: serial.into(), peer: from.into(), request: "r".into() };
        peer.starts(&job);
        peer.ends(job.job);
        let lines = lines_about(executor, &job.job.to_string());
        let claimed = &lines.first().expect("a line of the start")["claimed"];
        assert_eq!(*claimed, serde_json::json!({ "owner": owner, "serial": serial, "peer": from }));
        assert!(lines.iter().all(|line| line["owner"].is_null()), "a claim stands there as a fact: {lines:?}");
    });
}

#[test]
fn a_frontend_reads_ends_and_discards_jobs_of_whomever_it_likes() {
    // One of its own: of what frontends ask for, the trail has so many lines a second, and other attacks may have used them up.
    let executor = Executor::start(StackOptions::new());
    let (mut first, mut job) = (executor.live(), spawn(&["sh", "-c", "echo secret; exec sleep 1000"]));
    job.claimed.owner = "alice".into();
    first.starts(&job);
    first.waits_for("its output", |answer| {
        matches!(answer, Answer::Output { job: of, .. } if *of == job.job).then_some(())
    });
    // Taken over: another connection, which names nobody.
    let mut taken_over = executor.live();
    assert_eq!(taken_over.stop(job.job, 9, 0), SignalOutcome::Sent);
    let (output, end) = taken_over.output_until_end(job.job);
    assert_eq!((output, end), (b"secret\n".to_vec(), End::Signaled { signal: 9, core: false }));
    taken_over.say(&ipc_protocol::Request::Release { job: job.job });
    assert_eq!(taken_over.signal(job.job, 9), SignalOutcome::Unknown, "it is remembered all the same");
    assert!(lines_about(&executor, &job.job.to_string()).iter().any(|line| line["event"] == "stop-asked"));
    executor.serves_and_nothing_is_left();
}

#[test]
fn a_job_of_a_frontend_that_says_nothing_more_lives_within_its_limits_and_no_further() {
    attack(|executor| {
        let (mut peer, mut job) = (executor.live(), sleeper());
        job.limits = job.limits.with(ipc_protocol::Limit::Timeout, 1_000);
        peer.starts(&job);
        drop(peer);
        // Nobody asks for its end, and nobody is told of it until somebody is there again.
        let mut next = executor.live();
        let end = next.ends(job.job);
        assert!(matches!(end, End::Signaled { signal: 15 | 9, .. }), "{end:?}");
    });
}
