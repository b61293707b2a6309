use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ipc_protocol::Stream::{Stderr, Stdout};
use tokio::time::timeout;

use super::{super::file::Parts, *};
use crate::output::Start;

const FOLLOW: ReadOptions = ReadOptions { from: Start::Offset(0), until_ns: None, stream: None, follow: true };

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_followers_of_a_growing_log_all_get_every_byte() {
    let logs = Arc::new(Logs::new());
    let mut writer = logs.writer();
    let (out, err) = (noise(8, 6 << 20), noise(9, 1 << 20));
    let mut followers = Vec::new();
    for i in 0..100 {
        let mut reader = logs.reader(FOLLOW).await;
        followers.push(tokio::spawn(async move {
            if i % 10 == 0 {
                // A slow one: it begins when the others may have ended.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Found::of(&mut reader).await
        }));
    }
    let writing = tokio::task::spawn_blocking({
        let (out, err) = (out.clone(), err.clone());
        move || {
            for (i, bytes) in out.chunks(30_000).enumerate() {
                push(&mut writer, Stdout, i as u64, bytes);
                if let Some(bytes) = err.chunks(10_000).nth(i) {
                    push(&mut writer, Stderr, i as u64, bytes);
                }
            }
            writer.finish(1, true).unwrap();
        }
    });
    writing.await.unwrap();
    for follower in followers {
        let found = follower.await.unwrap();
        assert!(found.streams[0] == out && found.streams[1] == err && found.gaps.is_empty());
        assert!(found.end.unwrap().complete);
    }
}

#[tokio::test]
async fn a_follower_waits_without_an_event_and_is_woken_by_one_byte() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    let mut reader = logs.reader(FOLLOW).await;
    assert!(timeout(Duration::from_millis(30), reader.next()).await.is_err(), "nothing is there yet");
    push(&mut writer, Stdout, 1, b"a");
    let event = timeout(Duration::from_secs(10), reader.next()).await.expect("woken").unwrap();
    assert!(matches!(event, Event::Chunk(chunk) if chunk.bytes == "a"));
    assert_eq!(reader.reached(), 1);
    // Waiting that is given up loses nothing.
    for _ in 0..3 {
        assert!(timeout(Duration::from_millis(5), reader.next()).await.is_err());
    }
    push(&mut writer, Stdout, 2, b"bc");
    writer.finish(3, true).unwrap();
    let rest = Found::of(&mut reader).await;
    assert_eq!(rest.all, b"bc");
    assert_eq!(rest.end, Some(LogEnd { offset: 3, ended: true, complete: true }));
    assert!(matches!(reader.next().await, Ok(Event::End(_))), "the end stays the end");
}

#[tokio::test]
async fn without_follow_reading_ends_where_the_log_ended_when_it_began() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"before");
    let mut reader = logs.reader(ReadOptions::default()).await;
    push(&mut writer, Stdout, 2, b"after");
    let found = Found::of(&mut reader).await;
    assert_eq!(found.all, b"before");
    assert_eq!(found.end, Some(LogEnd { offset: 6, ended: false, complete: false }));
}

#[tokio::test]
async fn following_can_begin_ahead_of_the_end() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"0123");
    let mut reader = logs.reader(ReadOptions { from: Start::Offset(6), ..FOLLOW }).await;
    push(&mut writer, Stdout, 2, b"456789");
    writer.finish(3, true).unwrap();
    assert_eq!(Found::of(&mut reader).await.all, b"6789");
}

#[tokio::test]
async fn a_follower_of_one_stream_sleeps_through_the_other() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    let mut reader = logs.reader(ReadOptions { stream: Some(Stderr), ..FOLLOW }).await;
    push(&mut writer, Stdout, 1, b"noise");
    assert!(timeout(Duration::from_millis(30), reader.next()).await.is_err());
    push(&mut writer, Stderr, 1, b"!");
    let event = reader.next().await.unwrap();
    assert!(matches!(event, Event::Chunk(chunk) if chunk.offset == 5 && chunk.stream_offset == 0));
}

#[tokio::test]
async fn a_log_can_grow_through_many_segments_under_a_follower() {
    let logs = Logs::new();
    let limit = OutputLimit::new(64 << 20, WhenFull::DropOldest);
    let mut writer = logs.logs.writer(JOB, limit).unwrap();
    let mut reader = logs.reader(FOLLOW).await;
    let all = noise(10, 24 << 20);
    let mut got = Vec::new();
    for bytes in all.chunks(1 << 20) {
        push(&mut writer, Stdout, 1, bytes);
        while (got.len() as u64) < writer.lengths()[0] {
            let Event::Chunk(chunk) = reader.next().await.unwrap() else { panic!("nothing but bytes") };
            got.extend_from_slice(&chunk.bytes);
        }
    }
    assert!(got == all);
    assert!(logs.segments().len() > 4);
}

#[tokio::test]
async fn skipping_much_of_one_stream_lets_others_on_the_thread_run() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    let all = noise(40, 1 << 20);
    push(&mut writer, Stdout, 1, &all);
    push(&mut writer, Stderr, 1, b"a");
    for _ in 0..60 {
        push(&mut writer, Stdout, 1, &all);
    }
    push(&mut writer, Stderr, 1, b"b");
    let mut reader = logs.reader(ReadOptions { stream: Some(Stderr), ..FOLLOW }).await;
    assert!(matches!(reader.next().await, Ok(Event::Chunk(chunk)) if chunk.bytes == "a"));
    // From here on the same segment is read, all of it from memory: nothing makes the reader wait.
    let mut gave_way = 0;
    let mut next = std::pin::pin!(reader.next());
    let event = std::future::poll_fn(|context| {
        let polled = next.as_mut().poll(context);
        gave_way += u32::from(polled.is_pending());
        polled
    });
    assert!(matches!(event.await, Ok(Event::Chunk(chunk)) if chunk.bytes == "b"));
    assert!(gave_way > 0);
}

#[tokio::test]
async fn a_follower_at_the_end_is_served_from_what_was_just_written_and_a_later_reader_from_the_file() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    let mut reader = logs.reader(FOLLOW).await;
    assert!(timeout(Duration::from_millis(5), reader.next()).await.is_err(), "it waits at the end");
    let bytes = noise(3, 40_000);
    push(&mut writer, Stdout, 1, &bytes);
    // Whoever reads the file from now on finds something else.
    let segment = &logs.segments()[0];
    let length = std::fs::metadata(segment).unwrap().len();
    std::fs::write(segment, vec![7; usize::try_from(length).unwrap()]).unwrap();
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        match timeout(Duration::from_secs(10), reader.next()).await.expect("woken").unwrap() {
            Event::Chunk(chunk) => got.extend_from_slice(&chunk.bytes),
            other => panic!("{other:?} instead of what was written"),
        }
    }
    assert_eq!(got, bytes);
    assert!(timeout(Duration::from_millis(5), reader.next()).await.is_err(), "it waits again, and holds nothing");
    let late = logs.read(ReadOptions::default()).await;
    assert!(late.all.is_empty() && !late.gaps.is_empty(), "the file is the truth: what it does not hold is a gap");
}

#[tokio::test]
async fn what_was_just_written_is_held_only_while_a_follower_is_on_the_way_to_it() {
    let used = Arc::new(AtomicUsize::new(0));
    let parts = Parts::new(used.clone());
    for position in 0..100 {
        parts.keep(0, position * 1000, vec![0; 1000]);
    }
    assert_eq!(used.load(Ordering::SeqCst), 8000, "eight parts of a log at the most");
    parts.forget_fresh();
    assert_eq!(used.load(Ordering::SeqCst), 0, "and none once a follower has come to the end");
    // With as much as all logs together may hold, nothing more is kept.
    used.store(1 << 30, Ordering::SeqCst);
    parts.keep(0, 0, vec![0; 1000]);
    assert_eq!(used.load(Ordering::SeqCst), 1 << 30);
}

#[tokio::test]
async fn without_followers_nothing_is_held_of_what_is_written() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, &noise(4, 100_000));
    drop(logs.reader(FOLLOW).await);
    push(&mut writer, Stdout, 2, &noise(5, 100_000));
    let reader = logs.reader(FOLLOW).await;
    push(&mut writer, Stdout, 3, &noise(6, 100_000));
    assert!(logs.logs.bytes_held_for_readers() > 0);
    drop(reader);
    assert_eq!(logs.logs.bytes_held_for_readers(), 0);
}
