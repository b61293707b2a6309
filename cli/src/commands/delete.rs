//! `airlock delete`

use crate::{
    args::DeleteArgs,
    commands::{
        list::{all_pages, states},
        stop::{no_job_named, own_scope},
    },
    failure::{DONE, Ending, Failure},
    present::{json, time},
    session::{Session, duration, since_1970},
    talk::{data, say},
};
use airlock_client::{api, is_live, short_id, state_word};
use serde::Serialize;

#[derive(Serialize)]
struct Deleted<'a> {
    job_id: &'a str,
    deleted: bool,
}

/// Removes ended jobs. One that cannot be removed does not keep the others back.
///
/// # Errors
/// No such job, or one that lives.
pub async fn delete(session: &Session, args: &DeleteArgs) -> Result<Ending, Failure> {
    let chosen = match (args.ended, args.jobs.is_empty()) {
        (true, _) => selected(session, args).await?,
        (false, false) => meant(session, &args.jobs).await,
        (false, true) => return Err(no_job_named("--ended for all that have ended, with --older-than and --state")),
    };
    if chosen.is_empty() && session.talkative {
        say(format!("no job has ended on {} that this would delete", session.host().await));
    }
    let mut failed: Option<Failure> = None;
    for name in &chosen {
        let outcome = if args.dry_run {
            session.client.job(name).await.map_err(|error| session.explain(error)).and_then(|job| match is_live(&job) {
                true => Err(Failure::new(
                    "FAILED_PRECONDITION",
                    format!("job {} is {}", short_id(&job.job_id), state_word(job.state())),
                )
                .hint("only ended jobs can be deleted")),
                false => Ok(job.job_id),
            })
        } else {
            session.client.delete(name).await.map_err(|error| session.explain(error))
        };
        match outcome {
            Ok(job_id) if session.json() => data(json::line(&Deleted { job_id: &job_id, deleted: !args.dry_run }))?,
            Ok(job_id) if args.dry_run => data(format!("{} would be deleted", short_id(&job_id)))?,
            Ok(job_id) => data(format!("{} deleted", short_id(&job_id)))?,
            Err(failure) => {
                if let Some(earlier) = failed.replace(failure) {
                    session.report(&earlier);
                }
            }
        }
    }
    failed.map_or(Ok(DONE), Err)
}

// When the first job is gone, `last` is another one.
async fn meant(session: &Session, names: &[String]) -> Vec<String> {
    let mut meant = Vec::with_capacity(names.len());
    for name in names {
        let found = if name == "last" && names.len() > 1 { session.client.job(name).await.ok() } else { None };
        meant.push(found.map_or_else(|| name.clone(), |job| job.job_id));
    }
    let mut seen = std::collections::HashSet::new();
    meant.retain(|name| seen.insert(name.clone()));
    meant
}

fn lives(state: &api::JobState) -> bool {
    is_live(&api::Job { state: i32::from(*state), ..Default::default() })
}

async fn selected(session: &Session, args: &DeleteArgs) -> Result<Vec<String>, Failure> {
    let before = match args.older_than.as_deref() {
        None => None,
        Some(text) => {
            let age = duration("older-than", text)?;
            let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
            Some(since_1970(jiff::Timestamp::now().checked_sub(age).unwrap_or(jiff::Timestamp::MIN)))
        }
    };
    let states = states(&args.state)?;
    if let Some(live) = states.iter().filter_map(|state| api::JobState::try_from(*state).ok()).find(lives) {
        let message = format!("a job that is {} has not ended", state_word(live));
        return Err(Failure::usage(message).hint("stop it first: airlock stop").field("state"));
    }
    // Who was created later cannot have ended earlier: the server can leave those out.
    let owner = own_scope(session).await?;
    let filter =
        api::ListJobsRequest { owner, all: true, states, until: before.map(time::to_proto), ..Default::default() };
    let jobs = all_pages(session, filter, None).await?;
    let old_enough = |job: &api::Job| match (before, time::from_proto(job.ended_at.as_ref())) {
        (None, _) => true,
        (Some(before), Some(ended)) => ended <= before,
        (Some(_), None) => false,
    };
    // What somebody archived was meant to stay until it is named.
    Ok(jobs.into_iter().filter(|job| !is_live(job) && !job.archived && old_enough(job)).map(|job| job.job_id).collect())
}
