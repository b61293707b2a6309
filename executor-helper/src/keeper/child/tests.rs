//! What a process must not become, and what is no change of user.

#![allow(clippy::unwrap_used)]

use rustix::{
    io::Errno,
    process::geteuid,
    thread::{set_thread_res_gid, set_thread_res_uid},
};

use super::*;

// A uid and gid that nobody has.
const NOBODYS: u32 = 1_899_999_999;

// The kernel keeps the ids of each thread for itself: what is changed here goes with it.
fn as_root(test: impl FnOnce() + Send) {
    if geteuid().is_root() {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap());
    } else {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        eprintln!("skipped: {name}: only root can become somebody else");
    }
}

#[test]
fn root_is_no_user_that_a_process_becomes() {
    as_root(|| {
        for (uid, gid, groups) in [(0, NOBODYS, vec![]), (NOBODYS, 0, vec![]), (NOBODYS, NOBODYS, vec![NOBODYS, 0])] {
            assert_eq!(set_ids(uid, gid, &groups), Err(Errno::PERM), "{uid} {gid} {groups:?}");
        }
    });
}

#[test]
fn a_change_of_user_that_can_be_undone_is_none() {
    let (uid, gid) = (Uid::from_raw(NOBODYS), Gid::from_raw(NOBODYS));
    as_root(|| {
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, Uid::ROOT).unwrap();
        assert_eq!(verify_ids(NOBODYS, NOBODYS, &[]), Err(Errno::PERM), "the saved uid is root's");
    });
    as_root(|| {
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(gid, gid, Gid::ROOT).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        assert_eq!(verify_ids(NOBODYS, NOBODYS, &[]), Err(Errno::PERM), "the saved gid is root's");
    });
}

#[test]
fn a_change_of_user_that_did_not_happen_is_none() {
    as_root(|| assert_eq!(verify_ids(NOBODYS, NOBODYS, &[]), Err(Errno::PERM)));
}

#[test]
fn a_change_of_user_that_keeps_or_lacks_a_group_is_none() {
    let (uid, gid) = (Uid::from_raw(NOBODYS), Gid::from_raw(NOBODYS));
    for (groups, expected) in [(&[0][..], &[][..]), (&[27], &[]), (&[27, 28], &[27]), (&[27], &[27, 28]), (&[], &[27])]
    {
        as_root(|| {
            set_thread_groups(&groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>()).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            assert_eq!(verify_ids(NOBODYS, NOBODYS, expected), Err(Errno::PERM), "{groups:?} for {expected:?}");
        });
    }
}

#[test]
fn a_whole_change_of_user_is_one() {
    // The kernel sorts groups, and a profile may name one twice.
    for groups in [&[][..], &[27], &[28, 27], &[27, 28, 27]] {
        as_root(|| {
            set_ids(NOBODYS, NOBODYS, groups).unwrap();
            assert_eq!(verify_ids(NOBODYS, NOBODYS, groups), Ok(()), "{groups:?}");
        });
    }
}
