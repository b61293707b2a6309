use ipc_protocol::{Claimed, LostReason, Phase, Request, Spawn};

use super::*;
use crate::executor::fake::{FakeJob, OnSpawn};
use crate::store::{EndState, HowEnded};

fn lost_reason(view: &JobView) -> String {
    match &view.job.end {
        Some(HowEnded::Lost { reason }) => reason.clone(),
        other => panic!("not lost: {other:?}"),
    }
}

#[test]
fn a_new_frontend_continues_every_log_at_the_right_byte_and_finishes_what_ended_meanwhile() {
    let mut rig = Rig::new();
    let (goes_on, ends) = (rig.running(), rig.running());
    for job in [goes_on, ends] {
        rig.fake.write(job, OUT, b"before ");
    }
    rig.fake.wait("acknowledgements", |w| w.jobs.values().all(|j| j.acked[0] == 7));
    rig.kill();
    for job in [goes_on, ends] {
        rig.fake.write(job, OUT, b"meanwhile ");
    }
    rig.exit(ends, 4);
    rig.boot();
    rig.wait_connected();
    rig.fake.write(goes_on, OUT, b"after");
    rig.exit(goes_on, 0);
    rig.wait_state(ends, JobState::Ended(EndState::Failed));
    rig.wait_state(goes_on, JobState::Ended(EndState::Finished));
    assert_eq!(rig.read(ends, ReadOptions::default()).0, b"before meanwhile ");
    assert_eq!(rig.read(goes_on, ReadOptions::default()).0, b"before meanwhile after");
    rig.fake.wait("releases", |w| w.released.len() == 2);
}

#[test]
fn bytes_that_come_twice_stand_in_the_log_once() {
    let rig = Rig::new();
    let job = rig.running();
    let mut expected = Vec::new();
    for n in 0..20u8 {
        let part = vec![n; 10_000];
        expected.extend_from_slice(&part);
        rig.fake.write(job, OUT, &part);
        // What was not acknowledged yet is sent again on the next connection.
        rig.fake.disconnect();
        rig.until("a connection", || rig.jobs().executor().generation());
    }
    rig.fake.wait("acknowledgement", |w| w.jobs[&job].acked[0] == 200_000);
    rig.exit(job, 0);
    rig.wait_state(job, JobState::Ended(EndState::Finished));
    assert!(rig.read(job, ReadOptions::default()).0 == expected);
}

#[test]
fn a_running_job_that_the_executor_does_not_know_is_lost_with_the_reason() {
    let mut rig = Rig::new();
    let job = rig.running();
    rig.kill();
    rig.fake.world().jobs.clear();
    rig.boot();
    let view = rig.wait_state(job, JobState::Ended(EndState::Lost));
    assert_eq!(lost_reason(&view), "the executor does not know the job");
    assert!(!view.output.complete);
}

#[test]
fn a_job_that_was_recorded_and_never_asked_for_leaves_nothing_and_its_request_starts_afresh() {
    let mut rig = Rig::new();
    rig.fake.world().script.push_back(OnSpawn::Silent);
    let jobs = rig.jobs();
    let call = rig.runtime().spawn(async move { jobs.start(&alice(), ask("r1")).await });
    rig.fake.wait("the spawn", |w| w.log.iter().any(|r| matches!(r, Request::Spawn(_))));
    rig.kill();
    drop(call);
    rig.boot();
    rig.wait_connected();
    assert!(!rig.start(&alice(), ask("r1")).unwrap().existed);
}

#[test]
fn a_job_that_only_the_executor_knows_is_taken_over_with_its_claimed_owner() {
    let mut rig = Rig::new();
    rig.kill();
    let id = JobId::from_bytes([7; 16]);
    let spawn = Spawn {
        job: id,
        claimed: Claimed { owner: "alice".into(), request: "r9".into(), ..Claimed::default() },
        profile: "standard".into(),
        argv: vec![b"sleep".to_vec(), b"9".to_vec()],
        env: Vec::new(),
        cwd: None,
        limits: Default::default(),
        input: None,
        merge: false,
    };
    let phase = Phase::Started { pid: 99, started_ns: 1_000_000 };
    let output = [b"0123456789".to_vec(), Vec::new()];
    let held =
        FakeJob { spawn, input: Vec::new(), phase, output, acked: [4, 0], end: None, told_end: false, stop: None };
    rig.fake.world().jobs.insert(id, held);
    rig.boot();
    rig.wait_connected();
    let view = rig.wait_state(id, JobState::Running);
    assert_eq!((view.job.owner.as_str(), view.job.pid), ("alice", Some(99)));
    rig.exit(id, 0);
    let view = rig.wait_state(id, JobState::Ended(EndState::Finished));
    assert_eq!(view.output.missing, 4, "what was acknowledged to the lost log is gone, and said to be");
    let (bytes, events) = rig.read(id, ReadOptions::default());
    assert_eq!(bytes, b"456789");
    assert!(matches!(&events[0], Event::Gap(gap) if (gap.from, gap.to) == (0, 4)), "{events:?}");
}

#[test]
fn an_end_that_was_recorded_and_not_released_is_released_at_the_next_connection() {
    let mut rig = Rig::new();
    let job = rig.running();
    rig.exit(job, 0);
    rig.wait_state(job, JobState::Ended(EndState::Finished));
    rig.fake.wait("release", |w| w.released == [job]);
    rig.kill();
    {
        let mut world = rig.fake.world();
        world.released.clear();
        let spawn = world.log.iter().find_map(|r| if let Request::Spawn(s) = r { Some((**s).clone()) } else { None });
        let phase = Phase::Started { pid: 1, started_ns: 1 };
        let end = Some((End::Exited(9), Facts::default()));
        let output = Default::default();
        let again = FakeJob {
            spawn: spawn.unwrap(),
            input: vec![],
            phase,
            output,
            acked: [0; 2],
            end,
            told_end: false,
            stop: None,
        };
        world.jobs.insert(job, again);
    }
    rig.boot();
    rig.fake.wait("release", |w| w.released == [job]);
    assert_eq!(rig.status(job).job.state, JobState::Ended(EndState::Finished), "ended states never change");
}

#[test]
fn a_job_that_was_deleted_before_the_executor_let_go_of_it_does_not_come_back() {
    let mut rig = Rig::new();
    let job = rig.running();
    let held = rig.fake.world().jobs[&job].clone();
    rig.exit(job, 0);
    rig.wait_state(job, JobState::Ended(EndState::Finished));
    rig.fake.wait("release", |w| w.released == [job]);
    let jobs = rig.jobs();
    rig.run(async move { jobs.delete(&alice(), &job.to_string()).await }).unwrap();
    rig.kill();
    // As if the release had not arrived.
    rig.fake.world().jobs.insert(job, FakeJob { end: Some((End::Exited(0), Facts::default())), ..held });
    for _ in 0..2 {
        rig.fake.world().released.clear();
        rig.boot();
        rig.wait_connected();
        rig.fake.wait("release", |w| !w.jobs.contains_key(&job));
        let jobs = rig.jobs();
        assert!(rig.run(async move { jobs.get(&admin(), &job.to_string()).await }).is_err(), "it is gone");
        rig.kill();
    }
}

#[test]
fn deleted_jobs_are_forgotten_under_one_connection_too_when_there_are_many() {
    let rig = Rig::new();
    let jobs = rig.jobs();
    for _ in 0..3 {
        let job = rig.running();
        rig.exit(job, 0);
        rig.wait_state(job, JobState::Ended(EndState::Finished));
        rig.fake.wait("release", |w| !w.jobs.contains_key(&job));
        let jobs = jobs.clone();
        rig.run(async move { jobs.delete(&alice(), &job.to_string()).await }).unwrap();
    }
    let remembered = || rig.run(jobs.core.store.deleted_count()).unwrap();
    rig.run(jobs.bound_deleted(3)).unwrap();
    assert_eq!((remembered(), rig.fake.world().hellos.len()), (3, 1), "as many as there may be");
    rig.run(jobs.bound_deleted(2)).unwrap();
    rig.until("a comparison", || (remembered() == 0).then_some(()));
    assert_eq!(rig.fake.world().hellos.len(), 2);
}

#[test]
fn a_job_whose_log_is_full_is_stopped_even_when_the_first_request_is_lost() {
    let rig = Rig::new();
    let capped = StartAsk { output_limit: Some(10_000), output_full: Some(WhenFull::Stop), ..ask("r1") };
    let job = rig.start(&alice(), capped).unwrap().job.id;
    rig.fake.world().deaf_to_stops = 1;
    rig.fake.write(job, OUT, &vec![b'x'; 50_000]);
    rig.fake.wait("the request", |w| w.deaf_to_stops == 0);
    rig.fake.disconnect();
    let view = rig.wait_state(job, JobState::Ended(EndState::Stopped));
    assert_eq!(view.job.stop.map(|s| s.by).as_deref(), Some("output limit"));
}

#[test]
fn an_end_does_not_wait_for_the_record_of_the_birth_and_brings_it_along() {
    let rig = Rig::new();
    for n in 0..50 {
        rig.fake.world().script.push_back(OnSpawn::StartAndEnd(n));
        let job = rig.start(&alice(), ask(&format!("r{n}"))).unwrap().job.id;
        let view = rig.wait_state(job, JobState::Ended(if n == 0 { EndState::Finished } else { EndState::Failed }));
        assert_eq!(view.job.end, Some(HowEnded::Exited(n)));
        assert_eq!((view.job.pid, view.job.started_ns.is_some(), view.job.limits.is_some()), (Some(4711), true, true));
    }
}

#[test]
fn records_restored_from_a_backup_start_nothing_by_themselves_and_say_what_is_lost() {
    let mut rig = Rig::new();
    let (known, unknown) = (rig.running(), rig.running());
    rig.kill();
    {
        let mut world = rig.fake.world();
        world.jobs.remove(&unknown);
        world.epoch_seen = 100;
    }
    rig.boot();
    let view = rig.wait_state(unknown, JobState::Ended(EndState::Lost));
    assert!(lost_reason(&view).starts_with("the records were restored from a backup"), "{view:?}");
    rig.wait_connected();
    assert!(rig.status(known).job.state.is_live());
    rig.until("a new epoch", || rig.fake.world().hellos.last().filter(|h| h.epoch == 101).map(|_| ()));
    assert!(rig.start(&alice(), ask("r-after")).is_ok());
}

#[test]
fn a_lost_job_says_why() {
    let rig = Rig::new();
    let job = rig.running();
    rig.fake.exit(job, End::Lost(LostReason::KeeperDied), Facts::default());
    let view = rig.wait_state(job, JobState::Ended(EndState::Lost));
    assert_eq!(lost_reason(&view), "keeper died");
    rig.fake.wait("release", |w| w.released == [job]);
}

#[test]
fn an_executor_of_another_version_is_told_apart_from_one_that_is_away() {
    let mut rig = Rig::new();
    rig.kill();
    rig.fake.world().version = Some(0);
    rig.boot();
    let refused = rig.until("the refusal", || {
        let error = rig.start(&alice(), ask("r1")).unwrap_err();
        matches!(error, JobsError::NoCommonVersion { .. }).then_some(error)
    });
    assert!(refused.to_string().contains("upgrade both"), "{refused}");
}
