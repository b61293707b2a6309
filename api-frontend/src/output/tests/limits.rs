use std::fs;

use ipc_protocol::Stream::{Stderr, Stdout};

use super::*;
use crate::output::{GapReason, Start};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn the_oldest_output_goes_and_the_first_mebibyte_stays() {
    let logs = Logs::new();
    let limit = OutputLimit::new(10 * MIB, WhenFull::DropOldest);
    let mut writer = logs.logs.writer(JOB, limit).unwrap();
    let all = noise(3, 40 << 20);
    for bytes in all.chunks(200_000) {
        let appended = push(&mut writer, Stdout, 1, bytes);
        assert_eq!(appended.full, None);
        let totals = writer.totals();
        assert!(totals.bytes - totals.missing <= 10 * MIB, "never more than the limit");
    }
    let totals = writer.finish(2, true).unwrap().totals();
    let kept = totals.bytes - totals.missing;
    assert!(kept > 8 * MIB, "most of the limit is used: {kept}");
    assert_eq!(totals.bytes, all.len() as u64);
    let on_disk: u64 = logs.segments().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(on_disk, totals.disk_bytes);

    let logs = logs.again();
    assert_eq!(logs.logs.totals(JOB).unwrap(), totals);
    let found = logs.read(ReadOptions::default()).await;
    let gap = Gap { from: MIB, to: totals.first_offset, reason: GapReason::OutputLimit };
    assert_eq!(found.gaps, [gap]);
    assert!(found.all == [&all[..MIB as usize], &all[totals.first_offset as usize..]].concat());
    // From inside of what is gone, the gap begins where was asked.
    let found = logs.read(ReadOptions { from: Start::Offset(5 * MIB), ..ReadOptions::default() }).await;
    assert_eq!(found.gaps, [Gap { from: 5 * MIB, ..gap }]);
    assert!(found.all == all[totals.first_offset as usize..]);
}

#[test]
fn no_limit_from_32_kib_on_is_exceeded_whatever_the_length_of_a_write() {
    let logs = Logs::new();
    for (job, limit) in (1_u8..).zip([32 * 1024, 40_000, 64 * 1024, 100_000, MIB]) {
        let job = JobId::from_bytes([job; 16]);
        let mut writer = logs.logs.writer(job, OutputLimit::new(limit, WhenFull::DropOldest)).unwrap();
        let all = noise(9, 200_000);
        let mut most = 0;
        for length in (1..).step_by(1237).take_while(|length| *length < 60_000).chain([200_000, 1, 200_000]) {
            push(&mut writer, if length % 2 == 0 { Stdout } else { Stderr }, 1, &all[..length]);
            let totals = writer.totals();
            assert!(totals.bytes - totals.missing <= limit, "{totals:?} of {limit} after {length}");
            most = most.max(totals.bytes - totals.missing);
        }
        assert!(most > limit * 3 / 4, "most of {limit} is used: {most}");
    }
}

#[tokio::test]
async fn a_reader_in_a_dropped_segment_reads_it_to_its_end() {
    let logs = Logs::new();
    let limit = OutputLimit::new(8 * MIB, WhenFull::DropOldest);
    let mut writer = logs.logs.writer(JOB, limit).unwrap();
    let all = noise(4, 32 << 20);
    let (early, late) = all.split_at(3 << 20);
    push(&mut writer, Stdout, 1, early);
    let options = ReadOptions { from: Start::Offset(MIB + 100), follow: true, ..ReadOptions::default() };
    let mut reader = logs.reader(options).await;
    let Event::Chunk(first) = reader.next().await.unwrap() else { panic!("bytes first") };
    for bytes in late.chunks(256 * 1024) {
        push(&mut writer, Stdout, 2, bytes);
    }
    writer.finish(3, true).unwrap();
    let rest = Found::of(&mut reader).await;
    let [gap] = rest.gaps[..] else { panic!("one gap, not {:?}", rest.gaps) };
    assert_eq!(gap.reason, GapReason::OutputLimit);
    assert!(gap.from > MIB + 256 * 1024, "the open segment was read on: {gap:?}");
    let begin = (MIB + 100) as usize;
    assert!(
        [&first.bytes[..], &rest.all].concat() == [&all[begin..gap.from as usize], &all[gap.to as usize..]].concat()
    );
}

#[tokio::test]
async fn a_log_that_waits_takes_no_byte_beyond_its_limit() {
    let logs = Logs::new();
    let limit = OutputLimit::new(MIB, WhenFull::Wait);
    let mut writer = logs.logs.writer(JOB, limit).unwrap();
    let all = noise(6, 2 << 20);
    let appended = push(&mut writer, Stdout, 1, &all[..1_000_000]);
    assert_eq!((appended.length, appended.full), (1_000_000, None));
    let appended = push(&mut writer, Stdout, 1, &all[1_000_000..]);
    assert_eq!((appended.length, appended.full), (MIB, Some(WhenFull::Wait)));
    let again = push(&mut writer, Stderr, 1, b"more");
    assert_eq!((again.length, again.full), (0, Some(WhenFull::Wait)));
    drop(writer);
    let logs = logs.again();
    assert_eq!(logs.logs.writer(JOB, limit).unwrap().lengths(), [MIB, 0]);
    assert!(logs.read(ReadOptions::default()).await.all == all[..MIB as usize]);
}

#[tokio::test]
async fn a_log_that_stops_its_job_counts_what_comes_after_as_missing() {
    let logs = Logs::new();
    let limit = OutputLimit::new(100_000, WhenFull::Stop);
    let mut writer = logs.logs.writer(JOB, limit).unwrap();
    let all = noise(7, 150_000);
    let appended = push(&mut writer, Stdout, 1, &all);
    assert_eq!((appended.length, appended.full), (150_000, Some(WhenFull::Stop)));
    push(&mut writer, Stderr, 1, b"killed");
    let totals = writer.finish(2, true).unwrap().totals();
    assert_eq!((totals.streams, totals.missing), ([150_000, 6], 50_006));
    let found = logs.again().read(ReadOptions::default()).await;
    assert!(found.all == all[..100_000]);
    assert_eq!(found.gaps, [Gap { from: 100_000, to: 150_006, reason: GapReason::OutputLimit }]);
    assert_eq!(found.end, Some(LogEnd { offset: 150_006, ended: true, complete: true }));
}

#[tokio::test]
async fn bytes_beyond_a_limit_are_missing_for_that_reason_also_to_a_writer_that_did_not_see_them() {
    let logs = Logs::new();
    let limit = OutputLimit::new(100_000, WhenFull::Stop);
    let mut writer = logs.logs.writer(JOB, limit).unwrap();
    let all = noise(7, 150_000);
    push(&mut writer, Stdout, 1, &all);
    // Killed: what it took and did not keep was acknowledged, and stands nowhere.
    drop(writer);
    let logs = logs.again();
    let mut writer = logs.logs.writer(JOB, limit).unwrap();
    assert_eq!(writer.lengths(), [100_000, 0]);
    assert_eq!(writer.skip(Stdout, 150_000, GapReason::Lost), GapReason::OutputLimit);
    push(&mut writer, Stdout, 2, &all[..10]);
    writer.finish(3, true).unwrap();
    let found = logs.again().read(ReadOptions::default()).await;
    assert!(found.all == all[..100_000]);
    assert_eq!(found.gaps, [Gap { from: 100_000, to: 150_010, reason: GapReason::OutputLimit }]);
}

#[test]
fn a_limit_bounds_the_disk_even_when_every_byte_is_written_alone() {
    let logs = Logs::new();
    for (when_full, job) in [(WhenFull::DropOldest, 1), (WhenFull::Wait, 2), (WhenFull::Stop, 3)] {
        let job = JobId::from_bytes([job; 16]);
        let mut writer = logs.logs.writer(job, OutputLimit::new(MIB, when_full)).unwrap();
        for _ in 0..60_000 {
            push(&mut writer, Stdout, 1, b"x");
        }
        let totals = writer.totals();
        assert!(totals.disk_bytes < MIB * 5 / 4, "{when_full:?} uses {} on disk", totals.disk_bytes);
        assert!(totals.disk_bytes > MIB * 3 / 4, "{when_full:?} uses {} on disk", totals.disk_bytes);
    }
    assert!(logs.logs.live_bytes() == 0 && logs.logs.free_bytes().unwrap() > 0);
}
