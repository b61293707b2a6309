//! The form of one record in a segment file, and the one place that parses it.
//!
//! A segment is a row of blocks of [`BLOCK`] bytes, and no record crosses from one block into the next. Every block therefore
//! begins with a record (the first one with the segment's header), which does two things without any index: a place is found
//! by halving over the blocks, and what damage hides ends at the next block.

use std::fmt;

use ipc_protocol::Stream;

/// Records never cross a multiple of this, in bytes.
pub const BLOCK: u64 = 256 * 1024;
/// Bytes before a record's payload.
pub const HEADER_LEN: usize = 48;
/// The longest record with its header: what a reader holds at the least, and therefore what a follower costs at the most.
pub const RECORD_MAX: usize = 16 * 1024;
/// The longest payload.
pub const PAYLOAD_MAX: usize = RECORD_MAX - HEADER_LEN;
/// With less than this left in a block, the rest is zeros and the next record begins the next block.
pub const ROOM_MIN: u64 = 64;
/// No offset and no number in a log is above this, so that sums of several cannot overflow.
pub const COUNT_MAX: u64 = 1 << 60;

const KIND_DATA: u8 = 1;
const KIND_END: u8 = 2;
const FLAG_RECOVERED: u8 = 1;
const FLAG_COMPLETE: u8 = 2;

/// Why bytes of the output are not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The job wrote more than its log may hold.
    OutputLimit,
    /// The disk had no room for them.
    DiskFull,
    /// The file holds something else than was written to it.
    LogDamaged,
    /// They never reached the log and will not: whoever held them is gone.
    Lost,
}

impl GapReason {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::OutputLimit => 1,
            Self::DiskFull => 2,
            Self::LogDamaged => 3,
            Self::Lost => 4,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::OutputLimit),
            2 => Some(Self::DiskFull),
            3 => Some(Self::LogDamaged),
            4 => Some(Self::Lost),
            _ => None,
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutputLimit => "output limit",
            Self::DiskFull => "disk full",
            Self::LogDamaged => "log damaged",
            Self::Lost => "output lost",
        })
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of one stream.
    Data {
        /// Which.
        stream: Stream,
        /// They were taken by a former executor.
        recovered: bool,
    },
    /// The log was closed; nothing follows.
    End {
        /// The log is known to hold the end of the output.
        complete: bool,
    },
}

/// Everything about a record but its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it is.
    pub kind: Kind,
    /// Bytes of payload, at most [`PAYLOAD_MAX`]; 0 exactly for an end.
    pub length: usize,
    /// Of the first byte, both streams counted together. Of an end: all bytes.
    pub offset: u64,
    /// Of the first byte in its stream. Of an end: all bytes of stdout.
    pub stream_offset: u64,
    /// Counts the records of the log.
    pub seq: u64,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
}

impl RecordHeader {
    /// The offset after the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.length as u64
    }

    /// Bytes of each stream that lie before the end of this record.
    pub fn lengths(&self) -> [u64; 2] {
        match self.kind {
            Kind::Data { stream: Stream::Stdout, .. } => {
                [self.stream_offset + self.length as u64, self.offset - self.stream_offset]
            }
            Kind::Data { stream: Stream::Stderr, .. } => {
                [self.offset - self.stream_offset, self.stream_offset + self.length as u64]
            }
            Kind::End { .. } => [self.stream_offset, self.offset - self.stream_offset],
        }
    }

    /// Bytes of the record in the file.
    pub fn size(&self) -> usize {
        HEADER_LEN + self.length
    }

    /// The bytes that stand before `payload`, whose length must be `self.length`.
    pub fn encode(&self, payload: &[u8]) -> [u8; HEADER_LEN] {
        let (kind, detail, flags) = match self.kind {
            Kind::Data { stream, recovered } => {
                (KIND_DATA, 1 + stream as u8, if recovered { FLAG_RECOVERED } else { 0 })
            }
            Kind::End { complete } => (KIND_END, 0, if complete { FLAG_COMPLETE } else { 0 }),
        };
        let mut out = [0u8; HEADER_LEN];
        out[4..8].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        out[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        out[12] = kind;
        out[13] = detail;
        out[14] = flags;
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.stream_offset.to_le_bytes());
        out[32..40].copy_from_slice(&self.seq.to_le_bytes());
        out[40..48].copy_from_slice(&self.time_ns.to_le_bytes());
        let crc = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// They may be the beginning of one; more are needed.
    Incomplete,
    /// The header is not one: where the record ends is not known.
    Header,
    /// The header is whole, the payload is not what was written.
    Payload(RecordHeader),
}

/// Parses the header at the beginning of `bytes` without looking at the payload.
pub fn parse_header(bytes: &[u8]) -> Result<RecordHeader, ParseError> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Err(ParseError::Incomplete) };
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    if half(0) != crc32fast::hash(&header[4..]) {
        return Err(ParseError::Header);
    }
    let (length, offset, stream_offset) = (half(8) as usize, word(16), word(24));
    let kind = match (header[12], header[13], header[14]) {
        (KIND_DATA, stream @ 1..=2, flags @ 0..=FLAG_RECOVERED) if length > 0 => Kind::Data {
            stream: if stream == 1 { Stream::Stdout } else { Stream::Stderr },
            recovered: flags == FLAG_RECOVERED,
        },
        (KIND_END, 0, flags @ (0 | FLAG_COMPLETE)) if length == 0 => Kind::End { complete: flags == FLAG_COMPLETE },
        _ => return Err(ParseError::Header),
    };
    let seq = word(32);
    if length > PAYLOAD_MAX || stream_offset > offset || offset > COUNT_MAX || seq > COUNT_MAX {
        return Err(ParseError::Header);
    }
    Ok(RecordHeader { kind, length, offset, stream_offset, seq, time_ns: word(40) })
}

/// Parses the record at the beginning of `bytes` and checks its payload, which lies at `HEADER_LEN..header.size()`.
pub fn parse_record(bytes: &[u8]) -> Result<RecordHeader, ParseError> {
    let header = parse_header(bytes)?;
    let payload = bytes.get(HEADER_LEN..header.size()).ok_or(ParseError::Incomplete)?;
    let expected = u32::from_le_bytes(std::array::from_fn(|i| bytes[4 + i]));
    if crc32fast::hash(payload) != expected { Err(ParseError::Payload(header)) } else { Ok(header) }
}

/// Bytes from `position` to the end of its block.
pub fn left_in_block(position: u64) -> u64 {
    BLOCK - position % BLOCK
}

/// Where the record after one that ends at `position` begins.
pub fn next_record_at(position: u64) -> u64 {
    let left = left_in_block(position);
    if left < ROOM_MIN { position + left } else { position }
}
