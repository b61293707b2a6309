//! Real pipes and memfds: what is taken, held, freed and found again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use rustix::{
    fd::OwnedFd,
    fs::{MemfdFlags, SeekFrom, memfd_create, seek},
    io::Errno,
    pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with},
};

use super::{PAGE, PIPE, PUNCH, Spool};
use crate::job::WINDOW;

/// A stream whose pipe is written here.
struct Written {
    spool: Spool,
    taken: u64,
    writer: Option<OwnedFd>,
}

impl Written {
    fn new() -> Self {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        fcntl_setpipe_size(&writer, 1024 * 1024).unwrap();
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        Self { spool: Spool::new(Some(reader), file), taken: 0, writer: Some(writer) }
    }

    fn write(&self, bytes: &[u8]) {
        assert_eq!(rustix::io::write(self.writer.as_ref().unwrap(), bytes), Ok(bytes.len()));
    }

    fn take(&mut self, room: u64) -> u64 {
        let bytes = self.spool.take(self.taken, room).unwrap();
        self.taken += bytes;
        bytes
    }

    // Writes and takes so many bytes, each by its place in the stream.
    fn fill(&mut self, length: u64) {
        let bytes: Vec<u8> = (self.taken..self.taken + length).map(byte_at).collect();
        for part in bytes.chunks(64 * 1024) {
            self.write(part);
            let end = self.taken + part.len() as u64;
            while self.taken < end {
                assert!(self.take(WINDOW) > 0);
            }
        }
    }

    fn acknowledge(&mut self, offset: u64) {
        self.spool.punch(offset, self.taken);
    }
}

fn byte_at(place: u64) -> u8 {
    (place % 251) as u8 + 1
}

fn content(spool: &Spool, from: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    assert_eq!(rustix::io::pread(&spool.file, &mut bytes, from), Ok(length));
    bytes
}

fn blocks(spool: &Spool) -> u64 {
    rustix::fs::fstat(&spool.file).unwrap().st_blocks as u64 * 512
}

// What a later executor makes of the same memfd.
fn adopted(spool: &Spool) -> (u64, u64) {
    let file = rustix::io::fcntl_dupfd_cloexec(&spool.file, 0).unwrap();
    Spool::new(None, file).offsets().unwrap()
}

#[test]
fn what_was_written_is_in_the_spool_at_its_offset() {
    let mut stream = Written::new();
    assert_eq!(stream.take(WINDOW), 0);
    stream.write(b"one ");
    assert_eq!(stream.take(WINDOW), 4);
    stream.write(b"two");
    assert_eq!(stream.take(WINDOW), 3);
    assert_eq!(content(&stream.spool, 0, 7), b"one two");
    assert_eq!(adopted(&stream.spool), (7, 0));
}

#[test]
fn the_end_comes_after_the_last_byte() {
    let mut stream = Written::new();
    stream.write(b"last");
    stream.writer = None;
    assert_eq!(stream.take(WINDOW), 4);
    assert!(stream.spool.pipe.is_some(), "the end was seen before it came");
    assert_eq!(stream.take(WINDOW), 0);
    assert!(stream.spool.pipe.is_none());
    assert_eq!(stream.take(WINDOW), 0);
}

#[test]
fn a_pipe_that_has_nothing_now_is_not_at_its_end() {
    let mut stream = Written::new();
    assert_eq!(stream.take(WINDOW), 0);
    assert!(stream.spool.pipe.is_some());
}

// A pipe is reported once for each change; until a read finds it empty, nothing must make the executor forget that.
#[test]
fn no_more_is_taken_than_there_is_room_for() {
    let mut stream = Written::new();
    stream.write(&[7; 100]);
    assert_eq!(stream.take(60), 60);
    assert_eq!(stream.take(60), 40);
}

#[test]
fn bytes_that_cannot_be_stored_stay_in_the_pipe() {
    let mut stream = Written::new();
    stream.write(b"kept");
    rustix::fs::fcntl_add_seals(&stream.spool.file, rustix::fs::SealFlags::GROW).unwrap_err();
    let file = memfd_create("sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::GROW).unwrap();
    let own = std::mem::replace(&mut stream.spool.file, file);
    assert_eq!(stream.spool.take(0, WINDOW), Err(Errno::PERM));
    stream.spool.file = own;
    assert_eq!(stream.take(WINDOW), 4);
    assert_eq!(content(&stream.spool, 0, 4), b"kept");
}

#[test]
fn acknowledged_bytes_give_their_memory_back() {
    let mut stream = Written::new();
    stream.fill(WINDOW);
    let full = blocks(&stream.spool);
    stream.acknowledge(PUNCH);
    assert!(blocks(&stream.spool) <= full - PUNCH);
    stream.acknowledge(WINDOW);
    assert_eq!(blocks(&stream.spool), 0);
    // However much is written, a job whose output is acknowledged holds no more than its window.
    for _ in 0..8 {
        stream.fill(WINDOW);
        assert!(blocks(&stream.spool) <= WINDOW + PAGE);
        stream.acknowledge(stream.taken);
    }
}

#[test]
fn what_is_not_acknowledged_is_never_a_hole() {
    let mut stream = Written::new();
    stream.fill(WINDOW);
    for acked in
        [0, 1, PAGE - 1, PAGE, PAGE + 1, PUNCH - 1, PUNCH, PUNCH + 1, PUNCH + PAGE + 17, 3 * PUNCH + 5, WINDOW - 1]
    {
        stream.acknowledge(acked);
        let left = content(&stream.spool, acked, (WINDOW - acked) as usize);
        assert!(left.iter().zip(acked..).all(|(byte, place)| *byte == byte_at(place)), "after {acked}");
    }
}

#[test]
fn a_later_executor_finds_what_was_taken_and_at_most_a_little_less_than_was_acknowledged() {
    let mut stream = Written::new();
    assert_eq!(adopted(&stream.spool), (0, 0));
    stream.fill(WINDOW);
    for acknowledged in [0, 1, PUNCH - 1, PUNCH, PUNCH + 1, 2 * PUNCH + 5000, WINDOW - 1, WINDOW] {
        stream.acknowledge(acknowledged);
        let (taken, acked) = adopted(&stream.spool);
        assert_eq!(taken, WINDOW);
        assert!(acked <= acknowledged, "{acked} was found where {acknowledged} was acknowledged");
        assert!(acknowledged - acked < PUNCH + PAGE, "{acked} was found where {acknowledged} was acknowledged");
        assert!(acked.is_multiple_of(PAGE));
    }
}

#[test]
fn a_later_executor_goes_on_taking_where_the_former_stopped() {
    let mut stream = Written::new();
    stream.fill(5000);
    stream.acknowledge(5000);
    let writer = stream.writer.unwrap();
    rustix::io::write(&writer, b"after").unwrap();
    let mut spool = Spool::new(stream.spool.pipe, stream.spool.file);
    let (taken, acked) = spool.offsets().unwrap();
    assert_eq!((taken, acked), (5000, 4096));
    assert_eq!(spool.take(taken, WINDOW), Ok(5));
    assert_eq!(spool.offsets(), Ok((5005, 4096)));
    assert_eq!(content(&spool, 5000, 5), b"after");
    // It gives back what the former one had not yet.
    spool.punch(5005, 5005);
    assert_eq!(spool.offsets(), Ok((5005, 4096)));
}

#[test]
fn a_spool_that_was_acknowledged_to_its_last_whole_page_is_all_hole() {
    let mut stream = Written::new();
    stream.fill(2 * PAGE);
    stream.acknowledge(2 * PAGE);
    assert_eq!(seek(&stream.spool.file, SeekFrom::Data(0)), Err(Errno::NXIO));
    assert_eq!(adopted(&stream.spool), (2 * PAGE, 2 * PAGE));
}

#[test]
fn a_new_pipe_that_was_full_is_given_more_room_and_any_other_is_left_as_it_is() {
    for (size, filled, afterwards) in [(PIPE, PIPE, 4 * PIPE), (PIPE, PIPE - 1, PIPE), (16 * PIPE, PIPE, 16 * PIPE)] {
        let mut stream = Written::new();
        fcntl_setpipe_size(stream.writer.as_ref().unwrap(), size).unwrap();
        stream.write(&vec![7; filled]);
        assert_eq!(stream.take(WINDOW), filled as u64);
        assert_eq!(fcntl_getpipe_size(stream.writer.as_ref().unwrap()), Ok(afterwards));
    }
}
