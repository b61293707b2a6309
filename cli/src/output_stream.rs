//! StreamOutput, read from the frames in which it comes.
//!
//! A generated client copies everything that comes into a buffer of its own before it takes messages from it. Output is what
//! this interface moves in bulk, so this one call is read here: a message is a part of the frame that brought it, and the bytes
//! of a chunk are a part of that message.

use std::{collections::VecDeque, future::poll_fn, pin::Pin};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use prost::Message;
use tonic::{
    Code, Response, Status,
    body::Body,
    codec::EncodeBody,
    codegen::{
        Body as _,
        http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header},
    },
    transport::Channel,
};
use tonic_prost::ProstEncoder;
use tower::ServiceExt;

use crate::api;

const PATH: &str = "/airlock.v1.JobService/StreamOutput";
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The longest message, in bytes. A chunk is far smaller; a job with a long command line may be in the first and the last one.
const MESSAGE_MAX: usize = 64 << 20;

/// The messages of one call.
pub(crate) struct OutputStream {
    body: Body,
    frames: Frames,
}

impl OutputStream {
    /// Makes the call. The status has a source when the connection is to blame, and none when the server answered with it.
    pub(crate) async fn open(
        channel: Channel,
        request: api::StreamOutputRequest,
    ) -> Result<Response<OutputStream>, Status> {
        let messages = stream::iter([Ok(request)]);
        let encoder = ProstEncoder::<api::StreamOutputRequest>::default();
        let mut request = Request::new(Body::new(EncodeBody::new_client(encoder, messages, None, None)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(PATH);
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let response = channel.oneshot(request).await.map_err(|error| Status::from_error(Box::new(error)))?;
        refusal(response.status(), response.headers())?;
        Ok(Response::new(OutputStream { body: response.into_body(), frames: Frames::default() }))
    }

    /// The next message; `None` when the server ended the stream, or something between it and us did. May be cancelled without
    /// losing one.
    pub(crate) async fn message(&mut self) -> Result<Option<api::StreamOutputResponse>, Status> {
        loop {
            if let Some(message) = self.frames.message()? {
                let message = api::StreamOutputResponse::decode(message);
                return message.map(Some).map_err(|error| Status::internal(format!("a message is broken: {error}")));
            }
            let Some(frame) = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await else { return Ok(None) };
            match frame?.into_data() {
                Ok(data) => self.frames.push(data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return refusal(StatusCode::OK, &trailers).map(|()| None);
                }
            }
        }
    }
}

/// What a response says against the call.
fn refusal(http: StatusCode, headers: &HeaderMap) -> Result<(), Status> {
    match (Status::from_header_map(headers), http) {
        (Some(status), _) if status.code() != Code::Ok => Err(status),
        (Some(_), _) | (None, StatusCode::OK) => Ok(()),
        // Not the server but something before it, which cannot reach it.
        (None, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => {
            Err(Status::unavailable(format!("HTTP status {http}")))
        }
        (None, _) => Err(Status::unknown(format!("HTTP status {http}"))),
    }
}

/// Bytes as they came, until they make a message.
#[derive(Debug, Default)]
struct Frames {
    /// None of them is empty.
    frames: VecDeque<Bytes>,
    length: usize,
    /// The length of the message whose prefix was taken.
    expected: Option<usize>,
}

impl Frames {
    fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.length += frame.len();
            self.frames.push_back(frame);
        }
    }

    /// The next whole message. The server is to blame for an error, and the call cannot go on.
    fn message(&mut self) -> Result<Option<Bytes>, Status> {
        let expected = match self.expected {
            Some(expected) => expected,
            None if self.length < PREFIX => return Ok(None),
            None => {
                let mut prefix = self.take(PREFIX);
                if prefix.get_u8() != 0 {
                    return Err(Status::internal("a message is compressed, which was not asked for"));
                }
                let length = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
                if length > MESSAGE_MAX {
                    return Err(Status::internal(format!("a message of {length} bytes is too long")));
                }
                *self.expected.insert(length)
            }
        };
        if self.length < expected {
            return Ok(None);
        }
        self.expected = None;
        Ok(Some(self.take(expected)))
    }

    /// The first bytes; so many must be there. A part of a frame where they lie in one, which is the ordinary case.
    fn take(&mut self, count: usize) -> Bytes {
        self.length -= count;
        match self.frames.front_mut() {
            Some(first) if first.len() > count => return first.split_to(count),
            Some(first) if first.len() == count => return self.frames.pop_front().unwrap_or_default(),
            _ => {}
        }
        let mut joined = BytesMut::with_capacity(count);
        while joined.len() < count
            && let Some(mut frame) = self.frames.pop_front()
        {
            joined.extend_from_slice(&frame.split_to(frame.len().min(count - joined.len())));
            if !frame.is_empty() {
                self.frames.push_front(frame);
            }
        }
        joined.freeze()
    }
}

#[cfg(test)]
mod tests;
