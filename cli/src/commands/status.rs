//! `airlock status`

use crate::{
    args::StatusArgs,
    failure::{DONE, Ending, Failure},
    present::{card, json, style::Paint},
    session::Session,
    talk::data,
};

/// Shows jobs, each as a card or a line of JSON. One that cannot be shown does not keep the others back.
///
/// # Errors
/// No such job.
pub async fn status(session: &Session, args: &StatusArgs) -> Result<Ending, Failure> {
    let mut failed = None;
    let mut shown = 0;
    for name in &args.jobs {
        match session.client.job(name).await {
            Ok(job) if session.json() => data(json::job_line(&job))?,
            Ok(job) => {
                if shown > 0 {
                    data("")?;
                }
                data(card::card(&job, jiff::Timestamp::now(), Paint::for_stdout()))?;
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(session.explain(error)) {
                    session.report(&earlier);
                }
                continue;
            }
        }
        shown += 1;
    }
    failed.map_or(Ok(DONE), Err)
}
