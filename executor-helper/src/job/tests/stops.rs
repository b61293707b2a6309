//! Stops and deadlines: what is signalled and killed, and when.

use ipc_protocol::{End, StopFact};

use super::{Lived, STARTED, ended, entry, exited, spawned};
use crate::{
    job::{Effect, Input, Job, Life},
    plan::Stopping,
};

fn asked(by: &str, signal: u8, kill_at_ns: u64) -> Stopping {
    Stopping { fact: StopFact { by: by.into(), signal, at_ns: 1 }, kill_at_ns }
}

fn tick(boot_ns: u64) -> Input {
    Input::Tick { boot_ns }
}

#[test]
fn a_stop_is_recorded_and_the_kill_comes_when_its_grace_is_over() {
    let mut lived = Lived::running();
    assert_eq!(lived.step(Input::Stop(asked("alice", 15, 500))), [Effect::RecordStop, Effect::WakeAt(500)]);
    assert_eq!(lived.job.stopping(), Some(&asked("alice", 15, 500)));
    assert_eq!(lived.step(tick(499)), []);
    assert_eq!(lived.step(tick(500)), [Effect::KillGroup]);
    assert_eq!(lived.step(tick(501)), [Effect::KillGroup], "one that was born during the kill is killed too");
}

#[test]
fn a_later_stop_may_bring_the_kill_nearer_and_changes_nothing_else() {
    let mut lived = Lived::running();
    lived.step(Input::Stop(asked("alice", 15, 500)));
    assert_eq!(lived.step(Input::Stop(asked("bob", 2, 900))), [Effect::RecordStop, Effect::WakeAt(500)]);
    assert_eq!(lived.step(Input::Stop(asked("eve", 9, 300))), [Effect::RecordStop, Effect::WakeAt(300)]);
    assert_eq!(lived.job.stopping(), Some(&asked("alice", 15, 300)));
}

#[test]
fn a_job_names_the_next_moment_at_which_something_is_due_and_none_that_is_past() {
    let mut lived = Lived::newborn();
    assert_eq!(lived.job.next_wake(0), None);
    lived.step(Input::Started { pid: 7, started_ns: 1, deadline_ns: 900 });
    lived.step(Input::Stop(asked("alice", 15, 500)));
    assert_eq!(
        [0, 499, 500, 899, 900].map(|now| lived.job.next_wake(now)),
        [Some(500), Some(500), Some(900), Some(900), None]
    );
    lived.step(ended(End::Exited(0)));
    assert_eq!(lived.job.next_wake(0), None, "nothing is due of a dead job");
}

#[test]
fn who_asked_for_the_stop_is_a_fact_of_the_end() {
    let mut lived = Lived::running();
    lived.step(Input::Stop(asked("alice", 15, 500)));
    lived.step(ended(End::Signaled { signal: 15, core: false }));
    let (_, facts, ..) = exited(&lived.step(Input::Drained)).unwrap();
    assert_eq!(facts.stop, Some(asked("alice", 15, 500).fact));
    assert_eq!(facts.cpu_ns, 9, "the other facts are the kernel's");
}

#[test]
fn nobody_asked_for_the_end_of_a_job_that_ended_by_itself() {
    let mut lived = Lived::ended();
    let (_, facts, ..) = exited(&lived.step(Input::Drained)).unwrap();
    assert_eq!(facts.stop, None);
}

#[test]
fn a_job_that_is_stopped_before_its_birth_gets_the_signal_when_it_is_born() {
    let mut lived = Lived::newborn();
    assert_eq!(lived.step(Input::Stop(asked("alice", 12, 500))), [Effect::RecordStop, Effect::WakeAt(500)]);
    assert_eq!(lived.step(STARTED), [spawned(), Effect::Signal(12), Effect::WakeAt(500)]);
}

#[test]
fn a_job_that_is_never_born_is_killed_all_the_same() {
    let mut lived = Lived::newborn();
    lived.step(Input::Stop(asked("alice", 15, 500)));
    assert_eq!(lived.step(tick(500)), [Effect::KillGroup]);
}

#[test]
fn a_stop_that_a_former_executor_was_asked_for_goes_on() {
    let mut job = Job::adopted(entry(), [(0, 0); 2], Some(asked("alice", 15, 500)), 1);
    assert_eq!(job.step(STARTED).unwrap(), [spawned(), Effect::Signal(15), Effect::WakeAt(500)]);
    assert_eq!(job.step(tick(500)).unwrap(), [Effect::KillGroup]);
    job.step(ended(End::Exited(0))).unwrap();
    let Life::Ended { facts, .. } = job.life() else { panic!("{:?}", job.life()) };
    assert_eq!(facts.stop, Some(asked("alice", 15, 500).fact));
}

#[test]
fn a_job_is_asked_to_stop_at_its_deadline_and_asked_once() {
    let mut lived = Lived::newborn();
    let effects = lived.step(Input::Started { pid: 70, started_ns: 3, deadline_ns: 400 });
    assert_eq!(effects, [spawned(), Effect::WakeAt(400)]);
    assert_eq!(lived.step(tick(399)), []);
    assert_eq!(lived.step(tick(400)), [Effect::Signal(15)]);
    assert_eq!(lived.step(tick(401)), [], "the keeper kills it, not a second signal");
}

#[test]
fn a_job_without_a_deadline_is_never_asked_to_stop() {
    assert_eq!(Lived::running().step(tick(u64::MAX)), []);
}

#[test]
fn a_deadline_and_a_grace_that_are_over_together_are_both_kept() {
    let mut lived = Lived::newborn();
    lived.step(Input::Started { pid: 70, started_ns: 3, deadline_ns: 400 });
    lived.step(Input::Stop(asked("alice", 15, 450)));
    assert_eq!(lived.step(tick(500)), [Effect::Signal(15), Effect::KillGroup]);
}

#[test]
fn nothing_of_a_dead_job_is_signalled_or_killed() {
    let mut lived = Lived::newborn();
    lived.step(Input::Started { pid: 70, started_ns: 3, deadline_ns: 400 });
    lived.step(Input::Stop(asked("alice", 15, 450)));
    lived.step(ended(End::Exited(0)));
    assert_eq!(lived.step(tick(500)), []);
    assert_eq!(lived.step(Input::Stop(asked("bob", 9, 10))), []);
    assert_eq!(lived.job.stopping(), Some(&asked("alice", 15, 450)));
}
