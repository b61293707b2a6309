use proptest::prelude::*;

use super::*;

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

proptest! {
    #[test]
    fn messages_are_the_same_however_they_are_cut_into_frames(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..8),
        cuts in proptest::collection::vec(1usize..40, 1..30),
    ) {
        let mut wire = Bytes::from(messages.iter().flat_map(|message| framed(message)).collect::<Vec<u8>>());
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        let mut cuts = cuts.into_iter().cycle();
        while !wire.is_empty() {
            frames.push(wire.split_to(cuts.next().unwrap_or(1).min(wire.len())));
            while let Some(message) = frames.message().unwrap() {
                found.push(message.to_vec());
            }
        }
        prop_assert_eq!(found, messages);
        prop_assert_eq!(frames.length, 0);
    }
}

#[test]
fn a_message_within_one_frame_is_not_copied() {
    let wire = Bytes::from([framed(b"first"), framed(b"second")].concat());
    let mut frames = Frames::default();
    frames.push(wire.clone());
    assert_eq!(frames.message().unwrap().unwrap().as_ptr(), wire[PREFIX..].as_ptr());
    assert_eq!(frames.message().unwrap().unwrap(), "second");
    assert!(frames.message().unwrap().is_none());
}

#[test]
fn a_message_that_is_compressed_or_too_long_ends_the_call_before_it_is_held() {
    for prefix in [[1, 0, 0, 0, 1], [0, 255, 255, 255, 255]] {
        let mut frames = Frames::default();
        frames.push(Bytes::copy_from_slice(&prefix));
        assert_eq!(frames.message().unwrap_err().code(), Code::Internal);
    }
}

#[test]
fn a_server_that_cannot_be_reached_by_what_stands_before_it_is_unavailable_and_anything_else_is_unknown() {
    let none = HeaderMap::new();
    assert!(refusal(StatusCode::OK, &none).is_ok());
    assert_eq!(refusal(StatusCode::BAD_GATEWAY, &none).unwrap_err().code(), Code::Unavailable);
    assert_eq!(refusal(StatusCode::NOT_FOUND, &none).unwrap_err().code(), Code::Unknown);
    let mut said = HeaderMap::new();
    said.insert("grpc-status", HeaderValue::from_static("5"));
    assert_eq!(refusal(StatusCode::OK, &said).unwrap_err().code(), Code::NotFound);
}
