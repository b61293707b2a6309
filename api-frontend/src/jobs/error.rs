//! What can go wrong when somebody asks something about jobs.

use std::io;
use std::time::Duration;

use ipc_protocol::{JobId, Refusal};

use crate::authorize::Verb;
use crate::echo::sentence;
use crate::output::OutputError;
use crate::store::{CANDIDATES, CreateError, PREFIX_MIN, StoreError};

/// Why a call about jobs was not carried out. Its text is for the caller: one sentence that says what failed and what to do.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// A field of the request is wrong. The caller's mistake; repeating does not help.
    #[error("{message}")]
    Invalid {
        /// As in the proto, such as "limits.memory_bytes".
        field: String,
        /// One sentence.
        message: String,
    },
    /// No job of this name, or none that the caller may know of.
    #[error("no job '{reference}' that you may see on {host}")]
    NotFound {
        /// As the caller wrote it.
        reference: String,
        /// The server's name.
        host: String,
    },
    /// The reference fits several jobs.
    #[error("'{reference}' fits {}; write more of it", listed(candidates))]
    Ambiguous {
        /// As the caller wrote it.
        reference: String,
        /// Some of what it fits.
        candidates: Vec<JobId>,
    },
    /// The reference is the beginning of ids, and too short to be taken for one, even if it fits one job alone.
    #[error("'{reference}' fits {}; write at least {PREFIX_MIN} characters of the id", listed(candidates))]
    TooShort {
        /// As the caller wrote it.
        reference: String,
        /// Some of what it fits, newest first.
        candidates: Vec<JobId>,
    },
    /// The caller's role does not have this verb.
    #[error("{name} is a {role} on {host} and may not {}", verb.words())]
    Denied {
        /// The caller.
        name: String,
        /// Their role.
        role: &'static str,
        /// The server's name.
        host: String,
        /// What they tried.
        verb: Verb,
    },
    /// The caller sees the job, and it is not theirs to change.
    #[error(
        "job {} belongs to {owner}, and {name} may look at it and not {} it; ask {owner} or an admin",
        short(job),
        verb.word()
    )]
    NotTheirs {
        /// The job.
        job: JobId,
        /// Whose it is.
        owner: String,
        /// The caller.
        name: String,
        /// What they tried.
        verb: Verb,
    },
    /// A live job of the same owner has the name.
    #[error(
        "the name '{name}' is taken by your live job {}; stop it or wait for its end, or choose another name",
        short(by)
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        by: JobId,
    },
    /// The request id was used for a request with other parameters.
    #[error("request id '{request_id}' was used for another request (job {}); use a new one", short(job))]
    RequestIdTaken {
        /// The request id.
        request_id: String,
        /// The job that it made.
        job: JobId,
    },
    /// The job does not run (any more, or yet).
    #[error("job {} {} and cannot be signalled; {}", short(job), stands(state), until_it_runs(job, state))]
    NotRunning {
        /// The job.
        job: JobId,
        /// Its state's word.
        state: &'static str,
    },
    /// The job lives, and only ended jobs can be treated so.
    #[error("job {} is {state}; only ended jobs can be {done}; stop it first: airlock stop {}", short(job), short(job))]
    Live {
        /// The job.
        job: JobId,
        /// Its state's word.
        state: &'static str,
        /// "deleted" or "archived".
        done: &'static str,
    },
    /// An offset after the end of a finished log.
    #[error("offset {offset} is beyond the end of the output, {end}; read from {end} or from before it")]
    BeyondEnd {
        /// Asked for.
        offset: u64,
        /// The end.
        end: u64,
    },
    /// A bound is reached: the disk's reserve, a ceiling, the host. Nothing was started; later it may work.
    #[error("{message}")]
    Exhausted {
        /// Which bound, for programs: "reserve", "ceiling", "group", "host", "input", "uploads".
        what: &'static str,
        /// One sentence.
        message: String,
    },
    /// The executor is away, and nothing was started or will be.
    #[error(
        "{host} cannot {what} at the moment (executor away for {}); {consequence}; the same request is safe to repeat",
        seconds(since)
    )]
    ExecutorAway {
        /// The server's name.
        host: String,
        /// "start jobs", "stop jobs" or "signal jobs".
        what: &'static str,
        /// "nothing was started" or the like.
        consequence: &'static str,
        /// How long it has been away.
        since: Duration,
    },
    /// The executor went away after it was asked. What became of the start is learnt when it is back.
    #[error(
        "the executor of {host} went away while it was asked to start the job; the job may run; the same request is safe to repeat"
    )]
    OutcomeUnknown {
        /// The server's name.
        host: String,
    },
    /// Frontend and executor speak no common version of their protocol.
    #[error(
        "the two halves of Airlock on {host} are of versions that do not understand each other; the operator must upgrade both"
    )]
    NoCommonVersion {
        /// The server's name.
        host: String,
    },
    /// The server is stopping; running jobs go on.
    #[error("{host} is restarting its network side; running jobs go on; repeat the request in a moment")]
    Stopping {
        /// The server's name.
        host: String,
    },
    /// The kernel refused a signal.
    #[error("the kernel refused the signal: {}; ask your operator", io::Error::from_raw_os_error(*.0))]
    Signal(i32),
    /// The records could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output could not be read or written.
    #[error(transparent)]
    Output(OutputError),
}

impl JobsError {
    /// A wrong field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    /// What the executor did not admit.
    pub(super) fn refused(refusal: Refusal, field: &str, message: &str) -> Self {
        // It names what was asked for, which may be as long as a request.
        let message = sentence(message);
        match refusal {
            Refusal::Invalid | Refusal::Conflict => Self::Invalid { field: field.to_owned(), message },
            Refusal::Profile => Self::Invalid { field: "profile".into(), message },
            Refusal::Ceiling => Self::Exhausted { what: "ceiling", message },
            Refusal::Host | Refusal::StaleEpoch => Self::Exhausted { what: "host", message },
        }
    }
}

impl From<CreateError> for JobsError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::RequestIdReused { request_id, job } => Self::RequestIdTaken { request_id, job },
            CreateError::NameTaken { name, job } => Self::NameTaken { name, by: job },
            CreateError::GroupFull(full) => Self::Exhausted { what: "group", message: full.to_string() },
            CreateError::Store(error) => Self::Store(error),
        }
    }
}

impl From<OutputError> for JobsError {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::BeyondEnd { offset, end } => Self::BeyondEnd { offset, end },
            other => Self::Output(other),
        }
    }
}

/// The first eight digits of a job's id, as people see it.
pub fn short(job: &JobId) -> String {
    job.to_string().chars().take(8).collect()
}

/// How many jobs those are, and which.
fn listed(jobs: &[JobId]) -> String {
    let shown = jobs.iter().take(CANDIDATES).map(short).collect::<Vec<_>>().join(", ");
    match jobs.len() {
        1 => format!("1 job: {shown}"),
        count if count > CANDIDATES => format!("more than {CANDIDATES} jobs, such as {shown}"),
        count => format!("{count} jobs: {shown}"),
    }
}

fn stands(state: &str) -> String {
    match state {
        "queued" | "running" | "stopping" => format!("is {state}"),
        ended => format!("has ended ({ended})"),
    }
}

/// What to do about a job that cannot be signalled now.
fn until_it_runs(job: &JobId, state: &str) -> String {
    match state {
        "queued" => "wait until it runs, or stop it".into(),
        "running" | "stopping" => "repeat the request in a moment".into(),
        _ => format!("airlock status {} says how it ended", short(job)),
    }
}

fn seconds(time: &Duration) -> String {
    match time.as_secs() {
        0 => "a moment".into(),
        s if s < 120 => format!("{s} s"),
        s => format!("{} min", s / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u8) -> JobId {
        JobId::from_bytes([number; 16])
    }

    #[test]
    fn a_refusal_ends_with_what_to_do_about_it() {
        let not_running = |state| JobsError::NotRunning { job: job(0x3f), state };
        let not_theirs = || {
            let (owner, name) = ("alice".to_owned(), "bob".to_owned());
            JobsError::NotTheirs { job: job(0x3f), owner, name, verb: Verb::Stop }
        };
        let too_short = |candidates| JobsError::TooShort { reference: "3f".into(), candidates }.to_string();
        for (error, sentence) in [
            (
                not_running("error"),
                "job 3f3f3f3f has ended (error) and cannot be signalled; airlock status 3f3f3f3f says how it ended",
            ),
            (not_running("queued"), "job 3f3f3f3f is queued and cannot be signalled; wait until it runs, or stop it"),
            (
                not_theirs(),
                "job 3f3f3f3f belongs to alice, and bob may look at it and not stop it; ask alice or an admin",
            ),
            (
                JobsError::BeyondEnd { offset: 9, end: 5 },
                "offset 9 is beyond the end of the output, 5; read from 5 or from before it",
            ),
            (
                JobsError::Signal(1),
                "the kernel refused the signal: Operation not permitted (os error 1); ask your operator",
            ),
            (
                JobsError::Ambiguous { reference: "3f3f".into(), candidates: vec![job(0x3f), job(0x3e)] },
                "'3f3f' fits 2 jobs: 3f3f3f3f, 3e3e3e3e; write more of it",
            ),
        ] {
            assert_eq!(error.to_string(), sentence);
        }
        assert_eq!(too_short(vec![job(0x3f)]), "'3f' fits 1 job: 3f3f3f3f; write at least 4 characters of the id");
        let many = too_short(vec![job(1); 11]);
        assert!(many.starts_with("'3f' fits more than 10 jobs, such as 01010101, "), "{many}");
        assert_eq!(many.matches("01010101").count(), 10);
    }
}
