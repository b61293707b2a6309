//! Each transition of the life cycle, and what is done at it.

use ipc_protocol::{End, Facts, JobEntry, LostReason, Phase, StartError, Step, Stream};

use super::{ID, Lived, STARTED, ended, entry, exited, spawned};
use crate::job::{Effect, Input, Job, Life};

#[test]
fn a_newborn_job_is_starting_and_has_nothing_to_signal() {
    let lived = Lived::newborn();
    assert_eq!((lived.job.life(), lived.job.running_pid()), (&Life::Starting, None));
    assert_eq!((lived.job.id(), lived.job.uid(), lived.job.entry()), (ID, 5000, entry()));
    assert!(!lived.job.has_ended() && lived.job.stopping().is_none());
}

#[test]
fn a_start_is_told_with_its_pid_and_the_job_runs() {
    let mut lived = Lived::newborn();
    assert_eq!(lived.step(STARTED), [spawned()]);
    assert_eq!((lived.job.life(), lived.job.running_pid()), (&Life::Running, Some(70)));
    assert_eq!(lived.job.entry().phase, Phase::Started { pid: 70, started_ns: 3 });
}

#[test]
fn a_start_is_told_once_however_often_it_is_looked_at() {
    let mut lived = Lived::running();
    assert_eq!(lived.step(Input::Started { pid: 71, started_ns: 4, deadline_ns: 5 }), []);
    assert_eq!(lived.job.running_pid(), Some(70));
    assert_eq!(lived.step(Input::Tick { boot_ns: u64::MAX }), [], "a second start brought a deadline");
}

// The connection was told of the job as starting; without this it would never hear that it runs.
#[test]
fn a_start_between_the_list_and_the_comparison_is_told() {
    let mut lived = Lived { job: Job::new(entry(), false), now: 0 };
    assert_eq!(lived.step(STARTED), [spawned()]);
}

#[test]
fn an_ended_job_is_drained_and_its_end_is_told_when_its_pipes_are_empty() {
    let mut lived = Lived::running();
    assert_eq!(lived.step(ended(End::Exited(3))), [Effect::Drain]);
    assert_eq!((lived.job.has_ended(), lived.job.running_pid()), (true, None), "its pid may be a stranger's by now");
    let effects = lived.step(Input::Drained);
    assert_eq!(effects[0], Effect::AuditEnd);
    assert_eq!(exited(&effects), Some((End::Exited(3), Facts { cpu_ns: 9, ..Facts::default() }, [0, 0], 8)));
    assert_eq!(effects.len(), 2);
}

#[test]
fn an_end_is_taken_once_and_audited_once() {
    let mut lived = Lived::ended();
    assert_eq!(lived.step(ended(End::Lost(LostReason::KeeperDied))), []);
    let effects = lived.step(Input::Drained);
    assert!(matches!(exited(&effects), Some((End::Exited(0), ..))));
    assert_eq!(lived.step(Input::Drained), []);
}

#[test]
fn pipes_of_a_living_job_are_never_drained() {
    let mut lived = Lived::running();
    assert_eq!(lived.step(Input::Drained), []);
    assert_eq!(lived.step(ended(End::Exited(0))), [Effect::Drain], "it counted as drained");
}

#[test]
fn the_end_of_a_job_that_wrote_is_told_after_its_last_byte() {
    let mut lived = Lived::running();
    lived.says(Stream::Stdout, 10);
    lived.says(Stream::Stderr, 4);
    lived.step(ended(End::Exited(0)));
    assert_eq!(lived.step(Input::Drained), [Effect::AuditEnd, Effect::Ready]);
    assert_eq!(exited(&lived.step(Input::Turn)), None);
    let last = lived.step(Input::Turn);
    assert!(matches!(last[0], Effect::Send(piece) if piece.stream == Stream::Stderr));
    assert!(matches!(exited(&last[1..]), Some((_, _, [10, 4], 8))));
    assert_eq!(exited(&lived.step(Input::Turn)), None);
}

#[test]
fn what_the_pipes_still_held_comes_before_the_end() {
    let mut lived = Lived::ended();
    assert_eq!(lived.says(Stream::Stdout, 7), [Effect::Ready]);
    assert_eq!(lived.sends(), [(Stream::Stdout, 0, 7)]);
    let effects = lived.step(Input::Drained);
    assert!(matches!(exited(&effects), Some((_, _, [7, 0], _))));
}

// Without memory for the spool the rest waits in the pipe; an acknowledgement makes some.
#[test]
fn an_acknowledgement_drains_again_until_the_pipes_are_empty() {
    let mut lived = Lived::running();
    lived.says(Stream::Stdout, 10);
    lived.sends();
    let acknowledged = |to| [Effect::Punch(Stream::Stdout, to, 10)];
    assert_eq!(lived.step(Input::Ack(Stream::Stdout, 1)), acknowledged(1), "a living job was drained");
    lived.step(ended(End::Exited(0)));
    assert_eq!(lived.step(Input::Ack(Stream::Stdout, 2)), [Effect::Punch(Stream::Stdout, 2, 10), Effect::Drain]);
    lived.step(Input::Drained);
    assert_eq!(lived.step(Input::Ack(Stream::Stdout, 3)), acknowledged(3));
}

#[test]
fn a_job_that_never_ran_says_so_with_the_user_it_was_to_run_as() {
    let mut lived = Lived::newborn();
    let error = StartError::new(Step::Exec, 2);
    assert_eq!(lived.step(ended(End::StartFailed(error.clone()))), [Effect::Drain]);
    assert_eq!(lived.job.entry().phase, Phase::NeverStarted);
    let told = exited(&lived.step(Input::Drained)).unwrap().0;
    assert_eq!(told, End::StartFailed(StartError { uid: 5000, ..error }));
}

#[test]
fn a_job_lost_before_its_start_never_started_and_one_lost_later_did() {
    for (mut lived, phase) in
        [(Lived::newborn(), Phase::NeverStarted), (Lived::running(), Phase::Started { pid: 70, started_ns: 3 })]
    {
        lived.step(ended(End::Lost(LostReason::KeeperDied)));
        assert_eq!(lived.job.entry().phase, phase);
        assert!(matches!(exited(&lived.step(Input::Drained)), Some((End::Lost(LostReason::KeeperDied), ..))));
    }
}

#[test]
fn an_end_without_a_connection_is_told_to_the_next_one_after_its_comparison() {
    let mut lived = Lived::running();
    lived.says(Stream::Stdout, 5);
    lived.step(Input::Disconnected);
    lived.step(ended(End::Exited(0)));
    assert_eq!(lived.step(Input::Drained), [Effect::AuditEnd]);
    assert_eq!(lived.step(Input::Turn), [], "a connection that compared nothing was sent output");
    let effects = lived.step(Input::Resume([0, 0]));
    assert!(effects.contains(&Effect::Ready) && exited(&effects).is_none());
    assert!(exited(&lived.step(Input::Turn)).is_some());
}

#[test]
fn each_connection_is_told_the_end_once() {
    let mut lived = Lived::ended();
    lived.says(Stream::Stdout, 5);
    lived.sends();
    assert!(exited(&lived.step(Input::Drained)).is_some());
    assert_eq!(exited(&lived.step(Input::Ack(Stream::Stdout, 5))), None);
    assert_eq!(exited(&lived.step(Input::Turn)), None);
    assert!(exited(&lived.comes_back_with([5, 0])).is_some(), "the next connection was not told");
    assert_eq!(exited(&lived.step(Input::Turn)), None);
}

#[test]
fn a_repeated_request_is_told_what_exists() {
    assert_eq!(Lived::newborn().step(Input::Repeated), []);
    assert_eq!(Lived::running().step(Input::Repeated), [spawned()]);
    let mut lived = Lived::ended();
    lived.step(Input::Drained);
    let effects = lived.step(Input::Repeated);
    assert_eq!(effects[0], spawned());
    assert!(exited(&effects[1..]).is_some());
    let mut failed = Lived::newborn();
    failed.step(ended(End::StartFailed(StartError::new(Step::Exec, 2))));
    failed.step(Input::Drained);
    let effects = failed.step(Input::Repeated);
    assert!(effects.len() == 1 && exited(&effects).is_some(), "{effects:?}");
}

#[test]
fn a_repeated_request_is_not_told_the_end_before_the_output() {
    let mut lived = Lived::ended();
    lived.says(Stream::Stdout, 5);
    lived.step(Input::Drained);
    assert_eq!(lived.step(Input::Repeated), [spawned(), Effect::Ready]);
}

#[test]
fn an_ended_job_that_is_released_is_forgotten_and_a_living_one_is_not() {
    assert_eq!(Lived::ended().step(Input::Release), [Effect::Forget]);
    for mut lived in [Lived::newborn(), Lived::running()] {
        assert_eq!(lived.step(Input::Release), []);
        assert!(!lived.job.has_ended());
    }
}

#[test]
fn what_a_lost_job_had_in_a_spool_that_is_gone_may_be_in_the_frontends_log() {
    let lost = || ended(End::Lost(LostReason::Untrusted));
    // A former executor took 1000 bytes; this one has found no keeper, and so no spool.
    let mut job = Job::adopted(JobEntry { acked: [0, 0], ..entry() }, [(0, 0); 2], None, 1);
    job.step(lost()).unwrap();
    job.step(Input::Drained).unwrap();
    let effects = job.step(Input::Resume([1000, 0])).unwrap();
    assert!(matches!(exited(&effects), Some((End::Lost(_), _, [0, 0], _))));
    assert!(job.step(Input::Ack(Stream::Stdout, 1000)).is_ok());
    assert_eq!(job.entry().acked, [0, 0], "what was never taken cannot be acknowledged");
}
