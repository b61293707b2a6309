//! What a job's terminal record means for the one who ran it: an exit status, and what has to be said.

use crate::{
    failure::{Failure, OUTPUT_MISSING, OWN_TROUBLE},
    present::{sizes, time},
    settings::shell_word,
};
use airlock_client::{JobEnd, api, short_id, signal_name};

/// The exit status, and what is worth saying beside it.
#[derive(Debug)]
pub struct Verdict {
    /// What to end with.
    pub status: u8,
    /// Things that went wrong, in the order to say them.
    pub troubles: Vec<Failure>,
    /// Said to people only.
    pub remarks: Vec<String>,
}

/// What the caller knows beside the record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    /// Output that was asked for and did not come.
    pub gaps: &'a [api::Gap],
    /// This client itself asked the job to stop.
    pub stopped_by_us: bool,
}

/// Judges an ended job; `None` while it lives.
pub fn judge(job: &api::Job, circumstances: Circumstances<'_>) -> Option<Verdict> {
    let end = JobEnd::of(job)?;
    let mut verdict = Verdict { status: end.exit_status(), troubles: Vec::new(), remarks: Vec::new() };
    let name = short_id(&job.job_id);
    missing_output(job, circumstances.gaps, &mut verdict);
    match end {
        JobEnd::TimedOut => {
            let limit = job.limits.as_ref().and_then(|limits| limits.timeout_seconds);
            let limit = limit.map_or(String::new(), |seconds| format!(" of {}", time::span_of_seconds(seconds)));
            verdict
                .troubles
                .push(Failure::new("DEADLINE_EXCEEDED", format!("job {name} was ended by its deadline{limit}")));
        }
        JobEnd::NotStarted(status) => verdict.troubles.push(not_started(job, status)),
        JobEnd::Lost => {
            let reason = if job.lost_reason.is_empty() { "no reason is recorded" } else { &job.lost_reason };
            verdict
                .troubles
                .push(Failure::new("DATA_LOSS", format!("job {name} is lost, how it ended is not known: {reason}")));
        }
        JobEnd::Status(_) => ran(job, circumstances, &mut verdict),
    }
    Some(verdict)
}

/// The failure of a job that never ran, with its exit status.
pub fn not_started(job: &api::Job, status: u8) -> Failure {
    let (message, step) = match &job.start_error {
        Some(error) if !error.message.is_empty() => (error.message.clone(), error.step.clone()),
        Some(error) => (
            format!("the job could not be started: step {} failed (errno {})", error.step, error.errno),
            error.step.clone(),
        ),
        None => ("the job could not be started, and no reason is recorded".to_owned(), String::new()),
    };
    let code = match status {
        127 => "NOT_FOUND",
        126 => "PERMISSION_DENIED",
        _ => "FAILED_PRECONDITION",
    };
    let mut failure = Failure::new(code, message.clone())
        .status(status)
        .request_id(Some(job.request_id.clone()).filter(|id| !id.is_empty()));
    if !step.is_empty() {
        failure = failure.field(format!("step {step}"));
    }
    match job.command.as_slice() {
        [line] if status == 127 && line.contains(char::is_whitespace) && !message.contains("sh -c") => {
            failure.hint(format!("for a shell line use: airlock run -- sh -c {}", shell_word(line)))
        }
        _ => failure,
    }
}

fn ran(job: &api::Job, circumstances: Circumstances<'_>, verdict: &mut Verdict) {
    let name = short_id(&job.job_id);
    let signal = job.exit.as_ref().and_then(|exit| exit.signal);
    match job.state() {
        api::JobState::OutOfMemory => verdict.troubles.push(Failure::new("RESOURCE_EXHAUSTED", out_of_memory(job))),
        api::JobState::Stopped if !circumstances.stopped_by_us => {
            let by = match job.stop.as_ref().map(|stop| stop.by.as_str()) {
                Some("output limit") => "its output limit",
                Some(name) => name,
                None => "somebody",
            };
            verdict.troubles.push(Failure::new("ABORTED", format!("job {name} was stopped by {by}")));
        }
        api::JobState::Failed => {
            if let Some(signal) = signal {
                let core = if job.exit.as_ref().is_some_and(|exit| exit.core_dumped) { " (core dumped)" } else { "" };
                verdict.remarks.push(format!("job {name} was killed by {}{core}", signal_name(signal)));
            }
        }
        api::JobState::Finished if job.oom_kills > 0 => {
            verdict.remarks.push(format!("note: the memory limit killed {} in job {name}", processes(job.oom_kills)));
        }
        _ => {}
    }
}

fn missing_output(job: &api::Job, gaps: &[api::Gap], verdict: &mut Verdict) {
    let mut missing = false;
    let incomplete = job.output.as_ref().is_some_and(|output| !output.complete) && job.started_at.is_some();
    if let [first, rest @ ..] = gaps {
        missing = true;
        let total: u64 = gaps.iter().map(|gap| gap.to.saturating_sub(gap.from)).sum();
        let more = match rest.len() {
            0 => String::new(),
            1 => " and 1 more place".to_owned(),
            more => format!(" and {more} more places"),
        };
        let others = if incomplete { "" } else { "; the rest is complete" };
        let message = format!(
            "{} of the output {} gone (offsets {} to {}: {}{more}){others}",
            sizes::long(total),
            if total == 1 { "is" } else { "are" },
            first.from,
            first.to,
            first.reason
        );
        verdict.troubles.push(Failure::new("DATA_LOSS", message));
    }
    if incomplete {
        missing = true;
        let message = format!(
            "the end of the output of job {} may be missing: its log is not known to be complete",
            short_id(&job.job_id)
        );
        verdict.troubles.push(Failure::new("DATA_LOSS", message));
    }
    if missing && verdict.status == 0 {
        verdict.status = OUTPUT_MISSING;
    }
}

fn out_of_memory(job: &api::Job) -> String {
    let mut text = format!("job {} ran out of memory", short_id(&job.job_id));
    let limit = job.limits.as_ref().and_then(|limits| limits.memory_bytes);
    let peak = job.usage.as_ref().and_then(|usage| usage.memory_peak_bytes);
    let facts = [
        limit.map(|bytes| format!("limit {}", sizes::exact(bytes))),
        peak.map(|bytes| format!("peak {}", sizes::short(bytes))),
        (job.oom_kills > 0).then(|| format!("{} killed", processes(job.oom_kills))),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if !facts.is_empty() {
        text.push_str(&format!(": {}", facts.join(", ")));
    }
    text
}

fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// The exit status of an ended job for `wait`, `stop` and lists; 125 for one that lives, which no caller shows as an end.
pub fn status_of(job: &api::Job) -> u8 {
    JobEnd::of(job).map_or(OWN_TROUBLE, JobEnd::exit_status)
}

#[cfg(test)]
mod tests;
