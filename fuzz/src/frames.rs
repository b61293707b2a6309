//! Bytes on the socket between the two halves: cut into slices anywhere, framed or not, each body decoded.
//!
//! Claims: nothing panics; memory stays within a bound that no length in the bytes can move; the same frames come out
//! wherever the slices are cut; a request or a hello that decodes is the only form of itself; an answer that decodes comes back
//! as it was, and its payload may go around the encoder.

use ipc_protocol::{
    ANSWER_FRAME_MAX, Answer, FrameBuffer, FrameError, Hello, REQUEST_FRAME_MAX, decode_answer, decode_request,
    encode_answer, encode_request, frame_header, output_prefix,
};

use crate::{MEMORY, input::Input, tally};

/// What one input may hold at a time: the stream in two copies and one frame, each up to twice its length while it grows, a
/// message of the codec's limit (4 MiB), and its encoding.
const MEMORY_MAX: usize = 10 * 1024 * 1024;
/// Most bytes of a stream; enough for one frame that is too long.
const STREAM_MAX: usize = 300 * 1024;

/// Decodes one connection's worth of bytes.
pub fn run(data: &[u8]) {
    MEMORY.set_limit(MEMORY.allocated() + MEMORY_MAX).expect("a limit above what is in use");
    let mut input = Input::new(data);
    let from_frontend = input.coin();
    let most = if from_frontend { REQUEST_FRAME_MAX } else { ANSWER_FRAME_MAX };
    let most = input.pick(&[most, most, most, 64]);
    let slicing = input.byte();
    let stream = if input.coin() { framed(&mut input) } else { input.take_rest().to_vec() };

    let expected = split(&stream, most);
    let mut bodies = expected.bodies.iter();
    let mut buffer = FrameBuffer::new(most);
    let mut error = None;
    for slice in slices(&stream, slicing) {
        buffer.extend(slice);
        loop {
            match buffer.next_body() {
                Ok(None) => break,
                Ok(Some(body)) => {
                    assert_eq!(Some(&body), bodies.next(), "a frame depends on where the bytes were cut");
                    if from_frontend { request(body) } else { answer(body) }
                }
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        if error.is_some() {
            break;
        }
    }
    assert_eq!(bodies.next(), None, "a frame was left out");
    assert_eq!(error, expected.error);
    assert!(error.is_some() || buffer.is_partial() == (expected.left > 0));
    tally::add("frames", expected.bodies.len() as u64);
    tally::add("streams", 1);
}

/// Bodies with the headers that belong to them, so that mutations of a body's length do not lose the frames after it.
fn framed(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < STREAM_MAX {
        let length = usize::from(input.byte());
        let body = input.take(length);
        // A body longer than any input: its last byte, again and again.
        let repeats = match length {
            0xff => usize::from(u16::from_le_bytes(input.array())) * 5,
            _ => 0,
        };
        stream.extend_from_slice(&frame_header(body.len() + repeats));
        stream.extend_from_slice(body);
        stream.resize(stream.len() + repeats, body.last().copied().unwrap_or_default());
    }
    stream
}

struct Split<'a> {
    bodies: Vec<&'a [u8]>,
    error: Option<FrameError>,
    /// Bytes of a frame that is not complete.
    left: usize,
}

/// What the frames of a stream are, said once more and differently.
fn split(mut stream: &[u8], most: usize) -> Split<'_> {
    let mut bodies = Vec::new();
    while stream.len() >= 4 {
        let length = u32::from_le_bytes([stream[0], stream[1], stream[2], stream[3]]);
        if length == 0 {
            return Split { bodies, error: Some(FrameError::Empty), left: 0 };
        }
        if u64::from(length) > most as u64 {
            return Split { bodies, error: Some(FrameError::TooLong { length, max: most }), left: 0 };
        }
        let end = 4 + length as usize;
        if stream.len() < end {
            break;
        }
        bodies.push(&stream[4..end]);
        stream = &stream[end..];
    }
    Split { bodies, error: None, left: stream.len() }
}

/// Cuts a stream: not at all, into single bytes, or into pieces of changing length.
fn slices(mut stream: &[u8], slicing: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(slicing) | 1;
    // Single bytes of a long stream cost much and show nothing that those of a short one do not.
    let most = match slicing {
        0 => usize::MAX,
        1 if stream.len() <= 4096 => 1,
        n => usize::from(n) << (n % 8),
    };
    std::iter::from_fn(move || {
        if stream.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let length = if most == usize::MAX { most } else { 1 + (state >> 8) as usize % most };
        let (slice, rest) = stream.split_at(length.min(stream.len()));
        stream = rest;
        Some(slice)
    })
}

fn request(body: &[u8]) {
    if let Ok((range, hello)) = Hello::decode(body) {
        assert!(hello.encode(range.max).as_deref() == Ok(body), "a hello has two forms");
        tally::add("frames that were a hello", 1);
    }
    if let Ok(request) = decode_request(body) {
        assert!(encode_request(&request).as_deref() == Ok(body), "a request has two forms");
        tally::add("frames that were a request", 1);
    }
}

fn answer(body: &[u8]) {
    let Ok(answer) = decode_answer(body) else { return };
    let encoded = encode_answer(&answer).expect("what was decoded fits a frame");
    assert_eq!(decode_answer(&encoded).as_ref(), Ok(&answer), "an answer does not come back as it was");
    if let Answer::Output { job, stream, offset, time_ns, recovered, bytes } = answer {
        let mut sent = output_prefix(job, stream, offset, time_ns, recovered, bytes.len()).expect("a short prefix");
        sent.extend_from_slice(bytes);
        assert!(sent == encoded, "prefix and payload are not the output");
    }
    tally::add("frames that were an answer", 1);
}
