//! No two live jobs share a uid, and none comes back soon.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

use std::collections::BTreeSet;

use super::{UidPool, UidRange};

fn pool(first: u32, count: u32, somewhere: u32) -> UidPool {
    UidPool::new(UidRange { first, count }, somewhere)
}

fn take(pool: &mut UidPool) -> u32 {
    let uid = pool.peek().unwrap();
    pool.take(uid);
    uid
}

#[test]
fn every_uid_is_given_once_and_then_none() {
    let mut pool = pool(5000, 10, 3);
    let given: BTreeSet<u32> = (0..10).map(|_| take(&mut pool)).collect();
    assert!(given.into_iter().eq(5000..5010));
    assert_eq!(pool.peek(), None);
    pool.give_back(5004);
    assert_eq!(pool.peek(), Some(5004));
}

#[test]
fn looking_takes_nothing() {
    let pool = pool(5000, 10, 0);
    assert_eq!((pool.peek(), pool.peek()), (Some(5000), Some(5000)));
}

#[test]
fn a_uid_that_was_given_back_is_the_last_to_be_given_again() {
    let mut pool = pool(5000, 4, 0);
    let first = take(&mut pool);
    pool.give_back(first);
    assert_eq!([take(&mut pool), take(&mut pool), take(&mut pool)], [5001, 5002, 5003]);
    assert_eq!(take(&mut pool), first);
}

#[test]
fn it_begins_somewhere_and_wraps() {
    for somewhere in [0, 1, 3, 4, u32::MAX] {
        let mut pool = pool(5000, 4, somewhere);
        let first = take(&mut pool);
        assert_eq!(first, 5000 + somewhere % 4);
        assert_eq!(take(&mut pool), 5000 + (somewhere % 4 + 1) % 4);
    }
}

#[test]
fn a_uid_of_an_adopted_job_is_not_given() {
    let mut pool = pool(5000, 3, 0);
    pool.take(5001);
    assert_eq!((take(&mut pool), pool.peek()), (5002, Some(5000)));
}

#[test]
fn after_other_bounds_what_is_taken_stays_taken() {
    let mut pool = pool(5000, 4, 0);
    let old = take(&mut pool);
    pool.resize(UidRange { first: 4998, count: 4 });
    let given: BTreeSet<u32> = (0..3).map(|_| take(&mut pool)).collect();
    assert!(!given.contains(&old) && given.into_iter().eq([4998, 4999, 5001]));
    assert_eq!(pool.peek(), None);
}

#[test]
fn a_uid_that_is_taken_once_more_does_not_turn_the_pool_back() {
    let mut pool = pool(5000, 10, 0);
    let first = take(&mut pool);
    assert_eq!([take(&mut pool), take(&mut pool)], [5001, 5002]);
    pool.take(first);
    assert_eq!(pool.peek(), Some(5003));
}

#[test]
fn a_uid_from_outside_the_pool_harms_nothing() {
    let mut pool = pool(5000, 3, 0);
    take(&mut pool);
    for uid in [0, 4999, 5003, u32::MAX] {
        pool.take(uid);
        pool.give_back(uid);
    }
    assert_eq!([take(&mut pool), take(&mut pool)], [5001, 5002], "it turned the pool back");
}

#[test]
fn a_pool_at_the_end_of_the_numbers_stays_within_them() {
    let mut pool = pool(u32::MAX - 3, 3, 2);
    let given: BTreeSet<u32> = (0..3).map(|_| take(&mut pool)).collect();
    assert!(given.into_iter().eq(u32::MAX - 3..u32::MAX));
}
