//! Calls of one connection, brought to the services: who calls, until when, and which answer goes out how.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use tonic::Status;
use tonic::service::Routes;
use tower::ServiceExt;

use super::{Service, deadline, output_call, pieces::Pieces};
use crate::tls::PeerInfo;

/// All services. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Calls {
    service: Service,
    routes: Routes,
}

impl Calls {
    /// `service` answers calls that stream output, `routes` all others.
    pub fn new(service: Service, routes: Routes) -> Self {
        Self { service, routes: routes.prepare() }
    }

    /// The calls of one connection.
    pub fn of(&self, peer: PeerInfo) -> CallsOf {
        CallsOf { calls: self.clone(), peer }
    }

    async fn answer(self, mut request: Request<Incoming>, peer: PeerInfo) -> Response<Reply> {
        request.extensions_mut().insert(peer);
        let deadline = deadline::of(request.headers());
        let answer = async {
            if request.uri().path() == output_call::PATH {
                return output_call::answer(&self.service, request).await;
            }
            let answered = self.routes.clone().oneshot(request.map(tonic::body::Body::new)).await;
            answered.unwrap_or_else(|never: Infallible| match never {}).map(Reply::Message)
        };
        let Some(deadline) = deadline else { return answer.await };
        match tokio::time::timeout(deadline, answer).await {
            Ok(response) => response,
            Err(_) => {
                let status = Status::deadline_exceeded(format!("no answer within the caller's deadline, {deadline:?}"));
                status.into_http::<tonic::body::Body>().map(Reply::Message)
            }
        }
    }
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
        Box::pin(async move { Ok(calls.answer(request, peer).await) })
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
