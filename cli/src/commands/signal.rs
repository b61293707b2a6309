//! `airlock signal`

use crate::{
    args::SignalArgs,
    failure::{DONE, Ending, Failure},
    present::json,
    session::Session,
    talk::data,
};
use airlock_client::signal_number;

/// Sends one signal and nothing more.
///
/// # Errors
/// No such signal, no such job, a job that does not run.
pub async fn signal(session: &Session, args: &SignalArgs) -> Result<Ending, Failure> {
    let number = number(&args.signal)?;
    let job = session.client.signal(&args.job, number).await.map_err(|error| session.explain(error))?;
    if session.json() {
        data(json::job_line(&job))?;
    }
    Ok(DONE)
}

/// A signal by name or number.
///
/// # Errors
/// Text that names none.
pub fn number(text: &str) -> Result<i32, Failure> {
    signal_number(text).ok_or_else(|| {
        Failure::usage(format!("'{text}' is not a signal"))
            .hint("use a name or number, such as HUP, SIGUSR1 or 12")
            .field("signal")
    })
}
