//! What may be said when, and what a peer can make a connection hold.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use ipc_protocol::{
    Answer, Claimed, FrameBuffer, JobId, LimitsAsk, Request, SignalOutcome, Spawn, Stream, decode_answer,
    encode_request, frame_header,
};
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};

use crate::job::tests::Running;

use super::{Closed, Connection, Kind, PATIENCE, PERMITTED, State, UNREAD_MAX, kind};

const JOB: JobId = JobId::from_bytes([9; 16]);

fn pair() -> (Connection, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    (Connection::new(ours), theirs)
}

fn of_each_kind() -> [Request; 8] {
    let spawn = Spawn {
        job: JOB,
        claimed: Claimed::default(),
        profile: "p".into(),
        argv: Vec::new(),
        env: Vec::new(),
        cwd: None,
        limits: LimitsAsk::default(),
        input: None,
        merge: false,
    };
    let by = Claimed::default();
    [
        Request::Resume { job: JOB, have: [0, 0] },
        Request::SyncEnd,
        Request::Input { job: JOB, offset: 0, bytes: Vec::new() },
        Request::Spawn(Box::new(spawn)),
        Request::Ack { job: JOB, stream: Stream::Stdout, offset: 0 },
        Request::Stop { job: JOB, signal: 15, grace_ms: 0, by: by.clone() },
        Request::Signal { job: JOB, signal: 15, by },
        Request::Release { job: JOB },
    ]
}

// The whole grid, written down a second time: a change of the table is a decision.
#[test]
fn every_request_is_permitted_exactly_where_the_protocol_says() {
    use State::{Fresh, Live, Syncing};
    let grid = [
        (Kind::Resume, [false, true, false]),
        (Kind::SyncEnd, [false, true, false]),
        (Kind::Input, [false, false, true]),
        (Kind::Spawn, [false, false, true]),
        (Kind::Ack, [false, true, true]),
        (Kind::Stop, [false, false, true]),
        (Kind::Signal, [false, false, true]),
        (Kind::Release, [false, false, true]),
    ];
    let (mut connection, _peer) = pair();
    for (request, (expected, permitted)) in of_each_kind().iter().zip(grid) {
        assert_eq!(kind(request), expected);
        for (state, permitted) in [Fresh, Syncing, Live].into_iter().zip(permitted) {
            connection.state = state;
            let answer = connection.permit(request);
            assert_eq!(answer.is_ok(), permitted, "{expected:?} in {state:?}");
            if let Err(why) = answer {
                assert!(matches!(why, Closed::NotPermitted(s, k) if s == state && k == expected));
            }
        }
    }
    assert_eq!(PERMITTED.len(), grid.iter().flat_map(|(_, row)| row).filter(|yes| **yes).count());
}

#[test]
fn a_frame_is_handed_out_when_its_last_byte_is_there() {
    let (mut connection, peer) = pair();
    let body = encode_request(&Request::SyncEnd).unwrap();
    rustix::io::write(&peer, &frame_header(body.len())).unwrap();
    assert!(connection.receive().unwrap());
    assert_eq!(connection.next_frame().unwrap(), None);
    rustix::io::write(&peer, &body).unwrap();
    assert!(connection.receive().unwrap());
    assert_eq!(connection.next_frame().unwrap(), Some(body));
}

#[test]
fn a_peer_that_goes_away_is_noticed() {
    let (mut connection, peer) = pair();
    assert!(connection.receive().unwrap(), "nothing to read is not the end");
    drop(peer);
    assert!(!connection.receive().unwrap());
}

#[test]
fn a_lie_about_a_length_closes_the_connection() {
    for lie in [[0; 4], [255; 4], (256 * 1024 + 1u32).to_le_bytes()] {
        let (mut connection, peer) = pair();
        rustix::io::write(&peer, &lie).unwrap();
        connection.receive().unwrap();
        assert!(matches!(connection.next_frame(), Err(Closed::Frame(_))), "{lie:?}");
    }
}

fn left(connection: &Connection) -> Option<Duration> {
    connection.deadline().map(|at| at.saturating_duration_since(Instant::now()))
}

#[test]
fn a_new_connection_must_say_hello_in_time() {
    let (mut connection, _peer) = pair();
    assert!(left(&connection).unwrap() <= PATIENCE);
    connection.next_frame().unwrap();
    assert!(connection.deadline().is_some());
}

#[test]
fn a_live_connection_may_be_silent_for_ever() {
    let (mut connection, _peer) = pair();
    connection.state = State::Live;
    connection.next_frame().unwrap();
    assert_eq!(connection.deadline(), None);
}

#[test]
fn more_bytes_of_a_begun_frame_do_not_wind_its_clock_back() {
    let (mut connection, peer) = pair();
    connection.state = State::Live;
    connection.next_frame().unwrap();
    let mut first = None;
    for byte in [9, 0, 0, 0, 1, 2, 3] {
        rustix::io::write(&peer, &[byte]).unwrap();
        connection.receive().unwrap();
        assert_eq!(connection.next_frame().unwrap(), None);
        assert_eq!(*first.get_or_insert(connection.deadline()), connection.deadline());
    }
    assert!(connection.deadline().is_some());
}

#[test]
fn a_whole_frame_stops_the_clock_and_the_next_partial_one_starts_it_anew() {
    let (mut connection, peer) = pair();
    connection.state = State::Live;
    let body = encode_request(&Request::SyncEnd).unwrap();
    let frame = [&frame_header(body.len())[..], &body].concat();
    rustix::io::write(&peer, &[&frame[..], &frame[..2]].concat()).unwrap();
    connection.receive().unwrap();
    assert!(connection.next_frame().unwrap().is_some());
    assert_eq!(connection.deadline(), None);
    assert_eq!(connection.next_frame().unwrap(), None);
    assert!(left(&connection).unwrap() > PATIENCE - Duration::from_secs(1));
}

#[test]
fn a_peer_that_does_not_read_is_closed_before_it_costs_more_than_its_bound() {
    let (mut connection, _peer) = pair();
    let answer = Answer::Refused {
        job: JOB,
        refusal: ipc_protocol::Refusal::Invalid,
        field: String::new(),
        message: "x".repeat(60_000),
    };
    let queued = std::iter::from_fn(|| connection.answer(&answer).ok()).take(1000).count();
    assert!(queued > 10 && queued * 60_000 <= UNREAD_MAX, "{queued} answers were queued");
    assert!(matches!(connection.answer(&answer), Err(Closed::NotReading)));
}

#[test]
fn answers_arrive_in_their_order_however_little_the_socket_takes() {
    let (mut connection, peer) = pair();
    let answers: Vec<_> =
        (0..20_000).map(|n| Answer::Signalled { job: JOB, outcome: SignalOutcome::Failed(n) }).collect();
    for answer in &answers {
        connection.answer(answer).unwrap();
    }
    assert!(!connection.flush().unwrap(), "the socket took everything at once");
    let mut buffer = FrameBuffer::new(ipc_protocol::ANSWER_FRAME_MAX);
    let (mut arrived, mut bytes) = (0, [0; 4096]);
    while arrived < answers.len() {
        connection.flush().unwrap();
        let read = rustix::io::read(&peer, &mut bytes).unwrap();
        buffer.extend(&bytes[..read]);
        while let Some(body) = buffer.next_body().unwrap() {
            assert_eq!(decode_answer(body).unwrap(), answers[arrived]);
            arrived += 1;
        }
    }
    assert!(connection.flush().unwrap() && connection.is_clear());
}

#[test]
fn an_answer_that_is_queued_while_output_is_under_way_follows_its_last_byte() {
    const BYTES: usize = 200_000;
    let (mut connection, peer) = pair();
    let mut running = Running::new();
    running.says(Stream::Stdout, BYTES as u64);
    let piece = running.job.next_piece().unwrap();
    connection.output(&mut running.job, piece).unwrap();
    let after = Answer::Signalled { job: JOB, outcome: SignalOutcome::Sent };
    connection.answer(&after).unwrap();
    let mut buffer = FrameBuffer::new(ipc_protocol::ANSWER_FRAME_MAX);
    let (mut frames, mut bytes) = (Vec::new(), [0; 4096]);
    while frames.len() < 2 {
        connection.flush().unwrap();
        let read = rustix::io::read(&peer, &mut bytes).unwrap();
        buffer.extend(&bytes[..read]);
        while let Some(body) = buffer.next_body().unwrap() {
            frames.push(body.to_vec());
        }
    }
    let Answer::Output { bytes, .. } = decode_answer(&frames[0]).unwrap() else { panic!("no output first") };
    assert!(bytes.len() == BYTES && bytes.iter().all(|byte| *byte == b'x'), "something stands between its bytes");
    assert_eq!(decode_answer(&frames[1]).unwrap(), after);
    assert!(connection.flush().unwrap() && connection.is_clear());
}

fn refusal(length: usize) -> Answer<'static> {
    let message = "x".repeat(length);
    Answer::Refused { job: JOB, refusal: ipc_protocol::Refusal::Invalid, field: String::new(), message }
}

#[test]
fn a_list_may_be_longer_than_what_a_peer_may_leave_unread_and_answers_follow_it() {
    let (mut connection, _peer) = pair();
    for _ in 0..3 * UNREAD_MAX / 60_000 {
        connection.list(&refusal(60_000)).unwrap();
    }
    connection.answer(&Answer::SyncEnd).unwrap();
    let queued = std::iter::from_fn(|| connection.answer(&refusal(60_000)).ok()).take(1000).count();
    assert!(queued * 60_000 <= UNREAD_MAX, "the list made room for {queued} answers");
}

#[test]
fn answers_wait_until_the_output_under_way_is_sent_whole() {
    use crate::{job::tests::Running, spool::Taken};
    let (mut connection, peer) = pair();
    let mut running = Running::new();
    running.says(Stream::Stdout, 200_000);
    assert_eq!(running.job.take(Stream::Stdout, u64::MAX, 0), Ok(Taken::Nothing));
    let piece = running.job.next_piece().unwrap();
    connection.output(&mut running.job, piece).unwrap();
    // The socket takes a part of it; what is answered meanwhile must not stand in its middle.
    while connection.flush().unwrap() {
        running.says(Stream::Stdout, 200_000);
        let piece = running.job.next_piece().unwrap();
        connection.output(&mut running.job, piece).unwrap();
    }
    connection.answer(&Answer::SyncEnd).unwrap();
    let mut buffer = FrameBuffer::new(ipc_protocol::ANSWER_FRAME_MAX);
    let (mut bytes, mut next, mut ended) = (vec![0; 64 * 1024], 0, false);
    while !ended {
        connection.flush().unwrap();
        let read = rustix::io::read(&peer, &mut bytes).unwrap();
        buffer.extend(&bytes[..read]);
        while let Some(body) = buffer.next_body().unwrap() {
            match decode_answer(body).unwrap() {
                Answer::Output { offset, bytes, .. } => {
                    assert_eq!(offset, next);
                    assert!(bytes.iter().all(|byte| *byte == b'x'));
                    next += bytes.len() as u64;
                }
                Answer::SyncEnd => ended = true,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(next, running.job.totals()[0]);
}
