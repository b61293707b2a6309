//! What comes in with a call: how much of it, at most, for whom.
//!
//! A call waits for its whole message before anything looks at it. So the bytes are counted while they come: a message is refused
//! by the length that it announces, and one caller's messages under way are bounded together, over all their connections.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use ipc_protocol::ARGUMENT_BYTES_MAX;
use tonic::codegen::StdError;
use tonic::{Code, Status};

use super::error;
use crate::authorize::Caller;
use crate::config::roughly;
use crate::tls::Held;

/// What a method takes in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takes {
    name: &'static str,
    /// Longest message, in bytes.
    most: usize,
    /// Only one.
    one: bool,
    /// What to do instead of a longer one.
    instead: &'static str,
}

/// Longest data in one message of an upload.
pub(super) const UPLOAD_MESSAGE_MAX: usize = 1 << 20;
/// What words of a command and of the environment may take, each with tag and length around it, and what stands beside them.
const START_MAX: usize = 3 * ARGUMENT_BYTES_MAX + SMALL_MAX;
/// References, filters, places in a list.
const SMALL_MAX: usize = 64 << 10;
/// Names of services, for health and reflection.
const OTHER_MAX: usize = 4 << 10;
/// Bytes of messages of one caller that are under way or worked on.
const TOGETHER_MAX: usize = 32 << 20;
/// Before each message: whether it is compressed, and its length.
const HEAD: usize = 5;

impl Takes {
    /// What the method of this path takes, and at most `most` bytes in a message.
    pub(super) fn of(path: &str, most: usize) -> Self {
        let one = |name, most| Self { name, most, one: true, instead: "shorten it" };
        let takes = match path.strip_prefix("/airlock.v1.JobService/") {
            Some("UploadInput") => {
                // Data with its tag and its length.
                let most = UPLOAD_MESSAGE_MAX + 8;
                Self { name: "UploadInput", most, one: false, instead: "send smaller messages" }
            }
            Some("StartJob") => Self { instead: "send large data as input", ..one("StartJob", START_MAX) },
            Some("ListJobs") => one("ListJobs", SMALL_MAX),
            Some("StreamOutput") => one("StreamOutput", SMALL_MAX),
            Some(_) => one("this method", SMALL_MAX),
            None => Self { one: false, ..one("this method", OTHER_MAX) },
        };
        Self { most: takes.most.min(most), ..takes }
    }
}

/// The body of a request, measured while it comes.
#[derive(Debug)]
pub(super) struct Measured<B> {
    body: B,
    takes: Takes,
    held: Arc<Held>,
    name: String,
    request_id: String,
    messages: usize,
    head: [u8; HEAD],
    /// Bytes of `head` that have come.
    begun: usize,
    /// Bytes of the message that have not.
    left: usize,
}

impl<B> Measured<B> {
    /// Lets through what the method takes.
    pub(super) fn new(body: B, takes: Takes, held: Arc<Held>, caller: &Caller) -> Self {
        let (name, request_id) = (caller.name.clone(), caller.request_id.clone());
        Self { body, takes, held, name, request_id, messages: 0, head: [0; HEAD], begun: 0, left: 0 }
    }

    fn measure(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        // The messages of a stream are let go one by one, and whoever takes them in bounds how many streams there are.
        if self.takes.one && !self.held.add(bytes.len(), TOGETHER_MAX) {
            return Err(self.refuse(
                Code::ResourceExhausted,
                "REQUESTS",
                format!("more than {} of your requests are under way; wait for answers", roughly(TOGETHER_MAX as u64)),
            ));
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                self.left -= here;
                bytes = &bytes[here..];
                continue;
            }
            let here = (HEAD - self.begun).min(bytes.len());
            self.head[self.begun..self.begun + here].copy_from_slice(&bytes[..here]);
            self.begun += here;
            bytes = &bytes[here..];
            if self.begun == HEAD {
                self.begun = 0;
                self.messages += 1;
                self.left = self.announced()?;
            }
        }
        Ok(())
    }

    /// The length of the message that begins, if it may come.
    fn announced(&self) -> Result<usize, Status> {
        let [_, length @ ..] = self.head;
        let length = u32::from_be_bytes(length) as usize;
        let Takes { name, most, one, instead } = self.takes;
        if length > most {
            let message = format!(
                "a message of {length} bytes is above the most that {name} takes, {}; {instead}",
                roughly(most as u64)
            );
            return Err(self.refuse(Code::InvalidArgument, "MESSAGE_TOO_LONG", message));
        }
        if one && self.messages > 1 {
            let message = format!("{name} takes one message, and there are more; send one");
            return Err(self.refuse(Code::InvalidArgument, "INVALID", message));
        }
        Ok(length)
    }

    fn ended(&self) -> Result<(), Status> {
        let invalid = |message: &str| Err(self.refuse(Code::InvalidArgument, "INVALID", message.to_owned()));
        match (self.begun + self.left, self.messages) {
            (0, 0) if self.takes.one => invalid("the call has no message"),
            (0, _) => Ok(()),
            _ => invalid("the call ends in the middle of a message"),
        }
    }

    fn refuse(&self, code: Code, reason: &str, message: String) -> Status {
        tracing::info!(request_id = self.request_id, name = self.name, method = self.takes.name, message, "refused");
        error::plain(code, reason, message, &self.request_id)
    }
}

impl<B> Body for Measured<B>
where
    B: Body<Data = Bytes, Error: Into<StdError>> + Unpin,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let measured = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(Ok(()), |bytes| self.measure(bytes)),
            Some(Err(_)) => Ok(()),
            None => self.ended(),
        };
        Poll::Ready(match measured {
            Ok(()) => frame.map(|frame| frame.map_err(Into::into)),
            Err(status) => Some(Err(status.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        // Otherwise nobody would ask for the end, which may be a fault.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
