//! Names of things that cross the boundary.

use std::{fmt, str::FromStr};

use bincode::{Decode, Encode};

/// A job's id: a UUID, version 4, made by the frontend. It names; it never authorises.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
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
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a UUID in its usual form: 32 hexadecimal digits in groups of 8-4-4-4-12.
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
        let mut bytes = [0u8; 16];
        let mut digits = 0usize;
        if text.len() != 36 {
            return Err(ParseJobIdError);
        }
        for (i, c) in text.chars().enumerate() {
            if matches!(i, 8 | 13 | 18 | 23) {
                if c != '-' {
                    return Err(ParseJobIdError);
                }
                continue;
            }
            // Upper case is refused: one id has one text.
            let value = match c {
                '0'..='9' | 'a'..='f' => c.to_digit(16).and_then(|d| u8::try_from(d).ok()),
                _ => None,
            };
            let byte = bytes.get_mut(digits / 2).ok_or(ParseJobIdError)?;
            *byte = *byte << 4 | value.ok_or(ParseJobIdError)?;
            digits += 1;
        }
        Ok(Self(bytes))
    }
}

/// One of a job's two output streams. A merged job writes everything to `Stdout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
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
}
