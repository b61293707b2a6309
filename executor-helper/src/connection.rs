//! One connection of a frontend: who it is, where it stands, what it may say, and its bytes in both directions.

use std::time::{Duration, Instant};

use ipc_protocol::{
    Answer, CodecError, FrameBuffer, FrameError, REQUEST_FRAME_MAX, Request, Version, encode_answer, frame_header,
    output_prefix,
};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{SendFlags, send},
};

use crate::job::{Chunk, Job};

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

/// A request without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Resume,
    SyncEnd,
    Input,
    Spawn,
    Ack,
    Stop,
    Signal,
    Release,
}

/// What may be said when. Everything else closes the connection. `Hello` is no [`Request`]: it is the first frame and only that.
pub const PERMITTED: [(State, Kind); 9] = [
    (State::Syncing, Kind::Resume),
    (State::Syncing, Kind::SyncEnd),
    // Output flows as soon as a job is resumed, so it may be acknowledged before the list is through.
    (State::Syncing, Kind::Ack),
    (State::Live, Kind::Input),
    (State::Live, Kind::Spawn),
    (State::Live, Kind::Ack),
    (State::Live, Kind::Stop),
    (State::Live, Kind::Signal),
    (State::Live, Kind::Release),
];

/// The kind of a request.
pub fn kind(request: &Request) -> Kind {
    match request {
        Request::Resume { .. } => Kind::Resume,
        Request::SyncEnd => Kind::SyncEnd,
        Request::Input { .. } => Kind::Input,
        Request::Spawn(_) => Kind::Spawn,
        Request::Ack { .. } => Kind::Ack,
        Request::Stop { .. } => Kind::Stop,
        Request::Signal { .. } => Kind::Signal,
        Request::Release { .. } => Kind::Release,
    }
}

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
    NotPermitted(State, Kind),
    /// An offset that was never sent, or a job out of its turn.
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

impl From<Errno> for Closed {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

/// A begun frame must be complete, and a new connection must say hello, within this time.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Answers that may wait for a peer that does not read; output does not count, it waits in the spools.
const UNREAD_MAX: usize = 4 * 1024 * 1024;
/// Room for answers that stays with a connection.
const UNREAD_KEPT: usize = 512 * 1024;
/// Smaller pieces of output are copied together with their header; larger ones go from the spool to the socket.
const COPY_MAX: u64 = 8 * 1024;

/// A connection whose peer has the frontend's uid.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// Where it stands.
    pub state: State,
    /// The version that both speak.
    pub version: Version,
    /// Whether it may start jobs: its database is not older than one seen before.
    pub may_start: bool,
    incoming: FrameBuffer,
    waiting_since: Option<Instant>,
    outgoing: Vec<u8>,
    sent: usize,
    // Bytes of `outgoing` that are the list of jobs, which is bounded by their number.
    listed: usize,
    transfer: Option<Transfer>,
    /// What was queued while the transfer lasts: it follows the last byte of that frame.
    behind: Vec<u8>,
    /// Whether the socket is watched for room.
    pub blocked: bool,
}

#[derive(Debug)]
struct Transfer {
    spool: OwnedFd,
    offset: u64,
    left: usize,
}

impl Connection {
    /// After its peer's uid was checked.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            state: State::Fresh,
            version: 0,
            may_start: false,
            incoming: FrameBuffer::new(REQUEST_FRAME_MAX),
            waiting_since: Some(Instant::now()),
            outgoing: Vec::new(),
            sent: 0,
            listed: 0,
            transfer: None,
            behind: Vec::new(),
            blocked: false,
        }
    }

    /// The socket.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Reads once; false when the peer has closed.
    pub fn receive(&mut self) -> Result<bool, Closed> {
        let mut buffer = [0u8; 64 * 1024];
        match rustix::io::read(&self.socket, &mut buffer) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.incoming.extend(buffer.get(..n).unwrap_or_default());
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next whole frame's body.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Closed> {
        let body = self.incoming.next_body().map_err(Closed::Frame)?.map(<[u8]>::to_vec);
        // The clock of a partial frame runs from its first byte; more bytes of it do not wind it back.
        self.waiting_since = match (&body, self.incoming.is_partial() || self.state == State::Fresh) {
            (None, true) => self.waiting_since.or_else(|| Some(Instant::now())),
            _ => None,
        };
        Ok(body)
    }

    /// When the peer's time is over, if something is expected of it.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting_since.and_then(|since| since.checked_add(PATIENCE))
    }

    /// Whether the request may be made now.
    pub fn permit(&self, request: &Request) -> Result<(), Closed> {
        let kind = kind(request);
        if PERMITTED.contains(&(self.state, kind)) { Ok(()) } else { Err(Closed::NotPermitted(self.state, kind)) }
    }

    /// Queues an answer. The peer must read: what it leaves unread is bounded.
    pub fn answer(&mut self, answer: &Answer<'_>) -> Result<(), Closed> {
        let body = encode_answer(answer).map_err(Closed::Message)?;
        if self.unread().saturating_add(body.len()) > UNREAD_MAX.saturating_add(self.listed) {
            return Err(Closed::NotReading);
        }
        self.queue(&body);
        Ok(())
    }

    /// Queues an entry of the list that follows a hello: the peer cannot have read it yet, however long it is.
    pub fn list(&mut self, entry: &Answer<'_>) -> Result<(), Closed> {
        let body = encode_answer(entry).map_err(Closed::Message)?;
        self.listed = self.listed.saturating_add(body.len()).saturating_add(4);
        self.queue(&body);
        Ok(())
    }

    fn queue(&mut self, body: &[u8]) {
        let queue = if self.transfer.is_some() { &mut self.behind } else { &mut self.outgoing };
        queue.extend_from_slice(&frame_header(body.len()));
        queue.extend_from_slice(body);
    }

    fn unread(&self) -> usize {
        self.outgoing.len().saturating_add(self.behind.len()).saturating_sub(self.sent)
    }

    /// Whether output can be queued: nothing else waits.
    pub fn is_clear(&self) -> bool {
        self.transfer.is_none() && self.unread() < 64 * 1024
    }

    /// Queues a piece of output; large ones are sent from the spool itself.
    pub fn output(&mut self, job: &mut Job, piece: Chunk) -> Result<(), Closed> {
        let id = job.entry.job;
        let length = usize::try_from(piece.length).unwrap_or(0);
        let prefix = output_prefix(id, piece.stream, piece.offset, piece.time_ns, piece.recovered, length)
            .map_err(Closed::Message)?;
        self.outgoing.extend_from_slice(&frame_header(prefix.len().saturating_add(length)));
        self.outgoing.extend_from_slice(&prefix);
        let spool = job.spool(piece.stream).file();
        if piece.length > COPY_MAX {
            // Its own descriptor: the job may be released before the last byte is on its way.
            let spool = rustix::io::fcntl_dupfd_cloexec(spool, 0)?;
            self.transfer = Some(Transfer { spool, offset: piece.offset, left: length });
            return Ok(());
        }
        let start = self.outgoing.len();
        self.outgoing.resize(start.saturating_add(length), 0);
        let to = self.outgoing.get_mut(start..).unwrap_or_default();
        if rustix::io::pread(spool, to, piece.offset)? != length {
            return Err(Closed::Io(Errno::IO)); // a spool shorter than what was taken into it
        }
        Ok(())
    }

    /// Sends what is queued as far as the socket takes it; true when everything is sent.
    pub fn flush(&mut self) -> Result<bool, Closed> {
        loop {
            let rest = self.outgoing.get(self.sent..).unwrap_or_default();
            if !rest.is_empty() {
                let more = if self.transfer.is_some() { SendFlags::MORE } else { SendFlags::empty() };
                match send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more) {
                    Ok(n) => self.sent = self.sent.saturating_add(n),
                    Err(Errno::AGAIN) => return Ok(false),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
                continue;
            }
            self.outgoing.clear();
            // A long list is rare; its memory is not kept for the life of the connection.
            self.outgoing.shrink_to(UNREAD_KEPT);
            (self.sent, self.listed) = (0, 0);
            let Some(transfer) = &mut self.transfer else { return Ok(true) };
            match rustix::fs::sendfile(&self.socket, &transfer.spool, Some(&mut transfer.offset), transfer.left) {
                Ok(0) => return Err(Closed::Io(Errno::IO)),
                Ok(n) => transfer.left = transfer.left.saturating_sub(n),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if transfer.left == 0 {
                self.transfer = None;
                std::mem::swap(&mut self.outgoing, &mut self.behind);
            }
        }
    }
}

#[cfg(test)]
mod tests;
