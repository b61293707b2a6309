//! Transitions whose effect is one of time or thrift, which no order of events can show.

use ipc_protocol::Stream;

use super::disk::{born, exited, not_started};
use super::executor::End;
use crate::jobs::machine::{Effect, Input, JobMachine, Written};
use crate::jobs::told::Missing;

fn steps(machine: &mut JobMachine, inputs: impl IntoIterator<Item = Input>) -> Vec<Effect> {
    inputs.into_iter().flat_map(|input| machine.step(input)).collect()
}

fn output(offset: u64, length: u64) -> Input {
    Input::Output { stream: Stream::Stdout, offset, length }
}

fn full(to: u64) -> Input {
    Input::Written { stream: Stream::Stdout, to, outcome: Written::Stop }
}

const LIVE: Input = Input::Live { connection: 1 };
const GONE: Input = Input::Gone { connection: 1 };

#[test]
fn a_start_whose_request_did_not_go_out_is_given_up_as_soon_as_the_executor_is_away_too_long() {
    let mut machine = JobMachine::new();
    assert_eq!(steps(&mut machine, [LIVE, Input::Recorded]), [Effect::Ask { connection: 1 }]);
    assert_eq!(steps(&mut machine, [Input::AwayTooLong]), [], "it is not away");
    let given_up = steps(&mut machine, [Input::NotAsked { connection: 1 }, GONE, Input::AwayTooLong]);
    assert_eq!(given_up, [Effect::Remove(None)]);
}

#[test]
fn a_start_that_may_have_reached_the_executor_is_not_made_later_when_callers_were_told_that_it_is_unknown() {
    let mut machine = JobMachine::new();
    steps(&mut machine, [LIVE, Input::Recorded, GONE]);
    assert_eq!(steps(&mut machine, [Input::AwayTooLong]), [], "it may run");
    let missing = Input::NotListed { connection: 2, why: Missing::Unexplained, now_ns: 0 };
    assert_eq!(steps(&mut machine, [missing]), [Effect::Remove(None)]);
    assert_eq!(steps(&mut machine, [Input::Live { connection: 2 }]), []);
}

#[test]
fn word_of_a_connection_that_comes_after_its_end_changes_nothing() {
    let mut machine = JobMachine::new();
    steps(&mut machine, [LIVE, GONE]);
    assert_eq!(steps(&mut machine, [LIVE, Input::Recorded]), [], "nothing is sent where nobody listens");
    assert_eq!(steps(&mut machine, [Input::AwayTooLong]), [Effect::Remove(None)]);
    let mut machine = JobMachine::new();
    steps(&mut machine, [LIVE, Input::Recorded, GONE]);
    let missing = Input::NotListed { connection: 2, why: Missing::Unexplained, now_ns: 0 };
    steps(&mut machine, [missing, Input::Live { connection: 2 }, Input::NotAsked { connection: 1 }, GONE]);
    assert_eq!(steps(&mut machine, [Input::AwayTooLong]), [], "the second connection is live, and was asked");
    let missing = Input::NotListed { connection: 3, why: Missing::Unexplained, now_ns: 0 };
    let third = [Input::Gone { connection: 2 }, missing, Input::Live { connection: 3 }];
    assert_eq!(steps(&mut machine, third), [Effect::Ask { connection: 3 }], "nothing of that was forgotten");
}

#[test]
fn a_start_is_not_given_up_while_the_two_sides_compare() {
    let mut machine = JobMachine::new();
    let missing = Input::NotListed { connection: 1, why: Missing::Unexplained, now_ns: 0 };
    assert_eq!(steps(&mut machine, [Input::Recorded, missing, Input::AwayTooLong]), []);
    assert_eq!(steps(&mut machine, [LIVE]), [Effect::Ask { connection: 1 }]);
}

#[test]
fn output_is_not_asked_for_that_the_executor_was_told_to_forget() {
    let listed = Input::Listed { connection: 1, born: Some(born()), from: [4, 2] };
    let resumed = JobMachine::found(true, [1, 9], false).step(listed);
    assert_eq!(resumed, [Effect::Resume([4, 9])]);
}

#[test]
fn the_wish_to_stop_a_job_whose_log_is_full_outlives_the_connection() {
    let mut machine = JobMachine::found(true, [5, 0], false);
    let listed = |connection| Input::Listed { connection, born: Some(born()), from: [0; 2] };
    steps(&mut machine, [listed(1), LIVE, output(5, 1)]);
    assert_eq!(steps(&mut machine, [full(6)]), [Effect::Stop]);
    assert_eq!(steps(&mut machine, [output(6, 1), full(7)]), [Effect::Append], "it is asked once on a connection");
    assert_eq!(
        steps(&mut machine, [GONE, listed(2), Input::Live { connection: 2 }]),
        [Effect::Resume([7, 0]), Effect::Stop]
    );
}

#[test]
fn a_job_that_ended_here_does_not_wait_for_an_acknowledgement() {
    let mut machine = JobMachine::over([4, 0]);
    let acknowledged = steps(&mut machine, [output(7, 3), Input::Drained]);
    assert_eq!(acknowledged, [Effect::Ack { stream: Stream::Stdout, offset: 10 }]);
}

#[test]
fn output_that_comes_once_more_while_the_end_is_recorded_is_neither_kept_nor_acknowledged() {
    let mut machine = JobMachine::found(true, [0; 2], false);
    let ended = steps(&mut machine, [Input::Exited(Box::new(exited(End::Lost, [3, 0])))]);
    assert!(matches!(ended[..], [Effect::CloseLog(_)]), "{ended:?}");
    assert_eq!(steps(&mut machine, [output(0, 3), Input::Drained]), []);
}

#[test]
fn a_lost_job_keeps_the_output_that_comes_again_when_there_is_room() {
    let no_room = Input::Written { stream: Stream::Stdout, to: 1, outcome: Written::NoRoom };
    let lost = || Input::Exited(Box::new(exited(End::Lost, [3, 0])));
    let mut machine = JobMachine::found(true, [1, 0], false);
    assert_eq!(steps(&mut machine, [output(1, 2), no_room]), [Effect::Append, Effect::WaitForRoom]);
    assert_eq!(steps(&mut machine, [lost(), GONE]), []);
    let listed = Input::Listed { connection: 2, born: Some(born()), from: [0; 2] };
    let again = steps(&mut machine, [listed, Input::Live { connection: 2 }, output(1, 2)]);
    assert_eq!(again, [Effect::Resume([1, 0]), Effect::Append]);
    let missing = Input::NotListed { connection: 3, why: Missing::Unexplained, now_ns: 0 };
    let effects = steps(&mut machine, [missing]);
    assert!(matches!(effects[..], [Effect::CloseLog(_)]), "without the executor nothing comes again: {effects:?}");
}

#[test]
fn a_record_without_a_birth_is_not_taken_back_when_there_is_output_of_the_job() {
    for lengths in [[3, 0], [0, 3]] {
        let mut machine = JobMachine::found(false, lengths, false);
        let missing = Input::NotListed { connection: 1, why: Missing::Unexplained, now_ns: 0 };
        let effects = steps(&mut machine, [missing]);
        assert!(matches!(effects[..], [Effect::CloseLog(_)]), "{effects:?}");
    }
}

#[test]
fn an_ended_job_does_not_begin_or_end_again() {
    let mut machine = JobMachine::found(true, [0; 2], false);
    let ended = |machine: &mut JobMachine| machine.step(Input::NotStarted(Box::new(not_started())));
    assert!(matches!(ended(&mut machine)[..], [Effect::CloseLog(_)]));
    assert_eq!(ended(&mut machine), []);
    assert_eq!(machine.step(Input::Spawned(born())), []);
    assert_eq!(machine.step(Input::EndRecorded), [Effect::TellEnded]);
    assert_eq!(machine.step(Input::EndRecorded), []);
    assert_eq!(ended(&mut machine), []);
}
