//! The machines against every order of messages, kills and restarts around them.
//!
//! `explore` goes through all histories of small worlds: one or two jobs, a few bytes, two or three kills. In each state it is
//! looked whether a job was started twice or forgotten, a byte lost or doubled without a mark, an end recorded that is not the
//! true one, or changed, or callers told what is not so, and whether a rule of the protocol was broken; and from each state the
//! end must be within reach. `walks` takes larger worlds by chance, `single` what order cannot show.

mod disk;
mod events;
mod executor;
mod explore;
mod frontend;
mod single;
mod walks;
mod world;

use disk::Cap;
use events::Scope;
use explore::explore;

fn all_of(scope: Scope) {
    let states = explore(&scope);
    println!("{states} states");
}

#[test]
fn without_trouble_every_job_ends_with_every_byte() {
    all_of(Scope::calm(2, [1, 1]));
}

#[test]
fn kills_of_the_frontend_start_no_job_twice_and_lose_nothing() {
    let kills = Scope { frontend_kills: 3, breaks: 1, ..Scope::calm(1, [2, 1]) };
    all_of(Scope { attempts: 2, refusals: 1, failures: 1, lost_inputs: 1, ..kills });
}

#[test]
fn kills_of_the_executor_start_no_job_twice_and_lose_nothing() {
    let kills = Scope { executor_kills: 2, breaks: 1, ..Scope::calm(1, [3, 0]) };
    all_of(Scope { attempts: 2, absences: 2, failures: 1, ..kills });
}

#[test]
fn kills_of_both_lose_only_what_a_killed_keeper_held() {
    let kills = Scope { frontend_kills: 2, executor_kills: 1, keeper_kills: 1, ..Scope::calm(1, [2, 0]) };
    all_of(Scope { attempts: 2, absences: 1, refusals: 1, ..kills });
}

#[test]
fn two_jobs_do_not_harm_each_other_under_kills() {
    all_of(Scope { frontend_kills: 1, executor_kills: 1, ..Scope::calm(2, [1, 0]) });
}

#[test]
fn a_full_disk_loses_no_byte() {
    all_of(Scope { full_disks: 2, frontend_kills: 1, keeper_kills: 1, breaks: 1, ..Scope::calm(1, [4, 0]) });
}

#[test]
fn a_full_log_makes_the_job_wait_or_is_marked() {
    for stops in [false, true] {
        let cap = Some(Cap { bytes: 1, stops });
        let kills = Scope { frontend_kills: 1, executor_kills: 1, keeper_kills: 1, ..Scope::calm(1, [4, 0]) };
        all_of(Scope { cap, breaks: 1, ..kills });
    }
}

#[test]
fn a_deleted_job_does_not_come_back() {
    let kills = Scope { frontend_kills: 2, executor_kills: 1, breaks: 2, ..Scope::calm(1, [1, 0]) };
    all_of(Scope { attempts: 2, deletions: 2, ..kills });
}

#[test]
fn after_a_restart_of_the_host_what_was_recorded_is_lost_and_nothing_is_forgotten() {
    all_of(Scope { attempts: 2, reboots: 1, frontend_kills: 1, executor_kills: 1, ..Scope::calm(1, [2, 0]) });
}

#[test]
fn restored_records_take_back_nothing_that_ran() {
    all_of(Scope { restores: 1, frontend_kills: 3, breaks: 1, ..Scope::calm(1, [2, 0]) });
}
