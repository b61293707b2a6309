use bytes::Buf;
use futures_util::{StreamExt, stream};

use super::*;

fn chunk(data: Vec<u8>) -> v1::StreamOutputResponse {
    let time = Some(prost_types::Timestamp { seconds: 1_763_625_600, nanos: 5 });
    let chunk =
        v1::Chunk { stream: 2, offset: 1 << 40, stream_offset: 7, time, seq: 812, data: data.into(), recovered: true };
    v1::StreamOutputResponse { event: Some(Event::Chunk(chunk)) }
}

fn heartbeat() -> v1::StreamOutputResponse {
    v1::StreamOutputResponse { event: Some(Event::Heartbeat(v1::Heartbeat { offset: 9 })) }
}

/// What a client makes of the bytes, by the generated types alone.
fn decoded(mut bytes: &[u8]) -> Vec<v1::StreamOutputResponse> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes.get_u8(), 0, "not compressed");
        let length = bytes.get_u32() as usize;
        messages.push(v1::StreamOutputResponse::decode(&bytes[..length]).unwrap());
        bytes.advance(length);
    }
    messages
}

fn next(body: &mut OutputBody) -> Poll<Option<Frame<Pieces>>> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    Pin::new(body).poll_frame(&mut cx).map(|frame| frame.map(Result::unwrap))
}

fn next_data(body: &mut OutputBody) -> Pieces {
    match next(body) {
        Poll::Ready(Some(frame)) => frame.into_data().expect("data"),
        other => panic!("no data: {other:?}"),
    }
}

#[test]
fn messages_arrive_as_any_client_decodes_them_whatever_the_size_of_their_data() {
    let mut sent = vec![heartbeat()];
    sent.extend([1, COPIED - 1, COPIED, 16_336, 1 << 20].map(|length| chunk(vec![7; length])));
    sent.push(heartbeat());
    let mut pieces = Pieces::default();
    sent.iter().for_each(|message| encode(message.clone(), &mut pieces));
    let bytes = pieces.copy_to_bytes(pieces.remaining());
    assert!(decoded(&bytes) == sent);
}

#[test]
fn output_is_sent_from_where_it_lies() {
    let data = Bytes::from(vec![1u8; 16_336]);
    let mut message = chunk(Vec::new());
    if let Some(Event::Chunk(chunk)) = &mut message.event {
        chunk.data = data.clone();
    }
    let mut pieces = Pieces::default();
    encode(message, &mut pieces);
    pieces.advance(pieces.remaining() - data.len());
    assert_eq!(pieces.chunk().as_ptr(), data.as_ptr());
}

#[test]
fn what_is_ready_goes_together_and_what_is_not_keeps_nothing_back() {
    let messages = stream::iter((0..10).map(|_| Ok(chunk(vec![7; 16_000])))).chain(stream::pending());
    let mut body = OutputBody::new(Box::pin(messages));
    let mut count = 0;
    while let Poll::Ready(Some(frame)) = next(&mut body) {
        let mut data = frame.into_data().expect("data");
        assert!(data.len() < TOGETHER + 17_000, "bounded: {}", data.len());
        let found = decoded(&data.copy_to_bytes(data.remaining())).len();
        assert!(found == 3 || count + found == 10, "together: {found}");
        count += found;
    }
    assert_eq!(count, 10);
    assert!(next(&mut body).is_pending());
}

#[test]
fn the_status_comes_behind_the_last_message() {
    let messages = stream::iter([Ok(heartbeat()), Err(Status::unavailable("stopping"))]);
    let mut body = OutputBody::new(Box::pin(messages));
    assert!(!next_data(&mut body).is_empty());
    assert!(!body.is_end_stream());
    let Poll::Ready(Some(frame)) = next(&mut body) else { panic!("no end") };
    let trailers = frame.into_trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "14");
    assert_eq!(trailers["grpc-message"], "stopping");
    assert!(body.is_end_stream());
    assert!(matches!(next(&mut body), Poll::Ready(None)));
}

#[test]
fn a_stream_that_ends_is_a_success() {
    let mut body = OutputBody::new(Box::pin(stream::empty()));
    let Poll::Ready(Some(frame)) = next(&mut body) else { panic!("no end") };
    assert_eq!(frame.into_trailers().expect("trailers")["grpc-status"], "0");
}
