//! Calls of one connection, brought to the services: who calls, until when, and which answer goes out how.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::ServiceExt;
use uuid::Uuid;

use super::door::Guest;
use super::intake::{Measured, Takes};
use super::{Door, Service, deadline, error, output_call, pieces::Pieces};
use crate::authorize::{Caller, Verb};
use crate::metrics::{self, Metrics};
use crate::tls::{PeerInfo, TooMany};

/// All services. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Calls {
    door: Door,
    service: Service,
    routes: Routes,
    metrics: Arc<Metrics>,
    message_max: usize,
}

impl Calls {
    /// `door` says who comes in, `service` answers calls that stream output, `routes` all others; `metrics` counts them. No message
    /// is longer than `message_max` bytes, whatever its method takes.
    pub fn new(door: Door, service: Service, routes: Routes, metrics: Metrics, message_max: usize) -> Self {
        Self { door, service, routes: routes.prepare(), metrics: Arc::new(metrics), message_max }
    }

    /// The calls of one connection.
    pub fn of(&self, peer: PeerInfo) -> CallsOf {
        CallsOf { calls: self.clone(), peer }
    }

    /// Whether calls of this peer will be answered, as things stand.
    pub fn welcome(&self, peer: &PeerInfo) -> bool {
        self.door.knows(peer)
    }

    /// Answers whoever does not speak gRPC: what was counted, as text.
    fn monitoring(&self, request: &Request<Incoming>, peer: PeerInfo) -> Response<Reply> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "metrics are read with GET".into());
        }
        let guest = match self.door.admit(peer, request.headers()) {
            Ok(guest) => guest,
            Err(status) => return text(StatusCode::FORBIDDEN, status.message().to_owned()),
        };
        if let Err(denied) = self.service.may(&guest.caller, Verb::Metrics) {
            return text(StatusCode::FORBIDDEN, denied.message().to_owned());
        }
        match self.metrics.text() {
            Ok(all) => {
                let mut answer = Response::new(Reply::Message(tonic::body::Body::new(all)));
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
                answer
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}")),
        }
    }

    async fn answer(self, request: Request<Incoming>, peer: PeerInfo) -> Response<Reply> {
        // First of all: what somebody sends who is nobody here is neither read nor held.
        let guest = match self.door.admit(peer, request.headers()) {
            Ok(guest) => guest,
            Err(status) => return refusal(status),
        };
        let Some(held) = guest.peer.share.begin(CALLS_MAX) else { return refusal(too_many_calls(&guest)) };
        let takes = Takes::of(request.uri().path(), self.message_max);
        let request_id = guest.caller.request_id.clone();
        let deadline = deadline::of(request.headers());
        let mut request = request.map(|body| Measured::new(body, takes, held.clone(), &guest.caller));
        request.extensions_mut().insert(guest);
        let answer = async {
            if request.uri().path() == output_call::PATH {
                return output_call::answer(&self.service, request, held.clone()).await;
            }
            let answered = self.routes.clone().oneshot(request.map(tonic::body::Body::new)).await;
            answered.unwrap_or_else(|never: Infallible| match never {}).map(Reply::Message)
        };
        let answered = match deadline {
            None => answer.await,
            Some(deadline) => tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| {
                let message = format!("no answer within the caller's deadline, {deadline:?}");
                refusal(Status::deadline_exceeded(message))
            }),
        };
        // What was asked is held until it is answered.
        drop(held);
        blamed_on_the_caller(answered, &request_id)
    }
}

/// The library calls a message that it cannot read an internal error. It is the caller's: what goes wrong in here is told with details.
fn blamed_on_the_caller(answer: Response<Reply>, request_id: &str) -> Response<Reply> {
    let found = Status::from_header_map(answer.headers());
    match found.filter(|status| status.code() == Code::Internal && status.details().is_empty()) {
        Some(status) => refusal(error::plain(Code::InvalidArgument, "INVALID", status.message(), request_id)),
        None => answer,
    }
}

/// Most calls of one identity that are not answered to their end, over all its connections: each that follows output holds a file
/// open, and others need some too.
const CALLS_MAX: usize = 4096;

fn too_many_calls(guest: &Guest) -> Status {
    let Caller { name, request_id, .. } = &guest.caller;
    let message = format!("{name} has {CALLS_MAX} calls under way, the most that one identity may have; wait for some");
    tracing::info!(request_id, name, message, "refused");
    error::plain(Code::ResourceExhausted, "CALLS", message, request_id)
}

/// The answer to each call on a connection that is one too many.
pub fn turn_away(peer: &PeerInfo, why: &TooMany) -> Response<Reply> {
    let (request_id, name) = (Uuid::new_v4().to_string(), peer.identity.name());
    tracing::info!(request_id, name, serial = peer.identity.serial(), peer = %peer.address, %why, "refused");
    refusal(error::plain(Code::ResourceExhausted, "CONNECTIONS", why.to_string(), &request_id))
}

/// A sentence for whoever does not speak gRPC.
fn text(code: StatusCode, sentence: String) -> Response<Reply> {
    let mut answer = Response::new(Reply::Message(tonic::body::Body::new(sentence + "\n")));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// An answer that is nothing but a status.
pub(super) fn refusal(status: Status) -> Response<Reply> {
    status.into_http::<tonic::body::Body>().map(Reply::Message)
}

/// The calls of one connection.
#[derive(Debug)]
pub struct CallsOf {
    calls: Calls,
    peer: PeerInfo,
}

impl hyper::service::Service<Request<Incoming>> for CallsOf {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Reply>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (calls, peer) = (self.calls.clone(), self.peer.clone());
        Box::pin(async move {
            let path = request.uri().path();
            if path == metrics::PATH {
                return Ok(calls.monitoring(&request, peer));
            }
            let (metrics, path) = (calls.metrics.clone(), path.to_owned());
            let answer = calls.answer(request, peer).await;
            let code = Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code());
            metrics.answered(&path, code);
            Ok(answer)
        })
    }
}

/// The body of an answer.
pub enum Reply {
    /// As the generated services make it.
    Message(tonic::body::Body),
    /// A stream of output.
    Output(output_call::OutputBody),
}

impl Body for Reply {
    type Data = Pieces;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Pieces>, Status>>> {
        match self.get_mut() {
            Self::Message(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(|bytes: Bytes| bytes.into()))))
            }
            Self::Output(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(body) => body.is_end_stream(),
            Self::Output(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Message(body) => body.size_hint(),
            Self::Output(body) => body.size_hint(),
        }
    }
}
