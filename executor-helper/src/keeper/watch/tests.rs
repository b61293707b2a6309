//! What the report of a start means.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::encode;

#[test]
fn the_hot_byte_and_nothing_more_is_a_start() {
    assert_eq!(outcome(&[child::HOT]), Ok(()));
}

#[test]
fn an_end_without_the_hot_byte_is_a_death_before_the_exec() {
    assert_eq!(outcome(&[]), Err(StartError::new(Step::Birth, 0)));
}

#[test]
fn an_error_is_told_as_it_was_before_the_hot_byte_and_behind_it() {
    for step in [Step::Chdir, Step::Exec] {
        let error = StartError::new(step, 13);
        let bytes = encode(&error).unwrap();
        assert_eq!(outcome(&bytes), Err(error.clone()));
        assert_eq!(outcome(&[&[child::HOT], &bytes[..]].concat()), Err(error));
    }
}
