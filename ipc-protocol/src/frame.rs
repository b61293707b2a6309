//! Frames: a length of four bytes, little endian, then so many bytes of body.

use std::fmt;

/// Why a peer's bytes are not a frame. Whoever sent them is at fault; the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A frame without a body.
    Empty,
    /// The length is above the most that this direction allows.
    TooLong {
        /// As announced.
        length: u32,
        /// Allowed.
        max: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a frame of length 0"),
            Self::TooLong { length, max } => write!(f, "a frame of {length} bytes, above {max}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The four bytes before a body of this length. Bodies are bounded by the codec, far below 4 GiB.
pub fn frame_header(body: usize) -> [u8; 4] {
    u32::try_from(body).unwrap_or(u32::MAX).to_le_bytes()
}

/// Reads the length and checks it against the bound, before anything is allocated for the body.
pub fn body_length(header: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header);
    match usize::try_from(length) {
        Ok(0) => Err(FrameError::Empty),
        Ok(n) if n <= max => Ok(n),
        _ => Err(FrameError::TooLong { length, max }),
    }
}

/// Collects the bytes of a connection and hands out whole frames. Holds at most one partial frame beside what one read
/// brought, so a peer can make it hold no more than `max` + 4 bytes + one read.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    max: usize,
}

impl FrameBuffer {
    /// For bodies of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, max }
    }

    /// Adds what was read.
    pub fn extend(&mut self, read: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(read);
    }

    /// The next whole body, if there is one. After an error the connection must be closed.
    pub fn next_body(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((header, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = body_length(*header, self.max)?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.start = self.start.saturating_add(4).saturating_add(length);
        Ok(Some(body))
    }

    /// Whether a frame was begun and is not complete; the reader's deadline runs from then on.
    pub fn is_partial(&self) -> bool {
        self.bytes.len() > self.start
    }
}
