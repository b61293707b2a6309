use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use airlock_proto::v1;
use airlock_proto::v1::stream_output_response::Event;
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioExecutor;
use tonic::body::Body;

use super::*;
use crate::grpc::{OutputBody, Reply};

const CHUNK: usize = 16_000;

/// Output without end; counts the chunks that were asked for.
fn endless(asked: Arc<AtomicUsize>) -> OutputBody {
    let chunk = v1::Chunk { data: vec![7; CHUNK].into(), ..Default::default() };
    let message = v1::StreamOutputResponse { event: Some(Event::Chunk(chunk)) };
    OutputBody::new(Box::pin(futures_util::stream::repeat_with(move || {
        asked.fetch_add(1, Ordering::Relaxed);
        Ok(message.clone())
    })))
}

/// A client that takes nothing off the connection once it has asked: how many bytes the server holds for it.
#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_read_ahead_by_little_more_than_its_send_buffer() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let stopped = CancellationToken::new();
    // The network between the two, which can be stopped and then holds what it holds.
    tokio::spawn({
        let stopped = stopped.clone();
        async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut theirs, &mut near) => {}
                () = stopped.cancelled() => std::future::pending().await,
            }
        }
    });
    let counted = asked.clone();
    let service = service_fn(move |_: Request<Incoming>| {
        let body = endless(counted.clone());
        async move { Ok::<_, Infallible>(Response::new(Reply::Output(body))) }
    });
    let new = NewCalls::default();
    tokio::spawn(Together::new(http(8, new.clone()).serve_connection(TokioIo::new(ours), service), new));
    let (mut calls, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake::<_, Body>(TokioIo::new(far))
        .await
        .unwrap();
    tokio::spawn(connection);
    let _response = calls.send_request(Request::new(Body::empty())).await.unwrap();
    stopped.cancel();
    tokio::task::yield_now().await;
    let before = asked.load(Ordering::Relaxed) * CHUNK;
    // Until the server has nothing more to do.
    let (mut now, mut same) = (before, 0);
    while same < 100 {
        tokio::task::yield_now().await;
        let again = asked.load(Ordering::Relaxed) * CHUNK;
        same = if again == now { same + 1 } else { 0 };
        now = again;
    }
    let held = now - before;
    assert!(held <= SEND_BUFFER + 3 * (64 << 10), "{held} bytes");
}

#[tokio::test]
async fn output_goes_over_the_connection_unchanged_and_ends_with_its_status() {
    let parts: Vec<Vec<u8>> = (0..300u32).map(|i| vec![i as u8; 1 + (i as usize * 977) % 40_000]).collect();
    let (ours, theirs) = tokio::io::duplex(100_000);
    let sent = parts.clone();
    let service = service_fn(move |_: Request<Incoming>| {
        let messages = futures_util::stream::iter(sent.clone()).map(|part| {
            let chunk = v1::Chunk { data: part.into(), ..Default::default() };
            Ok(v1::StreamOutputResponse { event: Some(Event::Chunk(chunk)) })
        });
        let body = OutputBody::new(Box::pin(messages));
        async move { Ok::<_, Infallible>(Response::new(Reply::Output(body))) }
    });
    let new = NewCalls::default();
    tokio::spawn(Together::new(http(8, new.clone()).serve_connection(TokioIo::new(ours), service), new));
    let (mut calls, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake::<_, Body>(TokioIo::new(theirs))
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = calls.send_request(Request::new(Body::empty())).await.unwrap();
    let decoder = tonic_prost::ProstDecoder::<v1::StreamOutputResponse>::default();
    let status = hyper::StatusCode::OK;
    let mut messages = tonic::Streaming::new_response(decoder, response.into_body(), status, None, None);
    let mut found = Vec::new();
    while let Some(message) = messages.message().await.unwrap() {
        let Some(Event::Chunk(chunk)) = message.event else { panic!("no chunk: {message:?}") };
        found.push(chunk.data.to_vec());
    }
    assert!(found == parts);
}
