//! Layouts that outlive a build: a newer executor reads what an older one wrote.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use ipc_protocol::{
    Claimed, End, InputDigest, JobEntry, JobId, Limit, Limits, LostReason, NAME_MAX, Phase, StartError, Step, StopFact,
};
use rustix::{
    fd::OwnedFd,
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::Errno,
};

use super::{
    Plan, RECORDS_SIZE, Record, STOP_AT, Sealed, Stopping, Sweep, decode, encode, fd, namespace, read_record, timespec,
    write_record,
};

pub(crate) fn plan() -> Plan {
    Plan {
        entry: JobEntry {
            job: JobId::from_bytes([0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xaf]),
            claimed: Claimed {
                owner: "alice".into(),
                serial: "5e1f".into(),
                peer: "10.0.4.17".into(),
                request: "0c5e".into(),
            },
            profile: "standard".into(),
            argv: vec![b"sh".to_vec()],
            phase: Phase::Starting,
            uid: 1_900_000_412,
            limits: Limits::default().with(Limit::Memory, 1 << 30).with(Limit::Timeout, 1000),
            input: Some(InputDigest { bytes: 3, sha256: [7; 32] }),
            merge: true,
            acked: [0, 0],
        },
        fingerprint: [9; 32],
        epoch: 12,
        gid: 1_900_000_413,
        pooled: true,
        groups: vec![998],
        umask: 0o022,
        oom_score: 500,
        namespaces: namespace::PID | namespace::MOUNT,
        rlimits: vec![(7, 1024, 65_536)],
        candidates: vec![c"/bin/sh".into()],
        argv: vec![c"sh".into()],
        env: vec![c"A=1".into()],
        folder: c"/work".into(),
        directory: Some(c"/work/a".into()),
        cwd: c"/work/a".into(),
        filters: vec![vec![(6, 0, 1, 0x7fff_0000)]],
        keeper_filter: vec![(0x20, 0, 0, 4)],
    }
}

fn record() -> Record {
    let end = End::StartFailed(StartError { mode: 0o100_644, owner: 1000, ..StartError::new(Step::Exec, 13) });
    Record { started_ns: 1 << 60, pidfd: 17, deadline_ns: 300, deadline_hit: true, end: Some((end, 250)) }
}

fn stopping(by: &str) -> Stopping {
    Stopping { fact: StopFact { by: by.into(), signal: 15, at_ns: 1 << 60 }, kill_at_ns: 251 }
}

// Never change these: jobs that run while the host is upgraded hold such bytes.
const SEALED_V1: &str = concat!(
    "00a00102030405060708090a0b0c0d0eaf05616c69636504356531660931302e302e342e31370430633565087374616e64617264",
    "0102736800fc9cb43f71000001fc0000004000000000000001fbe803000103070707070707070707070707070707070707070707",
    "070707070707070707070701000009090909090909090909090909090909090909090909090909090909090909090cfc9db43f71",
    "01fbe6030112fbf401fc000002200107fb0004fc0000010001072f62696e2f7368010273680103413d31052f776f726b01072f77",
    "6f726b2f61072f776f726b2f610101060001fc0000ff7f0120000004",
);
const RECORD: &str = "fd000000000000001022fb2c01010102141afba481fbe8030000fa";
const STOPPING: &str = "0105616c6963650ffd0000000000000010fbfb00";

fn hex(bytes: &[u8]) -> String {
    crate::audit::hex(bytes)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn a_sealed_plan_has_the_bytes_of_its_first_layout_for_ever() {
    assert_eq!(hex(&encode(&Sealed::V1(Box::new(plan()))).unwrap()), SEALED_V1);
    let Sealed::V1(found) = decode(&bytes(SEALED_V1)).unwrap();
    // Plans are not compared in the program; what Debug shows of one is all of it.
    assert_eq!(format!("{found:?}"), format!("{:?}", plan()));
}

#[test]
fn a_record_has_its_bytes_for_ever() {
    assert_eq!(hex(&encode(&record()).unwrap()), RECORD);
    assert_eq!(decode::<Record>(&bytes(RECORD)), Some(record()));
}

#[test]
fn a_stop_has_its_bytes_for_ever() {
    assert_eq!(hex(&encode(&Some(stopping("alice"))).unwrap()), STOPPING);
    assert_eq!(decode::<Option<Stopping>>(&bytes(STOPPING)), Some(Some(stopping("alice"))));
}

#[test]
fn descriptors_have_the_numbers_that_running_keepers_hold() {
    let all = [fd::PLAN, fd::RECORDS, fd::EVENT].into_iter().chain(fd::PIPES).chain(fd::SPOOLS);
    assert!(all.chain([fd::CGROUP]).chain(fd::V1).chain([fd::END]).eq(3..16));
    assert_eq!((RECORDS_SIZE, STOP_AT), (4096, 2048));
}

#[test]
fn zeros_are_a_record_of_nothing() {
    assert_eq!(decode::<Record>(&[0; 64]), Some(Record::default()));
    assert_eq!(decode::<Option<Stopping>>(&[0; 64]), Some(None));
}

#[test]
fn a_cut_or_unknown_layout_is_none() {
    let whole = bytes(SEALED_V1);
    for length in 0..whole.len() {
        assert!(decode::<Sealed>(&whole[..length]).is_none(), "{length} bytes");
    }
    assert!(decode::<Sealed>(&[&[1], &whole[1..]].concat()).is_none(), "a layout of the future");
    assert!(decode::<Plan>(&[255; 600]).is_none());
}

#[test]
fn a_plan_that_claims_to_be_endless_is_none() {
    // Of the entry: id, four names, a profile, and a number of words beyond reason.
    let claim = [&[0][..], &[1; 16], &[0; 5], &[253], &u64::MAX.to_le_bytes()].concat();
    assert!(decode::<Sealed>(&claim).is_none());
}

fn records() -> OwnedFd {
    let file = memfd_create("records", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, RECORDS_SIZE).unwrap();
    file
}

#[test]
fn the_keepers_record_and_the_executors_do_not_touch_each_other() {
    let file = records();
    assert_eq!(read_record::<Record>(&file, 0), Some(Record::default()));
    assert_eq!(read_record::<Option<Stopping>>(&file, STOP_AT), Some(None));
    // The longest name that is kept of whoever asks, in the longest letters.
    let stop = stopping(&"\u{10ffff}".repeat(NAME_MAX));
    write_record(&file, Some(&stop), STOP_AT).unwrap();
    write_record(&file, record(), 0).unwrap();
    assert_eq!(read_record::<Record>(&file, 0), Some(record()));
    assert_eq!(read_record::<Option<Stopping>>(&file, STOP_AT), Some(Some(stop)));
}

#[test]
fn a_record_that_does_not_fit_its_place_is_refused_and_nothing_is_written() {
    let file = records();
    let endless = stopping(&"x".repeat(4096));
    assert_eq!(write_record(&file, Some(&endless), STOP_AT), Err(Errno::MSGSIZE));
    assert_eq!(read_record::<Option<Stopping>>(&file, STOP_AT), Some(None));
}

#[test]
fn a_later_record_takes_the_place_of_an_earlier_one() {
    let file = records();
    write_record(&file, record(), 0).unwrap();
    let lost = Record { end: Some((End::Lost(LostReason::KeeperDied), 1)), ..Record::default() };
    write_record(&file, &lost, 0).unwrap();
    assert_eq!(read_record::<Record>(&file, 0), Some(lost));
}

#[test]
fn what_the_sweeper_is_to_do_comes_back_as_it_was() {
    let sweep = Sweep { uid: 5000, gid: 5001, directory: c"/work/\xff".into() };
    let back: Sweep = decode(&encode(&sweep).unwrap()).unwrap();
    assert_eq!((back.uid, back.gid, back.directory), (5000, 5001, c"/work/\xff".into()));
}

#[test]
fn a_time_to_wait_is_seconds_and_the_rest() {
    let parts = |ns| (timespec(ns).tv_sec, timespec(ns).tv_nsec);
    assert_eq!([0, 999_999_999, 1_000_000_000].map(parts), [(0, 0), (0, 999_999_999), (1, 0)]);
    assert_eq!(parts(u64::MAX), (18_446_744_073, 709_551_615));
}
