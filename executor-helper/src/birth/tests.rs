//! The sealed plan as executor and keeper see it.

#![allow(clippy::unwrap_used)]

use ipc_protocol::Spawn;
use rustix::{
    fs::fcntl_get_seals,
    process::{Resource, getrlimit},
};

use super::{SEALS, bounded, seal};
use crate::{
    admission::{
        admit,
        tests::{config, spawn},
    },
    plan::Plan,
};

#[test]
fn nobody_can_change_a_sealed_plan() {
    let plan = seal(b"plan").unwrap();
    assert!(fcntl_get_seals(&plan).unwrap().contains(SEALS));
    assert!(rustix::io::pwrite(&plan, b"x", 0).is_err());
    assert!(rustix::fs::ftruncate(&plan, 0).is_err());
    assert!(rustix::fs::ftruncate(&plan, 100).is_err());
    assert!(rustix::fs::fcntl_add_seals(&plan, rustix::fs::SealFlags::empty()).is_err(), "a seal could be added");
    let mut bytes = [0; 9];
    assert_eq!(rustix::io::pread(&plan, &mut bytes, 0), Ok(4));
    assert!(bytes.starts_with(b"plan"));
}

#[test]
fn a_job_may_not_have_more_descriptors_than_the_executor_itself_and_other_limits_stay() {
    let admitted = admit(&Spawn { ..spawn("ops", &["id"]) }, config(), 1_900_000_000, 1).unwrap();
    let mut plan = Plan::clone(&admitted);
    plan.rlimits = vec![(7, 5, u64::MAX), (7, u64::MAX, u64::MAX), (4, u64::MAX, u64::MAX), (7, 1, 2)];
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert_eq!(bounded(&plan).rlimits, [(7, 5, most), (7, most, most), (4, u64::MAX, u64::MAX), (7, 1, 2)]);
}
