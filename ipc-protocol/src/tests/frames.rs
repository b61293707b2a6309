//! Frames as they arrive: in pieces, together, and from peers that lie about their length.

use proptest::{collection::vec, prelude::*};

use crate::{ANSWER_FRAME_MAX, FrameBuffer, FrameError, REQUEST_FRAME_MAX, body_length, frame_header};

fn frame(body: &[u8]) -> Vec<u8> {
    [&frame_header(body.len())[..], body].concat()
}

#[test]
fn a_length_is_four_bytes_little_endian() {
    assert_eq!(frame_header(0x0001_0203), [3, 2, 1, 0]);
    assert_eq!(body_length([3, 2, 1, 0], 1 << 20), Ok(0x0001_0203));
}

#[test]
fn a_frame_of_nothing_is_refused() {
    assert_eq!(body_length([0; 4], 10), Err(FrameError::Empty));
    let mut buffer = FrameBuffer::new(10);
    buffer.extend(&[0, 0, 0, 0, 1]);
    assert_eq!(buffer.next_body(), Err(FrameError::Empty));
}

#[test]
fn the_longest_frame_is_taken_and_one_byte_more_is_not() {
    for max in [1, 10, REQUEST_FRAME_MAX, ANSWER_FRAME_MAX] {
        assert_eq!(body_length(frame_header(max), max), Ok(max));
        let length = u32::try_from(max + 1).unwrap();
        assert_eq!(body_length(length.to_le_bytes(), max), Err(FrameError::TooLong { length, max }));
    }
    let mut buffer = FrameBuffer::new(REQUEST_FRAME_MAX);
    buffer.extend(&frame(&vec![7; REQUEST_FRAME_MAX]));
    assert_eq!(buffer.next_body().unwrap().map(<[u8]>::len), Some(REQUEST_FRAME_MAX));
    assert!(!buffer.is_partial());
}

#[test]
fn a_lie_about_the_length_is_refused_before_the_body_arrives() {
    for length in [REQUEST_FRAME_MAX as u32 + 1, 1 << 30, u32::MAX] {
        let mut buffer = FrameBuffer::new(REQUEST_FRAME_MAX);
        buffer.extend(&length.to_le_bytes());
        assert_eq!(buffer.next_body(), Err(FrameError::TooLong { length, max: REQUEST_FRAME_MAX }));
    }
}

#[test]
fn a_body_too_long_for_a_length_cannot_pass_as_a_short_one() {
    assert_eq!(frame_header(usize::MAX), [255; 4]);
    assert_eq!(frame_header(1 << 32), [255; 4]);
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_whole_with_its_last_byte() {
    let bytes = frame(b"body");
    let mut buffer = FrameBuffer::new(100);
    assert!(!buffer.is_partial());
    for byte in &bytes[..bytes.len() - 1] {
        buffer.extend(&[*byte]);
        assert_eq!(buffer.next_body(), Ok(None));
        assert!(buffer.is_partial());
    }
    buffer.extend(&bytes[bytes.len() - 1..]);
    assert_eq!(buffer.next_body(), Ok(Some(&b"body"[..])));
    assert_eq!(buffer.next_body(), Ok(None));
    assert!(!buffer.is_partial());
}

#[test]
fn several_frames_of_one_read_come_out_in_their_order() {
    let mut buffer = FrameBuffer::new(100);
    buffer.extend(&[frame(b"one"), frame(b"two"), frame(b"three")[..6].to_vec()].concat());
    assert_eq!(buffer.next_body(), Ok(Some(&b"one"[..])));
    assert_eq!(buffer.next_body(), Ok(Some(&b"two"[..])));
    assert_eq!(buffer.next_body(), Ok(None));
    assert!(buffer.is_partial());
    buffer.extend(&frame(b"three")[6..]);
    assert_eq!(buffer.next_body(), Ok(Some(&b"three"[..])));
    assert!(!buffer.is_partial());
}

#[test]
fn errors_name_the_length_and_the_bound() {
    assert_eq!(FrameError::Empty.to_string(), "a frame of length 0");
    assert_eq!(FrameError::TooLong { length: 11, max: 10 }.to_string(), "a frame of 11 bytes, above 10");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bodies_arrive_whole_however_the_bytes_are_cut(
        bodies in vec(vec(any::<u8>(), 1..200), 1..8),
        cuts in vec(1usize..50, 1..20),
    ) {
        let sent: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let mut buffer = FrameBuffer::new(200);
        let mut arrived = Vec::new();
        let mut rest = &sent[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            buffer.extend(now);
            while let Some(body) = buffer.next_body().unwrap() {
                arrived.push(body.to_vec());
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(arrived, bodies);
        prop_assert!(!buffer.is_partial());
    }
}
