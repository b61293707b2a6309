//! `airlock stop`

use crate::{
    args::StopArgs,
    commands::{list::all_pages, signal::number},
    failure::{DONE, Ending, Failure},
    present::json,
    session::{Session, duration},
    talk::{data, say},
    verdict::status_of,
};
use airlock_client::{api, is_live, short_id, state_word};
use std::time::Duration;

/// Asks jobs to end and waits for it.
///
/// # Errors
/// No such job or signal; the first failure, after all jobs were asked.
pub async fn stop(session: &Session, args: &StopArgs) -> Result<Ending, Failure> {
    let signal = number(&args.signal)?;
    let grace = duration("grace", &args.grace)?;
    let mut failed: Option<Failure> = None;
    let mut fail = |failure: Failure| {
        if let Some(earlier) = failed.replace(failure) {
            session.report(&earlier);
        }
    };
    let names = match (args.all, args.jobs.is_empty()) {
        (true, _) => live_jobs(session, args.owner.as_deref()).await?,
        (false, false) => args.jobs.clone(),
        (false, true) if args.owner.is_some() => {
            return Err(
                Failure::usage("--owner says whose jobs --all means").hint("write airlock stop --all --owner NAME")
            );
        }
        (false, true) => return Err(no_job_named("--all for all of yours")),
    };
    if names.is_empty() && session.talkative {
        say(format!("no job lives on {} that this would stop", session.host().await));
    }
    // All are asked before any is waited for, so that their grace periods pass together.
    let mut asked = Vec::new();
    for name in &names {
        match session.client.stop(name, signal, Some(grace)).await {
            Ok(job) => asked.push(job),
            Err(error) => fail(session.explain(error)),
        }
    }
    for job in asked {
        let job = if args.no_wait || !is_live(&job) {
            job
        } else {
            match session.client.wait(&job.job_id, None, Duration::from_secs(300)).await {
                Ok((job, _)) => job,
                Err(error) => {
                    fail(session.explain(error));
                    continue;
                }
            }
        };
        data(if session.json() { json::job_line(&job) } else { end_line(&job) })?;
    }
    failed.map_or(Ok(DONE), Err)
}

/// The failure of a command about jobs that names none; `or` is its way to mean several.
pub fn no_job_named(or: &str) -> Failure {
    Failure::usage("no job is named").hint(format!("write an id, the beginning of one, a name or last; or {or}"))
}

/// `a81f03bc stopped 143`, without a status for a job that lives.
pub fn end_line(job: &api::Job) -> String {
    let (id, state) = (short_id(&job.job_id), state_word(job.state()));
    if is_live(job) { format!("{id} {state}") } else { format!("{id} {state} {}", status_of(job)) }
}

async fn live_jobs(session: &Session, owner: Option<&str>) -> Result<Vec<String>, Failure> {
    let owner = match owner {
        Some(owner) => owner.to_owned(),
        None => own_scope(session).await?,
    };
    let filter = api::ListJobsRequest { live: true, all: true, owner, ..Default::default() };
    let jobs = all_pages(session, filter, None).await?;
    Ok(jobs.into_iter().map(|job| job.job_id).collect())
}

/// Whose jobs "all" means: everybody's for an admin (empty), one's own for anybody else, also where they see others'.
///
/// # Errors
/// An unreachable server.
pub async fn own_scope(session: &Session) -> Result<String, Failure> {
    let me = session.client.who_am_i().await.map_err(|error| session.explain(error))?;
    Ok(if me.role == "admin" { String::new() } else { me.name })
}
