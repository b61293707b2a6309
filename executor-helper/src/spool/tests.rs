//! Real pipes and memfds: what is taken, held, freed and found again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use ipc_protocol::Stream;
use rustix::{
    fd::OwnedFd,
    fs::{MemfdFlags, SeekFrom, memfd_create, seek},
    io::Errno,
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
};

use super::{AckBeyondTaken, PAGE, PUNCH, Spool, Taken, WINDOW};

/// A stream whose pipe is written here.
pub(crate) struct Written {
    pub(crate) spool: Spool,
    writer: Option<OwnedFd>,
}

impl Written {
    pub(crate) fn new(stream: Stream) -> Self {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        fcntl_setpipe_size(&writer, 1024 * 1024).unwrap();
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        Self { spool: Spool::new(stream, Some(reader), file).unwrap(), writer: Some(writer) }
    }

    pub(crate) fn into_parts(self) -> (Spool, OwnedFd) {
        (self.spool, self.writer.unwrap())
    }

    fn write(&self, bytes: &[u8]) {
        assert_eq!(rustix::io::write(self.writer.as_ref().unwrap(), bytes), Ok(bytes.len()));
    }

    fn take_all(&mut self) -> u64 {
        let mut sum = 0;
        while let Taken::Bytes(n) = self.spool.take(u64::MAX).unwrap() {
            sum += n;
        }
        sum
    }

    // Writes and takes so many bytes, each by its place in the stream.
    fn fill(&mut self, length: u64) {
        let begin = self.spool.taken();
        let bytes: Vec<u8> = (begin..begin + length).map(byte_at).collect();
        for part in bytes.chunks(64 * 1024) {
            self.write(part);
            assert_eq!(self.take_all(), part.len() as u64);
        }
    }

    fn end(&mut self) {
        self.writer = None;
    }
}

fn byte_at(place: u64) -> u8 {
    (place % 251) as u8 + 1
}

fn content(spool: &Spool, from: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    assert_eq!(rustix::io::pread(spool.file(), &mut bytes, from), Ok(length));
    bytes
}

fn blocks(spool: &Spool) -> u64 {
    rustix::fs::fstat(spool.file()).unwrap().st_blocks as u64 * 512
}

// What a later executor makes of the same memfd.
fn adopted(spool: &Spool) -> Spool {
    let file = rustix::io::fcntl_dupfd_cloexec(spool.file(), 0).unwrap();
    Spool::new(spool.stream, None, file).unwrap()
}

#[test]
fn what_was_written_is_in_the_spool_at_its_offset() {
    let mut stream = Written::new(Stream::Stdout);
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::Nothing));
    stream.write(b"one ");
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::Bytes(4)));
    stream.write(b"two");
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::Bytes(3)));
    assert_eq!((stream.spool.taken(), stream.spool.in_flight()), (7, 7));
    assert_eq!(content(&stream.spool, 0, 7), b"one two");
}

#[test]
fn the_end_comes_after_the_last_byte() {
    let mut stream = Written::new(Stream::Stdout);
    stream.write(b"last");
    stream.end();
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::Bytes(4)));
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::End));
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::End));
    stream.spool.pipe = None;
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::End));
}

#[test]
fn no_more_is_taken_than_there_is_room_for() {
    let mut stream = Written::new(Stream::Stdout);
    stream.write(&[7; 100]);
    assert_eq!(stream.spool.take(0), Ok(Taken::Full));
    assert_eq!(stream.spool.take(60), Ok(Taken::Bytes(60)));
    assert_eq!(stream.spool.take(60), Ok(Taken::Bytes(40)));
}

#[test]
fn a_full_window_takes_nothing_until_something_is_acknowledged() {
    let mut stream = Written::new(Stream::Stderr);
    stream.fill(WINDOW);
    stream.write(b"more");
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::Full));
    assert_eq!(stream.spool.taken(), WINDOW);
    stream.spool.ack(3).unwrap();
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::Bytes(3)));
    assert_eq!(stream.spool.take(u64::MAX), Ok(Taken::Full));
}

#[test]
fn an_acknowledgement_of_what_was_never_taken_is_refused_and_changes_nothing() {
    let mut stream = Written::new(Stream::Stdout);
    stream.fill(10);
    assert_eq!(stream.spool.ack(11), Err(AckBeyondTaken));
    assert_eq!(stream.spool.ack(u64::MAX), Err(AckBeyondTaken));
    assert_eq!(stream.spool.acked(), 0);
    assert_eq!(stream.spool.ack(10), Ok(()));
    assert_eq!(stream.spool.in_flight(), 0);
}

#[test]
fn a_smaller_acknowledgement_takes_nothing_back() {
    let mut stream = Written::new(Stream::Stdout);
    stream.fill(10);
    stream.spool.ack(8).unwrap();
    stream.spool.ack(2).unwrap();
    assert_eq!(stream.spool.acked(), 8);
}

#[test]
fn acknowledged_bytes_give_their_memory_back() {
    let mut stream = Written::new(Stream::Stdout);
    stream.fill(WINDOW);
    let full = blocks(&stream.spool);
    stream.spool.ack(PUNCH).unwrap();
    assert!(blocks(&stream.spool) <= full - PUNCH);
    stream.spool.ack(WINDOW).unwrap();
    assert_eq!(blocks(&stream.spool), 0);
    // However much is written, a job whose output is acknowledged holds no more than its window.
    for _ in 0..8 {
        stream.fill(WINDOW);
        assert!(blocks(&stream.spool) <= WINDOW + PAGE);
        stream.spool.ack(stream.spool.taken()).unwrap();
    }
}

#[test]
fn what_is_not_acknowledged_is_never_a_hole() {
    let mut stream = Written::new(Stream::Stdout);
    stream.fill(WINDOW);
    for acked in
        [1, PAGE - 1, PAGE, PAGE + 1, PUNCH - 1, PUNCH, PUNCH + 1, PUNCH + PAGE + 17, 3 * PUNCH + 5, WINDOW - 1]
    {
        stream.spool.ack(acked).unwrap();
        let left = content(&stream.spool, acked, (WINDOW - acked) as usize);
        assert!(left.iter().zip(acked..).all(|(byte, place)| *byte == byte_at(place)), "after {acked}");
    }
}

#[test]
fn a_later_executor_finds_what_was_taken_and_at_most_a_little_less_than_was_acknowledged() {
    let mut stream = Written::new(Stream::Stdout);
    assert_eq!((adopted(&stream.spool).taken(), adopted(&stream.spool).acked()), (0, 0));
    stream.fill(WINDOW);
    for acked in [0, 1, PUNCH - 1, PUNCH, PUNCH + 1, 2 * PUNCH + 5000, WINDOW - 1, WINDOW] {
        stream.spool.ack(acked).unwrap();
        let again = adopted(&stream.spool);
        assert_eq!(again.taken(), WINDOW);
        assert!(again.acked() <= acked, "{} was found where {acked} was acknowledged", again.acked());
        assert!(acked - again.acked() < PUNCH + PAGE, "{} was found where {acked} was acknowledged", again.acked());
        assert!(again.acked().is_multiple_of(PAGE));
    }
}

#[test]
fn a_later_executor_goes_on_taking_where_the_former_stopped() {
    let mut stream = Written::new(Stream::Stdout);
    stream.fill(5000);
    stream.spool.ack(5000).unwrap();
    let (old, writer) = stream.into_parts();
    let (pipe, file) = (old.pipe.unwrap(), old.file);
    rustix::io::write(&writer, b"after").unwrap();
    let mut spool = Spool::new(Stream::Stdout, Some(pipe), file).unwrap();
    assert_eq!(spool.take(u64::MAX), Ok(Taken::Bytes(5)));
    assert_eq!((spool.taken(), content(&spool, 5000, 5)), (5005, b"after".to_vec()));
    assert!(spool.acked() <= 5000 && spool.acked() >= 4096);
}

#[test]
fn a_spool_that_was_acknowledged_to_its_last_whole_page_is_all_hole() {
    let mut stream = Written::new(Stream::Stdout);
    stream.fill(2 * PAGE);
    stream.spool.ack(2 * PAGE).unwrap();
    assert_eq!(seek(stream.spool.file(), SeekFrom::Data(0)), Err(Errno::NXIO));
    let again = adopted(&stream.spool);
    assert_eq!((again.taken(), again.acked(), again.in_flight()), (2 * PAGE, 2 * PAGE, 0));
}
