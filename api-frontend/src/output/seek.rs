//! Finding a place in a log without an index: by segment, then by halving over a segment's blocks.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ipc_protocol::Stream;
use tokio::sync::Semaphore;

use super::{
    error::OutputError,
    logs::blocking,
    record::{BLOCK, HEADER_LEN, Kind, ParseError, RecordHeader, next_record_at, parse_record},
    segment::{Segment, find_block, first_record_at},
    state::Now,
};

/// Searches at once, of all clients: each may read a whole log, on threads that all others need too.
static SEARCHES: Semaphore = Semaphore::const_new(4);

/// Whether somebody still waits for a search.
#[derive(Debug)]
pub(super) struct Wanted(Arc<AtomicBool>);

impl Wanted {
    pub(super) fn still(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Runs a search off the threads of the runtime, when its turn comes. Dropped before its end, it ends at the next block.
pub(super) async fn search(
    find: impl FnOnce(&Wanted) -> Result<u64, OutputError> + Send + 'static,
) -> Result<u64, OutputError> {
    let turn = SEARCHES.acquire().await;
    let waits = Wanted(Arc::new(AtomicBool::new(true)));
    let wanted = Wanted(waits.0.clone());
    blocking(move || {
        let _turn = turn;
        find(&wanted)
    })
    .await
}

/// The offset of the first byte that was read at or after `time_ns`, or the next offset when there is none. Exact as long as the
/// clock that wrote the times did not go back. Blocks.
pub(super) fn first_since(dir: &Path, now: &Now, time_ns: u64, wanted: &Wanted) -> Result<u64, OutputError> {
    let segments: Vec<&Segment> = now.segments().collect();
    let first = segments.partition_point(|s| s.first_time_ns < time_ns).saturating_sub(1);
    for segment in segments.iter().skip(first) {
        let path = segment.path(dir);
        let Some(file) = open(&path)? else { continue };
        let failed = |e| OutputError::io("read", &path, e);
        let begin = find_block(&file, segment.size, |header| header.time_ns < time_ns).map_err(failed)?;
        for block in begin / BLOCK..segment.size.div_ceil(BLOCK) {
            if !wanted.still() {
                return Ok(now.offset());
            }
            let bytes = read_block(&file, segment, block).map_err(failed)?;
            let found = records(&bytes, first_record_at(block));
            if let Some((header, _)) = found.iter().find(|(header, _)| header.time_ns >= time_ns) {
                return Ok(header.offset);
            }
        }
    }
    Ok(now.offset())
}

/// The offset at which the last `lines` lines of the selected stream (or of both) begin. A last line without its newline counts.
/// Reads backwards, one block at a time. Blocks, for as long as it takes to read those lines.
pub(super) fn last_lines(
    dir: &Path,
    now: &Now,
    lines: u64,
    stream: Option<Stream>,
    wanted: &Wanted,
) -> Result<u64, OutputError> {
    if lines == 0 {
        return Ok(now.offset());
    }
    let mut left = lines;
    let mut at_end = true;
    let mut first_kept = now.offset();
    for segment in now.segments().rev() {
        first_kept = segment.first_offset;
        let path = segment.path(dir);
        let Some(file) = open(&path)? else { continue };
        for block in (0..segment.size.div_ceil(BLOCK)).rev() {
            if !wanted.still() {
                return Ok(now.offset());
            }
            let bytes = read_block(&file, segment, block).map_err(|e| OutputError::io("read", &path, e))?;
            for (header, at) in records(&bytes, first_record_at(block)).into_iter().rev() {
                let selected = matches!(header.kind, Kind::Data { stream: of, .. } if stream.is_none_or(|s| s == of));
                if !selected {
                    continue;
                }
                let mut payload = &bytes[at + HEADER_LEN..at + header.size()];
                if at_end && payload.last() == Some(&b'\n') {
                    payload = &payload[..payload.len() - 1];
                }
                at_end = false;
                while let Some(newline) = payload.iter().rposition(|byte| *byte == b'\n') {
                    left -= 1;
                    if left == 0 {
                        return Ok(header.offset + newline as u64 + 1);
                    }
                    payload = &payload[..newline];
                }
            }
        }
    }
    Ok(first_kept)
}

/// Opens a segment; `None` when it was dropped meanwhile.
fn open(path: &Path) -> Result<Option<File>, OutputError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(OutputError::io("open", path, e)),
    }
}

fn read_block(file: &File, segment: &Segment, block: u64) -> io::Result<Vec<u8>> {
    let begin = first_record_at(block);
    let mut bytes = vec![0u8; ((block + 1) * BLOCK).min(segment.size).saturating_sub(begin) as usize];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], begin + read as u64)? {
            0 => break,
            n => read += n,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// The whole records of a block that begins at file position `begin`, with their places in `bytes`.
fn records(bytes: &[u8], begin: u64) -> Vec<(RecordHeader, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let header = match parse_record(rest) {
            Ok(header) => {
                found.push((header, at));
                header
            }
            Err(ParseError::Payload(header)) => header,
            Err(ParseError::Incomplete | ParseError::Header) => break,
        };
        at = (next_record_at(begin + (at + header.size()) as u64) - begin) as usize;
    }
    found
}
