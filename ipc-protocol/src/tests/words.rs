//! Names and numbers that people and records keep.

use std::collections::BTreeSet;

use super::samples;
use crate::{Answer, StartError, Step, encode_answer};

#[test]
fn steps_have_the_numbers_from_1_on_and_a_name_each() {
    for (step, number) in samples::STEPS.into_iter().zip(1..) {
        assert_eq!(step.number(), number, "{}", step.name());
        let told = Answer::NotStarted { job: samples::JOB, error: StartError::new(step, 0) };
        assert_eq!(encode_answer(&told).unwrap()[17], number - 1, "{} on the wire", step.name());
    }
    let names: BTreeSet<&str> = samples::STEPS.into_iter().map(Step::name).collect();
    assert!(names.len() == samples::STEPS.len() && !names.contains(""));
    assert_eq!((Step::Directory.name(), Step::Keeper.name(), Step::Birth.name()), ("directory", "keeper", "birth"));
    assert_eq!((Step::JoinV1.name(), Step::NoNewPrivs.name(), Step::Exec.name()), ("join-v1", "no-new-privs", "exec"));
}

#[test]
fn a_request_is_called_by_its_name() {
    for (name, request) in samples::requests() {
        assert_eq!(request.name(), name);
    }
}

#[test]
fn the_reason_of_a_start_error_is_what_is_known_else_the_kernels_else_a_kill() {
    let kernel = StartError::new(Step::Exec, 2);
    assert_eq!(kernel.why(), "No such file or directory (os error 2)");
    assert_eq!(StartError { detail: "memory.max does not hold".into(), ..kernel }.why(), "memory.max does not hold");
    assert_eq!(StartError::new(Step::Birth, 0).why(), "its process was killed");
    for errno in [-1, i32::MIN, i32::MAX, 4096] {
        assert!(!StartError::new(Step::Birth, errno).why().is_empty(), "{errno}");
    }
}
