//! Two builds that speak different ranges of versions.

use super::samples;
use crate::{Hello, VersionRange, negotiate};

const fn range(min: u8, max: u8) -> VersionRange {
    VersionRange { min, max }
}

#[test]
fn both_sides_take_the_highest_version_that_they_share() {
    assert_eq!(negotiate(range(1, 1), range(1, 1)), Some(1));
    assert_eq!(negotiate(range(1, 3), range(2, 5)), Some(3));
    assert_eq!(negotiate(range(2, 5), range(1, 3)), Some(3));
    assert_eq!(negotiate(range(1, 9), range(4, 4)), Some(4));
}

#[test]
fn a_peer_that_also_speaks_2_is_answered_in_1() {
    assert_eq!(negotiate(VersionRange::OURS, range(1, 2)), Some(1));
    assert_eq!(negotiate(range(1, 2), VersionRange::OURS), Some(1));
}

#[test]
fn two_peers_that_speak_2_use_it() {
    assert_eq!(negotiate(range(1, 2), range(1, 2)), Some(2));
}

#[test]
fn ranges_without_a_common_version_have_none() {
    assert_eq!(negotiate(VersionRange::OURS, range(2, 3)), None);
    assert_eq!(negotiate(range(2, 3), VersionRange::OURS), None);
    assert_eq!(negotiate(VersionRange::OURS, range(0, 0)), None);
    assert_eq!(negotiate(VersionRange::OURS, range(255, 255)), None);
    assert_eq!(negotiate(VersionRange::OURS, range(255, 1)), None, "a range whose ends are swapped is empty");
}

#[test]
fn negotiation_never_leaves_either_range() {
    for (a, b, c, d) in
        (0..4u8).flat_map(|a| (0..4).flat_map(move |b| (0..4).flat_map(move |c| (0..4).map(move |d| (a, b, c, d)))))
    {
        let common = (0..4).rev().find(|v| (a..=b).contains(v) && (c..=d).contains(v));
        assert_eq!(negotiate(range(a, b), range(c, d)), common, "{a}-{b} and {c}-{d}");
    }
}

#[test]
fn the_version_is_the_first_byte_of_a_hello() {
    let body = samples::hello().encode(2).unwrap();
    assert_eq!(body[0], 2);
    assert_eq!(body[1], 1);
    let (speaks, hello) = Hello::decode(&body).unwrap();
    assert_eq!(speaks, range(1, 2));
    assert_eq!(hello, samples::hello());
}
