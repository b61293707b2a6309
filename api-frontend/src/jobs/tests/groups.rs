use std::sync::Arc;

use ipc_protocol::{Limit, Refusal, Step};

use super::*;
use crate::executor::fake::OnSpawn;
use crate::policy::{Bounds, DecidedBy, Group};
use crate::store::EndState;

/// Somebody whose jobs count in group build.
fn member(name: &str, most: Bounds) -> Caller {
    let decided_by = DecidedBy::Rule("policy.toml:3 (ou build)".into());
    let terms = Terms::new(decided_by, None, Some(Arc::new(Group::new("build", most))));
    Caller { terms, ..caller(name, Role::User) }
}

fn at_most(jobs: u64) -> Bounds {
    Bounds { jobs: Some(jobs), ..Bounds::default() }
}

fn limited_to(profiles: &[&str]) -> Caller {
    let names = profiles.iter().map(|name| (*name).to_owned()).collect();
    Caller { terms: Terms::new(DecidedBy::default(), Some(names), None), ..alice() }
}

fn refused(result: Result<Started, JobsError>) -> String {
    match result {
        Err(JobsError::Exhausted { what: "group", message }) => message,
        other => panic!("not refused for the group: {other:?}"),
    }
}

fn taken(rig: &Rig, caller: &Caller) -> (u64, u64, u64) {
    let (jobs, caller) = (rig.jobs(), caller.clone());
    let taken = rig.run(async move { jobs.group_of(&caller).await }).unwrap().expect("a group").taken;
    (taken.jobs, taken.memory, taken.cpu_milli)
}

#[test]
fn a_full_group_refuses_at_once_by_name_and_has_room_again_when_a_job_has_ended() {
    let rig = Rig::new();
    let alice = member("alice", at_most(2));
    let first = rig.start(&alice, ask("r1")).unwrap().job.id;
    rig.start(&member("bob", at_most(2)), ask("r1")).unwrap();
    let sentence = "group build has 2 jobs running, its most; wait for one (airlock wait --any) or ask your operator";
    assert_eq!(refused(rig.start(&alice, ask("r2"))), sentence);
    assert!(rig.start(&alice, ask("r1")).unwrap().existed, "the same request still finds its job");
    assert!(rig.start(&super::alice(), ask("r9")).is_ok(), "whoever is in no group is not concerned");
    rig.exit(first, 0);
    rig.wait_state(first, JobState::Ended(EndState::Finished));
    assert!(!rig.start(&alice, ask("r2")).unwrap().existed);
}

#[test]
fn starts_at_the_same_time_never_pass_the_bound() {
    let rig = Rig::new();
    let calls: Vec<_> = (0..40)
        .map(|number| {
            let (jobs, caller) = (rig.jobs(), member(["alice", "bob"][number % 2], at_most(5)));
            rig.runtime().spawn(async move { jobs.start(&caller, ask(&format!("r{number}"))).await })
        })
        .collect();
    let started: Vec<_> = calls.into_iter().map(|call| rig.run(call).unwrap()).collect();
    assert_eq!(started.iter().filter(|s| s.is_ok()).count(), 5);
    started.into_iter().filter(Result::is_err).for_each(|s| drop(refused(s)));
    assert_eq!(rig.fake.world().jobs.len(), 5, "the executor was asked for no more");
}

#[test]
fn memory_and_cores_are_summed_by_the_profiles_defaults_where_nothing_is_asked_for() {
    let rig = Rig::new();
    let by_memory = member("alice", Bounds { memory: Some(2 << 30), ..Bounds::default() });
    rig.start(&by_memory, ask("r1")).unwrap();
    rig.start(&by_memory, ask("r2")).unwrap();
    assert_eq!(taken(&rig, &by_memory), (2, 2 << 30, 4000));
    let said = refused(rig.start(&by_memory, ask("r3")));
    assert!(said.starts_with("group build has 2G of its 2G of memory in use, and this job asks for 1G; "), "{said}");
    let by_cores = member("alice", Bounds { cpu_milli: Some(5000), ..Bounds::default() });
    let said = refused(rig.start(&by_cores, ask("r3")));
    assert!(said.starts_with("group build has 4 of its 5 cores in use, and this job asks for 2; "), "{said}");
    let mut small = ask("r3");
    small.limits.set(Limit::Cpu, Some(1000));
    assert!(rig.start(&by_cores, small).is_ok());
}

#[test]
fn what_was_not_started_counts_no_more() {
    let rig = Rig::new();
    let alice = member("alice", at_most(1));
    rig.fake.world().script.push_back(OnSpawn::Refuse(Refusal::Ceiling, "", "the host is full"));
    assert!(matches!(rig.start(&alice, ask("r1")), Err(JobsError::Exhausted { what: "ceiling", .. })));
    assert_eq!(taken(&rig, &alice), (0, 0, 0));
    rig.fake.world().script.push_back(OnSpawn::NotStarted(Step::Exec, 2));
    let error = rig.start(&alice, ask("r2")).unwrap().job;
    assert_eq!(error.state, JobState::Ended(EndState::Error));
    assert!(rig.start(&alice, ask("r3")).is_ok());
    assert_eq!(taken(&rig, &alice).0, 1);
}

#[test]
fn after_a_restart_the_sums_are_those_of_the_jobs_that_live() {
    let mut rig = Rig::new();
    let alice = member("alice", at_most(3));
    let jobs: Vec<_> =
        ["r1", "r2", "r3"].iter().map(|request| rig.start(&alice, ask(request)).unwrap().job.id).collect();
    let before = taken(&rig, &alice);
    rig.kill();
    // It ends while nobody looks.
    rig.fake.exit(jobs[0], End::Exited(0), Facts::default());
    rig.boot();
    rig.wait_connected();
    rig.wait_state(jobs[0], JobState::Ended(EndState::Finished));
    assert_eq!(before, (3, 3 << 30, 6000));
    assert_eq!(taken(&rig, &alice), (2, 2 << 30, 4000));
    rig.start(&alice, ask("r4")).unwrap();
    refused(rig.start(&alice, ask("r5")));
}

#[test]
fn only_the_profiles_of_the_rule_can_be_named_and_the_first_of_them_is_the_default() {
    let rig = Rig::new();
    let deployer = limited_to(&["deploy-web", "gone"]);
    let job = rig.start(&deployer, StartAsk { command: Vec::new(), ..ask("r1") }).unwrap().job;
    assert_eq!(job.profile, "deploy-web");
    let other = rig.start(&deployer, StartAsk { profile: "standard".into(), ..ask("r2") }).unwrap_err();
    assert_eq!(other.to_string(), "profile 'standard' is not among yours: deploy-web");
    let names: Vec<_> = rig.jobs().profiles_of(&deployer).iter().map(|profile| profile.name.clone()).collect();
    assert_eq!(names, ["deploy-web"], "what the executor does not have is left out");
    let none = rig.start(&limited_to(&["gone", "lost"]), ask("r3")).unwrap_err();
    assert_eq!(none.to_string(), "none of your profiles (gone, lost) exists on build1; ask your operator");
}
