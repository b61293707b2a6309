//! Reading parts of a segment file.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use rustix::{
    buffer::spare_capacity,
    io::{Errno, ReadWriteFlags},
};
use tokio::task::spawn_blocking;

use super::{
    record::{RECORD_MAX, left_in_block, next_record_at},
    segment::{SEGMENT_HEADER_LEN, Segment},
};

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
}

impl Cursor {
    pub fn new(segment: Segment, file: Arc<File>) -> Self {
        Self { segment, file, position: SEGMENT_HEADER_LEN, buffer: Bytes::new() }
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
    /// than the longest record unless block or segment end there, and no record reaches beyond those.
    pub fn may_read_on(&self) -> bool {
        let read_to = self.position + self.buffer.len() as u64;
        self.buffer.len() < RECORD_MAX && !read_to.is_multiple_of(super::record::BLOCK) && read_to < self.segment.size
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
            self.buffer = Bytes::new();
        }
    }
}

/// Reads `length` bytes (fewer only at the end of the file). What the page cache has is read here, which is quicker than
/// handing it to another thread; what the disk must bring is left to a thread that may wait.
pub(super) async fn read_part(file: &Arc<File>, position: u64, length: usize) -> io::Result<Bytes> {
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

fn read(file: &File, position: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = position + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Bytes::from(bytes))
}
