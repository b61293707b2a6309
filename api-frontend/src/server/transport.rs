//! HTTP/2 over the connections that the acceptor hands out.
//!
//! tonic's own server leaves hyper's 400 KiB of send buffer for each stream in place. A thousand followers would hold 400 MB
//! with it, so hyper is set up here; the services are tonic's all the same.

use std::convert::Infallible;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::together::{NewCalls, Together};
use crate::config::ServerLimits;
use crate::grpc::{Calls, turn_away};
use crate::tls::{Arrival, Connection, TurnedAway};

/// What one stream may have waiting for its client, in bytes: what the connection does not take is read from the log later.
const SEND_BUFFER: usize = 64 << 10;
/// Receive windows, for uploads: above what a loopback or a fast network holds in flight.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Frames as large as a read.
const FRAME: u32 = 256 << 10;
/// Headers of one call, in bytes.
const HEADERS_MAX: u32 = 16 << 10;
/// Streams that this side reset for the client's faults, and that the client reset before they were taken up: with more, the
/// connection is closed. Resets are the cheap half of an attack on who must act on requests.
const RESETS_MAX: usize = 1024;
const PENDING_RESETS_MAX: usize = 20;
/// A connection on which nothing comes is asked for a sign of life, and closed without one.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(20);

/// How long a connection stays that is one too many, or of somebody without a role, so that its client can be told.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls of one too many that are answered.
const STREAMS_OF_TURNED_AWAY: u32 = 16;

/// Serves connections, all in the same way.
#[derive(Debug)]
pub(super) struct Transport {
    streams: u32,
    calls: Calls,
}

impl Transport {
    /// `limits` has the number of calls that one connection may have at a time.
    pub(super) fn new(calls: Calls, limits: &ServerLimits) -> Self {
        Self { streams: limits.streams_per_connection(), calls }
    }

    /// Serves every connection that comes until `closing` fires, and then until all calls have ended. Who waits for that has to
    /// say for how long.
    pub(super) async fn serve(self, mut arrivals: mpsc::Receiver<Arrival>, closing: CancellationToken) {
        let open = TaskTracker::new();
        loop {
            let arrival = tokio::select! {
                () = closing.cancelled() => break,
                arrival = arrivals.recv() => arrival,
            };
            match arrival {
                Some(Arrival::Open(connection)) => _ = open.spawn(self.serve_one(connection, closing.clone())),
                Some(Arrival::TurnedAway(away)) => _ = open.spawn(tell_why(away)),
                None => break,
            }
        }
        drop(arrivals);
        open.close();
        open.wait().await;
    }

    fn serve_one(&self, connection: Connection, closing: CancellationToken) -> impl Future<Output = ()> + use<> {
        let address = connection.peer().address;
        let calls = self.calls.of(connection.peer().clone());
        let welcome = self.calls.welcome(connection.peer());
        let new = NewCalls::default();
        let serving = http(self.streams, new.clone()).serve_connection(TokioIo::new(connection), calls);
        let mut serving = Together::new(serving, new);
        // Who has no role is told so by each call, and may not keep for nothing what others have a use for.
        let out_of_place = async move {
            match welcome {
                true => std::future::pending().await,
                false => tokio::time::sleep(PATIENCE).await,
            }
        };
        async move {
            let served = tokio::select! {
                served = &mut serving => served,
                () = closing.cancelled() => {
                    // No new calls; those under way end by themselves.
                    serving.connection().graceful_shutdown();
                    serving.await
                }
                () = out_of_place => {
                    serving.connection().graceful_shutdown();
                    tokio::time::timeout(PATIENCE, serving).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = served {
                tracing::debug!(%address, %error, "connection ended");
            }
        }
    }
}

/// Answers the first call of a connection that is one too many, so that its client can say why, and closes it.
async fn tell_why(away: TurnedAway) {
    let TurnedAway { stream, peer, why, place: _place } = away;
    let told = CancellationToken::new();
    let answered = told.clone();
    let service = service_fn(move |_: Request<Incoming>| {
        answered.cancel();
        let answer = turn_away(&peer, &why);
        async move { Ok::<_, Infallible>(answer) }
    });
    let new = NewCalls::default();
    let serving = http(STREAMS_OF_TURNED_AWAY, new.clone()).serve_connection(TokioIo::new(stream), service);
    let mut serving = Together::new(serving, new);
    let served = async {
        tokio::select! {
            _ = &mut serving => return,
            () = told.cancelled() => serving.connection().graceful_shutdown(),
        }
        let _ = serving.await;
    };
    // Who asks nothing, or does not take the answer, is not waited for.
    let _ = tokio::time::timeout(PATIENCE, served).await;
}

fn http(streams: u32, calls: NewCalls) -> Builder<NewCalls> {
    let mut http = Builder::new(calls);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_PATIENCE);
    http
}

#[cfg(test)]
mod tests;
