//! Writes the job's bytes to our own descriptors, in order, without ever keeping the rest of the program waiting.
//!
//! A reader of our output may stop reading for an hour, and Ctrl-C must work all the same. So a thread of its own writes,
//! fed by a short queue. A file has no reader to wait for, and a pipe is sure to take a small piece: those are written at once,
//! which saves the way through it.

use bytes::Bytes;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, fstat},
    io::Errno,
};
use std::{
    io::{self, IsTerminal},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Pieces between the network and the writing thread.
const QUEUE: usize = 16;
/// More than the memory in which a window of output arrives, in bytes.
const KEPT: usize = 16 << 20;
/// A pipe that polls as writable takes this much without blocking.
const CERTAIN: usize = 4096;

/// One of our two descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// 1
    Stdout,
    /// 2
    Stderr,
}

/// Bytes on their way out.
#[derive(Debug)]
pub struct Piece {
    /// Where they go.
    pub descriptor: Descriptor,
    /// They themselves.
    pub data: Bytes,
    /// The offset after them in the job's output.
    pub end_offset: u64,
}

/// A descriptor of ours takes nothing any more.
#[derive(Debug)]
pub struct Broken {
    /// The kernel's reason; EPIPE when its reader is gone.
    pub reason: Errno,
}

/// The writing side of `run`, `attach` and `logs`.
pub struct Writer {
    queue: Option<mpsc::Sender<Piece>>,
    /// Given to the thread when the first piece needs it: most jobs write little.
    unstarted: Option<(mpsc::Receiver<Piece>, oneshot::Sender<()>)>,
    done: Option<oneshot::Receiver<()>>,
    state: Arc<State>,
    at_once: [AtOnce; 2],
}

/// Up to how many bytes a descriptor takes without ever waiting for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtOnce {
    /// It has no reader.
    Everything,
    /// So much when it polls as writable.
    Certain,
    /// Nothing is sure.
    Nothing,
}

struct State {
    /// The offset after the last byte that left us.
    shown: AtomicU64,
    /// Pieces handed to the thread and not yet written.
    waiting: AtomicUsize,
    failures: mpsc::UnboundedSender<Broken>,
    broken: [AtomicBool; 2],
    /// Nothing more may leave: the offset shown is being told to somebody.
    abandoned: AtomicBool,
}

impl Writer {
    /// A writer of output that begins at `offset`, and the news of descriptors that break: each once; what is written to
    /// it afterwards is dropped.
    pub fn new(offset: u64) -> (Self, mpsc::UnboundedReceiver<Broken>) {
        keep_memory();
        let (queue, pieces) = mpsc::channel(QUEUE);
        let (finished, done) = oneshot::channel();
        let (report, failures) = mpsc::unbounded_channel();
        let state = State {
            shown: AtomicU64::new(offset),
            waiting: AtomicUsize::new(0),
            failures: report,
            broken: Default::default(),
            abandoned: AtomicBool::new(false),
        };
        let at_once = [AtOnce::of(io::stdout().as_fd()), AtOnce::of(io::stderr().as_fd())];
        let unstarted = Some((pieces, finished));
        (Writer { queue: Some(queue), unstarted, done: Some(done), state: Arc::new(state), at_once }, failures)
    }

    /// The offset after the last byte written.
    pub fn shown(&self) -> u64 {
        self.state.shown.load(Ordering::Acquire)
    }

    /// Bytes up to `offset` need no showing (a gap, or the other stream). Only valid in order, as [`Writer::offer`].
    pub fn skip_to(&self, offset: u64) {
        if self.state.waiting.load(Ordering::Acquire) == 0 {
            self.state.shown.fetch_max(offset, Ordering::AcqRel);
        }
    }

    /// Takes a piece, or gives it back when the queue is full; then use [`Writer::put`].
    pub fn offer(&mut self, piece: Piece) -> Result<(), Piece> {
        let idle = self.state.waiting.load(Ordering::Acquire) == 0;
        let at_once = match self.at_once[piece.descriptor as usize] {
            AtOnce::Everything => true,
            AtOnce::Certain => piece.data.len() <= CERTAIN && is_ready(piece.descriptor),
            AtOnce::Nothing => false,
        };
        if idle && at_once {
            self.state.write(&piece);
            return Ok(());
        }
        self.start();
        self.state.waiting.fetch_add(1, Ordering::AcqRel);
        let refused = match &self.queue {
            Some(queue) => match queue.try_send(piece) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(piece) | mpsc::error::TrySendError::Closed(piece)) => piece,
            },
            None => piece,
        };
        self.state.waiting.fetch_sub(1, Ordering::AcqRel);
        Err(refused)
    }

    /// Waits for room and takes the piece out of `slot`. May be cancelled; the piece then stays.
    pub async fn put(&self, slot: &mut Option<Piece>) {
        let Some(queue) = &self.queue else { return };
        if let Ok(permit) = queue.reserve().await
            && let Some(piece) = slot.take()
        {
            self.state.waiting.fetch_add(1, Ordering::AcqRel);
            permit.send(piece);
        }
    }

    /// Waits until everything taken is written. May be cancelled and called again; nothing may be offered afterwards.
    pub async fn finish(&mut self) {
        self.queue = None;
        if self.unstarted.take().is_some() {
            self.done = None;
        }
        if let Some(done) = &mut self.done {
            // An error means that the thread is gone, which is all that is asked.
            let _ = done.await;
            self.done = None;
        }
    }

    /// Writes what it can within `time`, then nothing more; answers the offset after the last byte that left.
    pub async fn abandon(&mut self, time: Duration) -> u64 {
        let in_time = tokio::time::timeout(time, self.finish()).await.is_ok();
        self.state.abandoned.store(true, Ordering::Release);
        if !in_time {
            // A write that has begun may still end; one that does not within a moment waits for its reader.
            let _ = tokio::time::timeout(Duration::from_millis(50), self.finish()).await;
        }
        self.shown()
    }

    fn start(&mut self) {
        if let Some((mut pieces, finished)) = self.unstarted.take() {
            let state = self.state.clone();
            thread::spawn(move || {
                // All that is there at once: whoever waits for room is woken once for all of them.
                let mut taken = Vec::with_capacity(QUEUE);
                while pieces.blocking_recv_many(&mut taken, QUEUE) > 0 {
                    for piece in taken.drain(..) {
                        state.write(&piece);
                        state.waiting.fetch_sub(1, Ordering::AcqRel);
                    }
                }
                let _ = finished.send(());
            });
        }
    }
}

impl State {
    fn write(&self, piece: &Piece) {
        let broken = &self.broken[piece.descriptor as usize];
        if broken.load(Ordering::Relaxed) {
            return;
        }
        if let Err(reason) = self.write_all(piece) {
            broken.store(true, Ordering::Relaxed);
            // Nobody listens any more only when the program is ending.
            let _ = self.failures.send(Broken { reason });
        }
    }

    fn write_all(&self, piece: &Piece) -> Result<(), Errno> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let fd = descriptor(piece.descriptor, &stdout, &stderr);
        let mut data: &[u8] = &piece.data;
        while !data.is_empty() && !self.abandoned.load(Ordering::Acquire) {
            match rustix::io::write(fd, data) {
                Ok(written) => {
                    data = data.get(written..).unwrap_or(&[]);
                    self.shown.fetch_max(piece.end_offset - data.len() as u64, Ordering::AcqRel);
                }
                Err(Errno::INTR) => {}
                // Whoever gave us the descriptor made it non-blocking for themselves, too.
                Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

// What a frame needs is given back and needed again for the next one. glibc would hand such memory to the kernel each time and
// have it zeroed page by page; once a block as large as this was freed, it keeps what is smaller (mallopt(3), M_MMAP_THRESHOLD).
// The block itself is never touched and costs nothing.
fn keep_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}

fn descriptor<'a>(which: Descriptor, stdout: &'a io::Stdout, stderr: &'a io::Stderr) -> BorrowedFd<'a> {
    match which {
        Descriptor::Stdout => stdout.as_fd(),
        Descriptor::Stderr => stderr.as_fd(),
    }
}

impl AtOnce {
    fn of(fd: BorrowedFd<'_>) -> Self {
        let kind = fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::RegularFile) => AtOnce::Everything,
            Ok(FileType::Fifo) => AtOnce::Certain,
            // A terminal can be stopped by its user in the middle of any write.
            Ok(FileType::CharacterDevice) if !fd.is_terminal() => AtOnce::Certain,
            _ => AtOnce::Nothing,
        }
    }
}

fn is_ready(which: Descriptor) -> bool {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let fd = descriptor(which, &stdout, &stderr);
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&now)), Ok(ready) if ready > 0)
}
