//! Tests of the output logs.

mod crash;
mod follow;
mod limits;
mod misplaced;
mod read;
mod trouble;

use std::time::Duration;

use ipc_protocol::{JobId, Stream};
use tempfile::TempDir;

use super::{Chunk, Event, Gap, LogEnd, LogReader, LogWriter, OutputLimit, OutputLogs, ReadOptions, WhenFull};

pub(super) const JOB: JobId = JobId::from_bytes(*b"0123456789abcdef");
/// No limit that a test meets by accident.
pub(super) const AMPLE: OutputLimit = OutputLimit::new(1 << 40, WhenFull::DropOldest);

/// Logs in a folder that goes away.
pub(super) struct Logs {
    pub dir: TempDir,
    pub logs: OutputLogs,
}

impl Logs {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let logs = OutputLogs::open(dir.path()).unwrap();
        Self { dir, logs }
    }

    /// The same folder, seen by a new process.
    pub fn again(self) -> Self {
        let logs = OutputLogs::open(self.dir.path()).unwrap();
        Self { dir: self.dir, logs }
    }

    pub fn writer(&self) -> LogWriter {
        self.logs.writer(JOB, AMPLE).unwrap()
    }

    pub async fn reader(&self, options: ReadOptions) -> LogReader {
        self.logs.reader(JOB, options).await.unwrap()
    }

    pub async fn read(&self, options: ReadOptions) -> Found {
        Found::of(&mut self.reader(options).await).await
    }

    pub fn segments(&self) -> Vec<std::path::PathBuf> {
        super::segment::segment_paths(&self.dir.path().join(JOB.to_string())).unwrap()
    }
}

/// Everything that a reader found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub streams: [Vec<u8>; 2],
    /// Both streams in the order of the log.
    pub all: Vec<u8>,
    pub chunks: Vec<Chunk>,
    pub gaps: Vec<Gap>,
    pub end: Option<LogEnd>,
}

impl Found {
    pub async fn of(reader: &mut LogReader) -> Self {
        let mut found = Self::default();
        let mut next = reader.begins_at();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(60), reader.next()).await.expect("an event").unwrap();
            match event {
                Event::Chunk(chunk) => {
                    assert!(chunk.offset >= next, "offsets never go back");
                    next = chunk.offset + chunk.bytes.len() as u64;
                    found.streams[chunk.stream as usize].extend_from_slice(&chunk.bytes);
                    found.all.extend_from_slice(&chunk.bytes);
                    found.chunks.push(chunk);
                }
                Event::Gap(gap) => {
                    assert!(gap.from < gap.to);
                    next = gap.to;
                    found.gaps.push(gap);
                }
                Event::End(end) => {
                    found.end = Some(end);
                    return found;
                }
            }
        }
    }
}

/// Bytes that show where they come from and how far along they are.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Adds bytes at the end of a stream.
pub(super) fn push(writer: &mut LogWriter, stream: Stream, time_ns: u64, bytes: &[u8]) -> super::Appended {
    let at = writer.lengths()[stream as usize];
    writer.append(stream, at, time_ns, false, bytes).unwrap()
}
