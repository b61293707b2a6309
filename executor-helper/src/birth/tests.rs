//! The sealed plan as executor and keeper see it, and what makes two requests the same.

#![allow(clippy::unwrap_used)]

use ipc_protocol::{Claimed, InputDigest};
use rustix::fs::fcntl_get_seals;

use super::{SEALS, Section, empty_sections, fingerprint, seal, strings, words};
use crate::{
    admission::tests::spawn,
    shared::plan::{Number, PlanView},
};

#[test]
fn a_plan_is_read_as_it_was_laid_out() {
    let mut sections = empty_sections();
    *sections.section(Section::Numbers) = words([5000, 5001, 0o022, 500, 7, 3, 2]);
    *sections.section(Section::Groups) = words([998, 1003]);
    *sections.section(Section::Argv) = strings([&c"sh".into(), &c"".into(), &c"\xff".into()]);
    *sections.section(Section::Passport) = vec![1, 2, 3];
    let bytes = sections.layout();
    let plan = PlanView::new(&bytes).unwrap();
    let numbers = [
        Number::Uid,
        Number::Gid,
        Number::Umask,
        Number::OomScore,
        Number::TimeoutMs,
        Number::Namespaces,
        Number::V1Groups,
    ];
    assert_eq!(numbers.map(|number| plan.number(number)), [5000, 5001, 0o022, 500, 7, 3, 2]);
    assert!(plan.words(Section::Groups).eq([998, 1003]));
    assert!(plan.strings(Section::Argv).eq([c"sh", c"", c"\xff"]));
    assert_eq!(plan.section(Section::Passport), [1, 2, 3]);
    assert!(plan.section(Section::JobFilter).is_empty());
    assert_eq!(plan.strings(Section::Env).count(), 0);
}

#[test]
fn nobody_can_change_a_sealed_plan() {
    let plan = seal(b"plan").unwrap();
    assert!(fcntl_get_seals(&plan).unwrap().contains(SEALS));
    assert!(rustix::io::pwrite(&plan, b"x", 0).is_err());
    assert!(rustix::fs::ftruncate(&plan, 0).is_err());
    assert!(rustix::fs::ftruncate(&plan, 100).is_err());
}

#[test]
fn a_repeated_request_is_the_same_whoever_repeats_it() {
    let first = spawn("standard", &["make"]);
    let mut again = first.clone();
    again.claimed = Claimed { request: "another".into(), ..Claimed::default() };
    assert_eq!(fingerprint(&first), fingerprint(&again));
}

#[test]
fn a_request_that_differs_in_anything_is_another() {
    let first = spawn("standard", &["make"]);
    let digest = InputDigest { bytes: 1, sha256: [0; 32] };
    let changes: [fn(&mut ipc_protocol::Spawn); 8] = [
        |s| s.profile.push('x'),
        |s| s.argv.push(Vec::new()),
        |s| s.argv = vec![b"mak".to_vec(), b"e".to_vec()],
        |s| s.env.push(("A".into(), Vec::new())),
        |s| s.cwd = Some("/".into()),
        |s| s.limits.memory = Some(1),
        |s| s.merge = true,
        |s| s.limits.timeout_ms = Some(0),
    ];
    for change in changes {
        let mut other = first.clone();
        change(&mut other);
        assert_ne!(fingerprint(&first), fingerprint(&other), "{other:?}");
    }
    let mut other = first.clone();
    other.input = Some(digest);
    assert_ne!(fingerprint(&first), fingerprint(&other));
}
