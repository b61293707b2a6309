//! The storm must know the truth, or it proves nothing.

use std::collections::BTreeSet;

use crate::errand::without_talk;
use crate::script::{Kind, Last, Script, Step};

#[test]
fn a_kind_and_a_seed_make_the_same_bytes_and_the_same_end_each_time() {
    for kind in Kind::ALL {
        for seed in 0..50 {
            let (once, again) = (Script::of(kind, seed), Script::of(kind, seed));
            assert_eq!(once.streams(), again.streams(), "{kind:?} {seed}");
            assert_eq!(once.last, again.last, "{kind:?} {seed}");
        }
        assert_eq!(Kind::of(kind.word()), Some(kind));
    }
}

#[test]
fn other_seeds_make_other_bytes() {
    let all: BTreeSet<_> = (0..200).map(|seed| Script::of(Kind::Chatty, seed).streams()).collect();
    assert_eq!(all.len(), 200);
}

#[test]
fn the_beginning_of_what_a_victim_writes_does_not_depend_on_how_much_is_asked_for() {
    let [long_out, long_err] = Script::streams_of_victim(7, [500_000, 5_000]);
    let [out, err] = Script::streams_of_victim(7, [1_000, 10]);
    assert!(out.len() >= 1_000 && err.len() >= 10);
    assert!(long_out.starts_with(&out) && long_err.starts_with(&err));
}

#[test]
fn jobs_that_do_not_end_by_themselves_are_those_that_something_ends() {
    for kind in Kind::ALL {
        let waits = Script::of(kind, 1).last == Last::Wait;
        let by_others =
            matches!(kind, Kind::OutOfMemory | Kind::TimedOut | Kind::DeafTimedOut | Kind::Victim | Kind::Capped);
        let is_ended = kind.is_stopped() || by_others;
        assert_eq!(waits, is_ended, "{kind:?}");
    }
    let steps = Script::of(Kind::OutOfMemory, 1).steps;
    assert!(matches!(steps.last(), Some(Step::TakeMemory)));
}

#[test]
fn what_a_client_says_for_itself_is_told_apart_from_what_the_job_said() {
    assert_eq!(without_talk(b"one\nairlock: connected to x again\ntwo\n"), b"one\ntwo\n");
    assert_eq!(without_talk(b"half airlock: away for 2s\n line\n{\"error\":{}}\n"), b"half  line\n");
    assert_eq!(without_talk(b"\0\xffairlock"), b"\0\xffairlock");
    assert_eq!(without_talk(b""), b"");
}
