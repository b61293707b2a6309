//! `airlock archive`

use crate::{
    args::ArchiveArgs,
    failure::{DONE, Ending, Failure},
    present::json,
    session::Session,
    talk::data,
};
use airlock_client::short_id;

/// Takes ended jobs out of the list and keeps them. One that cannot be archived does not keep the others back.
///
/// # Errors
/// No such job, or one that lives.
pub async fn archive(session: &Session, args: &ArchiveArgs) -> Result<Ending, Failure> {
    let mut failed: Option<Failure> = None;
    for name in &args.jobs {
        match session.client.archive(name).await {
            Ok(job) if session.json() => data(json::job_line(&job))?,
            Ok(job) => data(format!("{} archived", short_id(&job.job_id)))?,
            Err(error) => {
                if let Some(earlier) = failed.replace(session.explain(error)) {
                    session.report(&earlier);
                }
            }
        }
    }
    failed.map_or(Ok(DONE), Err)
}
