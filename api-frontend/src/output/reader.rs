//! Reading a log, and following it.

use std::{fs::File, io, sync::Arc};

use bytes::{Buf, Bytes};
use ipc_protocol::{JobId, Stream};

use super::{
    error::OutputError,
    file::Cursor,
    logs::blocking,
    record::{GapReason, HEADER_LEN, Kind, ParseError, RecordHeader},
    seek,
    segment::{Segment, find_block},
    state::{Following, LogState, Now},
};

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this offset, both streams counted together.
    Offset(u64),
    /// At the first byte read at or after this time, nanoseconds since 1970.
    Since(u64),
    /// At the last so many lines of what is selected.
    TailLines(u64),
}

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Where to begin.
    pub from: Start,
    /// Stop at the first byte read at or after this time, nanoseconds since 1970.
    pub until_ns: Option<u64>,
    /// Only this stream; the other's bytes are skipped, offsets are not renumbered.
    pub stream: Option<Stream>,
    /// Go on with what comes until the log is closed.
    pub follow: bool,
}

impl Default for ReadOptions {
    /// Everything that is there.
    fn default() -> Self {
        Self { from: Start::Offset(0), until_ns: None, stream: None, follow: false }
    }
}

/// What a reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes.
    Chunk(Chunk),
    /// Bytes that are not there.
    Gap(Gap),
    /// Nothing more comes. The same again when asked again.
    End(LogEnd),
}

/// Bytes of one stream: one record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The stream.
    pub stream: Stream,
    /// Of the first byte, both streams counted together.
    pub offset: u64,
    /// Of the first byte in its stream.
    pub stream_offset: u64,
    /// When the executor read them, nanoseconds since 1970.
    pub time_ns: u64,
    /// Number of the record in the log.
    pub seq: u64,
    /// A former executor took them: their order against the other stream is not known.
    pub recovered: bool,
    /// At least one, at most [`PAYLOAD_MAX`](super::PAYLOAD_MAX). A part of the read buffer, which lives as long as this.
    pub bytes: Bytes,
}

/// Bytes from offset `from` up to but not including `to` are not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Offset of the first missing byte.
    pub from: u64,
    /// Offset of the next byte that is there.
    pub to: u64,
    /// Why.
    pub reason: GapReason,
}

/// The end of what a reader serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The next offset; where to continue.
    pub offset: u64,
    /// The log is closed (or has no writer).
    pub ended: bool,
    /// It holds the end of the output. False for a log that a power cut or a lost job left open.
    pub complete: bool,
}

/// Reads one log from some place on.
#[derive(Debug)]
pub struct LogReader {
    state: Arc<LogState>,
    options: ReadOptions,
    begin: u64,
    /// Offset of the next byte to serve.
    offset: u64,
    /// Without `follow`: where the log ended when reading began.
    horizon: Option<u64>,
    cursor: Option<Cursor>,
    /// Why bytes before the next record are missing, if they are.
    reason: Option<GapReason>,
    end: Option<LogEnd>,
    _following: Option<Following>,
}

impl LogReader {
    pub(super) async fn begin(state: Arc<LogState>, options: ReadOptions) -> Result<Self, OutputError> {
        let now = state.now();
        let end = now.offset();
        let begin = match options.from {
            Start::Offset(offset) if now.ended.is_some() && offset > end => {
                return Err(OutputError::BeyondEnd { offset, end });
            }
            Start::Offset(offset) => offset,
            Start::Since(time_ns) => {
                let (now, state) = (now, Arc::clone(&state));
                seek::search(move |wanted| seek::first_since(&state.dir, &now, time_ns, wanted)).await?
            }
            Start::TailLines(lines) => {
                let (now, state) = (now, Arc::clone(&state));
                seek::search(move |wanted| seek::last_lines(&state.dir, &now, lines, options.stream, wanted)).await?
            }
        };
        let horizon = (!options.follow).then_some(end);
        let _following = options.follow.then(|| state.followed());
        Ok(Self { state, options, begin, offset: begin, horizon, cursor: None, reason: None, end: None, _following })
    }

    /// The job.
    pub fn job(&self) -> JobId {
        self.state.job
    }

    /// The offset at which it begins.
    pub fn begins_at(&self) -> u64 {
        self.begin
    }

    /// The log's next offset: how far it reaches now.
    pub fn reached(&self) -> u64 {
        self.state.look(Now::offset)
    }

    /// What comes next. When following, waits for it without polling. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Io`, and `Deleted` when the log is deleted meanwhile. Damage is no error but a gap.
    pub async fn next(&mut self) -> Result<Event, OutputError> {
        loop {
            if self.horizon.is_some_and(|horizon| self.offset >= horizon) {
                self.close();
            }
            if let Some(end) = self.end {
                self.cursor = None;
                return Ok(Event::End(end));
            }
            if let Some(event) = self.parse() {
                return Ok(event);
            }
            if let Some(event) = self.advance().await? {
                return Ok(event);
            }
        }
    }

    /// Takes from the buffer what concerns this reader; `None` when more must be read (or the end was set).
    fn parse(&mut self) -> Option<Event> {
        let cursor = self.cursor.as_mut()?;
        while self.end.is_none() && !cursor.buffer.is_empty() {
            let header = match cursor.parse() {
                Ok(header) => header,
                Err(ParseError::Incomplete) if cursor.may_read_on() => {
                    cursor.clear();
                    return None;
                }
                Err(ParseError::Incomplete | ParseError::Header) => {
                    self.reason = Some(GapReason::LogDamaged);
                    cursor.skip_block();
                    continue;
                }
                Err(ParseError::Payload(header)) => {
                    self.reason = Some(GapReason::LogDamaged);
                    cursor.consume(header.size());
                    continue;
                }
            };
            if header.offset > self.offset {
                let reason = self.reason.take().unwrap_or(GapReason::LogDamaged);
                let gap = Gap { from: self.offset, to: header.offset, reason };
                self.offset = header.offset;
                return Some(Event::Gap(gap));
            }
            self.reason = None;
            if self.options.until_ns.is_some_and(|until| header.time_ns >= until) && header.end() > self.offset {
                self.close();
                return None;
            }
            let chunk = chunk(&header, &cursor.buffer, self.offset, self.options.stream);
            self.offset = self.offset.max(header.end());
            cursor.consume(header.size());
            if chunk.is_some() {
                return chunk.map(Event::Chunk);
            }
            if self.horizon.is_some_and(|horizon| self.offset >= horizon) {
                return None;
            }
        }
        None
    }

    /// Reads on, opens the next segment, waits, or finds the end.
    async fn advance(&mut self) -> Result<Option<Event>, OutputError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let now = self.state.now();
        if now.deleted {
            return Err(OutputError::Deleted { job: self.state.job });
        }
        let Some(cursor) = &mut self.cursor else {
            let segment = now.segments().take_while(|s| s.first_offset <= self.offset).last().or(now.segments().next());
            return match segment.copied() {
                Some(segment) => {
                    if segment.first_offset > self.offset {
                        // No segment is left that ends where the gap begins, so this one alone can say why.
                        self.reason = self.reason.or(segment.gap);
                    }
                    self.open(segment, true, &now).await
                }
                None => self.at_end(&now).await,
            };
        };
        match now.segments().find(|s| s.index == cursor.segment.index) {
            Some(segment) => cursor.segment = *segment,
            // Dropped under our hands, hence closed before: all of the file is the segment.
            None => cursor.measure().map_err(|e| OutputError::io("read", &cursor.segment.path(&self.state.dir), e))?,
        }
        if cursor.position < cursor.segment.size {
            // A log in the page cache is read without ever waiting, and whoever skips a stream may read for long.
            tokio::task::coop::consume_budget().await;
            return self.read().await;
        }
        let next = now.segments().find(|s| s.index > cursor.segment.index).copied();
        match next {
            Some(next) => {
                let adjacent = next.index == cursor.segment.index + 1;
                let told = next.gap.or((!adjacent).then_some(GapReason::OutputLimit));
                self.reason = self.reason.or(told);
                self.open(next, false, &now).await
            }
            None => self.at_end(&now).await,
        }
    }

    /// Makes a segment the one that is read: from the block that holds the offset, or from its beginning.
    async fn open(&mut self, segment: Segment, seek: bool, now: &Now) -> Result<Option<Event>, OutputError> {
        let grows = now.last.is_some_and(|last| last.index == segment.index);
        if let (true, false, Some(file)) = (grows, seek, &now.file) {
            self.cursor = Some(Cursor::new(segment, Arc::clone(file)));
            return Ok(None);
        }
        let (path, offset) = (segment.path(&self.state.dir), self.offset);
        let opened = blocking(move || {
            let failed = |e| OutputError::io("read", &path, e);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(failed(e)),
            };
            let mut cursor = Cursor::new(segment, Arc::new(file));
            if seek {
                cursor.position =
                    find_block(&cursor.file, segment.size, |header| header.offset <= offset).map_err(failed)?;
            }
            Ok(Some(cursor))
        });
        match opened.await? {
            Some(cursor) => self.cursor = Some(cursor),
            None if self.state.look(|now| now.deleted) => return Err(OutputError::Deleted { job: self.state.job }),
            // Dropped since we looked, and the next look will not find it; unless it vanished otherwise.
            None if self.state.look(|now| now.segments().any(|s| s.index == segment.index)) => {
                let path = segment.path(&self.state.dir);
                return Err(OutputError::io("open", &path, io::ErrorKind::NotFound.into()));
            }
            None => {}
        }
        Ok(None)
    }

    async fn read(&mut self) -> Result<Option<Event>, OutputError> {
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        let read = cursor.read(&self.state.parts).await;
        if !read.map_err(|e| OutputError::io("read", &cursor.segment.path(&self.state.dir), e))? {
            // Somebody shortened the file.
            self.reason = Some(GapReason::LogDamaged);
            cursor.position = cursor.segment.size;
        }
        Ok(None)
    }

    async fn at_end(&mut self, now: &Now) -> Result<Option<Event>, OutputError> {
        let more = now.offset() > self.offset;
        if more && (now.ended.is_some() || !self.options.follow) {
            let reason = self.reason.take().or(now.gap).unwrap_or(GapReason::LogDamaged);
            let gap = Gap { from: self.offset, to: now.offset(), reason };
            self.offset = now.offset();
            return Ok(Some(Event::Gap(gap)));
        }
        if now.ended.is_some() || !self.options.follow {
            self.close();
        } else {
            self.state.parts.forget_fresh();
            self.state.changed(now.version).await;
        }
        Ok(None)
    }

    fn close(&mut self) {
        let ended = self.state.look(|now| now.ended);
        self.end = Some(LogEnd { offset: self.offset, ended: ended.is_some(), complete: ended == Some(true) });
    }
}

/// What a record holds for a reader at `offset` who wants `stream`.
fn chunk(header: &RecordHeader, record: &Bytes, offset: u64, wanted: Option<Stream>) -> Option<Chunk> {
    let Kind::Data { stream, recovered } = header.kind else { return None };
    if header.end() <= offset || wanted.is_some_and(|wanted| wanted != stream) {
        return None;
    }
    let known = offset.saturating_sub(header.offset);
    let mut bytes = record.slice(HEADER_LEN..header.size());
    bytes.advance(known as usize);
    Some(Chunk {
        stream,
        offset: header.offset + known,
        stream_offset: header.stream_offset + known,
        time_ns: header.time_ns,
        seq: header.seq,
        recovered,
        bytes,
    })
}
