//! Segment files: their names, their headers, and finding out what a directory of them holds.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use ipc_protocol::JobId;

use super::{
    error::OutputError,
    record::{
        BLOCK, COUNT_MAX, GapReason, HEADER_LEN, Kind, ParseError, RecordHeader, next_record_at, parse_header,
        parse_record,
    },
};

/// Bytes before a segment's first record.
pub const SEGMENT_HEADER_LEN: u64 = 128;
const MAGIC: [u8; 8] = *b"airlocko";
const VERSION: u32 = 1;
const SUFFIX: &str = ".seg";

/// One segment file, as a log in use remembers it (and nothing smaller: a log of any length costs one of these per segment).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Counts the segments of the log from 0; a missing number is a segment that was dropped.
    pub index: u64,
    /// Offset of its first byte.
    pub first_offset: u64,
    /// Bytes of stdout that lie before it.
    pub first_stdout: u64,
    /// Number of its first record.
    pub first_seq: u64,
    /// Time of its first record, nanoseconds since 1970.
    pub first_time_ns: u64,
    /// Where the segment before it ended; below `first_offset` when a gap lies between them.
    pub gap_from: u64,
    /// Why, when there is such a gap.
    pub gap: Option<GapReason>,
    /// Offset after its last byte.
    pub end_offset: u64,
    /// Bytes of the file that hold records (and the header).
    pub size: u64,
}

impl Segment {
    /// The file's path in the log's directory. Names sort in the order of the log.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:020}{SUFFIX}", self.first_offset))
    }

    /// Bytes of output that it holds.
    pub fn payload(&self) -> u64 {
        self.end_offset - self.first_offset
    }

    /// Whether it can stand behind `before` in a log.
    fn follows(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| before.index < self.index && before.first_offset <= self.gap_from)
    }

    /// The header of its file.
    pub fn encode(&self, job: JobId) -> [u8; SEGMENT_HEADER_LEN as usize] {
        let mut out = [0u8; SEGMENT_HEADER_LEN as usize];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12] = self.gap.map_or(0, GapReason::code);
        out[16..32].copy_from_slice(job.as_bytes());
        let words =
            [self.index, self.first_offset, self.first_stdout, self.first_seq, self.first_time_ns, self.gap_from];
        for (i, word) in words.into_iter().enumerate() {
            out[32 + 8 * i..40 + 8 * i].copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[..124]);
        out[124..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of a segment file. `None` when it is torn or damaged.
    fn parse(bytes: &[u8; SEGMENT_HEADER_LEN as usize], job: JobId, path: &Path) -> Result<Option<Self>, OutputError> {
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let word = |n: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[32 + 8 * n + i]));
        if half(124) != crc32fast::hash(&bytes[..124]) || bytes[..8] != MAGIC {
            return Ok(None);
        }
        if half(8) != VERSION {
            return Err(OutputError::Version { path: path.to_owned(), version: half(8) });
        }
        let segment = Self {
            index: word(0),
            first_offset: word(1),
            first_stdout: word(2),
            first_seq: word(3),
            first_time_ns: word(4),
            gap_from: word(5),
            gap: GapReason::from_code(bytes[12]),
            end_offset: word(1),
            size: SEGMENT_HEADER_LEN,
        };
        let sound = bytes[16..32] == *job.as_bytes()
            && segment.first_stdout <= segment.first_offset
            && segment.gap_from <= segment.first_offset
            && [segment.index, segment.first_offset, segment.first_seq].into_iter().all(|count| count <= COUNT_MAX);
        Ok(sound.then_some(segment))
    }
}

/// Where a log stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// Bytes of each stream.
    pub lengths: [u64; 2],
    /// Number of the next record.
    pub next_seq: u64,
    /// The log has an end record; whether it then holds the end of the output.
    pub closed: Option<bool>,
}

impl Tail {
    /// The next offset.
    pub fn offset(&self) -> u64 {
        self.lengths[0] + self.lengths[1]
    }
}

/// What a log's directory holds.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Segments in the order of the log.
    pub segments: Vec<Segment>,
    /// Its end.
    pub tail: Tail,
    /// Files that are no segments of this log: begun and not finished when the writer died, or damaged.
    pub broken: Vec<PathBuf>,
}

/// Reads the headers of all segments and the last block of the last one, so that its cost does not grow with the records.
/// A directory that does not exist is an empty log. Changes nothing. Blocks.
pub fn scan(dir: &Path, job: JobId) -> Result<Scan, OutputError> {
    let mut scan = Scan::default();
    let mut broken_before = false;
    for path in segment_paths(dir)? {
        let file = File::open(&path).map_err(|e| OutputError::io("open", &path, e))?;
        let mut bytes = [0u8; SEGMENT_HEADER_LEN as usize];
        let header = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Segment::parse(&bytes, job, &path)?,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => return Err(OutputError::io("read", &path, e)),
        };
        // A whole file in another's place says that it is another.
        let header = header.filter(|segment| segment.path(dir) == path && segment.follows(scan.segments.last()));
        let Some(mut segment) = header else {
            scan.broken.push(path);
            broken_before = true;
            continue;
        };
        segment.size = file.metadata().map_err(|e| OutputError::io("read", &path, e))?.len();
        if broken_before {
            segment.gap = Some(GapReason::LogDamaged);
        }
        broken_before = false;
        let before = scan.segments.last_mut();
        match before {
            Some(before) if before.index + 1 == segment.index => before.end_offset = segment.gap_from,
            Some(before) => before.end_offset = find_end(dir, before)?.0.offset().min(segment.first_offset),
            None => {}
        }
        scan.segments.push(segment);
    }
    if let Some(last) = scan.segments.last_mut() {
        let (tail, size) = find_end(dir, last)?;
        last.end_offset = tail.offset();
        last.size = size;
        scan.tail = tail;
    }
    Ok(scan)
}

/// Paths of the segment files in the order of the log.
pub fn segment_paths(dir: &Path) -> Result<Vec<PathBuf>, OutputError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(OutputError::io("read", dir, e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| OutputError::io("read", dir, e))?;
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(SUFFIX)) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Finds the last whole record from the last block, and the file position after it. Only a writer's death tears a record, and
/// only the last one, so a block in which nothing is whole is followed by nothing that is.
fn find_end(dir: &Path, segment: &Segment) -> Result<(Tail, u64), OutputError> {
    let path = segment.path(dir);
    let file = File::open(&path).map_err(|e| OutputError::io("open", &path, e))?;
    for block in (0..=segment.size.saturating_sub(1) / BLOCK).rev() {
        let begin = first_record_at(block);
        let mut bytes = vec![0u8; ((block + 1) * BLOCK).min(segment.size).saturating_sub(begin) as usize];
        file.read_exact_at(&mut bytes, begin).map_err(|e| OutputError::io("read", &path, e))?;
        if let Some(end) = last_record(&bytes, begin, segment.first_offset) {
            return Ok(end);
        }
    }
    let lengths = [segment.first_stdout, segment.first_offset - segment.first_stdout];
    Ok((Tail { lengths, next_seq: segment.first_seq, closed: None }, SEGMENT_HEADER_LEN))
}

/// The last record of a block whose payload is whole. One with a damaged payload counts only if a whole one follows it, and one
/// that is whole but lies before `offset`, or before one that was found, is not from this place.
fn last_record(bytes: &[u8], begin: u64, mut offset: u64) -> Option<(Tail, u64)> {
    let mut found = None;
    let mut at = 0usize;
    while let Some(rest) = bytes.get(at..) {
        let header = match parse_record(rest) {
            Ok(header) if header.offset < offset => header,
            Ok(header) => {
                offset = header.end();
                let closed = match header.kind {
                    Kind::End { complete } => Some(complete),
                    Kind::Data { .. } => None,
                };
                let tail = Tail { lengths: header.lengths(), next_seq: header.seq + 1, closed };
                found = Some((tail, begin + (at + header.size()) as u64));
                header
            }
            Err(ParseError::Payload(header)) => header,
            Err(ParseError::Incomplete | ParseError::Header) => break,
        };
        at = (next_record_at(begin + (at + header.size()) as u64) - begin) as usize;
    }
    found
}

/// Finds by halving the last block whose first record satisfies `before`, which must hold for a prefix of the log, and answers
/// where that block's first record begins: the segment's first when there is none. Blocks.
pub fn find_block(file: &File, size: u64, before: impl Fn(&RecordHeader) -> bool) -> io::Result<u64> {
    let mut answer = 0;
    let (mut from, mut to) = (1, size.div_ceil(BLOCK));
    while from < to {
        let middle = from + (to - from) / 2;
        // A damaged header says nothing; the nearest whole one before it decides.
        let mut whole = None;
        for block in (from..=middle).rev() {
            let mut bytes = [0u8; HEADER_LEN];
            match file.read_exact_at(&mut bytes, block * BLOCK) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(e) => return Err(e),
            }
            if let Ok(header) = parse_header(&bytes) {
                whole = Some((block, header));
                break;
            }
        }
        match whole {
            Some((block, header)) if !before(&header) => to = block,
            Some((block, _)) => (answer, from) = (block, middle + 1),
            None => from = middle + 1,
        }
    }
    Ok(first_record_at(answer))
}

/// Where the first record of a segment's block begins.
pub fn first_record_at(block: u64) -> u64 {
    if block == 0 { SEGMENT_HEADER_LEN } else { block * BLOCK }
}
