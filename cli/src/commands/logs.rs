//! `airlock logs`: looks at a job's output and changes nothing.

use crate::{
    args::LogsArgs,
    failure::{DONE, Ending, Failure, OUTPUT_MISSING},
    interrupts::die_by,
    present::{
        loglines::{self, LineWriter},
        sizes, time,
    },
    sentences::plain,
    session::{Session, duration, moment},
    writer::{Descriptor, Piece, Writer},
};
use airlock_client::{FollowEvent, Follower, OutputQuery, Start, api, is_live};
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

const SIGPIPE: i32 = 13;

/// How the output is written.
enum Form {
    /// The job's bytes, untouched, each stream on its own descriptor; a single chosen stream on standard output.
    Raw { one_stream: bool },
    /// Lines with time and stream.
    Timestamps(LineWriter),
    /// One object for each chunk.
    Json,
}

/// Shows a job's output. Ends with 0 when everything asked for was shown.
///
/// # Errors
/// No such job, an offset beyond the end, an unreachable server.
pub async fn logs(session: &Session, args: &LogsArgs) -> Result<Ending, Failure> {
    let window = duration("reconnect", &args.reconnect)?;
    let mut follower = Follower::new(session.client.clone(), query(args)?, window);
    let (mut writer, mut broken) = Writer::new(0);
    let mut form = if session.json() {
        Form::Json
    } else if args.timestamps {
        Form::Timestamps(LineWriter::default())
    } else {
        Form::Raw { one_stream: args.stdout || args.stderr }
    };
    let mut job_id = String::new();
    let mut missing = false;
    let mut last: Option<Box<api::Job>> = None;
    while let Some(event) = follower.next().await.map_err(|error| session.explain(error))? {
        let mut out = Vec::new();
        match event {
            FollowEvent::Begin { job, .. } => job_id = job.job_id,
            FollowEvent::Chunk(chunk) => form.chunk(&job_id, chunk, &mut out),
            FollowEvent::Gap(gap) => {
                missing = true;
                form.gap(session, &job_id, &gap, &mut out);
            }
            FollowEvent::Lost | FollowEvent::Resumed => {}
            FollowEvent::End { job, .. } => last = Some(job),
        }
        for piece in out {
            pass(&mut writer, piece, &mut broken).await?;
        }
    }
    if let Form::Timestamps(lines) = &mut form {
        for rest in lines.finish() {
            pass(&mut writer, on_stdout(rest), &mut broken).await?;
        }
    }
    writer.finish().await;
    check(&mut broken)?;
    let incomplete = last.is_some_and(|job| {
        !is_live(&job) && job.started_at.is_some() && job.output.as_ref().is_some_and(|output| !output.complete)
    });
    if incomplete && args.until.is_none() {
        missing = true;
        session.report(&Failure::new(
            "DATA_LOSS",
            "the end of the output may be missing: its log is not known to be complete",
        ));
    }
    Ok(if missing { Ending::Status(OUTPUT_MISSING) } else { DONE })
}

fn query(args: &LogsArgs) -> Result<OutputQuery, Failure> {
    let start = match (args.from, args.tail, args.since.as_deref()) {
        (Some(offset), _, _) => Start::Offset(offset),
        (None, Some(lines), _) => Start::TailLines(lines),
        (None, None, Some(text)) => Start::Since(time::to_proto(moment("since", text)?)),
        (None, None, None) => Start::Offset(0),
    };
    let until = args.until.as_deref().map(|text| moment("until", text).map(time::to_proto)).transpose()?;
    let stream = match (args.stdout, args.stderr) {
        (true, _) => Some(api::Stream::Stdout),
        (_, true) => Some(api::Stream::Stderr),
        _ => None,
    };
    Ok(OutputQuery { job: args.job.clone(), start, until, follow: args.follow, stream })
}

impl Form {
    fn chunk(&mut self, job_id: &str, chunk: api::Chunk, out: &mut Vec<Piece>) {
        match self {
            Form::Raw { one_stream } => {
                let descriptor = match chunk.stream() {
                    api::Stream::Stderr if !*one_stream => Descriptor::Stderr,
                    _ => Descriptor::Stdout,
                };
                out.push(Piece { descriptor, end_offset: chunk.offset + chunk.data.len() as u64, data: chunk.data });
            }
            Form::Timestamps(lines) => out.extend(lines.chunk(&chunk).map(on_stdout)),
            Form::Json => out.push(on_stdout(loglines::chunk_line(job_id, &chunk).into())),
        }
    }

    fn gap(&self, session: &Session, job_id: &str, gap: &api::Gap, out: &mut Vec<Piece>) {
        if let Form::Json = self {
            out.push(on_stdout(loglines::gap_line(job_id, gap).into()));
            return;
        }
        let bytes = gap.to.saturating_sub(gap.from);
        let (size, verb) = (sizes::long(bytes), if bytes == 1 { "is" } else { "are" });
        let message = format!("{size} of the output {verb} gone (offsets {} to {}: {})", gap.from, gap.to, gap.reason);
        session.report(&Failure::new("DATA_LOSS", message));
    }
}

fn on_stdout(data: Bytes) -> Piece {
    Piece { descriptor: Descriptor::Stdout, data, end_offset: 0 }
}

async fn pass(
    writer: &mut Writer,
    piece: Piece,
    broken: &mut UnboundedReceiver<crate::writer::Broken>,
) -> Result<(), Failure> {
    let mut pending = writer.offer(piece).err();
    while pending.is_some() {
        writer.put(&mut pending).await;
    }
    check(broken)
}

fn check(broken: &mut UnboundedReceiver<crate::writer::Broken>) -> Result<(), Failure> {
    match broken.try_recv() {
        Ok(broken) if broken.reason == rustix::io::Errno::PIPE => die_by(SIGPIPE),
        Ok(broken) => {
            Err(Failure::new("ABORTED", format!("cannot write the output: {}", plain(&broken.reason.into()))))
        }
        Err(_) => Ok(()),
    }
}
