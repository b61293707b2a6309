//! One connection of a frontend: where it stands, what it may say, and its bytes in both directions.

use std::collections::VecDeque;

use ipc_protocol::{
    Answer, CodecError, FrameBuffer, FrameError, REQUEST_FRAME_MAX, Request, encode_answer, frame_header,
};
use rustix::{
    fd::OwnedFd,
    fs::sendfile,
    io::Errno,
    net::{SendFlags, send},
};

use crate::plan::boot_ns;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was said; only `Hello` may be.
    Fresh,
    /// The jobs are being compared.
    Syncing,
    /// Everything may be said.
    Live,
}

/// What may be said when. Everything else closes the connection. `Hello` is no [`Request`]: it is the first frame and only that.
/// Output flows as soon as a job is resumed, so it may be acknowledged before the list is through.
pub const PERMITTED: [(State, &[&str]); 3] = [
    (State::Fresh, &[]),
    (State::Syncing, &["Resume", "SyncEnd", "Ack"]),
    (State::Live, &["Input", "Spawn", "Ack", "Stop", "Signal", "Release"]),
];

/// Why a connection is closed. It harms nobody else.
#[derive(Debug)]
pub enum Closed {
    /// The peer went away.
    Gone,
    /// Not a frame.
    Frame(FrameError),
    /// Not a message.
    Message(CodecError),
    /// Not now.
    NotPermitted(State, &'static str),
    /// What cannot be.
    Protocol(&'static str),
    /// A begun frame or a hello did not come in time.
    Late,
    /// It does not read its answers.
    NotReading,
    /// A newer connection said hello.
    Replaced,
    /// The kernel.
    Io(Errno),
}

/// A begun frame must be complete, and a new connection must say hello, within this time.
pub const PATIENCE_NS: u64 = 5_000_000_000;
/// Answers that may wait for a peer that does not read; output does not count, it waits in the spools.
const UNREAD_MAX: usize = 4 * 1024 * 1024;
/// Output is added only while less than this waits.
const CLEAR: usize = 64 * 1024;
/// Smaller pieces of output are copied behind their header; larger ones go from the spool to the socket.
const COPY_MAX: usize = 8 * 1024;

/// Bytes on their way out.
#[derive(Debug)]
enum Part {
    Memory(VecDeque<u8>),
    Spool { file: OwnedFd, offset: u64, left: usize },
}

fn patience() -> u64 {
    boot_ns().saturating_add(PATIENCE_NS)
}

/// A connection whose peer has the frontend's uid.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub socket: OwnedFd,
    /// Where it stands.
    pub state: State,
    /// Whether it may start jobs: its database is not older than one seen before.
    pub may_start: bool,
    /// Whether the socket is watched for room.
    pub blocked: bool,
    /// When the peer's time is over, on the boot-time clock, if something is expected of it.
    pub deadline_ns: Option<u64>,
    incoming: FrameBuffer,
    outgoing: VecDeque<Part>,
    unread: usize,
    // Of the unread bytes, the list of jobs: it is bounded by their number, and the peer cannot have read it yet.
    listed: usize,
}

impl Connection {
    /// After its peer's uid was checked.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            state: State::Fresh,
            may_start: false,
            blocked: false,
            deadline_ns: Some(patience()),
            incoming: FrameBuffer::new(REQUEST_FRAME_MAX),
            outgoing: VecDeque::new(),
            unread: 0,
            listed: 0,
        }
    }

    /// Reads once.
    pub fn receive(&mut self) -> Result<(), Closed> {
        let mut buffer = [0u8; 64 * 1024];
        match rustix::io::read(&self.socket, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(Closed::Io(errno)),
            Ok(0) => return Err(Closed::Gone),
            Ok(length) => self.incoming.extend(buffer.get(..length).unwrap_or_default()),
        }
        Ok(())
    }

    /// The next whole frame's body.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Closed> {
        let body = self.incoming.next_body().map_err(Closed::Frame)?.map(<[u8]>::to_vec);
        // The clock of a partial frame runs from its first byte; more bytes of it do not wind it back.
        let waiting = body.is_none() && (self.incoming.is_partial() || self.state == State::Fresh);
        self.deadline_ns = waiting.then(|| self.deadline_ns.unwrap_or_else(patience));
        Ok(body)
    }

    /// Whether the request may be made now.
    pub fn permit(&self, request: &Request) -> Result<(), Closed> {
        let permitted = |(state, names): &(State, &[&str])| *state == self.state && names.contains(&request.name());
        if PERMITTED.iter().any(permitted) { Ok(()) } else { Err(Closed::NotPermitted(self.state, request.name())) }
    }

    /// Queues an answer. The peer must read: what it leaves unread is bounded.
    pub fn answer(&mut self, answer: &Answer<'_>) -> Result<(), Closed> {
        if self.unread > UNREAD_MAX.saturating_add(self.listed) {
            return Err(Closed::NotReading);
        }
        let body = encode_answer(answer).map_err(Closed::Message)?;
        let length = self.unread;
        self.push(&frame_header(body.len()));
        self.push(&body);
        if matches!(answer, Answer::Job(_)) {
            self.listed = self.listed.saturating_add(self.unread.saturating_sub(length));
        }
        Ok(())
    }

    fn push(&mut self, more: &[u8]) {
        self.unread = self.unread.saturating_add(more.len());
        match self.outgoing.back_mut() {
            Some(Part::Memory(bytes)) => bytes.extend(more),
            _ => self.outgoing.push_back(Part::Memory(more.to_vec().into())),
        }
    }

    /// Whether output can be queued: little else waits.
    pub fn is_clear(&self) -> bool {
        self.unread < CLEAR && self.outgoing.len() < 2
    }

    /// Queues a frame of output: what stands before the bytes, and so many bytes of the spool.
    pub fn output(&mut self, prefix: &[u8], spool: &OwnedFd, offset: u64, length: usize) -> Result<(), Closed> {
        self.push(&frame_header(prefix.len().saturating_add(length)));
        self.push(prefix);
        if length > COPY_MAX {
            // Its own descriptor: the job may be released before the last byte is on its way.
            let file = rustix::io::fcntl_dupfd_cloexec(spool, 0).map_err(Closed::Io)?;
            self.outgoing.push_back(Part::Spool { file, offset, left: length });
            return Ok(());
        }
        let mut bytes = vec![0; length];
        if rustix::io::pread(spool, &mut bytes, offset).map_err(Closed::Io)? != length {
            return Err(Closed::Io(Errno::IO)); // a spool shorter than what was taken into it
        }
        self.push(&bytes);
        Ok(())
    }

    /// Sends what is queued as far as the socket takes it; true when everything is sent.
    pub fn flush(&mut self) -> Result<bool, Closed> {
        let more = if self.outgoing.len() > 1 { SendFlags::MORE } else { SendFlags::empty() };
        while let Some(part) = self.outgoing.front_mut() {
            let (result, rest) = match part {
                Part::Memory(bytes) => {
                    let result =
                        send(&self.socket, bytes.as_slices().0, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more);
                    let sent = bytes.drain(..result.unwrap_or(0)).len();
                    self.unread = self.unread.saturating_sub(sent);
                    (result, bytes.len())
                }
                Part::Spool { file, offset, left } => {
                    let result = sendfile(&self.socket, file, Some(offset), *left);
                    *left = left.saturating_sub(result.unwrap_or(0));
                    (result, *left)
                }
            };
            match result {
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Ok(0) => return Err(Closed::Io(Errno::IO)),
                Err(errno) => return Err(Closed::Io(errno)),
                Ok(_) if rest == 0 => drop(self.outgoing.pop_front()),
                Ok(_) => {}
            }
            kill_point!(Sent);
        }
        self.listed = 0;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
