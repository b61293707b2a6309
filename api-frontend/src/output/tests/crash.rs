use std::fs::{self, OpenOptions};

use ipc_protocol::Stream::{self, Stderr, Stdout};
use proptest::prelude::*;

use super::*;
use crate::output::{
    GapReason, ParseError, RecordHeader, parse_record,
    record::{COUNT_MAX, Kind},
};

#[tokio::test]
async fn what_was_appended_outlives_the_writer_and_goes_on_where_it_stopped() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"first ");
    push(&mut writer, Stderr, 2, b"oops ");
    drop(writer);
    let logs = logs.again();
    let mut writer = logs.writer();
    assert_eq!(writer.lengths(), [6, 5]);
    // The executor sends again what was not acknowledged.
    let appended = writer.append(Stdout, 2, 3, true, b"rst second").unwrap();
    assert_eq!(appended.length, 12);
    writer.finish(4, true).unwrap();
    let found = logs.read(ReadOptions::default()).await;
    assert_eq!(found.streams, [b"first second".to_vec(), b"oops ".to_vec()]);
    let flags: Vec<_> = found.chunks.iter().map(|chunk| (chunk.seq, chunk.recovered)).collect();
    assert_eq!(flags, [(0, false), (1, false), (2, true)]);
}

#[tokio::test]
async fn followers_go_on_with_the_next_writer_of_the_same_process() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"one");
    let mut reader = logs.reader(ReadOptions { follow: true, ..ReadOptions::default() }).await;
    let first = reader.next().await.unwrap();
    assert!(matches!(first, Event::Chunk(chunk) if chunk.bytes == "one"));
    drop(writer);
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 2, b"two");
    writer.finish(3, true).unwrap();
    assert_eq!(Found::of(&mut reader).await.all, b"two");
}

#[tokio::test]
async fn a_log_that_was_never_closed_ends_where_it_ends_and_says_so() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"all there is");
    drop(writer);
    let found = logs.again().read(ReadOptions { follow: true, ..ReadOptions::default() }).await;
    assert_eq!(found.all, b"all there is");
    assert_eq!(found.end, Some(LogEnd { offset: 12, ended: true, complete: false }));
}

#[tokio::test]
async fn damage_costs_the_damaged_record_and_is_told() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    let parts: Vec<_> = (0..40).map(|i| noise(i, 20_000)).collect();
    for part in &parts {
        push(&mut writer, Stdout, 1, part);
    }
    writer.finish(2, true).unwrap();
    let path = &logs.segments()[0];
    let intact = fs::read(path).unwrap();
    let all = parts.concat();
    for at in (200..intact.len() - 100).step_by(9973) {
        let mut damaged = intact.clone();
        damaged[at] ^= 0x10;
        fs::write(path, &damaged).unwrap();
        let found = logs.read(ReadOptions::default()).await;
        let mut expected = all.clone();
        let mut missing = 0;
        for gap in found.gaps.iter().rev() {
            assert_eq!(gap.reason, GapReason::LogDamaged);
            expected.drain(gap.from as usize..gap.to as usize);
            missing += gap.to - gap.from;
        }
        assert!(found.all == expected, "with byte {at} changed");
        // A changed byte of a payload costs that record, one of a header the rest of its block; zeros between cost nothing.
        assert!(missing <= 256 * 1024);
        assert_eq!(found.end.unwrap().offset, all.len() as u64);
    }
}

#[tokio::test]
async fn readers_that_share_what_was_read_are_all_told_of_the_damage() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    for i in 0..30 {
        push(&mut writer, Stdout, 1, &noise(i, 5000));
    }
    writer.finish(2, true).unwrap();
    let path = &logs.segments()[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[60_000] ^= 1;
    fs::write(path, bytes).unwrap();
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push((logs.reader(ReadOptions::default()).await, Vec::new()));
    }
    // In step, so that each finds what the one before it read.
    for _ in 0..30 {
        for (reader, events) in &mut readers {
            events.push(reader.next().await.unwrap());
        }
    }
    let gap = Event::Gap(Gap { from: 55_000, to: 60_000, reason: GapReason::LogDamaged });
    for (_, events) in &readers {
        assert_eq!(events, &readers[0].1);
        assert_eq!(events.iter().filter(|event| **event == gap).count(), 1);
    }
}

#[tokio::test]
async fn a_log_that_the_page_cache_has_forgotten_is_read_from_the_disk() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    let all = noise(30, 5 << 20);
    push(&mut writer, Stdout, 1, &all);
    writer.finish(2, true).unwrap();
    for path in logs.segments() {
        let file = fs::File::open(path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    assert!(logs.read(ReadOptions::default()).await.all == all);
}

#[tokio::test]
async fn a_damaged_segment_header_costs_that_segment() {
    let logs = Logs::new();
    let limit = OutputLimit::new(16 << 20, WhenFull::DropOldest);
    let mut writer = logs.logs.writer(JOB, limit).unwrap();
    let all = noise(5, 8 << 20);
    push(&mut writer, Stdout, 1, &all);
    writer.finish(2, true).unwrap();
    let path = &logs.segments()[2];
    let mut bytes = fs::read(path).unwrap();
    bytes[50] ^= 1;
    fs::write(path, bytes).unwrap();
    let found = logs.read(ReadOptions::default()).await;
    let [gap] = found.gaps[..] else { panic!("one gap, not {:?}", found.gaps) };
    assert_eq!(gap.reason, GapReason::LogDamaged);
    assert!(found.all == [&all[..gap.from as usize], &all[gap.to as usize..]].concat());
}

/// What a test does to a log.
#[derive(Debug, Clone)]
enum Act {
    Append {
        stream: bool,
        length: usize,
    },
    /// The writer dies; this share of the last segment's bytes is left, and then so much rubbish.
    Crash {
        left: f64,
        rubbish: usize,
    },
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (any::<bool>(), prop_oneof![1..200usize, 1..100_000usize, 250_000..600_000usize])
            .prop_map(|(stream, length)| Act::Append { stream, length }),
        1 => (0.0..1.0f64, 0..400usize).prop_map(|(left, rubbish)| Act::Crash { left, rubbish }),
        1 => Just(Act::Restart),
    ]
}

fn replay(acts: &[Act]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut logs = Logs::new();
    let sources = [noise(11, 8 << 20), noise(12, 8 << 20)];
    let mut writer = logs.writer();
    for act in acts {
        match act {
            Act::Append { stream, length } => {
                let stream = if *stream { Stdout } else { Stderr };
                let at = writer.lengths()[stream as usize] as usize;
                // Some of it was sent before.
                let from = at.saturating_sub(length / 3);
                let to = (at + length).min(sources[stream as usize].len());
                let bytes = &sources[stream as usize][from..to];
                let appended = writer.append(stream, from as u64, 7, false, bytes).unwrap();
                prop_assert_eq!(appended.length, to as u64);
            }
            Act::Crash { left, rubbish } => {
                drop(writer);
                if let Some(last) = logs.segments().last() {
                    let length = fs::metadata(last).unwrap().len();
                    let file = OpenOptions::new().append(true).open(last).unwrap();
                    file.set_len((length as f64 * left) as u64).unwrap();
                    std::io::Write::write_all(&mut &file, &noise(length, *rubbish)).unwrap();
                }
                logs = logs.again();
                writer = logs.writer();
            }
            Act::Restart => {
                drop(writer);
                logs = logs.again();
                writer = logs.writer();
            }
        }
    }
    let lengths = writer.lengths();
    writer.finish(9, true).unwrap();
    let found = runtime.block_on(logs.again().read(ReadOptions::default()));
    prop_assert!(found.gaps.is_empty());
    for stream in Stream::BOTH {
        let length = lengths[stream as usize] as usize;
        prop_assert!(found.streams[stream as usize] == sources[stream as usize][..length]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_row_of_appends_crashes_and_restarts_leaves_exact_bytes(acts in prop::collection::vec(act(), 1..24)) {
        replay(&acts)?;
    }

    #[test]
    fn what_is_encoded_is_what_is_parsed(
        stdout in any::<bool>(), recovered in any::<bool>(), stream_offset in 0..COUNT_MAX / 2, other in 0..COUNT_MAX / 2,
        seq in 0..=COUNT_MAX, time_ns in any::<u64>(), payload in prop::collection::vec(any::<u8>(), 1..2000), cut in 0..2047usize,
    ) {
        let stream = if stdout { Stdout } else { Stderr };
        let kind = Kind::Data { stream, recovered };
        let length = payload.len();
        let header = RecordHeader { kind, length, offset: stream_offset + other, stream_offset, seq, time_ns };
        let bytes = [&header.encode(&payload)[..], &payload].concat();
        prop_assert_eq!(parse_record(&bytes), Ok(header));
        if cut < bytes.len() {
            prop_assert_eq!(parse_record(&bytes[..cut]), Err(ParseError::Incomplete));
            let mut changed = bytes.clone();
            changed[cut] ^= 0x40;
            prop_assert!(parse_record(&changed).is_err());
        }
    }

    #[test]
    fn any_bytes_can_be_parsed_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = parse_record(&bytes);
    }
}
