//! Whether a command that failed looks like one that missed its files.

use crate::{present::time, session::Session};
use airlock_client::api;
use std::time::Duration;

/// Who fails later than this found something to work on.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A hint is not worth a longer wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// True for a command that failed at once, without input, in a directory that was certainly empty.
pub async fn lacked_files(session: &Session, job: &api::Job) -> bool {
    if !failed_at_once(job) {
        return false;
    }
    match tokio::time::timeout(PATIENCE, session.client.who_am_i()).await {
        Ok(Ok(me)) => me.profiles.iter().any(|profile| profile.name == job.profile && begins_empty(profile)),
        _ => false,
    }
}

fn failed_at_once(job: &api::Job) -> bool {
    let (Some(started), Some(ended)) =
        (time::from_proto(job.started_at.as_ref()), time::from_proto(job.ended_at.as_ref()))
    else {
        return false;
    };
    // Who is killed by a signal was not looking for a file.
    job.state() == api::JobState::Failed
        && job.exit.as_ref().is_none_or(|exit| exit.signal.is_none())
        && job.cwd.is_empty()
        && job.input.is_none()
        && time::between(started, ended) < AT_ONCE
}

// With other directories beside the fresh one, which of them is the default is not told; and where no input may be sent, it is
// no help.
fn begins_empty(profile: &api::Profile) -> bool {
    profile.fresh_cwd && profile.cwd.is_empty() && profile.max_input_bytes > 0
}
