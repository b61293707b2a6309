//! The sentence for each way in which a command does not come to run.

use ipc_protocol::{JobEntry, StartError};

use super::{Errno, KeeperStatus, Step, start_error};
use crate::{
    admission::{
        admit,
        tests::{config, spawn},
    },
    shared::status::kernel_error,
};

fn entry(word: &str) -> JobEntry {
    match admit(&spawn("standard", &[word]), config(), 1_900_000_412) {
        Ok(plan) => plan.entry().clone(),
        Err(refused) => JobEntry { profile: refused.message, ..entry("true") },
    }
}

fn told(word: &str, step: Step, errno: u64, mode: u64) -> StartError {
    let status = KeeperStatus { step: step as u64, errno, mode, owner: 1000, ..KeeperStatus::default() };
    start_error(&entry(word), &status, "/usr/local/bin:/usr/bin:/bin", false)
}

fn number(errno: Errno) -> u64 {
    errno.raw_os_error().unsigned_abs().into()
}

#[test]
fn a_program_that_is_not_there_is_named_with_where_it_was_looked_for() {
    let noent = number(Errno::NOENT);
    let says = |word| told(word, Step::Exec, noent, 0).message;
    assert_eq!(says("mkae"), "no program 'mkae' in /usr/local/bin:/usr/bin:/bin (profile standard)");
    assert_eq!(says("/bin/x"), "no program '/bin/x' (profile standard)");
    assert_eq!(
        says("mkae test"),
        "no program 'mkae test' in /usr/local/bin:/usr/bin:/bin (profile standard); for a shell line use: airlock run -- sh -c 'mkae test'"
    );
    let interpreter = told("./run.sh", Step::Exec, noent, 0o100_755).message;
    assert_eq!(interpreter, "./run.sh exists, but the interpreter that it names does not");
}

#[test]
fn a_file_that_is_not_executable_is_named_with_its_mode_and_owner() {
    let error = told("/srv/src/run.sh", Step::Exec, number(Errno::ACCESS), 0o100_640);
    assert_eq!(
        error.message,
        "/srv/src/run.sh exists but is not executable for uid 1900000412 (mode 0640, owner uid 1000)"
    );
    assert_eq!((error.step, error.name.as_str(), error.errno), (21, "exec", 13));
}

// A record of 0, or of anything else that is no error, must not end the executor: it would find the same record when it is
// started again.
#[test]
fn a_death_before_the_exec_is_told_and_any_number_can_be_read() {
    for errno in [0, 4096, 1 << 31, 1 << 32, u64::MAX] {
        for step in Step::ALL {
            let error = told("true", step, errno, 0);
            assert_eq!(error.errno, 0);
            assert!(error.message.contains("was killed at step"), "{}", error.message);
        }
    }
    let unknown = KeeperStatus { step: 200, errno: 5, ..KeeperStatus::default() };
    assert_eq!(start_error(&entry("true"), &unknown, "", false).name, "birth");
}

#[test]
fn a_job_that_was_stopped_before_it_ran_says_so() {
    let status = KeeperStatus { step: Step::Birth as u64, ..KeeperStatus::default() };
    let error = start_error(&entry("true"), &status, "", true);
    assert_eq!(error.message, "the job was stopped before its command ran");
}

#[test]
fn numbers_of_errors_are_those_of_the_kernel_and_no_others() {
    assert_eq!(kernel_error(2), Some(Errno::NOENT));
    assert!((1..4096).all(|number| kernel_error(number).is_some()));
    assert_eq!((kernel_error(0), kernel_error(4096), kernel_error(u64::MAX)), (None, None, None));
}
