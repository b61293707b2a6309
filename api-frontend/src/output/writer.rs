//! Adding to a log.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    sync::{Arc, atomic::Ordering},
};

use ipc_protocol::Stream;

use super::{
    batch::{Planned, parts_of, write_all_at},
    error::OutputError,
    finished::FinishedLog,
    limit::{OutputLimit, WhenFull},
    record::{GapReason, HEADER_LEN, Kind, PAYLOAD_MAX, RecordHeader, left_in_block, next_record_at},
    segment::{SEGMENT_HEADER_LEN, Scan, Segment},
    state::{LogState, Totals},
};

/// Records written by one system call; well below the kernel's limit of 1024 pieces at three a record.
const BATCH: usize = 256;

/// What an [`append`](LogWriter::append) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Bytes of the stream that the log answers for from now on; to be acknowledged.
    pub length: u64,
    /// The limit was met. With `Wait`, the bytes from `length` on were not taken. With `Stop`, all were taken, and those
    /// beyond the limit count as missing.
    pub full: Option<WhenFull>,
}

/// Closing a log failed; the writer comes back and can try again.
#[derive(Debug)]
pub struct FinishError {
    /// As before the call.
    pub writer: Box<LogWriter>,
    /// Why: `DiskFull` or `Io`.
    pub error: OutputError,
}

/// Adds to one log. Its methods block on the file system (usually for the time of a copy into the page cache). Dropped without
/// [`finish`](Self::finish), the log stays open: a later writer goes on where this one stopped, and followers with it.
#[derive(Debug)]
pub struct LogWriter {
    state: Arc<LogState>,
    limit: OutputLimit,
    file: Option<Arc<File>>,
    last: Option<Segment>,
    lengths: [u64; 2],
    next_seq: u64,
    /// Bytes before the next one are missing for this reason; the next segment's header will say so.
    gap: Option<GapReason>,
    /// Bytes of output in all segments.
    kept: u64,
    /// Bytes of all segments.
    disk: u64,
    /// A failed write may have left something behind the last whole record.
    torn: bool,
}

impl LogWriter {
    pub(super) fn begin(state: Arc<LogState>, found: Scan, limit: OutputLimit) -> Result<Self, OutputError> {
        let mut writer = Self {
            limit,
            file: None,
            last: found.segments.last().copied(),
            lengths: found.tail.lengths,
            next_seq: found.tail.next_seq,
            gap: None,
            kept: found.segments.iter().map(Segment::payload).sum(),
            disk: found.segments.iter().map(|s| s.size).sum(),
            torn: true,
            state,
        };
        for path in &found.broken {
            fs::rename(path, path.with_extension("broken")).map_err(|e| OutputError::io("rename", path, e))?;
        }
        if let Some(last) = &writer.last {
            let path = last.path(&writer.state.dir);
            let file = OpenOptions::new().read(true).write(true).open(&path);
            writer.file = Some(Arc::new(file.map_err(|e| OutputError::io("open", &path, e))?));
        }
        writer.mend()?;
        let mut sealed = found.segments;
        sealed.pop();
        let (last, file, lengths) = (writer.last, writer.file.clone(), writer.lengths);
        writer.state.publish(|now| {
            (now.sealed, now.last, now.file, now.lengths, now.gap) = (Arc::new(sealed), last, file, lengths, None);
        });
        Ok(writer)
    }

    /// Adds bytes that begin at `stream_offset` of their stream and were read at `time_ns` (nanoseconds since 1970). Bytes that
    /// the log has already are left out, so that repeating a call is harmless. `recovered` marks bytes that a former executor
    /// took. When it answers, they outlive this process.
    ///
    /// # Errors
    /// `Hole` when bytes before these are missing; `DiskFull` and `Io`: what was added of them can be seen from
    /// [`lengths`](Self::lengths), and the same call may be repeated.
    pub fn append(
        &mut self,
        stream: Stream,
        stream_offset: u64,
        time_ns: u64,
        recovered: bool,
        bytes: &[u8],
    ) -> Result<Appended, OutputError> {
        let expected = self.lengths[stream as usize];
        if stream_offset > expected {
            return Err(OutputError::Hole { job: self.state.job, stream, expected, got: stream_offset });
        }
        let known = usize::try_from(expected - stream_offset).unwrap_or(usize::MAX);
        let mut rest = bytes.get(known..).unwrap_or(&[]);
        let mut full = None;
        while !rest.is_empty() {
            let taken = self.write(Kind::Data { stream, recovered }, time_ns, rest)?;
            if taken == 0 {
                full = Some(self.limit.when_full());
                if self.limit.when_full() == WhenFull::Stop {
                    self.skip(stream, self.lengths[stream as usize] + rest.len() as u64, GapReason::OutputLimit);
                }
                break;
            }
            rest = &rest[taken..];
        }
        Ok(Appended { length: self.lengths[stream as usize], full })
    }

    /// Declares that the bytes of a stream up to `to` will never come. They count as written and missing. Does not block: the
    /// gap reaches the disk with the next bytes or the end. Answers the reason that the log gives for it: beyond the limit of a
    /// log that takes no more, bytes are missing for that reason, whatever became of them. Those of a process that was killed before
    /// the gap reached the disk are such.
    pub fn skip(&mut self, stream: Stream, to: u64, reason: GapReason) -> GapReason {
        let is_closed = self.limit.when_full() == WhenFull::Stop && self.limit.room(self.kept, self.disk) == 0;
        let reason = if is_closed { GapReason::OutputLimit } else { reason };
        if to > self.lengths[stream as usize] {
            self.lengths[stream as usize] = to;
            self.gap.get_or_insert(reason);
            let (lengths, gap) = (self.lengths, self.gap);
            self.state.publish(|now| (now.lengths, now.gap) = (lengths, gap));
        }
        reason
    }

    /// Closes the log; followers see its end. `complete` says that the job wrote nothing that is not in it (or marked as a gap).
    ///
    /// # Errors
    /// `DiskFull` or `Io`, with the writer to try again.
    pub fn finish(mut self, time_ns: u64, complete: bool) -> Result<FinishedLog, FinishError> {
        // A job that wrote nothing costs no file.
        if (self.last.is_some() || self.gap.is_some())
            && let Err(error) = self.write(Kind::End { complete }, time_ns, &[])
        {
            return Err(FinishError { writer: Box::new(self), error });
        }
        self.state.publish(|now| (now.ended, now.file) = (Some(complete), None));
        let totals = self.totals();
        Ok(FinishedLog::new(totals))
    }

    /// Bytes of each stream that the log answers for: where output must go on.
    pub fn lengths(&self) -> [u64; 2] {
        self.lengths
    }

    /// What the log holds, counted.
    pub fn totals(&self) -> Totals {
        self.state.look(|now| now.totals())
    }

    /// Writes as many records of `bytes` as one system call and the current segment take, or one end record. Answers how many
    /// bytes that were; 0 of some means that the limit is met.
    fn write(&mut self, kind: Kind, time_ns: u64, bytes: &[u8]) -> Result<usize, OutputError> {
        self.mend()?;
        let end = matches!(kind, Kind::End { .. });
        if !end && !self.make_room(bytes.len() as u64)? {
            return Ok(0);
        }
        let fresh = self.needs_segment(end).then(|| self.next_segment(time_ns));
        let mut segment = match (fresh, self.last) {
            (Some(fresh), _) | (None, Some(fresh)) => fresh,
            (None, None) => self.next_segment(time_ns),
        };
        let file = match (&fresh, &self.file) {
            (None, Some(file)) => Arc::clone(file),
            _ => self.create(&segment)?,
        };
        let begin = if fresh.is_some() { 0 } else { segment.size };
        let records_begin = segment.size;
        let batch = self.plan(kind, time_ns, bytes, &mut segment);
        let header = segment.encode(self.state.job);
        // In one piece for whoever follows the log; without anybody, written from where it lies.
        let joined = self.state.is_followed().then(|| parts_of(&batch, bytes).collect::<Vec<_>>().concat());
        let mut pieces = Vec::with_capacity(3 * batch.len() + 1);
        pieces.extend(fresh.map(|_| IoSlice::new(&header)));
        match &joined {
            Some(records) => pieces.push(IoSlice::new(records)),
            None => pieces.extend(parts_of(&batch, bytes).map(IoSlice::new)),
        }
        if let Err(e) = write_all_at(&file, &mut pieces, begin) {
            let path = segment.path(&self.state.dir);
            if fresh.is_some() {
                // It holds nothing that counts; when it stays, the next writer sets it aside.
                let _ = fs::remove_file(&path);
            } else {
                self.torn = true;
                // A full disk needs the room; when even this fails, the next write tries again first.
                let _ = self.mend();
            }
            return Err(OutputError::io("write", &path, e));
        }
        kill_point!(LogWritten);
        let taken: usize = batch.iter().map(|planned| planned.length).sum();
        self.next_seq += batch.len() as u64;
        self.kept += taken as u64;
        self.disk += segment.size - begin;
        if let Kind::Data { stream, .. } = kind {
            self.lengths[stream as usize] += taken as u64;
        }
        if let Some(records) = joined {
            self.state.parts.keep(segment.index, records_begin, records);
        }
        self.commit(segment, fresh.is_some(), file);
        Ok(taken)
    }

    /// Lays out records for the beginning of `bytes` at the end of `segment`, and moves that end.
    fn plan(&self, kind: Kind, time_ns: u64, bytes: &[u8], segment: &mut Segment) -> Vec<Planned> {
        let mut batch = Vec::with_capacity((bytes.len() / PAYLOAD_MAX + 3).min(BATCH));
        let mut stream_offset = match kind {
            Kind::Data { stream, .. } => self.lengths[stream as usize],
            Kind::End { .. } => self.lengths[0],
        };
        let (mut left, mut kept, mut disk) = (bytes.len(), self.kept, self.disk);
        let in_head = segment.index == 0;
        let size_most = if in_head { self.limit.head_size() } else { self.limit.segment() };
        let record_most = usize::try_from(self.limit.segment()).unwrap_or(PAYLOAD_MAX).min(PAYLOAD_MAX);
        while batch.len() < BATCH {
            let at = next_record_at(segment.size);
            let mut length = left.min(record_most).min((left_in_block(at) as usize).saturating_sub(HEADER_LEN));
            // A log whose first bytes never came begins behind the head.
            if in_head && segment.first_offset < self.limit.head() {
                let left = self.limit.head().saturating_sub(segment.end_offset);
                length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
            }
            let room = usize::try_from(self.limit.room(kept, disk)).unwrap_or(usize::MAX);
            // With nothing left to drop, a limit that is smaller than head and segments gives way.
            if self.limit.when_full() != WhenFull::DropOldest || room > 0 || !batch.is_empty() {
                length = length.min(room);
            }
            let end = matches!(kind, Kind::End { .. });
            if !batch.is_empty() && (length == 0 || at >= size_most) || length == 0 && !end {
                break;
            }
            let length = if end { 0 } else { length };
            let seq = self.next_seq + batch.len() as u64;
            let record = RecordHeader { kind, length, offset: segment.end_offset, stream_offset, seq, time_ns };
            let from = bytes.len() - left;
            let header = record.encode(&bytes[from..from + length]);
            batch.push(Planned { padding: (at - segment.size) as usize, header, length });
            disk += at - segment.size + record.size() as u64;
            kept += length as u64;
            (segment.size, segment.end_offset) = (at + record.size() as u64, record.end());
            stream_offset += length as u64;
            left -= length;
            if left == 0 {
                break;
            }
        }
        batch
    }

    /// Makes what was written part of the log.
    fn commit(&mut self, segment: Segment, fresh: bool, file: Arc<File>) {
        let before = self.last.replace(segment);
        if fresh {
            self.gap = None;
            self.file = Some(file);
        }
        let (lengths, gap, file) = (self.lengths, self.gap, &self.file);
        self.state.publish(|now| {
            if fresh {
                Arc::make_mut(&mut now.sealed).extend(before);
                now.file = file.clone();
            }
            (now.last, now.lengths, now.gap) = (Some(segment), lengths, gap);
        });
    }

    /// Whether the next record begins a segment. Only a gap makes an end do so: it is told by a segment's header.
    fn needs_segment(&self, end: bool) -> bool {
        let Some(last) = &self.last else { return true };
        // An empty one has the name that the next would have.
        let outgrown = last.payload() > 0
            && match last.index {
                0 => last.size >= self.limit.head_size() || last.end_offset >= self.limit.head(),
                _ => last.size >= self.limit.segment(),
            };
        self.gap.is_some() || outgrown && !end
    }

    fn next_segment(&self, time_ns: u64) -> Segment {
        let first_offset = self.lengths[0] + self.lengths[1];
        Segment {
            index: self.last.map_or(0, |last| last.index + 1),
            first_offset,
            first_stdout: self.lengths[0],
            first_seq: self.next_seq,
            first_time_ns: time_ns,
            gap_from: self.last.map_or(0, |last| last.end_offset),
            gap: self.gap,
            end_offset: first_offset,
            size: SEGMENT_HEADER_LEN,
        }
    }

    fn create(&self, segment: &Segment) -> Result<Arc<File>, OutputError> {
        if self.last.is_none() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.state.dir);
            made.map_err(|e| OutputError::io("create", &self.state.dir, e))?;
        }
        let path = segment.path(&self.state.dir);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|e| OutputError::io("create", &path, e))?;
        kill_point!(SegmentMade);
        Ok(Arc::new(file))
    }

    /// Whether there is room for output; drops the oldest to make it, where that is what the limit says.
    fn make_room(&mut self, wanted: u64) -> Result<bool, OutputError> {
        if self.limit.when_full() != WhenFull::DropOldest {
            return Ok(self.limit.room(self.kept, self.disk) > 0);
        }
        let wanted = wanted.min(self.limit.segment());
        while self.limit.room(self.kept, self.disk) < wanted {
            let oldest = self.state.look(|now| now.sealed.iter().find(|s| s.index > 0).copied());
            let Some(oldest) = oldest else { break };
            // Out of sight first: a reader that has it open goes on in it, one that has not finds a gap.
            self.state.publish(|now| Arc::make_mut(&mut now.sealed).retain(|s| s.index != oldest.index));
            self.kept -= oldest.payload();
            self.disk -= oldest.size;
            let path = oldest.path(&self.state.dir);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(OutputError::io("remove", &path, e)),
                _ => {
                    kill_point!(OldestDropped);
                }
            }
        }
        Ok(true)
    }

    /// Cuts off what a failed or interrupted write left behind the last whole record.
    fn mend(&mut self) -> Result<(), OutputError> {
        if let (true, Some(last), Some(file)) = (self.torn, &self.last, &self.file) {
            let path = last.path(&self.state.dir);
            file.set_len(last.size).map_err(|e| OutputError::io("shorten", &path, e))?;
        }
        self.torn = false;
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.state.writing.store(false, Ordering::SeqCst);
    }
}
