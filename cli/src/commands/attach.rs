//! `airlock attach`: the second half of `run`, for a job that exists.

use crate::{
    args::AttachArgs,
    failure::{Ending, Failure},
    interrupts::Interrupts,
    relay::{RelayOptions, relay},
    result_file::ResultFile,
    sentences::plain,
    session::{Session, duration},
};

/// Shows a job's output and ends as the job does.
///
/// # Errors
/// No such job, an offset beyond its end, an unreachable server.
pub async fn attach(session: &Session, args: &AttachArgs) -> Result<Ending, Failure> {
    let options = RelayOptions {
        offset: args.from,
        grace: duration("grace", &args.grace)?,
        reconnect: duration("reconnect", &args.reconnect)?,
        result: args.result.as_deref().map(ResultFile::prepare).transpose()?,
        attached: true,
    };
    let job = session.client.job(&args.job).await.map_err(|error| session.explain(error))?;
    if let Some(result) = &options.result {
        result.write(&job)?;
    }
    let mut interrupts = Interrupts::catch()
        .map_err(|error| Failure::new("INTERNAL", format!("cannot catch signals: {}", plain(&error))))?;
    relay(session, &job, &options, &mut interrupts).await
}
