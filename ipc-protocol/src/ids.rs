//! Names of things that cross the boundary.

use std::{fmt, str::FromStr};

use bincode::{Decode, Encode};

/// A job's id: a UUID, version 4, made by the frontend. It names; it never authorises.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct JobId([u8; 16]);

impl JobId {
    /// Takes the 16 bytes of a UUID. Any bytes are an id: its form carries no meaning here.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = u128::from_be_bytes(self.0);
        let (a, b, c, d, e) = (n >> 96, n >> 80 & 0xffff, n >> 64 & 0xffff, n >> 48 & 0xffff, n & 0xffff_ffff_ffff);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a UUID in its usual form: 32 lower-case hexadecimal digits in groups of 8-4-4-4-12.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseJobIdError;

impl fmt::Display for ParseJobIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a job id (a UUID such as 3f9a1c2e-5b7d-4c1a-9f60-2d8e4b7a1c05)")
    }
}

impl std::error::Error for ParseJobIdError {}

impl FromStr for JobId {
    type Err = ParseJobIdError;

    fn from_str(text: &str) -> Result<Self, ParseJobIdError> {
        let number = u128::from_str_radix(&text.replace('-', ""), 16).map_err(|_| ParseJobIdError)?;
        let id = Self(number.to_be_bytes());
        // One id has one text: no upper case, no sign, no other groups.
        if id.to_string() == text { Ok(id) } else { Err(ParseJobIdError) }
    }
}

/// One of a job's two output streams. A merged job writes everything to `Stdout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// Both, in the order of the arrays in this crate that hold one value per stream.
    pub const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// Of an array with one value per stream, this stream's.
    pub fn of<T>(self, [stdout, stderr]: &mut [T; 2]) -> &mut T {
        match self {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }
}
