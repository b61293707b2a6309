//! Which bytes are sent, in which order, and from where after each interruption.

use ipc_protocol::{
    End, OUTPUT_BYTES_MAX,
    Stream::{self, Stderr, Stdout},
};

use super::{Lived, ended, entry};
use crate::job::{CHUNKS_MAX, Effect, Input, Job, Violation, WINDOW};

const MAX: u64 = OUTPUT_BYTES_MAX as u64;

fn adopted(offsets: [(u64, u64); 2]) -> Lived {
    let mut lived = Lived { job: Job::adopted(entry(), offsets, None, 99), now: 0 };
    lived.step(Input::Resume(offsets.map(|(_, acked)| acked)));
    lived
}

fn acked(lived: &Lived) -> [u64; 2] {
    lived.job.entry().acked
}

#[test]
fn the_streams_are_sent_in_the_order_in_which_they_were_read() {
    let mut lived = Lived::running();
    assert_eq!(lived.says(Stdout, 10), [Effect::Ready]);
    lived.says(Stderr, 5);
    lived.says(Stdout, 7);
    assert_eq!(lived.sends(), [(Stdout, 0, 10), (Stderr, 0, 5), (Stdout, 10, 7)]);
    assert_eq!((lived.job.totals(), lived.job.in_flight()), ([17, 5], 22));
}

#[test]
fn a_job_asks_for_its_next_turn_as_long_as_something_waits() {
    let mut lived = Lived::running();
    lived.says(Stdout, 1);
    lived.says(Stderr, 1);
    assert!(matches!(lived.step(Input::Turn)[..], [Effect::Send(_), Effect::Ready]));
    assert!(matches!(lived.step(Input::Turn)[..], [Effect::Send(_)]));
    assert_eq!(lived.step(Input::Turn), []);
}

#[test]
fn what_waits_to_be_sent_is_joined_and_keeps_the_time_of_its_first_byte() {
    let mut lived = Lived::running();
    lived.says(Stdout, 10);
    lived.says(Stdout, 10);
    let piece = lived.sends_one();
    assert_eq!((piece.offset, piece.length, piece.time_ns, piece.recovered), (0, 20, 1, false));
    lived.says(Stdout, 10);
    let piece = lived.sends_one();
    assert_eq!((piece.offset, piece.length, piece.time_ns), (20, 10, 3), "what was sent is never changed");
}

#[test]
fn no_piece_is_longer_than_a_message_may_be() {
    for parts in [[3 * MAX + 5, 0], [MAX, 2 * MAX + 5], [MAX - 1, 2 * MAX + 6]] {
        let mut lived = Lived::running();
        parts.into_iter().filter(|part| *part > 0).for_each(|part| drop(lived.says(Stdout, part)));
        let sent = lived.sends();
        assert!(sent.iter().all(|(_, _, length)| (1..=MAX).contains(length)));
        let mut next = 0;
        for (_, offset, length) in sent {
            assert_eq!(offset, next);
            next += length;
        }
        assert_eq!(next, 3 * MAX + 5);
    }
}

#[test]
fn what_would_be_too_long_together_keeps_its_own_times() {
    let mut lived = Lived::running();
    lived.says(Stdout, MAX - 1);
    lived.says(Stdout, 1);
    lived.says(Stdout, 1);
    let pieces = [lived.sends_one(), lived.sends_one()].map(|p| (p.offset, p.length, p.time_ns));
    assert_eq!(pieces, [(0, MAX, 1), (MAX, 1, 3)]);
}

#[test]
fn what_a_former_executor_left_is_split_marked_and_sent_from_what_it_had_acknowledged() {
    let mut lived = adopted([(3 * MAX, MAX), (3, 0)]);
    assert_eq!((lived.job.totals(), lived.job.in_flight(), acked(&lived)), ([3 * MAX, 3], 2 * MAX + 3, [MAX, 0]));
    let first = lived.sends_one();
    assert_eq!((first.offset, first.length, first.recovered, first.time_ns), (MAX, MAX, true, 99));
    lived.comes_back_with([MAX, 0]);
    assert_eq!(lived.sends(), [(Stdout, MAX, MAX), (Stdout, 2 * MAX, MAX), (Stderr, 0, 3)]);
    // New bytes are not joined to recovered ones: their time and order are known.
    lived.says(Stderr, 2);
    assert_eq!(lived.sends(), [(Stderr, 3, 2)]);
}

#[test]
fn an_adopted_job_sends_nothing_before_the_comparison() {
    let mut job = Job::adopted(entry(), [(10, 0), (0, 0)], None, 99);
    assert_eq!(job.step(Input::Turn), Ok(vec![]));
    assert!(job.step(Input::Resume([0, 0])).unwrap().contains(&Effect::Ready));
}

#[test]
fn new_bytes_behind_recovered_ones_that_wait_are_a_piece_of_their_own() {
    let mut lived = adopted([(10, 0), (0, 0)]);
    lived.says(Stdout, 10);
    let pieces = [lived.sends_one(), lived.sends_one()].map(|p| (p.offset, p.length, p.recovered));
    assert_eq!(pieces, [(0, 10, true), (10, 10, false)]);
}

#[test]
fn acknowledged_pieces_are_forgotten_and_others_are_not() {
    let mut lived = Lived::running();
    for _ in 0..3 {
        lived.says(Stdout, 10);
        lived.says(Stderr, 10);
    }
    lived.sends();
    assert_eq!(lived.step(Input::Ack(Stdout, 15)), [Effect::Punch(Stdout, 15, 30)]);
    assert_eq!(lived.step(Input::Ack(Stderr, 10)), [Effect::Punch(Stderr, 10, 30)]);
    assert_eq!((acked(&lived), lived.job.in_flight()), ([15, 10], 35));
    // A new connection whose frontend has what was acknowledged.
    lived.comes_back_with([15, 10]);
    let rest = [(Stdout, 15, 5), (Stderr, 10, 10), (Stdout, 20, 10), (Stderr, 20, 10)];
    assert_eq!(lived.sends(), rest);
}

#[test]
fn a_smaller_acknowledgement_takes_nothing_back() {
    let mut lived = Lived::running();
    lived.says(Stdout, 10);
    lived.sends();
    lived.step(Input::Ack(Stdout, 8));
    assert_eq!(lived.step(Input::Ack(Stdout, 2)), [Effect::Punch(Stdout, 8, 10)]);
    assert_eq!(acked(&lived), [8, 0]);
}

#[test]
fn a_comparison_in_the_middle_of_a_piece_goes_on_at_the_next_byte() {
    let mut lived = Lived::running();
    lived.says(Stdout, 100);
    lived.says(Stderr, 50);
    assert_eq!(lived.sends().len(), 2);
    let effects = lived.comes_back_with([40, 50]);
    assert_eq!(effects, [Effect::Punch(Stdout, 40, 100), Effect::Punch(Stderr, 50, 50), Effect::Ready]);
    assert_eq!(lived.sends(), [(Stdout, 40, 60)]);
}

#[test]
fn a_frontend_that_has_everything_is_sent_nothing() {
    let mut lived = Lived::running();
    lived.says(Stdout, 100);
    assert!(!lived.comes_back_with([100, 0]).contains(&Effect::Ready));
    assert_eq!((lived.sends(), lived.job.in_flight()), (vec![], 0));
    lived.says(Stdout, 1);
    assert_eq!(lived.sends(), [(Stdout, 100, 1)]);
}

#[test]
fn a_frontend_that_lost_its_log_is_sent_what_is_still_held() {
    let mut lived = Lived::running();
    lived.says(Stdout, 100);
    lived.sends();
    lived.step(Input::Ack(Stdout, 60));
    lived.comes_back_with([0, 0]);
    assert_eq!(lived.sends(), [(Stdout, 60, 40)]);
}

#[test]
fn a_frontend_that_claims_more_than_was_taken_is_refused() {
    let mut lived = Lived::running();
    lived.says(Stdout, 100);
    for have in [[101, 0], [0, 1], [u64::MAX, 0]] {
        let refused = lived.job.clone().step(Input::Resume(have));
        assert_eq!(refused, Err(Violation("resume beyond what was taken")), "{have:?}");
    }
    assert_eq!(acked(&lived), [0, 0]);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused_and_changes_nothing() {
    let mut lived = Lived::running();
    lived.says(Stdout, 100);
    lived.says(Stderr, 100);
    lived.sends_one();
    for (stream, offset) in [(Stdout, 101), (Stdout, u64::MAX), (Stderr, 1)] {
        let refused = lived.job.step(Input::Ack(stream, offset));
        assert_eq!(refused, Err(Violation("acknowledged what was never sent")), "{stream:?} {offset}");
    }
    assert_eq!((acked(&lived), lived.job.in_flight()), ([0, 0], 200));
    lived.step(Input::Ack(Stdout, 100));
}

#[test]
fn nothing_counts_as_sent_on_a_new_connection_until_it_is() {
    let mut lived = Lived::running();
    lived.says(Stdout, 100);
    lived.sends();
    lived.step(Input::Disconnected);
    assert!(lived.job.step(Input::Ack(Stdout, 1)).is_err(), "the connection was sent nothing yet");
    lived.step(Input::Resume([0, 0]));
    assert!(lived.job.step(Input::Ack(Stdout, 1)).is_err(), "the connection was sent nothing yet");
    lived.sends();
    lived.step(Input::Ack(Stdout, 100));
}

#[test]
fn a_living_job_has_room_for_its_window_by_stream_and_no_more() {
    let mut lived = Lived::running();
    assert_eq!(lived.job.room(Stdout), WINDOW);
    lived.says(Stdout, WINDOW - 3);
    assert_eq!((lived.job.room(Stdout), lived.job.room(Stderr)), (3, WINDOW));
    lived.says(Stdout, 3);
    assert_eq!(lived.job.room(Stdout), 0);
    lived.sends();
    lived.step(Input::Ack(Stdout, 5));
    assert_eq!(lived.job.room(Stdout), 5);
}

#[test]
fn too_many_pieces_make_the_job_wait_until_some_are_acknowledged() {
    let mut lived = Lived::running();
    for _ in 0..CHUNKS_MAX / 2 {
        lived.says(Stdout, 1);
        lived.says(Stderr, 1);
    }
    assert_eq!(Stream::BOTH.map(|stream| lived.job.room(stream)), [0, 0]);
    assert_eq!(lived.sends().len(), CHUNKS_MAX);
    lived.step(Input::Ack(Stdout, 1));
    assert!(lived.job.room(Stdout) > 0);
}

#[test]
fn what_an_ended_job_left_in_its_pipe_is_taken_beyond_the_window() {
    let mut lived = Lived::running();
    lived.says(Stdout, WINDOW);
    assert_eq!(lived.job.room(Stdout), 0);
    lived.step(ended(End::Exited(0)));
    assert_eq!(lived.job.room(Stdout), WINDOW);
    lived.says(Stdout, 1000);
    assert_eq!(lived.job.totals(), [WINDOW + 1000, 0]);
}
