//! The second half of `run` and the whole of `attach`: the job's bytes on our descriptors, our interruptions to the job,
//! and at its end its status.

mod hint;
mod steering;

use crate::{
    failure::{Ending, Failure, GOES_ON, OWN_TROUBLE},
    interrupts::Interrupts,
    present::{sanitize, time},
    result_file::ResultFile,
    sentences::plain,
    session::Session,
    talk::say,
    verdict::{Circumstances, judge},
    writer::{Broken, Descriptor, Piece, Writer},
};
use airlock_client::{Error, FollowEvent, Follower, OutputQuery, api, is_live, short_id};
use std::{io, time::Duration};
use steering::{Steering, Step};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// A lost connection that comes back within this is not worth a word.
const QUIET: Duration = Duration::from_secs(2);
/// Who is about to leave a job looks this long for its end.
const MOMENT: Duration = Duration::from_millis(300);
/// How long a reader of our output may take when we leave.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How to relay.
pub struct RelayOptions {
    /// The first byte to show.
    pub offset: u64,
    /// Between asking the job to stop and killing it.
    pub grace: Duration,
    /// How long a lost connection may stay away.
    pub reconnect: Duration,
    /// Where to write the job's end.
    pub result: Option<ResultFile>,
    /// The job is not this call's own: it may have ended, and its files are another call's affair.
    pub attached: bool,
}

/// Why we leave a job that runs on.
enum Farewell {
    /// The user wants to.
    Asked,
    /// The connection stayed away.
    Lost(Error),
    /// Our own output takes nothing any more.
    Unwritable(io::Error),
    /// The server did not let us stop it, or not come back.
    Refused(Error),
}

struct Relay<'a> {
    session: &'a Session,
    job: &'a api::Job,
    options: &'a RelayOptions,
    begun: Instant,
    writer: Writer,
    steering: Steering,
    stops: JoinSet<Result<api::Job, Error>>,
    gaps: Vec<api::Gap>,
    /// A piece for which the queue had no room.
    pending: Option<Piece>,
    /// When to speak of the lost connection.
    speak_at: Option<Instant>,
    spoken: bool,
}

/// What came of relaying.
enum Outcome {
    Ended(Box<api::Job>),
    Left(Farewell),
}

/// Relays until the job has ended or this client leaves it.
///
/// # Errors
/// What the server refuses for good, such as an offset beyond the end.
pub async fn relay(
    session: &Session,
    job: &api::Job,
    options: &RelayOptions,
    interrupts: &mut Interrupts,
) -> Result<Ending, Failure> {
    let (writer, mut broken) = Writer::new(options.offset);
    if session.talkative {
        let id = short_id(&job.job_id);
        let place = Some(job.host.as_str()).filter(|host| !host.is_empty()).unwrap_or(session.place());
        let keys = match options.attached && !is_live(job) {
            true => "has ended; this is its output",
            false => "(Ctrl-C stops it, Ctrl-\\ leaves it running)",
        };
        say(sanitize(&format!("job {id} on {place} {keys}")));
    }
    let mut relay = Relay {
        session,
        job,
        options,
        begun: Instant::now(),
        writer,
        steering: Steering::new(options.grace),
        stops: JoinSet::new(),
        gaps: Vec::new(),
        pending: None,
        speak_at: None,
        spoken: false,
    };
    match relay.follow(interrupts, &mut broken).await? {
        Outcome::Ended(job) => relay.conclude(&job, interrupts, &mut broken).await,
        Outcome::Left(Farewell::Unwritable(error)) => match relay.end_within_a_moment().await {
            Some(job) => {
                relay.write_result(&job);
                Err(unwritten(&job, &error))
            }
            None => Ok(relay.leave(Farewell::Unwritable(error)).await),
        },
        Outcome::Left(farewell) => Ok(relay.leave(farewell).await),
    }
}

fn unwritten(job: &api::Job, error: &io::Error) -> Failure {
    let id = short_id(&job.job_id);
    Failure::new("ABORTED", format!("cannot write the output of job {id}: {}", plain(error)))
        .hint(format!("airlock logs {id} has it"))
}

impl Relay<'_> {
    async fn follow(
        &mut self,
        interrupts: &mut Interrupts,
        broken: &mut UnboundedReceiver<Broken>,
    ) -> Result<Outcome, Failure> {
        let query = OutputQuery::follow(&self.job.job_id, self.options.offset);
        let mut follower = Follower::new(self.session.client.clone(), query, self.options.reconnect).persistent();
        loop {
            let speak_at = self.speak_at.unwrap_or(self.begun);
            let event = tokio::select! {
                biased;
                interrupt = interrupts.next() => match self.steering.interrupted(interrupt) {
                    Step::Leave => return Ok(Outcome::Left(Farewell::Asked)),
                    Step::Stop { signal, grace } => { self.ask_to_stop(signal, grace); continue }
                },
                Some(broken) = broken.recv() => match self.descriptor_broke(broken) {
                    Some(farewell) => return Ok(Outcome::Left(farewell)),
                    None => continue,
                },
                Some(asked) = self.stops.join_next(), if !self.stops.is_empty() => match asked {
                    Ok(Err(error)) if !error.is_passing() => return Ok(Outcome::Left(Farewell::Refused(error))),
                    _ => continue,
                },
                () = sleep_until(speak_at), if self.speak_at.is_some() => { self.speak_of_loss(); continue }
                () = self.writer.put(&mut self.pending), if self.pending.is_some() => continue,
                event = follower.next(), if self.pending.is_none() => event,
            };
            match event {
                Ok(Some(FollowEvent::Chunk(chunk))) => self.chunk(chunk),
                Ok(Some(FollowEvent::Gap(gap))) => {
                    self.writer.skip_to(gap.to);
                    self.gaps.push(gap);
                }
                Ok(Some(FollowEvent::Begin { .. })) => {}
                Ok(Some(FollowEvent::Lost)) => self.speak_at = Some(Instant::now() + QUIET),
                Ok(Some(FollowEvent::Resumed)) => {
                    self.speak_at = None;
                    if std::mem::replace(&mut self.spoken, false) {
                        say(format!("connected to {} again", self.session.client.server()));
                    }
                }
                Ok(Some(FollowEvent::End { job, .. })) => return Ok(Outcome::Ended(job)),
                Ok(None) => return Err(self.session.explain(Error::Protocol("the output ended without an end"))),
                Err(error @ Error::GaveUp { .. }) => return Ok(Outcome::Left(Farewell::Lost(error))),
                Err(error @ (Error::Refused { .. } | Error::Unreachable(_))) => {
                    return Ok(Outcome::Left(Farewell::Refused(error)));
                }
                Err(error) => return Err(self.session.explain(error)),
            }
        }
    }

    // The job's own end is known; its last bytes may still wait for our reader.
    async fn conclude(
        &mut self,
        job: &api::Job,
        interrupts: &mut Interrupts,
        broken: &mut UnboundedReceiver<Broken>,
    ) -> Result<Ending, Failure> {
        let flush = async {
            while self.pending.is_some() {
                self.writer.put(&mut self.pending).await;
            }
            self.writer.finish().await;
        };
        let late = tokio::select! {
            biased;
            () = flush => None,
            interrupt = interrupts.next() => Some(interrupt),
        };
        if let Some(interrupt) = late {
            // There is no job left to stop or to leave, only a reader that does not read.
            let _ = self.steering.interrupted(interrupt);
        }
        let mut unwritable = None;
        while let Ok(broken) = broken.try_recv() {
            if let Some(Farewell::Unwritable(error)) = self.descriptor_broke(broken) {
                unwritable = Some(error);
            }
        }
        let result_stands = self.write_result(job);
        if let Some(error) = unwritable {
            return Err(unwritten(job, &error));
        }
        let circumstances = Circumstances { gaps: &self.gaps, stopped_by_us: self.steering.has_asked() };
        let Some(verdict) = judge(job, circumstances) else {
            return Err(self.session.explain(Error::Protocol("the end of the output names a job that lives")));
        };
        for trouble in &verdict.troubles {
            self.session.report(trouble);
        }
        if self.session.talkative {
            verdict.remarks.iter().for_each(say);
            if !self.options.attached && hint::lacked_files(self.session, job).await {
                say("hint: the job ran in an empty directory of its own; send files with --stdin (airlock help files)");
            }
        }
        // The job's own status stands, unless it would say that all is well.
        let status = if !result_stands && verdict.status == 0 { OWN_TROUBLE } else { verdict.status };
        Ok(self.steering.ending(job, status))
    }

    // False when it was asked for and could not be written.
    fn write_result(&self, job: &api::Job) -> bool {
        match self.options.result.as_ref().map(|result| result.write(job)) {
            Some(Err(failure)) => {
                self.session.report(&failure);
                false
            }
            _ => true,
        }
    }

    // Of a job whose first bytes cannot be written it would often be wrong to say that it runs on: it has ended meanwhile.
    async fn end_within_a_moment(&self) -> Option<api::Job> {
        let ended = self.session.client.wait(&self.job.job_id, Some(MOMENT), Duration::ZERO);
        match tokio::time::timeout(LAST_WORDS, ended).await {
            Ok(Ok((job, true))) => Some(job),
            _ => None,
        }
    }

    async fn leave(&mut self, farewell: Farewell) -> Ending {
        if self.pending.is_some() {
            let _ = tokio::time::timeout(LAST_WORDS, self.writer.put(&mut self.pending)).await;
        }
        let offset = self.writer.abandon(LAST_WORDS).await;
        let (id, server) = (short_id(&self.job.job_id), self.session.client.server());
        let (code, what) = match farewell {
            Farewell::Asked => ("CANCELLED", format!("job {id} runs on")),
            Farewell::Lost(error) => {
                // The time until the loss, without the time spent on coming back.
                let away = if let Error::GaveUp { after, .. } = &error { *after } else { Duration::ZERO };
                let after = time::span(self.begun.elapsed().saturating_sub(away));
                ("UNAVAILABLE", format!("connection to {server} lost after {after}; job {id} runs on"))
            }
            Farewell::Unwritable(error) => {
                ("ABORTED", format!("cannot write the output ({}); job {id} runs on", plain(&error)))
            }
            Farewell::Refused(error) => {
                self.session.report(&self.session.explain(error));
                ("PERMISSION_DENIED", format!("job {id} runs on"))
            }
        };
        let way_back = self.session.way_back(id, offset);
        if self.session.json() {
            self.session.report(&Failure::new(code, what).hint(format!("come back with: {way_back}")));
        } else {
            say(what);
            say(format!("come back with: {way_back}"));
        }
        Ending::Status(GOES_ON)
    }

    fn chunk(&mut self, chunk: api::Chunk) {
        let descriptor = match chunk.stream() {
            api::Stream::Stderr => Descriptor::Stderr,
            api::Stream::Stdout | api::Stream::Unspecified => Descriptor::Stdout,
        };
        let end_offset = chunk.offset + chunk.data.len() as u64;
        self.pending = self.writer.offer(Piece { descriptor, data: chunk.data, end_offset }).err();
    }

    fn ask_to_stop(&mut self, signal: i32, grace: Duration) {
        let (client, job) = (self.session.client.clone(), self.job.job_id.clone());
        let window = self.options.reconnect;
        self.stops.spawn(async move { client.stop_surely(&job, signal, Some(grace), window).await });
    }

    fn descriptor_broke(&mut self, broken: Broken) -> Option<Farewell> {
        if broken.reason != rustix::io::Errno::PIPE {
            return Some(Farewell::Unwritable(broken.reason.into()));
        }
        if let Some(Step::Stop { signal, grace }) = self.steering.reader_gone() {
            self.ask_to_stop(signal, grace);
        }
        None
    }

    fn speak_of_loss(&mut self) {
        self.speak_at = None;
        if !self.session.json() {
            self.spoken = true;
            let window = time::span(self.options.reconnect);
            let (id, server) = (short_id(&self.job.job_id), self.session.client.server());
            say(format!("connection to {server} lost; job {id} runs on, trying to come back for {window}"));
        }
    }
}
