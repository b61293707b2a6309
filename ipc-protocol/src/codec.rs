//! The only place that knows bincode. Bounded, complete, canonical.

use std::fmt;

use bincode::{
    Decode, Encode,
    config::{Configuration, Limit, LittleEndian, Varint},
};

use crate::{ANSWER_FRAME_MAX, Answer, Hello, JobId, REQUEST_FRAME_MAX, Request, Stream, Version, VersionRange};

// The limit counts decoded sizes: ARGUMENT_BYTES_MAX as words of no letters are that many Vecs of 24 bytes, 3 MiB. bincode reserves
// up to it before it reads, which costs address space and no memory until bytes arrive, and those a frame bounds.
const DECODE_LIMIT: usize = 4 * 1024 * 1024;
type Config = Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>>;
const CONFIG: Config = bincode::config::standard().with_limit::<DECODE_LIMIT>();

/// Why a body is not a message. Whoever sent it is at fault; the connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// Not a message: an unknown variant, a length beyond the body, text that is not UTF-8.
    Malformed(String),
    /// A message, and so many bytes after it.
    Trailing(usize),
    /// The same message has a shorter or other encoding; two forms of one thing are a place to hide.
    NotCanonical,
    /// Longer than a frame of its direction may be. Only the sender's own code can cause this.
    TooLong(usize),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "not a message: {why}"),
            Self::Trailing(n) => write!(f, "{n} bytes after the message"),
            Self::NotCanonical => f.write_str("a message in an encoding that is not the canonical one"),
            Self::TooLong(n) => write!(f, "a message of {n} bytes, too long for a frame"),
        }
    }
}

impl std::error::Error for CodecError {}

impl Hello {
    /// The body of the first frame: the highest version spoken, then the rest.
    pub fn encode(&self, max_version: Version) -> Result<Vec<u8>, CodecError> {
        let mut body = vec![max_version];
        body.extend(encode(self, REQUEST_FRAME_MAX - 1)?);
        Ok(body)
    }

    /// Parses the first frame: which versions the frontend speaks, and the rest. Canonical, like every request.
    pub fn decode(body: &[u8]) -> Result<(VersionRange, Hello), CodecError> {
        let (&max, rest) = body.split_first().ok_or_else(|| CodecError::Malformed("empty".into()))?;
        let hello: Hello = decode_canonical(rest)?;
        Ok((VersionRange { min: hello.min_version, max }, hello))
    }
}

/// Encodes a request as the body of a frame.
pub fn encode_request(request: &Request) -> Result<Vec<u8>, CodecError> {
    encode(request, REQUEST_FRAME_MAX)
}

/// Parses the body of a frame from the frontend: every byte consumed, canonical, bounded in memory.
pub fn decode_request(body: &[u8]) -> Result<Request, CodecError> {
    decode_canonical(body)
}

/// Encodes an answer as the body of a frame.
pub fn encode_answer(answer: &Answer<'_>) -> Result<Vec<u8>, CodecError> {
    encode(answer, ANSWER_FRAME_MAX)
}

/// Parses the body of a frame from the executor: every byte consumed. Output borrows from `body`.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, CodecError> {
    let (answer, used) = bincode::borrow_decode_from_slice(body, CONFIG).map_err(malformed)?;
    complete(answer, used, body)
}

/// What stands before the payload in the body of an `Output` of `length` bytes. Prefix and payload together are exactly what
/// [`encode_answer`] gives, so the payload can go from the spool to the socket without passing through the executor's memory.
pub fn output_prefix(
    job: JobId,
    stream: Stream,
    offset: u64,
    time_ns: u64,
    recovered: bool,
    length: usize,
) -> Result<Vec<u8>, CodecError> {
    let empty = Answer::Output { job, stream, offset, time_ns, recovered, bytes: &[] };
    let mut prefix = encode_answer(&empty)?;
    prefix.pop(); // the length of the empty payload
    prefix.extend(encode(&length, ANSWER_FRAME_MAX)?);
    Ok(prefix)
}

fn encode<T: Encode>(value: &T, max: usize) -> Result<Vec<u8>, CodecError> {
    let body = bincode::encode_to_vec(value, CONFIG).map_err(|e| CodecError::Malformed(e.to_string()))?;
    if body.len() > max { Err(CodecError::TooLong(body.len())) } else { Ok(body) }
}

fn decode_canonical<T: Encode + Decode<()>>(body: &[u8]) -> Result<T, CodecError> {
    let (value, used) = bincode::decode_from_slice::<T, Config>(body, CONFIG).map_err(malformed)?;
    let value = complete(value, used, body)?;
    if encode(&value, body.len())? == body { Ok(value) } else { Err(CodecError::NotCanonical) }
}

fn complete<T>(value: T, used: usize, body: &[u8]) -> Result<T, CodecError> {
    match body.len().saturating_sub(used) {
        0 => Ok(value),
        n => Err(CodecError::Trailing(n)),
    }
}

fn malformed(error: bincode::error::DecodeError) -> CodecError {
    CodecError::Malformed(error.to_string())
}
