//! `airlock run` and `airlock start`.

use crate::{
    args::{JobArgs, RunArgs, StartArgs},
    failure::{DONE, Ending, Failure},
    interrupts::{Interrupt, Interrupts},
    present::json,
    relay::{RelayOptions, relay},
    request,
    result_file::ResultFile,
    sentences::plain,
    session::{Session, duration},
    talk::{data, say},
    verdict::not_started,
};
use airlock_client::{Error, JobEnd, Started, api};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, fstat},
};
use serde::Serialize;
use std::{io, os::fd::AsFd, time::Duration};

#[derive(Serialize)]
struct Id<'a> {
    job_id: &'a str,
}

/// Runs a command and stands for it.
///
/// # Errors
/// Bad options, a refusing or unreachable server, a command that could not be executed.
pub async fn run(session: &Session, args: &RunArgs) -> Result<Ending, Failure> {
    if args.detach {
        return detached(session, &args.job).await;
    }
    let job = &args.job;
    let reconnect = duration("reconnect", &job.reconnect)?;
    let options = RelayOptions {
        offset: 0,
        grace: duration("grace", &args.grace)?,
        reconnect,
        result: job.result.as_deref().map(ResultFile::prepare).transpose()?,
        attached: false,
    };
    let mut request = request::build(job)?;
    if !job.stdin && session.talkative && input_waits() {
        say("note: standard input is not sent; use --stdin");
    }
    send_input(session, job, &mut request).await?;
    let mut interrupts = Interrupts::catch()
        .map_err(|error| Failure::new("INTERNAL", format!("cannot catch signals: {}", plain(&error))))?;
    let started = start_interruptibly(session, &request, reconnect, &mut interrupts).await?;
    // It may be written at the end; a job that runs is not left for that.
    if let Some(Err(failure)) = options.result.as_ref().map(|result| result.write(&started.job)) {
        session.report(&failure);
    }
    if started.job.state() == api::JobState::Error {
        return Err(never_ran(&started.job));
    }
    relay(session, &started.job, &options, &mut interrupts).await
}

/// Starts a command and prints its id.
///
/// # Errors
/// As [`run`].
pub async fn start(session: &Session, args: &StartArgs) -> Result<Ending, Failure> {
    detached(session, &args.job).await
}

async fn detached(session: &Session, args: &JobArgs) -> Result<Ending, Failure> {
    let reconnect = duration("reconnect", &args.reconnect)?;
    let result = args.result.as_deref().map(ResultFile::prepare).transpose()?;
    let mut request = request::build(args)?;
    send_input(session, args, &mut request).await?;
    let started = session.client.start(&request, reconnect).await.map_err(|error| session.explain(error))?;
    let written = result.map_or(Ok(()), |result| result.write(&started.job));
    if started.job.state() == api::JobState::Error {
        return Err(never_ran(&started.job));
    }
    // The id first: the job runs, whatever became of the file.
    let job_id = &started.job.job_id;
    data(if session.json() { json::line(&Id { job_id }) } else { job_id.clone() })?;
    written.map(|()| DONE)
}

fn never_ran(job: &api::Job) -> Failure {
    not_started(job, JobEnd::of(job).map_or(crate::failure::OWN_TROUBLE, JobEnd::exit_status))
}

async fn send_input(session: &Session, args: &JobArgs, request: &mut api::StartJobRequest) -> Result<(), Failure> {
    if args.stdin {
        let input = tokio::io::stdin();
        request.input_id = session.client.upload(input).await.map_err(|error| session.explain(error))?.input_id;
    }
    Ok(())
}

// Until the answer is there nobody knows which job to stop: the first interruption waits for it, the second does not.
async fn start_interruptibly(
    session: &Session,
    request: &api::StartJobRequest,
    window: Duration,
    interrupts: &mut Interrupts,
) -> Result<Started, Failure> {
    let starting = session.client.start(request, window);
    tokio::pin!(starting);
    let mut first: Option<Interrupt> = None;
    loop {
        tokio::select! {
            started = &mut starting => {
                if let Some(interrupt) = first {
                    interrupts.keep(interrupt);
                }
                return started.map_err(|error| session.explain(error));
            }
            interrupt = interrupts.next() => {
                if first.is_some() || matches!(interrupt, Interrupt::Quit | Interrupt::Hangup) {
                    let cause = Box::new(Error::Lost("interrupted".into()));
                    return Err(session.explain(Error::StartUnknown { request_id: request.request_id.clone(), cause }));
                }
                first = Some(interrupt);
            }
        }
    }
}

// True when standard input is a file or pipe that has something to read.
fn input_waits() -> bool {
    let stdin = io::stdin();
    let fd = stdin.as_fd();
    let Ok(stat) = fstat(fd) else { return false };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            rustix::fs::tell(fd).is_ok_and(|at| i64::try_from(at).is_ok_and(|at| at < stat.st_size))
        }
        FileType::Fifo | FileType::Socket => {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut waiting = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            matches!(poll(&mut waiting, Some(&now)), Ok(ready) if ready > 0)
                && waiting[0].revents().contains(PollFlags::IN)
        }
        _ => false,
    }
}
