//! Reading parts of a segment file.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSliceMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::{Buf, Bytes};
use rustix::{
    buffer::spare_capacity,
    io::{Errno, ReadWriteFlags},
};
use tokio::task::spawn_blocking;

use super::{
    record::{BLOCK, ParseError, RECORD_MAX, RecordHeader, left_in_block, next_record_at, parse_header, parse_record},
    segment::{SEGMENT_HEADER_LEN, Segment},
};

/// The largest read, in bytes.
const READ_MAX: usize = 256 * 1024;
/// With more bytes than this in all parts of all logs, reads become as small as one record allows.
const PARTS_MAX: usize = 8 * 1024 * 1024;
/// Parts of one log that readers may share.
const RECENT: usize = 16;
/// Of them, parts just written that no reader has come for yet.
const FRESH: usize = 8;

/// A part of a segment, as read for one reader (or as just written) and used by all who are at the same place. It lives as long
/// as one of them (or a chunk) needs it.
#[derive(Debug)]
pub(super) struct Part {
    segment: u64,
    begin: u64,
    bytes: Vec<u8>,
    /// Records before this file position were found whole by somebody.
    whole_to: AtomicU64,
    used: Arc<AtomicUsize>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// What readers of a log read most recently, and what those at its end are about to read.
#[derive(Debug)]
pub(super) struct Parts {
    held: Mutex<Held>,
    /// Bytes of the parts of all logs.
    used: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Held {
    recent: Vec<Weak<Part>>,
    fresh: VecDeque<Arc<Part>>,
}

impl Parts {
    /// `used` counts the bytes of the parts of all logs.
    pub fn new(used: Arc<AtomicUsize>) -> Self {
        Self { held: Mutex::default(), used }
    }

    /// A part that holds what a read of `length` bytes at `position` is for: a record there, whole.
    fn find(&self, segment: u64, position: u64, length: usize) -> Option<Arc<Part>> {
        let to = position + length.min(RECORD_MAX) as u64;
        let mut held = self.lock();
        let part = held.recent.iter().rev().filter_map(Weak::upgrade).find(|part| {
            part.segment == segment && part.begin <= position && part.begin + part.bytes.len() as u64 >= to
        })?;
        held.fresh.retain(|fresh| !Arc::ptr_eq(fresh, &part));
        Some(part)
    }

    fn add(&self, segment: u64, begin: u64, bytes: Vec<u8>) -> Arc<Part> {
        let part = self.part(segment, begin, begin, bytes);
        self.lock().push(&part);
        part
    }

    /// Keeps records that were just written at `begin` for readers who wait at the log's end: they need neither be read nor be
    /// checked again. A reader who does not find them here reads the file.
    pub fn keep(&self, segment: u64, begin: u64, records: Vec<u8>) {
        if self.used.load(Ordering::Relaxed) >= PARTS_MAX {
            return;
        }
        let whole_to = next_record_at(begin + records.len() as u64);
        let part = self.part(segment, begin, whole_to, records);
        let mut held = self.lock();
        held.push(&part);
        if held.fresh.len() >= FRESH {
            held.fresh.pop_front();
        }
        held.fresh.push_back(part);
    }

    /// Forgets what nobody came for: whoever is at the log's end has it behind them.
    pub fn forget_fresh(&self) {
        self.lock().fresh.clear();
    }

    fn part(&self, segment: u64, begin: u64, whole_to: u64, bytes: Vec<u8>) -> Arc<Part> {
        self.used.fetch_add(bytes.len(), Ordering::Relaxed);
        let whole_to = AtomicU64::new(whole_to);
        Arc::new(Part { segment, begin, bytes, whole_to, used: Arc::clone(&self.used) })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn push(&mut self, part: &Arc<Part>) {
        self.recent.retain(|part| part.strong_count() > 0);
        if self.recent.len() >= RECENT {
            self.recent.remove(0);
        }
        self.recent.push(Arc::downgrade(part));
    }
}

/// Keeps a part alive for the bytes that are taken from it.
struct Shared(Arc<Part>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// A place in an open segment.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The segment as last seen.
    pub segment: Segment,
    pub file: Arc<File>,
    /// Where `buffer` begins in the file; always the beginning of a record.
    pub position: u64,
    /// Bytes that were read and not yet looked at.
    pub buffer: Bytes,
    /// What they are taken from.
    part: Option<Arc<Part>>,
}

impl Cursor {
    pub fn new(segment: Segment, file: Arc<File>) -> Self {
        Self { segment, file, position: SEGMENT_HEADER_LEN, buffer: Bytes::new(), part: None }
    }

    /// The record at the beginning of the buffer. Its payload is checked by the first reader who comes to it.
    pub fn parse(&self) -> Result<RecordHeader, ParseError> {
        let Some(part) = &self.part else { return parse_record(&self.buffer) };
        let whole_to = part.whole_to.load(Ordering::Acquire);
        let header = parse_header(&self.buffer)?;
        let next = next_record_at(self.position + header.size() as u64);
        if next <= whole_to {
            return Ok(header);
        }
        let header = parse_record(&self.buffer)?;
        if self.position <= whole_to {
            part.whole_to.fetch_max(next, Ordering::Release);
        }
        Ok(header)
    }

    /// Makes room for another read.
    pub fn clear(&mut self) {
        self.buffer = Bytes::new();
        self.part = None;
    }

    /// Fills the buffer from the position on, or takes what another reader has there. Answers whether the file reaches as far as
    /// the segment. The position must lie before the segment's end.
    pub async fn read(&mut self, parts: &Parts) -> io::Result<bool> {
        let (segment, position) = (self.segment.index, self.position);
        let most = if parts.used.load(Ordering::Relaxed) < PARTS_MAX { READ_MAX } else { RECORD_MAX };
        let length = left_in_block(position).min(self.segment.size - position).min(most as u64) as usize;
        let part = match parts.find(segment, position, length) {
            Some(part) => part,
            None => {
                let bytes = read_part(&self.file, position, length).await?;
                if bytes.len() < length {
                    return Ok(false);
                }
                parts.add(segment, position, bytes)
            }
        };
        let before = usize::try_from(position - part.begin).unwrap_or(usize::MAX);
        self.buffer = Bytes::from_owner(Shared(Arc::clone(&part)));
        self.buffer.advance(before.min(self.buffer.len()));
        self.part = Some(part);
        Ok(true)
    }

    /// Passes a record of `size` bytes and what fills the block after it.
    pub fn consume(&mut self, size: usize) {
        let next = next_record_at(self.position + size as u64);
        self.move_to(next);
    }

    /// Passes the rest of the block.
    pub fn skip_block(&mut self) {
        self.move_to(self.position + left_in_block(self.position));
    }

    /// Whether an incomplete record at the beginning of the buffer can be completed by another read. A read is never shorter
    /// than the longest record unless block or segment end there, and no record reaches beyond those. (A part of another reader
    /// can reach beyond the segment's end as this reader last saw it.)
    pub fn may_read_on(&self) -> bool {
        let read_to = self.position + self.buffer.len() as u64;
        self.buffer.len() < RECORD_MAX && left_in_block(read_to) != BLOCK && read_to != self.segment.size
    }

    /// Takes the segment's size from the file.
    pub fn measure(&mut self) -> io::Result<()> {
        self.segment.size = self.file.metadata()?.len();
        Ok(())
    }

    fn move_to(&mut self, position: u64) {
        let passed = usize::try_from(position - self.position).unwrap_or(usize::MAX);
        self.position = position;
        if passed < self.buffer.len() {
            self.buffer.advance(passed);
        } else {
            self.clear();
        }
    }
}

/// Reads `length` bytes (fewer only at the end of the file). What the page cache has is read here: 256 KiB take some 10 µs,
/// handing them to another thread takes 50. What the disk must bring can take milliseconds, in which this thread would serve
/// nobody, and is left to one that may wait.
async fn read_part(file: &Arc<File>, position: u64, length: usize) -> io::Result<Vec<u8>> {
    if in_page_cache(file, position, length) {
        return read(file, position, length);
    }
    let file = Arc::clone(file);
    spawn_blocking(move || read(&file, position, length)).await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// Whether reading would not wait for the disk, judged from the first and the last page: what lies between them was read or
/// written with them. A file system that cannot tell is one in memory or one on which waiting is rare.
fn in_page_cache(file: &File, position: u64, length: usize) -> bool {
    let last = position + (length as u64).saturating_sub(1);
    [position, last].into_iter().all(|at| {
        let mut byte = [0u8];
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
        read != Err(Errno::AGAIN)
    })
}

fn read(file: &File, position: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = position + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bytes)
}
