//! One follower: what the log's reader finds, as messages, at the pace of the client.
//!
//! The stream itself is what tonic polls: there is no queue and no job of the runtime between the file and the connection, so a
//! slow client holds nothing but its own read buffer.

use std::time::Duration;

use airlock_proto::v1::{self, stream_output_response::Event as Message};
use futures_util::stream::{Stream, unfold};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{answer, error};
use crate::jobs::{JobView, Jobs, JobsError};
use crate::output::{Event, GapReason, LogEnd, LogReader};

/// Silence after which a client is shown that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// One call of StreamOutput.
struct Follower {
    jobs: Jobs,
    reader: LogReader,
    request_id: String,
    stop: CancellationToken,
    /// The first message, until it is sent. (Boxed, as the last one: their room would lie empty beside every follower that waits.)
    begin: Option<Box<JobView>>,
    /// The last message, while a gap goes before it.
    end: Option<Box<v1::End>>,
    done: bool,
    heartbeat: Duration,
}

/// The messages of one call: begin, chunks and gaps and heartbeats, end.
pub(super) fn messages(
    jobs: Jobs,
    view: JobView,
    reader: LogReader,
    request_id: String,
    stop: CancellationToken,
) -> impl Stream<Item = Result<v1::StreamOutputResponse, Status>> + Send + 'static {
    let follower = Follower {
        jobs,
        reader,
        request_id,
        stop,
        begin: Some(Box::new(view)),
        end: None,
        done: false,
        heartbeat: HEARTBEAT,
    };
    unfold(follower, |mut follower| async move {
        if follower.done {
            return None;
        }
        let message = follower.next().await;
        follower.done = !matches!(&message, Ok(m) if !matches!(m, Message::End(_)));
        let message = message.map(|event| v1::StreamOutputResponse { event: Some(event) });
        Some((message, follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Result<Message, Status> {
        if let Some(view) = self.begin.take() {
            let job = answer::job(*view, self.jobs.host());
            return Ok(Message::Begin(v1::Begin { offset: self.reader.begins_at(), job: Some(job) }));
        }
        if let Some(end) = self.end.take() {
            return Ok(Message::End(*end));
        }
        let host = self.jobs.host().to_owned();
        let event = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(self.status(&JobsError::Stopping { host })),
            event = self.reader.next() => event,
            () = tokio::time::sleep(self.heartbeat) => {
                return Ok(Message::Heartbeat(v1::Heartbeat { offset: self.reader.reached() }));
            }
        };
        match event.map_err(JobsError::from) {
            Ok(Event::Chunk(chunk)) => Ok(Message::Chunk(answer::chunk(chunk))),
            Ok(Event::Gap(gap)) => Ok(Message::Gap(answer::gap(gap))),
            // Boxed: it happens once, and its state would lie beside every follower that waits.
            Ok(Event::End(end)) => Box::pin(self.end(end)).await,
            Err(error) => Err(self.status(&error)),
        }
    }

    /// The last message; or, when the log ends before the output that the record counts, the gap that goes before it.
    async fn end(&mut self, end: LogEnd) -> Result<Message, Status> {
        let id = self.reader.job();
        // The log is closed a moment before the end is recorded, and who followed wants to know how it ended.
        let view = match end.ended {
            true => self.jobs.settled(id).await,
            false => self.jobs.refresh(id).await,
        };
        let view = self.jobs.checked(view.map_err(|e| self.status(&e))?).await;
        let (reached, written) = (self.reader.reached(), view.output.bytes);
        let job = Some(answer::job(view, self.jobs.host()));
        if !end.ended || end.offset < reached || written <= reached {
            return Ok(Message::End(v1::End { offset: end.offset, job }));
        }
        self.end = Some(Box::new(v1::End { offset: written, job }));
        Ok(Message::Gap(v1::Gap { from: reached, to: written, reason: GapReason::LogDamaged.to_string() }))
    }

    fn status(&self, error: &JobsError) -> Status {
        error::status(error, &self.request_id)
    }
}
