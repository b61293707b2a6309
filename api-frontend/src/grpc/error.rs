//! The one place where errors become gRPC statuses.

use std::collections::HashMap;
use std::io;

use rustix::io::Errno;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::ERROR_DOMAIN;
use crate::jobs::{JobsError, short};
use crate::output::OutputError;
use crate::store::StoreError;

/// An error as the caller of `request_id` gets it.
pub(super) fn status(error: &JobsError, request_id: &str) -> Status {
    let Class { code, reason, field } = class(error);
    let sentence = error.to_string();
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, ERROR_DOMAIN, metadata(error)).set_request_info(request_id, "");
    let Some(field) = field else { return Status::with_error_details(code, sentence, details) };
    // What is wrong is the message; what to do about it stands with the field. Both together are the sentence.
    let (wrong, remedy) = sentence.rsplit_once("; ").unwrap_or((&sentence, ""));
    details.add_bad_request_violation(field, remedy);
    Status::with_error_details(code, wrong, details)
}

/// A refusal that has nothing to do with a job: who the caller is, what the server's state is.
pub(super) fn plain(code: Code, reason: &str, message: impl Into<String>, request_id: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, ERROR_DOMAIN, HashMap::new()).set_request_info(request_id, "");
    Status::with_error_details(code, message, details)
}

struct Class<'a> {
    code: Code,
    reason: &'static str,
    field: Option<&'a str>,
}

fn class(error: &JobsError) -> Class<'_> {
    let plain = |code, reason| Class { code, reason, field: None };
    match error {
        JobsError::Invalid { field, .. } => {
            let field = Some(field.as_str()).filter(|f| !f.is_empty());
            Class { code: Code::InvalidArgument, reason: "INVALID", field }
        }
        JobsError::NotFound { .. } => plain(Code::NotFound, "NO_SUCH_JOB"),
        JobsError::Ambiguous { .. } => plain(Code::FailedPrecondition, "AMBIGUOUS"),
        JobsError::TooShort { .. } => plain(Code::FailedPrecondition, "TOO_SHORT"),
        JobsError::Denied { .. } => plain(Code::PermissionDenied, "ROLE"),
        JobsError::NotTheirs { .. } => plain(Code::PermissionDenied, "NOT_YOURS"),
        JobsError::NameTaken { .. } => plain(Code::AlreadyExists, "NAME_TAKEN"),
        JobsError::RequestIdTaken { .. } => plain(Code::AlreadyExists, "REQUEST_ID_TAKEN"),
        JobsError::NotRunning { .. } => plain(Code::FailedPrecondition, "NOT_RUNNING"),
        JobsError::Live { .. } => plain(Code::FailedPrecondition, "LIVE"),
        JobsError::BeyondEnd { .. } => plain(Code::OutOfRange, "BEYOND_END"),
        JobsError::Exhausted { what, .. } => plain(Code::ResourceExhausted, exhausted(what)),
        JobsError::ExecutorAway { .. } => plain(Code::Unavailable, "EXECUTOR_AWAY"),
        JobsError::OutcomeUnknown { .. } => plain(Code::Unavailable, "OUTCOME_UNKNOWN"),
        JobsError::Stopping { .. } => plain(Code::Unavailable, "STOPPING"),
        JobsError::NoCommonVersion { .. } => plain(Code::Aborted, "NO_COMMON_VERSION"),
        JobsError::Store(StoreError::DiskFull) | JobsError::Output(OutputError::DiskFull { .. }) => {
            plain(Code::ResourceExhausted, "DISK_FULL")
        }
        JobsError::Store(StoreError::Closing) => plain(Code::Unavailable, "STOPPING"),
        JobsError::Output(OutputError::Deleted { .. }) => plain(Code::NotFound, "NO_SUCH_JOB"),
        // Whoever asks for less, or later, is answered; nothing is broken.
        JobsError::Output(OutputError::Io { source, .. }) if is_shortage(source) => {
            plain(Code::ResourceExhausted, "HOST")
        }
        JobsError::Signal(_) | JobsError::Store(_) | JobsError::Output(_) => plain(Code::Internal, "INTERNAL"),
    }
}

/// The host, or this process, has no more of something at the moment.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    shortages.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn exhausted(what: &str) -> &'static str {
    match what {
        "reserve" => "RESERVE",
        "ceiling" => "CEILING",
        "group" => "GROUP",
        "input" => "INPUT_TOO_LARGE",
        "uploads" => "UPLOADS",
        "disk" => "DISK_FULL",
        _ => "HOST",
    }
}

/// Values for programs, beside the sentence.
fn metadata(error: &JobsError) -> HashMap<String, String> {
    let pairs: Vec<(&str, String)> = match error {
        JobsError::NotFound { reference, .. } => vec![("job", reference.clone())],
        JobsError::Ambiguous { reference, candidates } | JobsError::TooShort { reference, candidates } => {
            let jobs: Vec<String> = candidates.iter().map(ToString::to_string).collect();
            vec![("job", reference.clone()), ("candidates", jobs.join(","))]
        }
        JobsError::Denied { role, verb, .. } => vec![("role", (*role).to_owned()), ("verb", verb.word().to_owned())],
        JobsError::NotTheirs { job, verb, .. } => vec![("job", job.to_string()), ("verb", verb.word().to_owned())],
        JobsError::NameTaken { name, by } => vec![("name", name.clone()), ("job", by.to_string())],
        JobsError::RequestIdTaken { job, .. } => vec![("job", job.to_string())],
        JobsError::NotRunning { job, state } | JobsError::Live { job, state, .. } => {
            vec![("job", job.to_string()), ("short", short(job)), ("state", (*state).to_owned())]
        }
        JobsError::BeyondEnd { offset, end } => vec![("offset", offset.to_string()), ("end", end.to_string())],
        JobsError::ExecutorAway { since, .. } => vec![("away_seconds", since.as_secs().to_string())],
        _ => Vec::new(),
    };
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_short_of_something_is_no_internal_error_and_a_broken_disk_is() {
        let reading = |errno: Errno| {
            let source = io::Error::from_raw_os_error(errno.raw_os_error());
            let error = OutputError::Io { what: "read", path: "1.seg".into(), source };
            status(&JobsError::Output(error), "r").code()
        };
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert_eq!(reading(errno), Code::ResourceExhausted, "{errno}");
        }
        assert_eq!(reading(Errno::IO), Code::Internal);
    }
}
