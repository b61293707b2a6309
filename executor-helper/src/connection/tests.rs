//! What may be said when, and what a peer can make a connection hold.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use ipc_protocol::{
    Answer, Claimed, FrameBuffer, JobId, Limits, Request, SignalOutcome, Spawn, Stream, decode_answer, encode_request,
    frame_header, output_prefix,
};
use rustix::{
    fd::OwnedFd,
    fs::{MemfdFlags, memfd_create},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};

use super::{COPY_MAX, Closed, Connection, PATIENCE_NS, PERMITTED, Part, State, UNREAD_MAX};
use crate::plan::boot_ns;

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
        limits: Limits::default(),
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
        ("Resume", [false, true, false]),
        ("SyncEnd", [false, true, false]),
        ("Input", [false, false, true]),
        ("Spawn", [false, false, true]),
        ("Ack", [false, true, true]),
        ("Stop", [false, false, true]),
        ("Signal", [false, false, true]),
        ("Release", [false, false, true]),
    ];
    let (mut connection, _peer) = pair();
    for (request, (name, permitted)) in of_each_kind().iter().zip(grid) {
        assert_eq!(request.name(), name);
        for (state, permitted) in [Fresh, Syncing, Live].into_iter().zip(permitted) {
            connection.state = state;
            let answer = connection.permit(request);
            assert_eq!(answer.is_ok(), permitted, "{name} in {state:?}");
            if let Err(why) = answer {
                assert!(matches!(why, Closed::NotPermitted(s, n) if s == state && n == name));
            }
        }
    }
    let listed: usize = PERMITTED.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(listed, grid.iter().flat_map(|(_, row)| row).filter(|yes| **yes).count());
}

#[test]
fn a_frame_is_handed_out_when_its_last_byte_is_there() {
    let (mut connection, peer) = pair();
    let body = encode_request(&Request::SyncEnd).unwrap();
    rustix::io::write(&peer, &frame_header(body.len())).unwrap();
    connection.receive().unwrap();
    assert_eq!(connection.next_frame().unwrap(), None);
    rustix::io::write(&peer, &body).unwrap();
    connection.receive().unwrap();
    assert_eq!(connection.next_frame().unwrap(), Some(body));
}

#[test]
fn a_peer_that_goes_away_is_noticed() {
    let (mut connection, peer) = pair();
    assert!(connection.receive().is_ok(), "nothing to read is not the end");
    drop(peer);
    assert!(matches!(connection.receive(), Err(Closed::Gone)));
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

fn left(connection: &Connection) -> Option<u64> {
    connection.deadline_ns.map(|at| at.saturating_sub(boot_ns()))
}

#[test]
fn a_new_connection_must_say_hello_in_time() {
    let (mut connection, _peer) = pair();
    assert!(left(&connection).unwrap() <= PATIENCE_NS);
    connection.next_frame().unwrap();
    assert!(connection.deadline_ns.is_some());
}

#[test]
fn a_live_connection_may_be_silent_for_ever() {
    let (mut connection, _peer) = pair();
    connection.state = State::Live;
    connection.next_frame().unwrap();
    assert_eq!(connection.deadline_ns, None);
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
        assert_eq!(*first.get_or_insert(connection.deadline_ns), connection.deadline_ns);
    }
    assert!(connection.deadline_ns.is_some());
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
    assert_eq!(connection.deadline_ns, None);
    let before = boot_ns();
    assert_eq!(connection.next_frame().unwrap(), None);
    assert!(connection.deadline_ns.unwrap() >= before + PATIENCE_NS);
}

fn refusal(length: usize) -> Answer<'static> {
    let message = "x".repeat(length);
    Answer::Refused { job: JOB, refusal: ipc_protocol::Refusal::Invalid, field: String::new(), message }
}

// How many answers of 60,000 bytes are queued until the connection gives the peer up.
fn queued(connection: &mut Connection) -> usize {
    let answer = refusal(60_000);
    let queued = std::iter::from_fn(|| connection.answer(&answer).ok()).take(1000).count();
    assert!(matches!(connection.answer(&answer), Err(Closed::NotReading)));
    queued
}

#[test]
fn a_peer_that_does_not_read_is_closed_before_it_costs_more_than_its_bound() {
    let (mut connection, _peer) = pair();
    let queued = queued(&mut connection);
    assert!(queued > 10 && (queued - 1) * 60_000 <= UNREAD_MAX, "{queued} answers were queued");
}

// One that always leaves a little unread costs no more than one that reads everything.
#[test]
fn what_a_peer_has_read_is_not_kept() {
    let (mut connection, peer) = pair();
    let (answer, mut bytes) = (refusal(60_000), vec![0; 1024 * 1024]);
    for _ in 0..200 {
        for _ in 0..20 {
            connection.answer(&answer).unwrap();
        }
        while connection.unread > 300_000 {
            connection.flush().unwrap();
            rustix::io::read(&peer, &mut bytes).unwrap();
        }
        assert!(connection.unread > 0, "the peer was to leave something");
    }
    let held = connection.outgoing.iter().map(|part| match part {
        Part::Memory(bytes) => bytes.capacity(),
        Part::Spool { .. } => 0,
    });
    let held: usize = held.sum();
    assert!(held <= 2 * UNREAD_MAX, "{held} bytes are held for {} unread ones", connection.unread);
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

fn spool(bytes: &[u8]) -> OwnedFd {
    let file = memfd_create("spool", MemfdFlags::CLOEXEC).unwrap();
    assert_eq!(rustix::io::write(&file, bytes), Ok(bytes.len()));
    file
}

// As the executor does it.
fn queue(connection: &mut Connection, spool: &OwnedFd, offset: usize, length: usize) -> Result<(), Closed> {
    let prefix = output_prefix(JOB, Stream::Stdout, offset as u64, 0, false, length).unwrap();
    connection.output(&prefix, spool, offset as u64, length)
}

// What arrives until so many frames are there.
fn frames(connection: &mut Connection, peer: &OwnedFd, count: usize) -> Vec<Vec<u8>> {
    let mut buffer = FrameBuffer::new(ipc_protocol::ANSWER_FRAME_MAX);
    let (mut frames, mut bytes) = (Vec::new(), [0; 4096]);
    while frames.len() < count {
        connection.flush().unwrap();
        let read = rustix::io::read(peer, &mut bytes).unwrap();
        buffer.extend(&bytes[..read]);
        while let Some(body) = buffer.next_body().unwrap() {
            frames.push(body.to_vec());
        }
    }
    assert!(connection.flush().unwrap() && connection.is_clear());
    frames
}

fn sent() -> Answer<'static> {
    Answer::Signalled { job: JOB, outcome: SignalOutcome::Sent }
}

#[test]
fn output_and_answers_arrive_in_the_order_in_which_they_were_queued() {
    let bytes: Vec<u8> = (0..300_000).map(|n| (n % 251) as u8).collect();
    let spool = spool(&bytes);
    let (mut connection, peer) = pair();
    // Small pieces are copied, large ones go from the spool to the socket.
    let pieces = [1, COPY_MAX, COPY_MAX + 1, 200_000, 5];
    let mut offset = 0;
    for length in pieces {
        queue(&mut connection, &spool, offset, length).unwrap();
        connection.answer(&sent()).unwrap();
        offset += length;
    }
    let mut next = 0;
    for (pair, length) in frames(&mut connection, &peer, 2 * pieces.len()).chunks(2).zip(pieces) {
        let Answer::Output { offset, bytes: piece, .. } = decode_answer(&pair[0]).unwrap() else { panic!("no output") };
        assert!(offset as usize == next && piece == &bytes[next..next + length], "the piece at {next}");
        assert_eq!(decode_answer(&pair[1]).unwrap(), sent());
        next += length;
    }
}

#[test]
fn an_answer_that_is_queued_while_output_is_under_way_follows_its_last_byte() {
    const BYTES: usize = 200_000;
    let (mut connection, peer) = pair();
    let spool = spool(&[b'x'; BYTES]);
    let mut outputs = 1;
    queue(&mut connection, &spool, 0, BYTES).unwrap();
    // The socket takes a part of it; what is answered meanwhile must not stand in its middle.
    while connection.flush().unwrap() {
        queue(&mut connection, &spool, 0, BYTES).unwrap();
        outputs += 1;
    }
    connection.answer(&sent()).unwrap();
    let frames = frames(&mut connection, &peer, outputs + 1);
    for frame in &frames[..outputs] {
        let Answer::Output { bytes, .. } = decode_answer(frame).unwrap() else { panic!("no output first") };
        assert!(bytes.len() == BYTES && bytes.iter().all(|byte| *byte == b'x'), "something stands between its bytes");
    }
    assert_eq!(decode_answer(&frames[outputs]).unwrap(), sent());
}

#[test]
fn output_that_is_queued_arrives_although_its_job_is_let_go() {
    let (mut connection, peer) = pair();
    queue(&mut connection, &spool(&[b'x'; 100_000]), 0, 100_000).unwrap();
    let frames = frames(&mut connection, &peer, 1);
    assert!(matches!(decode_answer(&frames[0]), Ok(Answer::Output { bytes, .. }) if bytes.len() == 100_000));
}

#[test]
fn a_spool_that_lacks_what_was_taken_closes_the_connection() {
    let (mut connection, _peer) = pair();
    assert!(matches!(queue(&mut connection, &spool(b"short"), 0, 100), Err(Closed::Io(_))));
    let (mut connection, _peer) = pair();
    queue(&mut connection, &spool(b"short"), 0, COPY_MAX + 1).unwrap();
    assert!(matches!(connection.flush(), Err(Closed::Io(_))), "a frame would never be whole");
}

#[test]
fn output_waits_while_much_else_does() {
    let (mut connection, peer) = pair();
    assert!(connection.is_clear());
    connection.answer(&refusal(70_000)).unwrap();
    assert!(!connection.is_clear());
    frames(&mut connection, &peer, 1);
}

fn entry() -> Answer<'static> {
    Answer::Job(Box::new(ipc_protocol::JobEntry { argv: vec![vec![b'x'; 60_000]], ..crate::job::tests::entry() }))
}

#[test]
fn a_list_may_be_longer_than_what_a_peer_may_leave_unread_and_answers_follow_it() {
    let (mut connection, peer) = pair();
    let entries = 3 * UNREAD_MAX / 60_000;
    for _ in 0..entries {
        connection.answer(&entry()).unwrap();
    }
    connection.answer(&Answer::SyncEnd).unwrap();
    let after = queued(&mut connection);
    assert!((after - 1) * 60_000 <= UNREAD_MAX, "the list made room for {after} answers");
    // What was read of a list makes no room for anything.
    frames(&mut connection, &peer, entries + 1 + after);
    assert_eq!(queued(&mut connection), after);
}
