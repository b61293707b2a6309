//! Which bytes are sent, in which order, and from where after each interruption.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use ipc_protocol::{Claimed, JobEntry, JobId, Limits, OUTPUT_BYTES_MAX, Phase, Stream};
use rustix::fd::OwnedFd;

use super::{CHUNKS_MAX, Chunk, Job};
use crate::spool::{Taken, tests::Written};

const MAX: u64 = OUTPUT_BYTES_MAX as u64;

pub(crate) struct Running {
    pub(crate) job: Job,
    writers: [OwnedFd; 2],
    now: u64,
}

fn entry() -> JobEntry {
    let limits = Limits {
        cpu_milli: 1000,
        cpu_weight: 100,
        memory: 1 << 30,
        swap: 0,
        pids: 10,
        io_read: None,
        io_write: None,
        io_read_ops: None,
        io_write_ops: None,
        timeout_ms: None,
    };
    JobEntry {
        job: JobId::from_bytes([1; 16]),
        claimed: Claimed::default(),
        profile: "p".into(),
        argv: Vec::new(),
        phase: Phase::Starting,
        uid: 5000,
        limits,
        input: None,
        merge: false,
        acked: [0, 0],
    }
}

impl Running {
    pub(crate) fn new() -> Self {
        let (out, out_writer) = Written::new(Stream::Stdout).into_parts();
        let (err, err_writer) = Written::new(Stream::Stderr).into_parts();
        let mut job = Job::new(entry(), 5000, true, None, [0; 32], None, None, [out, err]);
        job.resumed = true;
        Self { job, writers: [out_writer, err_writer], now: 0 }
    }

    // The job writes and the executor takes.
    pub(crate) fn says(&mut self, stream: Stream, bytes: u64) {
        let writer = &self.writers[usize::from(stream == Stream::Stderr)];
        self.now += 1;
        let mut left = bytes;
        while left > 0 {
            let part = left.min(64 * 1024);
            assert_eq!(rustix::io::write(writer, &vec![b'x'; part as usize]), Ok(part as usize));
            let mut taken = 0;
            while taken < part {
                match self.job.take(stream, u64::MAX, self.now).unwrap() {
                    Taken::Bytes(n) => taken += n,
                    other => panic!("{other:?} after {taken} of {part} bytes"),
                }
            }
            left -= part;
        }
    }

    // (stream, offset, length) of everything that is sent now.
    fn sends(&mut self) -> Vec<(Stream, u64, u64)> {
        let mut sent = Vec::new();
        while let Some(Chunk { stream, offset, length, .. }) = self.job.next_piece() {
            sent.push((stream, offset, length));
        }
        assert!(!self.job.has_piece());
        sent
    }
}

use Stream::{Stderr, Stdout};

#[test]
fn the_streams_are_sent_in_the_order_in_which_they_were_read() {
    let mut running = Running::new();
    running.says(Stdout, 10);
    running.says(Stderr, 5);
    running.says(Stdout, 7);
    assert_eq!(running.sends(), [(Stdout, 0, 10), (Stderr, 0, 5), (Stdout, 10, 7)]);
    assert_eq!((running.job.sent(Stdout), running.job.sent(Stderr)), (17, 5));
    assert_eq!(running.job.totals(), [17, 5]);
}

#[test]
fn what_waits_to_be_sent_is_joined_and_keeps_the_time_of_its_first_byte() {
    let mut running = Running::new();
    running.says(Stdout, 10);
    running.says(Stdout, 10);
    let piece = running.job.next_piece().unwrap();
    assert_eq!((piece.offset, piece.length, piece.time_ns, piece.recovered), (0, 20, 1, false));
    running.says(Stdout, 10);
    let piece = running.job.next_piece().unwrap();
    assert_eq!((piece.offset, piece.length, piece.time_ns), (20, 10, 3), "what was sent is never changed");
}

#[test]
fn no_piece_is_longer_than_a_message_may_be() {
    let mut running = Running::new();
    running.says(Stdout, 3 * MAX + 5);
    let sent = running.sends();
    assert!(sent.iter().all(|(_, _, length)| *length <= MAX));
    let mut next = 0;
    for (_, offset, length) in sent {
        assert_eq!(offset, next);
        next += length;
    }
    assert_eq!(next, 3 * MAX + 5);
}

#[test]
fn what_a_former_executor_left_is_split_marked_and_sent_from_what_it_had_acknowledged() {
    let mut running = Running::new();
    running.says(Stdout, 3 * MAX);
    running.says(Stderr, 3);
    running.sends();
    running.job.ack(Stdout, MAX).unwrap();
    let Running { job, writers, now } = running;
    let mut again = Job::new(entry(), 5000, true, None, [0; 32], None, None, job.spools);
    again.recover(99);
    again.resumed = true;
    let first = again.next_piece().unwrap();
    assert!(first.recovered && first.time_ns == 99);
    assert_eq!((first.offset, first.length), (MAX, MAX));
    again.begin_again();
    again.resume([MAX, 0]).unwrap();
    let mut running = Running { job: again, writers, now };
    assert_eq!(running.sends(), [(Stdout, MAX, MAX), (Stdout, 2 * MAX, MAX), (Stderr, 0, 3)]);
    // New bytes are not joined to recovered ones: their time and order are known.
    running.says(Stderr, 2);
    assert_eq!(running.sends(), [(Stderr, 3, 2)]);
}

#[test]
fn new_bytes_behind_recovered_ones_that_wait_are_a_piece_of_their_own() {
    let mut running = Running::new();
    running.says(Stdout, 10);
    let Running { job, writers, now } = running;
    let mut again = Job::new(entry(), 5000, true, None, [0; 32], None, None, job.spools);
    again.recover(99);
    let mut running = Running { job: again, writers, now };
    running.says(Stdout, 10);
    let pieces: Vec<_> =
        std::iter::from_fn(|| running.job.next_piece()).map(|p| (p.offset, p.length, p.recovered)).collect();
    assert_eq!(pieces, [(0, 10, true), (10, 10, false)]);
}

#[test]
fn acknowledged_pieces_are_forgotten_and_others_are_not() {
    let mut running = Running::new();
    for _ in 0..3 {
        running.says(Stdout, 10);
        running.says(Stderr, 10);
    }
    running.sends();
    running.job.ack(Stdout, 15).unwrap();
    running.job.ack(Stderr, 10).unwrap();
    assert_eq!(running.job.entry.acked, [15, 10]);
    assert_eq!(running.job.in_flight(), 35);
    // A new connection whose frontend has what was acknowledged.
    running.job.begin_again();
    running.job.resume([15, 10]).unwrap();
    let rest = [(Stdout, 15, 5), (Stderr, 10, 10), (Stdout, 20, 10), (Stderr, 20, 10)];
    assert_eq!(running.sends(), rest);
}

#[test]
fn a_comparison_in_the_middle_of_a_piece_goes_on_at_the_next_byte() {
    let mut running = Running::new();
    running.says(Stdout, 100);
    running.says(Stderr, 50);
    assert_eq!(running.sends().len(), 2);
    running.job.begin_again();
    running.job.resume([40, 50]).unwrap();
    assert_eq!(running.sends(), [(Stdout, 40, 60)]);
    assert_eq!((running.job.sent(Stdout), running.job.sent(Stderr)), (100, 50));
}

#[test]
fn a_frontend_that_has_everything_is_sent_nothing() {
    let mut running = Running::new();
    running.says(Stdout, 100);
    running.job.begin_again();
    running.job.resume([100, 0]).unwrap();
    assert!(!running.job.has_piece());
    assert_eq!(running.job.in_flight(), 0);
    running.says(Stdout, 1);
    assert_eq!(running.sends(), [(Stdout, 100, 1)]);
}

#[test]
fn a_frontend_that_lost_its_log_is_sent_what_is_still_held() {
    let mut running = Running::new();
    running.says(Stdout, 100);
    running.sends();
    running.job.ack(Stdout, 60).unwrap();
    running.job.begin_again();
    running.job.resume([0, 0]).unwrap();
    assert_eq!(running.sends(), [(Stdout, 60, 40)]);
}

#[test]
fn a_frontend_that_claims_more_than_was_taken_is_refused() {
    let mut running = Running::new();
    running.says(Stdout, 100);
    assert!(running.job.resume([101, 0]).is_err());
    assert!(running.job.resume([0, 1]).is_err());
}

#[test]
fn nothing_counts_as_sent_on_a_new_connection_until_it_is() {
    let mut running = Running::new();
    running.says(Stdout, 100);
    running.sends();
    running.job.begin_again();
    assert_eq!(running.job.sent(Stdout), 0, "the live connection was sent nothing yet");
    assert!(!running.job.resumed);
}

#[test]
fn too_many_pieces_make_the_job_wait_until_some_are_acknowledged() {
    let mut running = Running::new();
    for _ in 0..CHUNKS_MAX / 2 {
        running.says(Stdout, 1);
        running.says(Stderr, 1);
    }
    rustix::io::write(&running.writers[0], b"x").unwrap();
    assert_eq!(running.job.take(Stdout, u64::MAX, 0), Ok(Taken::Full));
    assert_eq!(running.job.take(Stderr, u64::MAX, 0), Ok(Taken::Full));
    assert_eq!(running.sends().len(), CHUNKS_MAX);
    running.job.ack(Stdout, 1).unwrap();
    assert_eq!(running.job.take(Stdout, u64::MAX, 0), Ok(Taken::Bytes(1)));
}

#[test]
fn what_an_ended_job_left_in_its_pipe_is_taken_beyond_the_window() {
    let mut running = Running::new();
    running.says(Stream::Stdout, crate::spool::WINDOW);
    let rest = 1000;
    assert_eq!(rustix::io::write(&running.writers[0], &vec![b'y'; rest]), Ok(rest));
    assert_eq!(running.job.take(Stream::Stdout, u64::MAX, 9), Ok(Taken::Full));
    running.job.life = super::Life::Ended(Box::new((ipc_protocol::End::Exited(0), ipc_protocol::Facts::default(), 9)));
    assert_eq!(running.job.take(Stream::Stdout, u64::MAX, 9), Ok(Taken::Bytes(rest as u64)));
}

#[test]
fn every_byte_is_sent_once_whatever_is_acknowledged_and_interrupted() {
    use proptest::prelude::*;
    let step = prop_oneof![
        4 => (any::<bool>(), 1u64..2000).prop_map(|(err, n)| (0, err, n)),
        3 => Just((1, false, 0)),
        2 => (any::<bool>(), any::<u64>()).prop_map(|(err, n)| (2, err, n)),
        1 => (any::<bool>(), any::<u64>()).prop_map(|(err, n)| (3, err, n)),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&proptest::collection::vec(step, 1..60), |steps| {
            let mut running = Running::new();
            // What stands in the frontend's logs.
            let mut have = [0u64; 2];
            for (kind, err, n) in steps {
                let (stream, at) = if err { (Stderr, 1) } else { (Stdout, 0) };
                match kind {
                    0 => running.says(stream, n),
                    1 => {
                        if let Some(piece) = running.job.next_piece() {
                            let log = &mut have[usize::from(piece.stream == Stderr)];
                            prop_assert_eq!(piece.offset, *log);
                            *log += piece.length;
                        }
                    }
                    2 => running.job.ack(stream, n % (have[at] + 1)).unwrap(),
                    _ => {
                        // The frontend is killed and its log ends anywhere above what it acknowledged.
                        let acked = running.job.entry.acked[at];
                        have[at] = acked + n % (have[at] - acked + 1);
                        running.job.begin_again();
                        running.job.resume(have).unwrap();
                    }
                }
            }
            while let Some(piece) = running.job.next_piece() {
                let log = &mut have[usize::from(piece.stream == Stderr)];
                prop_assert_eq!(piece.offset, *log);
                *log += piece.length;
            }
            prop_assert_eq!(have, running.job.totals());
            Ok(())
        })
        .unwrap();
}
