//! A job's output, byte by byte, across lost connections.

use crate::{
    api,
    client::Client,
    end::is_live,
    error::Error,
    output_stream::OutputStream,
    patience::{Calling, Patience, Repeat},
};
use bytes::Buf;
use prost_types::Timestamp;
use std::{collections::VecDeque, time::Duration};
use tokio::time::timeout;

/// Servers send a heartbeat every ten seconds; one that is silent for this long is gone.
const SILENCE: Duration = Duration::from_secs(45);

/// Where to begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// At a byte, both streams counted together.
    Offset(u64),
    /// At the first byte read at or after this time.
    Since(Timestamp),
    /// So many lines before the end.
    TailLines(u64),
}

/// Which output to read.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputQuery {
    /// Id, unique prefix, name or `last`. After the first answer the full id is used.
    pub job: String,
    /// Where to begin.
    pub start: Start,
    /// Stop at the first byte read at or after this time.
    pub until: Option<Timestamp>,
    /// Go on until the job has ended.
    pub follow: bool,
    /// Only this stream.
    pub stream: Option<api::Stream>,
}

/// Something that happened to the output.
#[derive(Clone, Debug)]
pub enum FollowEvent {
    /// The first event: where the output begins, and the job as it stands.
    Begin {
        /// The first offset.
        offset: u64,
        /// The job.
        job: Box<api::Job>,
    },
    /// Bytes. Each offset of the selected streams comes once, in order.
    Chunk(api::Chunk),
    /// Bytes that will not come.
    Gap(api::Gap),
    /// The connection is lost; reconnecting has begun.
    Lost,
    /// The connection is back.
    Resumed,
    /// The last event.
    End {
        /// Where to continue.
        offset: u64,
        /// The job as it stood then; ended when the query follows.
        job: Box<api::Job>,
    },
}

/// Reads a job's output. Reconnects at the next byte when the connection is lost.
pub struct Follower {
    client: Client,
    query: OutputQuery,
    patience: Patience,
    /// For the first connection, which is not a lost one.
    first: Calling,
    /// The offset after the last byte handed out; none before the first answer.
    next: Option<u64>,
    stream: Option<OutputStream>,
    /// Events not yet handed out.
    ready: VecDeque<FollowEvent>,
    begun: bool,
    lost: bool,
    ended: bool,
}

impl OutputQuery {
    /// Everything from `offset` on until the job's end.
    pub fn follow(job: &str, offset: u64) -> Self {
        OutputQuery { job: job.to_owned(), start: Start::Offset(offset), until: None, follow: true, stream: None }
    }
}

impl Follower {
    /// `window` is how long a lost connection may stay away. The first connection has the client's patience.
    pub fn new(client: Client, query: OutputQuery, window: Duration) -> Self {
        let (patience, first) = (Patience::new(window), Calling::new(&client.courtesy, Repeat::Harmless));
        Follower {
            client,
            query,
            patience,
            first,
            next: None,
            stream: None,
            ready: VecDeque::new(),
            begun: false,
            lost: false,
            ended: false,
        }
    }

    /// Gives the first connection as long as later ones, for a job that is known to exist.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.begun = true;
        self
    }

    /// The offset after the last byte handed out, when anything is known.
    pub fn next_offset(&self) -> Option<u64> {
        self.next
    }

    /// The next event; `None` after [`FollowEvent::End`]. May be cancelled at any await without losing a byte.
    ///
    /// # Errors
    /// [`Error::Answer`] when the server refuses (NOT_FOUND, OUT_OF_RANGE), [`Error::GaveUp`] when the connection stayed away
    /// for longer than the window.
    pub async fn next(&mut self) -> Result<Option<FollowEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            let received = match &mut self.stream {
                Some(stream) => match timeout(SILENCE, stream.message()).await {
                    Ok(Ok(Some(message))) => Ok(message),
                    Ok(Ok(None)) => Err(Error::Lost("the server ended the stream early".into())),
                    Ok(Err(status)) => Err(self.client.explain(&status).await),
                    Err(_) => Err(Error::Lost("the server fell silent".into())),
                },
                None => {
                    self.open().await?;
                    continue;
                }
            };
            match received {
                Ok(message) => self.digest(message)?,
                Err(error) => self.note_loss(error)?,
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        self.patience.wait().await;
        self.first.wait().await;
        let request = self.request();
        match self.client.answer(OutputStream::open(self.client.channel(), request)).await {
            Ok(stream) => {
                self.stream = Some(stream);
                Ok(())
            }
            Err(error) => self.note_loss(error),
        }
    }

    fn note_loss(&mut self, error: Error) -> Result<(), Error> {
        self.stream = None;
        if !self.begun {
            return self.first.fail(error);
        }
        if !error.is_passing() {
            return Err(error);
        }
        self.patience.fail(error)?;
        if !std::mem::replace(&mut self.lost, true) {
            self.ready.push_back(FollowEvent::Lost);
        }
        Ok(())
    }

    fn request(&self) -> api::StreamOutputRequest {
        use api::stream_output_request::From;
        let start = match (self.next, &self.query.start) {
            (Some(next), _) => From::Offset(next),
            (None, Start::Offset(offset)) => From::Offset(*offset),
            (None, Start::Since(time)) => From::Since(*time),
            (None, Start::TailLines(lines)) => From::TailLines(*lines),
        };
        api::StreamOutputRequest {
            job: self.query.job.clone(),
            from: Some(start),
            until: self.query.until,
            follow: self.query.follow,
            stream: self.query.stream.unwrap_or(api::Stream::Unspecified).into(),
        }
    }

    fn digest(&mut self, message: api::StreamOutputResponse) -> Result<(), Error> {
        use api::stream_output_response::Event;
        if std::mem::replace(&mut self.lost, false) {
            self.ready.push_back(FollowEvent::Resumed);
        }
        // A server that begins and then always breaks off has not come back.
        if !matches!(message.event, Some(Event::Begin(_) | Event::End(_))) {
            self.patience.renew();
        }
        match message.event {
            // A newer server may send events that this client does not know.
            None | Some(Event::Heartbeat(_)) => {}
            Some(Event::Begin(begin)) => self.begin(begin)?,
            Some(Event::Chunk(chunk)) => self.chunk(chunk),
            Some(Event::Gap(gap)) => self.gap(gap),
            Some(Event::End(end)) => self.end(end)?,
        }
        Ok(())
    }

    fn begin(&mut self, begin: api::Begin) -> Result<(), Error> {
        let job = begin.job.ok_or(Error::Protocol("the begin of the output names no job"))?;
        // A name or "last" may mean another job by the time of the next connection.
        self.query.job.clone_from(&job.job_id);
        if self.next.is_none() {
            self.begun = true;
            // What was asked for counts: a server that begins later has left something out, and the first chunk shows it.
            let offset = match self.query.start {
                Start::Offset(offset) => offset,
                Start::Since(_) | Start::TailLines(_) => begin.offset,
            };
            self.next = Some(offset);
            self.ready.push_back(FollowEvent::Begin { offset, job: Box::new(job) });
        }
        Ok(())
    }

    fn chunk(&mut self, mut chunk: api::Chunk) {
        let next = self.next.unwrap_or(chunk.offset);
        let known = usize::try_from(next.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        if known > 0 {
            if known >= chunk.data.len() {
                return;
            }
            chunk.data.advance(known);
            chunk.offset += known as u64;
            chunk.stream_offset += known as u64;
        }
        // Of one stream alone the other's bytes are rightly skipped; of both, a jump is a loss and must not pass as none.
        if self.query.stream.is_none() && chunk.offset > next {
            self.ready.push_back(unexplained_gap(next, chunk.offset));
        }
        self.next = Some(chunk.offset + chunk.data.len() as u64);
        self.ready.push_back(FollowEvent::Chunk(chunk));
    }

    fn gap(&mut self, mut gap: api::Gap) {
        gap.from = gap.from.max(self.next.unwrap_or(gap.from));
        if gap.to > gap.from {
            self.next = Some(gap.to);
            self.ready.push_back(FollowEvent::Gap(gap));
        }
    }

    fn end(&mut self, end: api::End) -> Result<(), Error> {
        let job = Box::new(end.job.ok_or(Error::Protocol("the end of the output names no job"))?);
        if self.query.follow && self.query.until.is_none() && is_live(&job) {
            return self.note_loss(Error::Lost("the server ended the stream before the job's end".into()));
        }
        let next = self.next.unwrap_or(end.offset);
        if self.query.stream.is_none() && self.query.until.is_none() && end.offset > next {
            self.ready.push_back(unexplained_gap(next, end.offset));
        }
        let offset = end.offset.max(next);
        self.next = Some(offset);
        self.ended = true;
        self.ready.push_back(FollowEvent::End { offset, job });
        Ok(())
    }
}

fn unexplained_gap(from: u64, to: u64) -> FollowEvent {
    FollowEvent::Gap(api::Gap { from, to, reason: "not sent by the server".into() })
}
