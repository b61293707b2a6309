//! StreamOutput on the wire.
//!
//! A generated service copies each message into a buffer of its own, which then waits for the connection: for a thousand
//! followers that is every byte a thousand times. This call is therefore answered here: the few bytes around the output are
//! written, the output itself is sent from where the log's reader has it, and followers at the same place share that.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use airlock_proto::v1::{self, job_service_server::JobService, stream_output_response::Event};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::codec::Streaming;
use tonic::{Code, Status};
use tonic_prost::ProstDecoder;

use super::{Reply, Service, calls::refusal, intake::Measured, pieces::Pieces};
use crate::tls::Held;

/// The method's path.
pub(super) const PATH: &str = "/airlock.v1.JobService/StreamOutput";

/// Field numbers of the interface: `StreamOutputResponse.chunk` and `Chunk.data`.
const CHUNK: u32 = 1;
const DATA: u32 = 6;
/// What is ready is sent together once it is this many bytes: three of the log's records, which become four of TLS's and one
/// system call.
const TOGETHER: usize = 40 << 10;
/// Below this many bytes, a piece of its own costs more than copying.
const COPIED: usize = 512;

/// Answers the call.
pub(super) async fn answer(
    service: &Service,
    request: Request<Measured<Incoming>>,
    held: Arc<Held>,
) -> Response<Reply> {
    match open(service, request).await {
        Ok(messages) => {
            let body = OutputBody { held: Some(held), ..OutputBody::new(messages) };
            let mut response = Response::new(Reply::Output(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        Err(status) => refusal(status),
    }
}

async fn open(service: &Service, request: Request<Measured<Incoming>>) -> Result<Messages, Status> {
    let (parts, body) = request.into_parts();
    if parts.headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented("compressed requests are not taken; send them as they are"));
    }
    let decoder = ProstDecoder::<v1::StreamOutputRequest>::default();
    let mut messages = Streaming::new_request(decoder, body, None, None);
    let Some(message) = messages.try_next().await? else {
        return Err(Status::new(Code::InvalidArgument, "the call has no message"));
    };
    let request = tonic::Request::from_http(Request::from_parts(parts, message));
    Ok(service.stream_output(request).await?.into_inner())
}

/// What a call streams.
pub type Messages = Pin<Box<dyn Stream<Item = Result<v1::StreamOutputResponse, Status>> + Send>>;

/// The body of the response: messages as they come, then the status.
pub struct OutputBody {
    messages: Messages,
    /// How the call ends, once that is known; sent behind the last message.
    end: Option<Status>,
    over: bool,
    /// The call counts as its caller's until the last byte.
    held: Option<Arc<Held>>,
}

impl OutputBody {
    /// Sends these messages, which end with an error or with success.
    pub fn new(messages: Messages) -> Self {
        Self { messages, end: None, over: false, held: None }
    }

    fn trailers(&mut self, status: &Status) -> Frame<Pieces> {
        self.over = true;
        self.held = None;
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // Its details fit into no header; the code is what must arrive.
            trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(status.code() as i32));
        }
        Frame::trailers(trailers)
    }
}

impl Body for OutputBody {
    type Data = Pieces;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Pieces>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut ready = Pieces::default();
        while self.end.is_none() && ready.len() < TOGETHER {
            match self.messages.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => encode(message, &mut ready),
                Poll::Ready(Some(Err(status))) => self.end = Some(status),
                Poll::Ready(None) => self.end = Some(Status::new(Code::Ok, "")),
                Poll::Pending if ready.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if !ready.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(ready))));
        }
        let end = self.end.take();
        Poll::Ready(end.map(|status| Ok(self.trailers(&status))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

/// Adds a message with gRPC's five bytes before it: not compressed, and its length. A chunk's data becomes a piece of its own.
fn encode(mut message: v1::StreamOutputResponse, to: &mut Pieces) {
    let data = match &mut message.event {
        Some(Event::Chunk(chunk)) if chunk.data.len() >= COPIED => mem::take(&mut chunk.data),
        _ => Bytes::new(),
    };
    let mut head = BytesMut::with_capacity(128);
    head.put_u8(0);
    match &message.event {
        Some(Event::Chunk(chunk)) if !data.is_empty() => {
            // Fields may stand in any order, so the data can be the last.
            let behind = key_len(DATA) + encoded_len_varint(data.len() as u64) + data.len();
            let chunk_length = (chunk.encoded_len() + behind) as u64;
            let length = key_len(CHUNK) + encoded_len_varint(chunk_length) + chunk_length as usize;
            head.put_u32(length as u32);
            encode_key(CHUNK, WireType::LengthDelimited, &mut head);
            encode_varint(chunk_length, &mut head);
            chunk.encode_raw(&mut head);
            encode_key(DATA, WireType::LengthDelimited, &mut head);
            encode_varint(data.len() as u64, &mut head);
        }
        _ => {
            head.put_u32(message.encoded_len() as u32);
            message.encode_raw(&mut head);
        }
    }
    to.push(head.freeze());
    to.push(data);
}

#[cfg(test)]
mod tests;
