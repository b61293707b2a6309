//! How much output is kept.

use super::{
    record::{HEADER_LEN, ROOM_MIN},
    segment::SEGMENT_HEADER_LEN,
};

/// The largest segment, in bytes. Dropping the oldest output goes by whole segments.
pub(super) const SEGMENT_MAX: u64 = 64 * 1024 * 1024;
/// The beginning of a log that is never dropped, in bytes of output.
const HEAD: u64 = 1024 * 1024;

/// The least limit that is taken, in bytes of output: a segment is no smaller.
pub const OUTPUT_LIMIT_MIN: u64 = 4096;

/// What happens when a log holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// The oldest output goes, all but the first MiB (half the limit when that is less, and less when records are tiny); its
    /// place is a gap.
    DropOldest,
    /// Nothing more is taken, so that the job waits in its write.
    Wait,
    /// The job is to be stopped; what it writes until then is counted and not kept.
    Stop,
}

/// How much output of one job is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    bytes: u64,
    when_full: WhenFull,
}

impl OutputLimit {
    /// Keeps at most so many bytes of output. Records cost 48 bytes each on disk; output in records so small that this
    /// matters counts as seven eighths of its size on disk, so that a limit also bounds the disk. Dropping is by segments of
    /// a sixteenth of the limit, at least 4 KiB; below 32 KiB a limit may be exceeded by some of them.
    pub const fn new(bytes: u64, when_full: WhenFull) -> Self {
        Self { bytes, when_full }
    }

    /// The most that is kept, in bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// What happens at the limit.
    pub fn when_full(self) -> WhenFull {
        self.when_full
    }

    /// The first segment, which is never dropped, ends at this offset.
    pub(super) fn head(self) -> u64 {
        HEAD.min(self.bytes / 2)
    }

    /// Or at this size, in bytes, when its records are very small.
    pub(super) fn head_size(self) -> u64 {
        self.head() / 7 * 8 + 4096
    }

    /// The size from which on a segment is followed by another, in bytes.
    pub(super) fn segment(self) -> u64 {
        (self.bytes / 16).clamp(OUTPUT_LIMIT_MIN, SEGMENT_MAX)
    }

    /// Bytes of output that one more record may hold; 0 when there is no room for one.
    pub(super) fn room(self, kept: u64, disk: u64) -> u64 {
        let disk_most = (u128::from(self.bytes) * 8 / 7).min(u128::from(u64::MAX)) as u64;
        let overhead = disk.saturating_add(SEGMENT_HEADER_LEN + ROOM_MIN + HEADER_LEN as u64);
        // A limit of few bytes is reached by bytes and not by the headers of its only records.
        let disk_most = disk_most.saturating_add(4096);
        self.bytes.saturating_sub(kept).min(disk_most.saturating_sub(overhead))
    }
}
