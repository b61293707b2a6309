use ipc_protocol::{Request, StopFact};

use super::*;
use crate::output::Start;
use crate::store::{EndState, HowEnded};

const FOLLOW: ReadOptions = ReadOptions { from: Start::Offset(0), until_ns: None, stream: None, follow: true };

#[test]
fn output_reaches_the_log_exactly_and_is_acknowledged() {
    let rig = Rig::new();
    let job = rig.running();
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    rig.fake.write(job, OUT, &big);
    rig.fake.write(job, ERR, b"oops\n");
    rig.fake.wait("acknowledgement", |w| w.jobs[&job].acked == [3_000_000, 5]);
    rig.exit(job, 3);
    let view = rig.wait_state(job, JobState::Ended(EndState::Failed));
    assert_eq!(view.output.streams, [3_000_000, 5]);
    assert!(view.output.complete);
    let stdout = ReadOptions { stream: Some(OUT), ..FOLLOW };
    assert!(rig.read(job, stdout).0 == big);
    assert_eq!(rig.read(job, ReadOptions { stream: Some(ERR), ..FOLLOW }).0, b"oops\n");
    rig.fake.wait("release", |w| w.released == [job]);
}

#[test]
fn a_follower_sees_what_is_written_and_then_the_end() {
    let rig = Rig::new();
    let job = rig.running();
    let jobs = rig.jobs();
    let (view, reader) = rig.run(async { jobs.output(&alice(), &job.to_string(), FOLLOW).await }).unwrap();
    assert!(view.job.state.is_live());
    let follower = rig.runtime().spawn(drain(reader));
    for n in 0..50 {
        rig.fake.write(job, OUT, format!("line {n}\n").as_bytes());
    }
    rig.exit(job, 0);
    let (bytes, events) = rig.run(follower).unwrap();
    let expected: String = (0..50).map(|n| format!("line {n}\n")).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    assert!(matches!(events.last(), Some(Event::End(end)) if end.ended && end.complete));
}

#[test]
fn waiting_ends_with_the_job_or_with_the_time() {
    let rig = Rig::new();
    let job = rig.running();
    let jobs = rig.jobs();
    let id = job.to_string();
    let waited = rig.run(async { jobs.wait(&alice(), &id, Some(Duration::from_millis(20))).await }).unwrap();
    assert!(!waited.ended);
    let (jobs, id) = (rig.jobs(), job.to_string());
    let waiting = rig.runtime().spawn(async move { jobs.wait(&alice(), &id, None).await });
    rig.exit(job, 0);
    let waited = rig.run(waiting).unwrap().unwrap();
    assert!(waited.ended);
    assert_eq!(waited.view.job.state, JobState::Ended(EndState::Finished));
}

#[test]
fn a_stop_is_recorded_with_who_asked_and_the_job_ends_as_stopped() {
    let rig = Rig::new();
    let job = rig.running();
    let jobs = rig.jobs();
    let id = job.to_string();
    rig.run(async { jobs.stop(&alice(), &id, 15, Duration::from_secs(10)).await }).unwrap();
    let view = rig.wait_state(job, JobState::Ended(EndState::Stopped));
    assert_eq!(view.job.stop.as_ref().map(|s: &StopFact| s.by.as_str()), Some("alice"));
    assert_eq!(exit_status(EndState::Stopped, &view.job.end.clone().unwrap(), view.job.stop.as_ref()), Some(143));
    let again = rig.run(async { jobs.stop(&alice(), &id, 15, Duration::ZERO).await }).unwrap();
    assert_eq!(again.job.state, JobState::Ended(EndState::Stopped), "an ended job is answered as it stands");
}

#[test]
fn a_stop_that_comes_before_the_executor_knows_the_job_reaches_it_when_it_does() {
    let rig = Rig::new();
    rig.fake.world().script.push_back(crate::executor::fake::OnSpawn::Silent);
    let jobs = rig.jobs();
    let starting = rig.runtime().spawn(async move { jobs.start(&alice(), ask("r1")).await });
    let job = rig.until("the request", || {
        rig.fake.world().log.iter().find_map(|request| match request {
            Request::Spawn(spawn) => Some(spawn.job),
            _ => None,
        })
    });
    let (jobs, id) = (rig.jobs(), job.to_string());
    let stopping = rig.runtime().spawn(async move { jobs.stop(&alice(), &id, 15, Duration::ZERO).await });
    let is_stop = |request: &&Request| matches!(request, Request::Stop { .. });
    rig.fake.wait("a stop of what is not known", |world| world.log.iter().any(|request| is_stop(&request)));
    rig.fake.bear(job);
    rig.run(stopping).unwrap().unwrap();
    let view = rig.wait_state(job, JobState::Ended(EndState::Stopped));
    assert_eq!(view.job.stop.map(|stop| stop.by).as_deref(), Some("alice"));
    starting.abort();
}

#[test]
fn a_signal_reaches_a_running_job_and_no_other() {
    let rig = Rig::new();
    let job = rig.running();
    let jobs = rig.jobs();
    let id = job.to_string();
    rig.run(async { jobs.signal(&alice(), &id, 1).await }).unwrap();
    assert!(
        rig.fake.world().log.iter().any(|r| matches!(r, Request::Signal { signal: 1, by, .. } if by.owner == "alice"))
    );
    rig.exit(job, 0);
    rig.wait_state(job, JobState::Ended(EndState::Finished));
    let error = rig.run(async { jobs.signal(&alice(), &id, 1).await }).unwrap_err();
    assert!(matches!(error, JobsError::NotRunning { state: "finished", .. }), "{error}");
}

#[test]
fn stopping_with_the_executor_away_says_so_at_once() {
    let rig = Rig::new();
    let job = rig.running();
    rig.take_the_executor_away();
    let jobs = rig.jobs();
    let id = job.to_string();
    let error = rig.run(async { jobs.stop(&alice(), &id, 15, Duration::ZERO).await }).unwrap_err();
    assert!(error.to_string().starts_with("build1 cannot stop jobs at the moment"), "{error}");
}

#[test]
fn only_ended_jobs_are_deleted_and_nothing_of_them_is_left() {
    let rig = Rig::new();
    let job = rig.running();
    rig.fake.write(job, OUT, b"some output");
    let jobs = rig.jobs();
    let id = job.to_string();
    let error = rig.run(async { jobs.delete(&alice(), &id).await }).unwrap_err();
    assert!(matches!(error, JobsError::Live { state: "running", .. }), "{error}");
    rig.exit(job, 0);
    rig.wait_state(job, JobState::Ended(EndState::Finished));
    let folder = rig.dir.path().join("state/output").join(&id);
    assert!(folder.exists());
    rig.run(async { jobs.delete(&alice(), &id).await }).unwrap();
    assert!(!folder.exists());
    assert!(matches!(rig.run(async { jobs.get(&alice(), &id).await }), Err(JobsError::NotFound { .. })));
}

#[test]
fn retention_removes_old_jobs_and_spares_archived_ones() {
    let rig = Rig::with_policy("[output]\nreserve = 0\nkeep = 0\n");
    let ended: Vec<JobId> = (0..3).map(|_| rig.running()).collect();
    let live = rig.running();
    for job in &ended {
        rig.exit(*job, 0);
        rig.wait_state(*job, JobState::Ended(EndState::Finished));
    }
    let jobs = rig.jobs();
    rig.run(async { jobs.archive(&alice(), &ended[0].to_string()).await }).unwrap();
    assert_eq!(rig.run(jobs.retain()).unwrap(), 2);
    assert!(rig.status(ended[0]).job.archived);
    assert!(rig.status(live).job.state.is_live());
}

#[test]
fn retention_by_size_counts_what_records_take_and_lets_the_oldest_go() {
    let rig = Rig::with_policy("[output]\nreserve = 0\nkeep = \"30000d\"\nkeep_total = \"1M\"\n");
    let started = |number: usize| {
        // Each of their records takes some 200 KiB, and none of them writes anything.
        let command = vec![b"true".to_vec(), vec![b'x'; 100_000]];
        let job = rig.start(&alice(), StartAsk { command, ..ask(&format!("r-{number}")) }).unwrap().job.id;
        rig.exit(job, 0);
        rig.wait_state(job, JobState::Ended(EndState::Finished));
        job
    };
    let jobs: Vec<JobId> = (0..8).map(started).collect();
    let all = rig.jobs();
    assert_eq!(rig.run(all.retain()).unwrap(), 3);
    let left = |job: &&JobId| rig.run(all.get(&admin(), &job.to_string())).is_ok();
    assert_eq!(jobs.iter().filter(left).collect::<Vec<_>>(), jobs[3..].iter().collect::<Vec<_>>());
    assert_eq!(rig.run(all.retain()).unwrap(), 0, "the rest is within the bound");
}

#[test]
fn output_without_a_record_stays_until_the_executor_has_said_which_jobs_live() {
    let rig = Rig::with_policy("[output]\nreserve = 0\nkeep = 0\n");
    let old = rig.running();
    rig.exit(old, 0);
    rig.wait_state(old, JobState::Ended(EndState::Finished));
    rig.take_the_executor_away();
    let unknown = rig.dir.path().join("state/output").join(JobId::from_bytes([9; 16]).to_string());
    std::fs::create_dir(&unknown).unwrap();
    let jobs = rig.jobs();
    let house = rig.runtime().spawn(async move { jobs.keep_house().await });
    let jobs = rig.jobs();
    // What comes after the sweep has been done once.
    rig.until("retention", || rig.run(jobs.get(&alice(), &old.to_string())).is_err().then_some(()));
    assert!(unknown.exists(), "a restored backup does not know the jobs that live");
    rig.fake.come_back();
    rig.until("the sweep", || (!unknown.exists()).then_some(()));
    house.abort();
}

#[test]
fn a_full_log_stops_the_job_when_that_is_asked_for() {
    let rig = Rig::new();
    let capped = StartAsk { output_limit: Some(10_000), output_full: Some(WhenFull::Stop), ..ask("r1") };
    let job = rig.start(&alice(), capped).unwrap().job.id;
    rig.fake.write(job, OUT, &vec![b'x'; 50_000]);
    let view = rig.wait_state(job, JobState::Ended(EndState::Stopped));
    assert_eq!(view.job.stop.map(|s| s.by).as_deref(), Some("output limit"));
    assert!(view.output.missing >= 40_000, "{:?}", view.output);
}

fn stopped_by(view: &JobView) -> Option<&str> {
    view.job.stop.as_ref().map(|stop| stop.by.as_str())
}

#[test]
fn the_record_names_who_asked_first_for_the_end_when_the_output_limit_was_first() {
    let rig = Rig::new();
    rig.fake.world().jobs_outlive_stops = true;
    let capped = StartAsk { output_limit: Some(10_000), output_full: Some(WhenFull::Stop), ..ask("r1") };
    let job = rig.start(&alice(), capped).unwrap().job.id;
    rig.fake.write(job, OUT, &vec![b'x'; 50_000]);
    let view = rig.wait_state(job, JobState::Stopping);
    assert_eq!(stopped_by(&view), Some("output limit"), "it can be seen while the job lives");
    let jobs = rig.jobs();
    let view = rig.run(async { jobs.stop(&alice(), &job.to_string(), 2, Duration::from_secs(10)).await }).unwrap();
    assert_eq!((view.job.state, stopped_by(&view)), (JobState::Stopping, Some("output limit")));
    rig.fake.exit(job, End::Exited(0), Facts::default());
    let view = rig.wait_state(job, JobState::Ended(EndState::Stopped));
    assert_eq!(stopped_by(&view), Some("output limit"));
    assert_eq!(exit_status(EndState::Stopped, &view.job.end.clone().unwrap(), view.job.stop.as_ref()), Some(143));
}

#[test]
fn the_record_names_who_asked_first_for_the_end_when_a_user_was_first() {
    let rig = Rig::new();
    rig.fake.world().jobs_outlive_stops = true;
    let capped = StartAsk { output_limit: Some(10_000), output_full: Some(WhenFull::Stop), ..ask("r1") };
    let job = rig.start(&alice(), capped).unwrap().job.id;
    let jobs = rig.jobs();
    let view = rig.run(async { jobs.stop(&alice(), &job.to_string(), 2, Duration::from_secs(10)).await }).unwrap();
    assert_eq!((view.job.state, stopped_by(&view)), (JobState::Stopping, Some("alice")));
    rig.fake.write(job, OUT, &vec![b'x'; 50_000]);
    let by_limit = |request: &Request| matches!(request, Request::Stop { by, .. } if by.owner == "output limit");
    rig.fake.wait("the stop of a full log", |world| world.log.iter().any(by_limit));
    rig.fake.exit(job, End::Exited(0), Facts::default());
    let view = rig.wait_state(job, JobState::Ended(EndState::Stopped));
    assert_eq!(stopped_by(&view), Some("alice"));
    assert_eq!(exit_status(EndState::Stopped, &view.job.end.clone().unwrap(), view.job.stop.as_ref()), Some(130));
}

#[test]
fn a_full_log_makes_the_job_wait_when_that_is_asked_for() {
    let rig = Rig::new();
    let capped = StartAsk { output_limit: Some(100_000), output_full: Some(WhenFull::Wait), ..ask("r1") };
    let job = rig.start(&alice(), capped).unwrap().job.id;
    rig.fake.write(job, OUT, &vec![b'x'; 60_000]);
    rig.fake.wait("acknowledgement", |w| w.jobs[&job].acked[0] == 60_000);
    rig.fake.write(job, OUT, &vec![b'y'; 200_000]);
    rig.fake.wait("a partial acknowledgement", |w| w.jobs[&job].acked[0] > 60_000);
    let acked = rig.fake.world().jobs[&job].acked[0];
    assert!(acked <= 100_000, "{acked} were taken");
    rig.fake.write(job, OUT, b"more");
    rig.exit(job, 0);
    let view = rig.wait_state(job, JobState::Ended(EndState::Finished));
    assert_eq!(view.output.streams[0], 260_004);
    assert_eq!(view.output.missing, 260_004 - acked);
    assert!(matches!(view.job.end, Some(HowEnded::Exited(0))));
}
