//! `airlock wait`

use crate::{
    args::WaitArgs,
    commands::{
        list::all_pages,
        stop::{end_line, no_job_named},
    },
    failure::{Ending, Failure, GOES_ON},
    present::json,
    session::{Session, duration},
    talk::{data, say},
    verdict::{Circumstances, judge, status_of},
};
use airlock_client::{Client, Error, api};
use tokio::task::JoinSet;

/// Waits for jobs to end and ends with the largest of their statuses.
///
/// # Errors
/// No such job; an unreachable server.
pub async fn wait(session: &Session, args: &WaitArgs) -> Result<Ending, Failure> {
    let timeout = args.timeout.as_deref().map(|text| duration("timeout", text)).transpose()?;
    let window = duration("reconnect", &args.reconnect)?;
    let names = match (args.jobs.is_empty(), args.any) {
        (true, false) => return Err(no_job_named("--any for the first of your live ones")),
        (true, true) => own_live_jobs(session).await?,
        (false, _) => args.jobs.clone(),
    };
    let mut waits: JoinSet<Result<(api::Job, bool), Error>> = JoinSet::new();
    for name in &names {
        let (client, name): (Client, String) = (session.client.clone(), name.clone());
        waits.spawn(async move { client.wait(&name, timeout, window).await });
    }
    let alone = names.len() == 1 && !args.any;
    let mut largest = 0;
    let mut failed: Option<Failure> = None;
    while let Some(waited) = waits.join_next().await {
        let (job, ended) = match waited {
            Ok(Ok(waited)) => waited,
            Ok(Err(error)) => {
                if let Some(earlier) = failed.replace(session.explain(error)) {
                    session.report(&earlier);
                }
                continue;
            }
            Err(_) => continue,
        };
        if session.json() {
            data(json::job_line(&job))?;
        } else if !alone {
            data(end_line(&job))?;
        }
        largest = largest.max(if ended { status_of(&job) } else { GOES_ON });
        if alone {
            explain_end(session, &job, ended);
        }
        if args.any && ended {
            return Ok(Ending::Status(status_of(&job)));
        }
    }
    failed.map_or(Ok(Ending::Status(largest)), Err)
}

fn explain_end(session: &Session, job: &api::Job, ended: bool) {
    if !ended {
        if !session.json() {
            say(format!("job {} goes on", airlock_client::short_id(&job.job_id)));
        }
        return;
    }
    // Waiting asks for no output, so none can be missing.
    let quiet = api::Job { output: None, ..job.clone() };
    for trouble in
        judge(&quiet, Circumstances { gaps: &[], stopped_by_us: true }).into_iter().flat_map(|verdict| verdict.troubles)
    {
        session.report(&trouble);
    }
}

async fn own_live_jobs(session: &Session) -> Result<Vec<String>, Failure> {
    let me = session.client.who_am_i().await.map_err(|error| session.explain(error))?.name;
    let filter = api::ListJobsRequest { live: true, owner: me, ..Default::default() };
    let jobs = all_pages(session, filter, None).await?;
    if jobs.is_empty() {
        return Err(Failure::new("NOT_FOUND", format!("you have no live job on {} to wait for", session.host().await)));
    }
    Ok(jobs.into_iter().map(|job| job.job_id).collect())
}
