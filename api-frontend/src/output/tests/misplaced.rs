//! Whole segments and records that stand where others belong, and logs whose first bytes never came.

use std::fs;

use ipc_protocol::Stream::Stdout;

use super::*;
use crate::output::{GapReason, HEADER_LEN, RecordHeader, parse_record};

const SMALL: OutputLimit = OutputLimit::new(64 << 10, WhenFull::Wait);

/// A log of several segments, and what was written to it.
fn several_segments() -> (Logs, Vec<u8>) {
    let logs = Logs::new();
    let mut writer = logs.logs.writer(JOB, SMALL).unwrap();
    let all = noise(21, 60_000);
    for piece in all.chunks(3000) {
        push(&mut writer, Stdout, 1, piece);
    }
    writer.finish(2, true).unwrap();
    assert!(logs.segments().len() >= 4);
    (logs.again(), all)
}

#[track_caller]
fn assert_exact_but_for_gaps(found: &Found, all: &[u8]) {
    let mut expected = all.to_vec();
    for gap in found.gaps.iter().rev() {
        assert_eq!(gap.reason, GapReason::LogDamaged);
        expected.drain(gap.from as usize..gap.to as usize);
    }
    assert!(found.all == expected, "bytes that were not written there; gaps: {:?}", found.gaps);
}

#[tokio::test]
async fn segments_in_each_others_places_cost_those_two() {
    let (logs, all) = several_segments();
    let (one, other) = (&logs.segments()[1], &logs.segments()[2]);
    let bytes = fs::read(one).unwrap();
    fs::write(one, fs::read(other).unwrap()).unwrap();
    fs::write(other, bytes).unwrap();
    let found = logs.read(ReadOptions::default()).await;
    assert_exact_but_for_gaps(&found, &all);
    assert_eq!(found.gaps.len(), 1);
    assert_eq!(found.end, Some(LogEnd { offset: all.len() as u64, ended: true, complete: true }));
    let totals = logs.logs.totals(JOB).unwrap();
    assert_eq!(totals.missing, found.gaps[0].to - found.gaps[0].from);
}

#[tokio::test]
async fn a_segment_that_is_there_twice_counts_once() {
    let (logs, all) = several_segments();
    let second = &logs.segments()[1];
    fs::copy(second, second.with_file_name("99999999999999999999.seg")).unwrap();
    let found = logs.read(ReadOptions::default()).await;
    assert!(found.all == all && found.gaps.is_empty(), "gaps: {:?}", found.gaps);
    let totals = logs.logs.totals(JOB).unwrap();
    assert_eq!((totals.bytes, totals.missing), (all.len() as u64, 0));
}

#[tokio::test]
async fn an_old_record_behind_the_last_one_does_not_take_the_log_back() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    let all = noise(22, 900);
    for piece in all.chunks(300) {
        push(&mut writer, Stdout, 1, piece);
    }
    drop(writer);
    let path = &logs.segments()[0];
    let mut bytes = fs::read(path).unwrap();
    let first = bytes[128..128 + HEADER_LEN + 300].to_vec();
    assert!(matches!(parse_record(&first), Ok(RecordHeader { offset: 0, length: 300, .. })));
    bytes.extend(first);
    fs::write(path, bytes).unwrap();
    let logs = logs.again();
    let mut writer = logs.writer();
    assert_eq!(writer.lengths(), [900, 0]);
    push(&mut writer, Stdout, 2, b"on");
    writer.finish(3, true).unwrap();
    assert!(logs.read(ReadOptions::default()).await.all == [&all[..], b"on"].concat());
}

#[tokio::test]
async fn bytes_that_never_came_are_lost_and_not_damage_even_before_the_first_that_did() {
    for (came, limit) in [(&b"the rest"[..], AMPLE), (&b"the rest"[..], SMALL), (&b""[..], AMPLE)] {
        let logs = Logs::new();
        let mut writer = logs.logs.writer(JOB, limit).unwrap();
        // Also behind the part of a log that is never dropped.
        writer.skip(Stdout, 100_000, GapReason::Lost);
        push(&mut writer, Stdout, 1, came);
        writer.finish(2, false).unwrap();
        let expected = [Gap { from: 0, to: 100_000, reason: GapReason::Lost }];
        let found = logs.read(ReadOptions::default()).await;
        assert_eq!((&found.gaps[..], &found.all[..]), (&expected[..], came));
        let found = logs.again().read(ReadOptions::default()).await;
        assert_eq!((&found.gaps[..], &found.all[..]), (&expected[..], came));
    }
}

#[tokio::test]
async fn a_first_segment_that_lost_its_only_record_keeps_telling_why_it_does_not_begin_at_0() {
    let logs = Logs::new();
    let mut writer = logs.logs.writer(JOB, SMALL).unwrap();
    writer.skip(Stdout, 100_000, GapReason::Lost);
    writer.finish(1, false).unwrap();
    let path = &logs.segments()[0];
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(140).unwrap();
    let logs = logs.again();
    let mut writer = logs.logs.writer(JOB, SMALL).unwrap();
    assert_eq!(writer.lengths(), [100_000, 0]);
    push(&mut writer, Stdout, 2, b"the rest");
    writer.finish(3, true).unwrap();
    assert_eq!(logs.segments().len(), 1);
    let found = logs.again().read(ReadOptions::default()).await;
    assert_eq!(found.gaps, [Gap { from: 0, to: 100_000, reason: GapReason::Lost }]);
    assert_eq!(found.all, b"the rest");
}
