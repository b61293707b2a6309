//! The table of limits.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::strategies;
use crate::{Limit, Limits};

#[test]
fn each_limit_has_its_place_in_the_order_of_the_wire_and_a_name_of_its_own() {
    for (place, limit) in Limit::ALL.into_iter().enumerate() {
        assert_eq!(limit as usize, place);
    }
    let names: Vec<&str> = Limit::ALL.into_iter().map(Limit::name).collect();
    assert_eq!(
        names,
        [
            "cpu", "cpu_weight", "memory", "swap", "pids", "io_read", "io_write", "io_read_ops", "io_write_ops",
            "timeout", "input"
        ]
    );
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>().len(), Limit::ALL.len());
}

#[test]
fn nothing_is_limited_until_it_is_said() {
    assert_eq!(Limits::default().iter().count(), 0);
    assert!(Limit::ALL.into_iter().all(|limit| Limits::default().get(limit).is_none()));
}

#[test]
fn a_limit_that_is_set_changes_no_other() {
    for limit in Limit::ALL {
        let mut limits = Limits::default().with(limit, 7);
        assert_eq!(limits.iter().collect::<Vec<_>>(), [(limit, 7)]);
        assert_eq!(limits.get(limit), Some(7));
        limits.set(limit, None);
        assert_eq!(limits, Limits::default());
    }
}

proptest! {
    #[test]
    fn what_is_listed_is_what_is_set_in_the_order_of_the_wire(limits in strategies::limits()) {
        let listed: Vec<_> = limits.iter().collect();
        let got = Limit::ALL.into_iter().filter_map(|limit| limits.get(limit).map(|value| (limit, value)));
        prop_assert!(got.eq(listed.iter().copied()));
        prop_assert_eq!(listed.into_iter().fold(Limits::default(), |all, (limit, value)| all.with(limit, value)), limits);
    }
}
