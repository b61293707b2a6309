//! One connection after the other: connect, compare, hand on, and begin again.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipc_protocol::{ANSWER_FRAME_MAX, Answer, Request, VersionRange, body_length, decode_answer, negotiate};

use super::{Link, Reconnect, Sink, Welcome};

/// Where the executor is.
#[derive(Debug, Clone)]
pub struct Connector {
    socket: PathBuf,
}

impl Connector {
    /// A Unix socket's path.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }
}

/// Starts the connection's two threads. They end after [`Link::stop`].
///
/// # Errors
/// When the system gives no thread.
pub fn start<S: Sink>(
    connector: Connector,
    make_sink: impl FnOnce(Link) -> S,
) -> io::Result<(Link, Vec<JoinHandle<()>>)> {
    let link = Link::new();
    let mut sink = make_sink(link.clone());
    let (for_reader, for_sender) = (link.clone(), link.clone());
    let sender = thread::Builder::new().name("executor-send".into()).spawn(move || for_sender.run_sender())?;
    let reader =
        thread::Builder::new().name("executor".into()).spawn(move || run(&connector, &for_reader, &mut sink))?;
    Ok((link, vec![reader, sender]))
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the executor closed the connection")]
    Closed,
    #[error("the executor sent a bad frame: {0}")]
    Frame(#[from] ipc_protocol::FrameError),
    #[error("the executor's message cannot be used: {0}")]
    Codec(#[from] ipc_protocol::CodecError),
    #[error("the executor sent {0} while the two sides were comparing")]
    Unexpected(&'static str),
    #[error("no common version: this frontend speaks {ours:?}, the executor {theirs:?}; upgrade both")]
    Version { ours: [u8; 2], theirs: [u8; 2] },
    #[error("{0}")]
    Reconnect(#[from] Reconnect),
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// An executor that takes longer than this to compare is stuck; a new connection may find it well.
const SYNC_DEADLINE: Duration = Duration::from_secs(30);

fn run<S: Sink>(connector: &Connector, link: &Link, sink: &mut S) {
    let mut pause = FIRST_PAUSE;
    let mut said = String::new();
    loop {
        let (ended, was_live) = match UnixStream::connect(&connector.socket) {
            Ok(socket) => {
                let mut session = Session { link, sink, input: Input::new(socket), was_live: false };
                let ended = session.run().err().unwrap_or(Ended::Closed);
                (ended, session.was_live)
            }
            Err(error) => {
                let error = format!("{}: {error}", connector.socket.display());
                (Ended::Io(io::Error::other(error)), false)
            }
        };
        let why = ended.to_string();
        link.set_away(&why, matches!(ended, Ended::Version { .. }));
        sink.gone();
        if was_live {
            pause = FIRST_PAUSE;
            said.clear();
        }
        // Each reason once, not with every attempt.
        if why != said {
            tracing::warn!(reason = %why, "no connection to the executor; trying again until there is one");
            said = why;
        }
        if link.pause(pause) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

struct Session<'a, S> {
    link: &'a Link,
    sink: &'a mut S,
    input: Input,
    was_live: bool,
}

impl<S: Sink> Session<'_, S> {
    fn run(&mut self) -> Result<(), Ended> {
        self.input.socket.set_read_timeout(Some(SYNC_DEADLINE))?;
        let generation = self.link.open(self.input.socket.clone());
        let ours = VersionRange::OURS;
        self.link.send_hello(&self.sink.hello().encode(ours.max)?);
        let (welcome, jobs) = self.compare(ours)?;
        let mut answer = self.sink.sync(generation, &welcome, jobs)?;
        kill_point!(Compared);
        answer.push(Request::SyncEnd);
        self.link.send_before_live(&answer)?;
        self.input.socket.set_read_timeout(None)?;
        tracing::info!(build = welcome.build, cgroups = welcome.cgroups, generation, "connected to the executor");
        self.link.set_live(welcome);
        self.was_live = true;
        self.sink.live();
        let mut due = Vec::new();
        loop {
            while let Some(body) = self.input.buffered()? {
                match decode_answer(body)? {
                    Answer::Profiles(profiles) => self.sink.profiles(profiles),
                    Answer::Welcome { .. } | Answer::Job(_) | Answer::SyncEnd => {
                        return Err(Ended::Unexpected("its list again"));
                    }
                    answer => self.sink.answer(answer)?,
                }
            }
            self.sink.drained(&mut due);
            if !due.is_empty() {
                self.link.send_before_live(&due)?;
                kill_point!(RequestsSent);
                due.clear();
            }
            self.input.fill()?;
        }
    }

    fn compare(&mut self, ours: VersionRange) -> Result<(Welcome, Vec<ipc_protocol::JobEntry>), Ended> {
        let mut welcome = None;
        let mut jobs = Vec::new();
        loop {
            let Some(body) = self.input.buffered()? else {
                self.input.fill()?;
                continue;
            };
            match (decode_answer(body)?, &welcome) {
                (Answer::Welcome { version, speaks, epoch_seen, build, cgroups }, None) => {
                    let theirs = VersionRange { min: speaks[0], max: speaks[1] };
                    if version.is_none() || version != negotiate(ours, theirs) {
                        return Err(Ended::Version { ours: [ours.min, ours.max], theirs: speaks });
                    }
                    welcome = Some(Welcome { epoch_seen, build, cgroups });
                }
                (_, None) => return Err(Ended::Unexpected("something before Welcome")),
                (Answer::Profiles(profiles), Some(_)) => self.sink.profiles(profiles),
                (Answer::Job(entry), Some(_)) => jobs.push(*entry),
                (Answer::SyncEnd, Some(welcome)) => return Ok((welcome.clone(), jobs)),
                (_, Some(_)) => return Err(Ended::Unexpected("something else than its list")),
            }
        }
    }
}

/// Whole frames out of a socket, parsed where they were received.
struct Input {
    socket: Arc<UnixStream>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// Room for a few of the longest frames, so that one read brings as much as the socket holds.
const BUFFER_BYTES: usize = 4 * (ANSWER_FRAME_MAX + 4);

impl Input {
    fn new(socket: UnixStream) -> Self {
        Self { socket: Arc::new(socket), buffer: vec![0; BUFFER_BYTES], start: 0, end: 0 }
    }

    /// The next whole body that was received already.
    fn buffered(&mut self) -> Result<Option<&[u8]>, Ended> {
        let held = &self.buffer[self.start..self.end];
        let Some((header, rest)) = held.split_first_chunk::<4>() else { return Ok(None) };
        let length = body_length(*header, ANSWER_FRAME_MAX)?;
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.start + 4;
        self.start = from + length;
        Ok(Some(&self.buffer[from..from + length]))
    }

    /// Receives more. Blocks.
    fn fill(&mut self) -> Result<(), Ended> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < ANSWER_FRAME_MAX + 4 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            match (&*self.socket).read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(Ended::Closed),
                Ok(n) => {
                    self.end += n;
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(Ended::Io(io::Error::other("the executor did not answer in time")));
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}
