use ipc_protocol::{Limit, Refusal, Request, Step};

use super::*;
use crate::executor::fake::OnSpawn;
use crate::store::{EndState, HowEnded};

fn spawns(rig: &Rig) -> usize {
    rig.fake.world().log.iter().filter(|r| matches!(r, Request::Spawn(_))).count()
}

#[test]
fn a_start_answers_when_the_command_runs_and_says_what_it_got() {
    let rig = Rig::new();
    let started = rig.start(&alice(), ask("r1")).unwrap();
    assert!(!started.existed);
    assert_eq!(started.job.state, JobState::Running);
    assert_eq!((started.job.pid, started.job.uid), (Some(4711), Some(1_900_000_000)));
    assert_eq!(started.job.profile, "standard");
    assert_eq!(started.job.limits.unwrap().get(Limit::Memory), Some(1 << 30));
    let world = rig.fake.world();
    let spawn = &world.jobs[&started.job.id].spawn;
    assert_eq!((spawn.claimed.owner.as_str(), spawn.claimed.peer.as_str()), ("alice", "10.0.4.17"));
    assert_eq!(spawn.claimed.request, "r1");
}

#[test]
fn a_job_of_a_fixed_command_is_recorded_and_found_with_the_words_that_ran() {
    let rig = Rig::new();
    let fixed = || StartAsk { profile: "deploy-web".into(), command: Vec::new(), ..ask("r1") };
    let started = rig.start(&alice(), fixed()).unwrap().job;
    assert_eq!(started.argv, [b"/usr/local/bin/deploy-web".to_vec()]);
    let brought = rig.fake.world().jobs[&started.id].spawn.argv.clone();
    assert!(brought.is_empty(), "the executor takes no words for it: {brought:?}");
    assert!(rig.start(&alice(), fixed()).unwrap().existed);
    let filter = crate::store::Filter { command: Some("deploy-web".into()), ..Default::default() };
    let (jobs, page) = (rig.jobs(), crate::store::Page { size: 10, after: None });
    let found = rig.run(async { jobs.list(&alice(), filter, false, page).await }).unwrap();
    assert_eq!(found.jobs.iter().map(|view| view.job.id).collect::<Vec<_>>(), [started.id]);
}

#[test]
fn the_same_request_twice_is_one_job_and_another_under_its_id_is_refused() {
    let rig = Rig::new();
    let first = rig.start(&alice(), ask("r1")).unwrap();
    let second = rig.start(&alice(), ask("r1")).unwrap();
    assert!(second.existed);
    assert_eq!(first.job.id, second.job.id);
    assert_eq!(spawns(&rig), 1);
    let other = StartAsk { command: vec![b"false".to_vec()], ..ask("r1") };
    assert!(matches!(rig.start(&alice(), other), Err(JobsError::RequestIdTaken { .. })));
    // Another owner's request ids are their own.
    assert!(!rig.start(&bob(), ask("r1")).unwrap().existed);
}

#[test]
fn many_equal_requests_at_once_are_one_job() {
    let rig = Rig::new();
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let jobs = rig.jobs();
            rig.runtime().spawn(async move { jobs.start(&alice(), ask("r1")).await })
        })
        .collect();
    let started: Vec<Started> = calls.into_iter().map(|c| rig.run(c).unwrap().unwrap()).collect();
    assert!(started.iter().all(|s| s.job.id == started[0].job.id));
    assert_eq!(started.iter().filter(|s| !s.existed).count(), 1);
    assert_eq!(spawns(&rig), 1);
}

#[test]
fn a_lost_answer_and_a_new_connection_still_give_the_one_job() {
    let rig = Rig::new();
    rig.fake.world().script.push_back(OnSpawn::StartAndBreak);
    let started = rig.start(&alice(), ask("r1")).unwrap();
    assert_eq!(started.job.state, JobState::Running);
    assert_eq!(spawns(&rig), 1, "the executor's list said that it runs");
}

#[test]
fn a_request_that_never_reached_the_executor_is_made_again_on_the_next_connection() {
    let rig = Rig::new();
    rig.fake.world().script.push_back(OnSpawn::BreakBefore);
    let started = rig.start(&alice(), ask("r1")).unwrap();
    assert_eq!(started.job.state, JobState::Running);
    let world = rig.fake.world();
    let ids: Vec<_> =
        world.log.iter().filter_map(|r| if let Request::Spawn(s) = r { Some(s.job) } else { None }).collect();
    assert_eq!(ids, [started.job.id, started.job.id], "one id, so it cannot start twice");
}

#[test]
fn with_the_executor_away_nothing_is_started_now_or_later_and_the_request_can_be_repeated() {
    let rig = Rig::new();
    rig.take_the_executor_away();
    let begin = Instant::now();
    let error = rig.start(&alice(), ask("r1")).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(6), "it took {:?}", begin.elapsed());
    let text = error.to_string();
    assert!(text.starts_with("build1 cannot start jobs at the moment (executor away for "), "{text}");
    assert!(text.ends_with("nothing was started; the same request is safe to repeat"), "{text}");
    rig.fake.come_back();
    rig.wait_connected();
    let started = rig.start(&alice(), ask("r1")).unwrap();
    assert!(!started.existed, "the first attempt left no record");
    assert_eq!(spawns(&rig), 1);
}

#[test]
fn a_refusal_leaves_no_job_and_frees_request_id_and_name() {
    let rig = Rig::new();
    let ceiling = OnSpawn::Refuse(Refusal::Ceiling, "", "1000 jobs run, the most of this host; wait for one");
    rig.fake.world().script.push_back(ceiling);
    let named = StartAsk { name: "nightly".into(), ..ask("r1") };
    let error = rig.start(&alice(), named.clone()).unwrap_err();
    assert!(matches!(&error, JobsError::Exhausted { what: "ceiling", .. }), "{error}");
    let jobs = rig.jobs();
    assert!(rig.run(async move { jobs.get(&alice(), "nightly").await }).is_err());
    assert!(!rig.start(&alice(), named).unwrap().existed);
    rig.fake.world().script.push_back(OnSpawn::Refuse(Refusal::Invalid, "cwd", "no such directory"));
    let error = rig.start(&alice(), ask("r2")).unwrap_err();
    assert!(matches!(&error, JobsError::Invalid { field, .. } if field == "cwd"), "{error}");
}

#[test]
fn a_command_that_does_not_exist_is_a_job_in_state_error_with_status_127() {
    let rig = Rig::new();
    rig.fake.world().script.push_back(OnSpawn::NotStarted(Step::Exec, 2));
    let job = rig.start(&alice(), ask("r1")).unwrap().job;
    assert_eq!(job.state, JobState::Ended(EndState::Error));
    let how = job.end.clone().unwrap();
    assert!(matches!(&how, HowEnded::NotStarted { step, errno: 2, .. } if step == "exec"), "{how:?}");
    assert_eq!(exit_status(EndState::Error, &how, None), Some(127));
    assert!(rig.start(&alice(), ask("r1")).unwrap().existed, "it is an answer, and stays one");
}

#[test]
fn a_name_belongs_to_one_live_job_and_is_free_when_that_has_ended() {
    let rig = Rig::new();
    let named = |request: &str| StartAsk { name: "nightly".into(), ..ask(request) };
    let first = rig.start(&alice(), named("r1")).unwrap().job.id;
    assert!(matches!(rig.start(&alice(), named("r2")), Err(JobsError::NameTaken { by, .. }) if by == first));
    rig.exit(first, 0);
    rig.wait_state(first, JobState::Ended(EndState::Finished));
    assert!(rig.start(&alice(), named("r2")).is_ok());
}

#[test]
fn input_is_sent_whole_before_the_start_and_bounded_by_the_profile() {
    let rig = Rig::new();
    let data: Vec<u8> = (0..700_000u32).map(|n| n as u8).collect();
    let mut upload = rig.jobs().upload(&alice()).unwrap();
    data.chunks(10_000).for_each(|part| upload.add(part).unwrap());
    let uploaded = upload.finish();
    let with_input = |request: &str| StartAsk { input_id: uploaded.input_id.clone(), ..ask(request) };
    assert!(matches!(rig.start(&bob(), with_input("b1")), Err(JobsError::Invalid { .. })), "it is alice's");
    let job = rig.start(&alice(), with_input("r1")).unwrap().job.id;
    {
        let world = rig.fake.world();
        assert!(world.jobs[&job].input == data, "the bytes arrived whole");
        assert_eq!(world.jobs[&job].spawn.input, Some(uploaded.digest));
    }
    assert!(rig.start(&alice(), with_input("r1")).unwrap().existed, "repeated with the same input");
    assert!(matches!(rig.start(&alice(), with_input("r2")), Err(JobsError::Invalid { .. })), "good for one start");
    let mut large = rig.jobs().upload(&alice()).unwrap();
    assert!(large.add(&vec![0; (1 << 20) + 1]).is_err(), "above what any profile allows");
    drop(large);
    rig.exit(job, 0);
    rig.until("an empty spool", || {
        let left = std::fs::read_dir(rig.dir.path().join("state/input")).unwrap().count();
        Some(()).filter(|()| left == 0)
    });
}

#[test]
fn uploads_under_way_count_as_those_that_wait_and_no_longer_once_they_are_dropped() {
    let rig = Rig::new();
    let mut uploads: Vec<_> = (0..64).map(|_| rig.jobs().upload(&alice()).unwrap()).collect();
    let refused = rig.jobs().upload(&alice()).unwrap_err();
    assert!(refused.to_string().starts_with("64 uploads of yours are under way or wait"), "{refused}");
    assert!(rig.jobs().upload(&bob()).is_ok(), "another owner has uploads of their own");
    uploads.pop().unwrap().finish();
    assert!(rig.jobs().upload(&alice()).is_err(), "one that waits counts as well");
    uploads.pop();
    assert!(rig.jobs().upload(&alice()).is_ok());
}

#[test]
fn a_job_that_runs_leaves_no_copy_of_its_input() {
    let rig = Rig::new();
    let mut upload = rig.jobs().upload(&alice()).unwrap();
    upload.add(b"data").unwrap();
    let input_id = upload.finish().input_id;
    let job = rig.start(&alice(), StartAsk { input_id, ..ask("r1") }).unwrap().job.id;
    rig.wait_state(job, JobState::Running);
    rig.until("an empty spool", || {
        let left = std::fs::read_dir(rig.dir.path().join("state/input")).unwrap().count();
        Some(()).filter(|()| left == 0)
    });
}

#[test]
fn what_one_owner_uploads_and_does_not_start_is_bounded_in_bytes_too_and_takes_nothing_from_others() {
    let rig = Rig::new();
    // The profile takes a MiB.
    let fill = |caller: &Caller| {
        let mut upload = rig.jobs().upload(caller).unwrap();
        upload.add(&[7; 1 << 20]).map(|()| upload)
    };
    let mut waiting: Vec<_> = (0..7).map(|_| fill(&alice()).unwrap().finish()).collect();
    let under_way = fill(&alice()).unwrap();
    let refused = rig.jobs().upload(&alice()).unwrap().add(b"x").unwrap_err();
    assert!(refused.to_string().starts_with("more than 8 MiB of your uploads are under way or wait"), "{refused}");
    assert!(fill(&bob()).is_ok());
    drop(under_way);
    waiting.push(fill(&alice()).unwrap().finish());
    assert!(fill(&alice()).is_err());
    let with_input = StartAsk { input_id: waiting[0].input_id.clone(), ..ask("r1") };
    rig.start(&alice(), with_input).unwrap();
    assert!(fill(&alice()).is_ok(), "what a job has been given does not wait");
}

#[test]
fn below_the_reserve_nothing_is_uploaded() {
    let rig = Rig::with_policy("[output]\nreserve = \"1000T\"\n");
    let refused = rig.jobs().upload(&alice()).unwrap_err();
    assert!(refused.to_string().contains("has no room"), "{refused}");
}

#[test]
fn a_start_whose_input_is_gone_is_refused_and_leaves_nothing() {
    let rig = Rig::new();
    let mut upload = rig.jobs().upload(&alice()).unwrap();
    upload.add(b"data").unwrap();
    let input_id = upload.finish().input_id;
    for entry in std::fs::read_dir(rig.dir.path().join("state/input")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let error = rig.start(&alice(), StartAsk { input_id, ..ask("r1") }).unwrap_err();
    assert!(matches!(&error, JobsError::Invalid { field, .. } if field == "input_id"), "{error}");
    assert_eq!(spawns(&rig), 0);
    assert!(!rig.start(&alice(), ask("r1")).unwrap().existed);
}

#[test]
fn below_the_reserve_nothing_is_started() {
    let rig = Rig::with_policy("[output]\nreserve = \"1024T\"\n");
    let error = rig.start(&alice(), ask("r1")).unwrap_err();
    let text = error.to_string();
    assert_eq!(text, "build1 has no room for output (1 PiB reserve reached); nothing was started; running jobs go on");
}

#[test]
fn a_repeated_request_finds_its_job_even_when_it_could_not_be_started_any_more() {
    let mut rig = Rig::new();
    let mut upload = rig.jobs().upload(&alice()).unwrap();
    upload.add(b"data").unwrap();
    let with_input = StartAsk { input_id: upload.finish().input_id, ..ask("r2") };
    let first = rig.start(&alice(), ask("r1")).unwrap().job.id;
    let second = rig.start(&alice(), with_input.clone()).unwrap().job.id;
    rig.kill();
    rig.fake.go_away();
    rig.policy = Policy::parse(Path::new("p"), "[output]\nreserve = \"1024T\"").unwrap();
    rig.boot();
    // No executor, no profiles, no upload, no room: and yet the answer is known.
    for (request, job) in [(ask("r1"), first), (with_input, second)] {
        let found = rig.start(&alice(), request).unwrap();
        assert_eq!((found.job.id, found.existed), (job, true));
    }
    let other = StartAsk { merge: true, ..ask("r1") };
    assert!(rig.start(&alice(), other).is_err());
}

#[test]
fn a_caller_that_goes_away_in_the_middle_leaves_a_job_that_is_driven_on() {
    let rig = Rig::new();
    rig.fake.world().script.push_back(OnSpawn::BreakBefore);
    let jobs = rig.jobs();
    let call = rig.runtime().spawn(async move { jobs.start(&alice(), ask("r1")).await });
    rig.fake.wait("the spawn", |w| w.log.iter().any(|r| matches!(r, Request::Spawn(_))));
    call.abort();
    rig.fake.wait("the job", |w| w.jobs.len() == 1);
    let found = rig.start(&alice(), ask("r1")).unwrap();
    assert!(found.existed);
    assert_eq!(found.job.state, JobState::Running);
}
