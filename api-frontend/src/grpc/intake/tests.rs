use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;

use airlock_proto::identity::Role;
use futures_util::future::poll_fn;

use super::*;
use crate::policy::{Terms, Visibility};
use crate::tls::Share;
use crate::turns::Turns;

/// A body that comes in these pieces.
struct Parts(VecDeque<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn head(length: usize) -> Vec<u8> {
    [&[0][..], &u32::try_from(length).unwrap().to_be_bytes()].concat()
}

/// What gets through of `bytes` that come in pieces of `size`, and how it ends.
async fn through(path: &str, bytes: &[u8], size: usize) -> (usize, Result<(), Status>) {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let (name, serial, request_id) = ("bob".into(), "1".into(), "r".into());
    let (role, visibility, terms) = (Role::User, Visibility::Own, Terms::default());
    let caller = Caller { name, serial, peer, role, visibility, terms, request_id, turns: Turns::default() };
    let parts = Parts(bytes.chunks(size).map(Bytes::copy_from_slice).collect());
    let held = Arc::new(Share::default()).begin(1).unwrap();
    let mut body = Measured::new(parts, Takes::of(path, 4 << 20), held, &caller);
    let mut count = 0;
    loop {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return (count, Ok(())),
            Some(Ok(frame)) => count += frame.into_data().unwrap().len(),
            Some(Err(error)) => return (count, Err(*error.downcast().unwrap())),
        }
    }
}

const START: &str = "/airlock.v1.JobService/StartJob";
const UPLOAD: &str = "/airlock.v1.JobService/UploadInput";

#[tokio::test]
async fn a_message_of_the_greatest_length_comes_through_in_whatever_pieces() {
    for (path, most) in [(START, START_MAX), ("/airlock.v1.JobService/GetJob", SMALL_MAX), ("/grpc.health", OTHER_MAX)]
    {
        let bytes = [head(most), vec![7; most]].concat();
        for size in [1, 4, 5, 7, 16_384, bytes.len()] {
            let (count, ended) = through(path, &bytes, size).await;
            assert!(ended.is_ok() && count == bytes.len(), "{path} {size}: {ended:?}");
        }
    }
    let data = [head(UPLOAD_MESSAGE_MAX + 8), vec![7; UPLOAD_MESSAGE_MAX + 8]].concat();
    let three = data.repeat(3);
    assert!(matches!(through(UPLOAD, &three, 16_384).await, (count, Ok(())) if count == three.len()));
}

#[tokio::test]
async fn a_longer_message_is_refused_by_its_announcement() {
    for (path, most) in [(START, START_MAX), (UPLOAD, UPLOAD_MESSAGE_MAX + 8), ("/grpc.health", OTHER_MAX)] {
        for size in [1, 5] {
            let (count, ended) = through(path, &head(most + 1), size).await;
            let status = ended.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert!(count < HEAD && status.message().contains("above the most"), "{status}");
        }
    }
}

#[tokio::test]
async fn a_call_that_takes_one_message_takes_neither_none_nor_two_nor_half_of_one() {
    let message = [head(3), vec![7; 3]].concat();
    for wrong in [Vec::new(), message.repeat(2), message[..4].to_vec(), message[..7].to_vec()] {
        let status = through(START, &wrong, 100).await.1.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{wrong:?}: {status}");
    }
    assert!(through(START, &head(0), 100).await.1.is_ok(), "an empty message is one");
    assert!(through(UPLOAD, &[], 100).await.1.is_ok(), "an upload may be empty");
}
