//! The connection itself, against an executor that misbehaves.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ipc_protocol::{
    Answer, Hello, JobEntry, JobId, ProfileInfo, Request, Stream, encode_answer, frame_header, negotiate,
};
use tempfile::TempDir;

use super::*;

/// Tells a test what it was told.
struct Notes(Sender<String>);

impl Notes {
    fn say(&self, text: impl Into<String>) {
        // The test may be over already.
        let _ = self.0.send(text.into());
    }
}

impl Sink for Notes {
    fn hello(&mut self) -> Hello {
        Hello { min_version: 1, epoch: 7, build: "test".into() }
    }

    fn sync(&mut self, generation: u64, welcome: &Welcome, jobs: Vec<JobEntry>) -> Result<Vec<Request>, Reconnect> {
        self.say(format!("sync {generation} {} {}", welcome.build, jobs.len()));
        Ok(Vec::new())
    }

    fn live(&mut self) {}

    fn profiles(&mut self, profiles: Vec<ProfileInfo>) {
        self.say(format!("profiles {}", profiles.len()));
    }

    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Reconnect> {
        match answer {
            Answer::Output { offset, bytes, .. } => self.say(format!("output {offset} {}", bytes.len())),
            other => self.say(format!("{other:?}")),
        }
        Ok(())
    }

    fn drained(&mut self, _due: &mut Vec<Request>) {}

    fn gone(&mut self) {
        self.say("gone");
    }
}

struct Rig {
    listener: UnixListener,
    link: Link,
    notes: Receiver<String>,
    _dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("executor.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let (sender, notes) = channel();
        let (link, _) = start(Connector::new(path), |_| Notes(sender)).expect("threads");
        Self { listener, link, notes, _dir: dir }
    }

    /// Accepts a connection and reads its hello.
    fn accept(&self) -> UnixStream {
        let (mut socket, _) = self.listener.accept().expect("a connection");
        let mut header = [0; 4];
        socket.read_exact(&mut header).expect("a header");
        let mut body = vec![0; u32::from_le_bytes(header) as usize];
        socket.read_exact(&mut body).expect("a body");
        let (versions, hello) = Hello::decode(&body).expect("a hello");
        assert!(negotiate(ipc_protocol::VersionRange::OURS, versions).is_some());
        assert_eq!(hello.epoch, 7);
        socket
    }

    fn live(&self) -> UnixStream {
        let mut socket = self.accept();
        say(&mut socket, &welcome());
        say(&mut socket, &Answer::SyncEnd);
        self.wait_for("sync");
        let end = Instant::now() + Duration::from_secs(10);
        while self.link.state().generation().is_none() {
            assert!(Instant::now() < end, "it does not go live");
            std::thread::yield_now();
        }
        socket
    }

    fn wait_for(&self, begin: &str) -> String {
        loop {
            let note = self.notes.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("no {begin}"));
            if note.starts_with(begin) {
                return note;
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.link.stop();
    }
}

fn welcome() -> Answer<'static> {
    Answer::Welcome { version: Some(1), speaks: [1, 1], epoch_seen: 0, build: "x".into(), cgroups: "v2".into() }
}

fn say(socket: &mut UnixStream, answer: &Answer<'_>) {
    let body = encode_answer(answer).expect("it fits");
    socket.write_all(&frame_header(body.len())).and_then(|()| socket.write_all(&body)).expect("it is sent");
}

#[test]
fn a_bad_frame_ends_that_connection_and_the_next_one_works() {
    let rig = Rig::new();
    let too_long = (u32::MAX).to_le_bytes();
    let empty = 0u32.to_le_bytes();
    let nonsense = [5, 0, 0, 0, 250, 1, 2, 3, 4];
    for bad in [&too_long[..], &empty, &nonsense] {
        let mut socket = rig.live();
        socket.write_all(bad).expect("it is sent");
        rig.wait_for("gone");
        assert!(rig.link.send(&Request::SyncEnd).is_err(), "nothing is sent meanwhile");
    }
    let mut socket = rig.live();
    let job = JobId::from_bytes([1; 16]);
    let bytes = vec![7; 200_000];
    for n in 0..20 {
        let offset = n * 200_000;
        let output =
            Answer::Output { job, stream: Stream::Stdout, offset, time_ns: 1, recovered: false, bytes: &bytes };
        say(&mut socket, &output);
    }
    for n in 0..20 {
        assert_eq!(rig.wait_for("output"), format!("output {} 200000", n * 200_000));
    }
}

#[test]
fn frames_are_put_together_from_whatever_pieces_arrive() {
    let rig = Rig::new();
    let mut socket = rig.live();
    let body = encode_answer(&Answer::Profiles(Vec::new())).expect("it fits");
    let frame = [&frame_header(body.len())[..], &body].concat();
    for byte in frame.iter().chain(&frame) {
        socket.write_all(&[*byte]).expect("it is sent");
    }
    assert_eq!(rig.wait_for("profiles"), "profiles 0");
    assert_eq!(rig.wait_for("profiles"), "profiles 0");
}

#[test]
fn nothing_but_the_list_may_come_before_its_end() {
    let rig = Rig::new();
    let job = JobId::from_bytes([1; 16]);
    let output = Answer::Output { job, stream: Stream::Stderr, offset: 0, time_ns: 0, recovered: false, bytes: b"x" };
    let mut socket = rig.accept();
    say(&mut socket, &output);
    rig.wait_for("gone");
    let mut socket = rig.accept();
    say(&mut socket, &welcome());
    say(&mut socket, &output);
    rig.wait_for("gone");
    rig.live();
}

#[test]
fn what_the_socket_does_not_take_at_once_is_sent_later_and_in_order() {
    let rig = Rig::new();
    let mut socket = rig.live();
    let job = JobId::from_bytes([2; 16]);
    let generation = rig.link.state().generation().expect("live");
    let sender = {
        let link = rig.link.clone();
        std::thread::spawn(move || {
            for n in 0..100u64 {
                let bytes = vec![n as u8; 100_000];
                let input = Request::Input { job, offset: n * 100_000, bytes };
                link.send_waiting(generation, &input).expect("it is live");
            }
        })
    };
    let mut header = [0; 4];
    socket.read_exact(&mut header).expect("SyncEnd");
    let mut first = vec![0; u32::from_le_bytes(header) as usize];
    socket.read_exact(&mut first).expect("SyncEnd");
    for n in 0..100u64 {
        socket.read_exact(&mut header).expect("a header");
        let mut body = vec![0; u32::from_le_bytes(header) as usize];
        socket.read_exact(&mut body).expect("a body");
        let request = ipc_protocol::decode_request(&body).expect("a request");
        assert!(matches!(request, Request::Input { offset, .. } if offset == n * 100_000), "{n}");
    }
    sender.join().expect("everything was sent");
}

#[test]
fn whoever_waits_to_send_is_told_when_the_connection_goes() {
    let rig = Rig::new();
    let socket = rig.live();
    let generation = rig.link.state().generation().expect("live");
    let link = rig.link.clone();
    let sender = std::thread::spawn(move || {
        let input = Request::Input { job: JobId::from_bytes([3; 16]), offset: 0, bytes: vec![0; 100_000] };
        while link.send_waiting(generation, &input).is_ok() {}
    });
    drop(socket);
    sender.join().expect("it ends");
    rig.live();
    assert!(rig.link.send_on(Some(generation), &Request::SyncEnd).is_err(), "another connection is not the one meant");
}

#[test]
fn a_connection_made_while_everything_ends_ends_too() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let link = Link::new();
    link.stop();
    link.open(std::sync::Arc::new(ours));
    theirs.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
    assert_eq!(theirs.read(&mut [0; 1]).expect("an end, not a silence"), 0);
}
