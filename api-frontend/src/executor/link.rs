//! The shared end of the connection: its state, and the way out for requests.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ipc_protocol::{CodecError, Request, encode_request, frame_header};
use rustix::net::{SendFlags, send};
use tokio::sync::watch;

use super::Welcome;

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// There is none. Tried again for ever.
    Away {
        /// Since when.
        since: SystemTime,
        /// Whether there was one before, in the life of this process.
        seen: bool,
        /// Why, in a clause; for the journal and operators.
        reason: String,
        /// The two sides speak no common version: an upgrade is half done, and waiting alone does not help.
        no_common_version: bool,
    },
    /// Compared and ready.
    Live {
        /// Since when.
        since: SystemTime,
        /// Which connection of this frontend's life it is, from 1.
        generation: u64,
        /// What the executor said of itself.
        welcome: Welcome,
    },
}

impl LinkState {
    /// The number of the connection, if there is one.
    pub fn generation(&self) -> Option<u64> {
        match self {
            Self::Live { generation, .. } => Some(*generation),
            Self::Away { .. } => None,
        }
    }
}

/// There is no connection, or another one than the caller meant. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the executor is away")]
pub struct Away;

/// A handle on the connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<LinkState>,
    out: Mutex<Out>,
    /// Something to send, room to put more, or the end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Out {
    socket: Option<Arc<UnixStream>>,
    generation: u64,
    live: bool,
    queue: Vec<u8>,
    /// The sender thread holds bytes that stand before the queue.
    sending: bool,
    stopped: bool,
}

/// Bytes waiting to be sent above which [`Link::send_waiting`] waits.
const QUEUE_HIGH: usize = 1 << 20;

impl Link {
    pub(super) fn new() -> Self {
        let reason = "not connected yet".into();
        let away = LinkState::Away { since: SystemTime::now(), seen: false, reason, no_common_version: false };
        let shared = Shared { state: watch::Sender::new(away), out: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// How the connection stands.
    pub fn state(&self) -> LinkState {
        self.shared.state.borrow().clone()
    }

    /// Follows how the connection stands.
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    /// Sends on the live connection, whichever it is. Does not block.
    pub fn send(&self, request: &Request) -> Result<(), Away> {
        self.send_on(None, request)
    }

    /// Sends on connection `generation` if it is still the live one; `None` for whichever is. Does not block.
    pub fn send_on(&self, generation: Option<u64>, request: &Request) -> Result<(), Away> {
        let Ok(frame) = frame(request) else {
            // Requests are bounded before they are made, so this is a defect here; the executor would refuse the frame.
            tracing::error!("a request is too long for a frame");
            return Err(Away);
        };
        let mut out = self.out();
        if !out.live || generation.is_some_and(|g| g != out.generation) {
            return Err(Away);
        }
        self.push(&mut out, &frame);
        Ok(())
    }

    /// As [`Link::send_on`], and waits while more than a MiB is queued: for bulk. Blocks.
    pub fn send_waiting(&self, generation: u64, request: &Request) -> Result<(), Away> {
        let frame = frame(request).map_err(|_| Away)?;
        let mut out = self.out();
        loop {
            if !out.live || generation != out.generation {
                return Err(Away);
            }
            if out.queue.len() < QUEUE_HIGH {
                self.push(&mut out, &frame);
                return Ok(());
            }
            out = self.shared.changed.wait(out).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the connection up, so that a new one is made and compared.
    pub fn reconnect(&self) {
        if let Some(socket) = &self.out().socket {
            // Fails only when it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends the connection and its threads.
    pub fn stop(&self) {
        self.out().stopped = true;
        self.reconnect();
        self.shared.changed.notify_all();
    }

    /// Takes a new socket; nothing but [`Link::send_before_live`] goes out until it is live. Gives its number.
    pub(super) fn open(&self, socket: Arc<UnixStream>) -> u64 {
        let mut out = self.out();
        if out.stopped {
            // It was made while everything was told to end, and nobody else would end it. Fails only when it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        out.socket = Some(socket);
        out.generation += 1;
        out.live = false;
        out.queue.clear();
        out.generation
    }

    /// Sends while the two sides are still comparing, and acknowledgements from the connection's own thread.
    pub(super) fn send_before_live(&self, requests: &[Request]) -> Result<(), CodecError> {
        let mut bytes = Vec::with_capacity(requests.len() * 48);
        for request in requests {
            bytes.extend(frame(request)?);
        }
        let mut out = self.out();
        self.push(&mut out, &bytes);
        Ok(())
    }

    pub(super) fn send_hello(&self, body: &[u8]) {
        let mut bytes = frame_header(body.len()).to_vec();
        bytes.extend_from_slice(body);
        let mut out = self.out();
        self.push(&mut out, &bytes);
    }

    pub(super) fn set_live(&self, welcome: Welcome) {
        let mut out = self.out();
        out.live = true;
        let live = LinkState::Live { since: SystemTime::now(), generation: out.generation, welcome };
        self.shared.state.send_replace(live);
    }

    pub(super) fn set_away(&self, why: &str, no_common_version: bool) {
        let mut out = self.out();
        out.socket = None;
        out.live = false;
        out.queue.clear();
        self.shared.state.send_modify(|state| {
            let (since, seen) = match state {
                LinkState::Away { since, seen, .. } => (*since, *seen),
                LinkState::Live { .. } => (SystemTime::now(), true),
            };
            *state = LinkState::Away { since, seen, reason: why.to_owned(), no_common_version };
        });
        self.shared.changed.notify_all();
    }

    /// Waits before the next attempt; `true` when everything is to end.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let end = std::time::Instant::now() + time;
        let mut out = self.out();
        while !out.stopped {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            out = self.shared.changed.wait_timeout(out, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Sends what could not be sent at once, until [`Link::stop`].
    pub(super) fn run_sender(&self) {
        let mut out = self.out();
        while !out.stopped {
            let (false, Some(socket)) = (out.queue.is_empty(), out.socket.clone()) else {
                out = self.shared.changed.wait(out).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let bytes = std::mem::take(&mut out.queue);
            out.sending = true;
            drop(out);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                match send(&*socket, rest, SendFlags::NOSIGNAL) {
                    Ok(n) => rest = &rest[n..],
                    Err(rustix::io::Errno::INTR) => {}
                    // The reading side notices the broken connection too, and makes the next one.
                    Err(_) => break,
                }
            }
            out = self.out();
            out.sending = false;
            self.shared.changed.notify_all();
        }
    }

    fn push(&self, out: &mut MutexGuard<'_, Out>, bytes: &[u8]) {
        let mut sent = 0;
        if out.queue.is_empty() && !out.sending {
            let Some(socket) = &out.socket else { return };
            while sent < bytes.len() {
                match send(&**socket, &bytes[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(n) => sent += n,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => break,
                    // Broken: the reading side notices and makes the next connection.
                    Err(_) => return,
                }
            }
        }
        if sent < bytes.len() {
            out.queue.extend_from_slice(&bytes[sent..]);
            self.shared.changed.notify_all();
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.shared.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn frame(request: &Request) -> Result<Vec<u8>, CodecError> {
    let body = encode_request(request)?;
    let mut frame = frame_header(body.len()).to_vec();
    frame.extend(body);
    Ok(frame)
}
