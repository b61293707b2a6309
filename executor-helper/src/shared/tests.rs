//! Layouts that outlive a build: a newer executor reads what an older one wrote.

#![allow(clippy::panic)]

use super::{
    plan::{HEADER, MAGIC, NUMBERS, Number, PlanView, SECTIONS, Section},
    status::{KeeperStatus, SIZE, STOP_AT},
    steps::Step,
};

fn plan(sections: &[(u32, u32)], rest: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (start, length) in sections {
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes.resize(HEADER, 0);
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn what_does_not_begin_as_a_plan_is_none() {
    assert!(PlanView::new(&[]).is_none());
    assert!(PlanView::new(&MAGIC).is_none());
    assert!(PlanView::new(&[0; HEADER]).is_none());
    let mut other = plan(&[], b"");
    assert!(PlanView::new(&other).is_some());
    if let Some(version) = other.get_mut(7) {
        *version = 2;
    }
    assert!(PlanView::new(&other).is_none(), "a layout of another version");
}

#[test]
fn sections_that_lie_outside_are_empty() {
    let end = HEADER as u32;
    for section in [(end, 5), (end + 5, 1), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)] {
        let bytes = plan(&[section], b"1234");
        let Some(view) = PlanView::new(&bytes) else { panic!("not a plan") };
        assert!(view.section(Section::Numbers).is_empty(), "{section:?}");
        assert_eq!(view.number(Number::Uid), 0);
    }
}

#[test]
fn strings_without_an_end_and_halves_of_numbers_are_left_out() {
    let bytes = plan(&[(HEADER as u32, 7)], b"ab\0cd\0e");
    let Some(view) = PlanView::new(&bytes) else { panic!("not a plan") };
    assert!(view.strings(Section::Numbers).eq([c"ab", c"cd"]));
    assert_eq!(view.words(Section::Numbers).count(), 0);
}

#[test]
fn the_order_of_sections_and_numbers_is_fixed() {
    let sections = [
        Section::Numbers,
        Section::Groups,
        Section::Rlimits,
        Section::Candidates,
        Section::Argv,
        Section::Env,
        Section::Directories,
        Section::Cwd,
        Section::JobFilter,
        Section::JobFilter2,
        Section::KeeperFilter,
        Section::Passport,
    ];
    assert!(sections.iter().map(|section| *section as usize).eq(0..SECTIONS));
    assert_eq!(Number::V1Groups as usize, NUMBERS - 1);
    assert_eq!(MAGIC, *b"ALKPLAN\x01");
}

#[test]
fn a_status_comes_back_as_it_was_and_each_field_has_its_place() {
    let status = KeeperStatus {
        state: 1,
        step: 2,
        errno: 3,
        mode: 4,
        owner: 5,
        pidfd: 6,
        started_ns: 7,
        deadline_boot_ns: 8,
        deadline_hit: 9,
        wait_code: 10,
        wait_status: 11,
        ended_ns: u64::MAX,
    };
    let bytes = status.to_bytes();
    assert_eq!(KeeperStatus::from_bytes(&bytes), status);
    let fields = bytes.chunks_exact(8).map(|field| u64::from(field.first().copied().unwrap_or(0)));
    assert!(fields.eq([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255]));
    assert_eq!(KeeperStatus::from_bytes(&[0; 96]), KeeperStatus::default());
    assert!((bytes.len() as u64) < STOP_AT && STOP_AT < SIZE);
}

#[test]
fn steps_have_the_numbers_from_1_on_and_a_name_each() {
    for (step, number) in Step::ALL.into_iter().zip(1..) {
        assert_eq!(step as u8, number);
        assert_eq!(Step::from_number(number), Some(step));
        assert!(!step.name().is_empty());
        assert_eq!(Step::ALL.into_iter().filter(|other| other.name() == step.name()).count(), 1);
    }
    assert_eq!((Step::from_number(0), Step::from_number(22)), (None, None));
}
