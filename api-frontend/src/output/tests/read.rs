use ipc_protocol::Stream::{self, Stderr, Stdout};

use super::*;
use crate::output::{GapReason, OutputError, PAYLOAD_MAX, Start, seek};

fn lines_log(logs: &Logs) -> Vec<u8> {
    let mut writer = logs.writer();
    let mut all = Vec::new();
    for i in 0..20_000u64 {
        let (stream, line) = if i % 3 == 0 { (Stderr, format!("err {i}\n")) } else { (Stdout, format!("out {i}\n")) };
        push(&mut writer, stream, 1000 + i, line.as_bytes());
        all.extend_from_slice(line.as_bytes());
    }
    writer.finish(99_999, true).unwrap();
    all
}

#[tokio::test]
async fn both_streams_come_back_byte_for_byte_with_their_facts() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    let (out, err) = (noise(1, 3 * 1024 * 1024 + 17), noise(2, 700_001));
    for (part, bytes) in out.chunks(256 * 1024).enumerate() {
        push(&mut writer, Stdout, 10 + part as u64, bytes);
        if let Some(bytes) = err.chunks(100_000).nth(part) {
            push(&mut writer, Stderr, 10 + part as u64, bytes);
        }
    }
    let finished = writer.finish(50, true).unwrap();
    assert_eq!(finished.totals().streams, [out.len() as u64, err.len() as u64]);

    let logs = logs.again();
    let found = logs.read(ReadOptions::default()).await;
    assert!(found.streams[0] == out && found.streams[1] == err);
    assert!(found.gaps.is_empty());
    let total = (out.len() + err.len()) as u64;
    assert_eq!(found.end, Some(LogEnd { offset: total, ended: true, complete: true }));
    for (i, chunk) in found.chunks.iter().enumerate() {
        assert_eq!(chunk.seq, i as u64, "numbers of records have no holes");
        assert!(!chunk.bytes.is_empty() && chunk.bytes.len() <= PAYLOAD_MAX);
    }
    assert!(found.chunks.is_sorted_by_key(|chunk| (chunk.offset, chunk.time_ns)));
    assert_eq!(logs.logs.totals(JOB).unwrap().bytes, total);
}

#[tokio::test]
async fn reading_can_begin_at_any_offset_even_inside_a_record() {
    let logs = Logs::new();
    let all = lines_log(&logs);
    for offset in [0, 1, 7, 8, 63, 1000, 77_777, all.len() - 1, all.len()] {
        let found = logs.read(ReadOptions { from: Start::Offset(offset as u64), ..ReadOptions::default() }).await;
        assert!(found.all == all[offset..], "from offset {offset}");
    }
}

#[tokio::test]
async fn an_offset_beyond_the_end_of_a_finished_log_is_refused_with_the_end() {
    let logs = Logs::new();
    let end = lines_log(&logs).len() as u64;
    let options = ReadOptions { from: Start::Offset(end + 1), ..ReadOptions::default() };
    let refused = logs.logs.reader(JOB, options).await;
    assert!(matches!(refused, Err(OutputError::BeyondEnd { offset, end: said }) if offset == end + 1 && said == end));
}

#[tokio::test]
async fn one_stream_alone_skips_the_other_and_keeps_the_offsets() {
    let logs = Logs::new();
    let all = lines_log(&logs);
    for stream in Stream::BOTH {
        let found = logs.read(ReadOptions { stream: Some(stream), ..ReadOptions::default() }).await;
        assert!(found.streams[1 - stream as usize].is_empty());
        for chunk in &found.chunks {
            let at = chunk.offset as usize;
            assert_eq!(chunk.bytes, all[at..at + chunk.bytes.len()]);
        }
        let begin = chunk_begins(&found);
        assert_eq!(begin, found.streams[stream as usize].len() as u64, "offsets in the stream have no holes");
    }
}

fn chunk_begins(found: &Found) -> u64 {
    found.chunks.iter().fold(0, |at, chunk| {
        assert_eq!(chunk.stream_offset, at);
        at + chunk.bytes.len() as u64
    })
}

#[tokio::test]
async fn since_and_until_select_by_the_time_of_the_records() {
    let logs = Logs::new();
    lines_log(&logs);
    for (since, until) in [(0, 999), (1000, 1001), (5_432, 7_654), (20_998, 30_000), (40_000, 50_000)] {
        let options = ReadOptions { from: Start::Since(since), until_ns: Some(until), ..ReadOptions::default() };
        let times: Vec<_> = logs.read(options).await.chunks.iter().map(|chunk| chunk.time_ns).collect();
        let expected: Vec<_> = (since.max(1000)..until.min(21_000)).collect();
        assert_eq!(times, expected, "from {since} to {until}");
    }
}

#[tokio::test]
async fn tail_gives_the_last_lines_of_what_is_selected() {
    let logs = Logs::new();
    let all = lines_log(&logs);
    let text = String::from_utf8(all).unwrap();
    let filters: [(Option<Stream>, &str); 3] = [(None, ""), (Some(Stdout), "out"), (Some(Stderr), "err")];
    for (stream, word) in filters {
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(word)).collect();
        for count in [0, 1, 2, 13, 5000, 13_000, 1_000_000] {
            let options = ReadOptions { from: Start::TailLines(count), stream, ..ReadOptions::default() };
            let found = logs.read(options).await;
            let expected = lines[lines.len().saturating_sub(count as usize)..].join("\n");
            assert_eq!(String::from_utf8(found.all).unwrap().trim_end(), expected, "the last {count} of {word:?}");
        }
    }
}

#[tokio::test]
async fn a_last_line_without_its_newline_counts_as_a_line() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"one\ntwo\nthr");
    push(&mut writer, Stdout, 2, b"ee");
    let found = logs.read(ReadOptions { from: Start::TailLines(2), ..ReadOptions::default() }).await;
    assert_eq!(found.all, b"two\nthree");
}

#[tokio::test]
async fn a_job_without_output_has_no_files_and_a_clean_end() {
    let logs = Logs::new();
    let finished = logs.writer().finish(1, true).unwrap();
    assert_eq!(finished.totals().bytes, 0);
    assert!(logs.logs.jobs().unwrap().is_empty());
    let found = logs.read(ReadOptions { follow: true, ..ReadOptions::default() }).await;
    assert_eq!(found.end, Some(LogEnd { offset: 0, ended: true, complete: true }));
}

#[tokio::test]
async fn a_deleted_log_is_gone_and_its_readers_are_told() {
    let logs = Logs::new();
    lines_log(&logs);
    let mut reader = logs.reader(ReadOptions::default()).await;
    assert_eq!(logs.logs.jobs().unwrap(), [JOB]);
    logs.logs.delete(JOB).unwrap();
    logs.logs.delete(JOB).unwrap();
    assert!(logs.logs.jobs().unwrap().is_empty());
    assert!(matches!(reader.next().await, Err(OutputError::Deleted { job: JOB })));
    assert_eq!(logs.read(ReadOptions::default()).await.all, b"");
}

#[tokio::test]
async fn a_log_that_is_being_written_cannot_be_deleted_nor_have_a_second_writer() {
    let logs = Logs::new();
    let writer = logs.writer();
    assert!(matches!(logs.logs.delete(JOB), Err(OutputError::Live { job: JOB })));
    assert!(matches!(logs.logs.writer(JOB, AMPLE), Err(OutputError::AlreadyOpen { job: JOB })));
    drop(writer);
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"x");
    writer.finish(1, true).unwrap();
    assert!(matches!(logs.logs.writer(JOB, AMPLE), Err(OutputError::Closed { job: JOB })));
}

#[tokio::test]
async fn bytes_that_are_declared_lost_are_a_gap_and_the_rest_is_served() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"before");
    let hole = writer.append(Stdout, 100, 2, false, b"after");
    assert!(matches!(hole, Err(OutputError::Hole { expected: 6, got: 100, stream: Stdout, .. })));
    writer.skip(Stdout, 100, GapReason::Lost);
    push(&mut writer, Stdout, 2, b"after");
    writer.skip(Stderr, 5, GapReason::DiskFull);
    let totals = writer.finish(3, false).unwrap().totals();
    assert_eq!((totals.bytes, totals.missing, totals.first_offset), (110, 99, 110));
    let logs = logs.again();
    let found = logs.read(ReadOptions::default()).await;
    assert_eq!(found.all, b"beforeafter");
    let lost = Gap { from: 6, to: 100, reason: GapReason::Lost };
    let full = Gap { from: 105, to: 110, reason: GapReason::DiskFull };
    assert_eq!(found.gaps, [lost, full]);
    assert_eq!(found.end, Some(LogEnd { offset: 110, ended: true, complete: false }));
    let again = logs.logs.totals(JOB).unwrap();
    assert_eq!((again.bytes, again.missing, again.first_offset), (110, 99, 110));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_searches_run_at_once_and_one_that_nobody_waits_for_any_more_ends() {
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let (done, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let search = |number: u64| {
        let (begun, done) = (begun.clone(), done.clone());
        tokio::spawn(seek::search(move |wanted| {
            begun.send(number).unwrap();
            while wanted.still() {
                std::thread::yield_now();
            }
            done.send(number).unwrap();
            Ok(number)
        }))
    };
    let running: Vec<_> = (0..4).map(search).collect();
    for _ in 0..4 {
        begins.recv().await.unwrap();
    }
    let fifth = search(4);
    tokio::task::yield_now().await;
    assert!(begins.try_recv().is_err(), "four run");
    running[2].abort();
    assert_eq!(ends.recv().await, Some(2));
    assert_eq!(begins.recv().await, Some(4));
    fifth.abort();
    running.iter().for_each(|search| search.abort());
    for _ in 0..4 {
        ends.recv().await.unwrap();
    }
}
