//! One job as a card for people.

use super::{sanitize, sizes, style::Paint, time};
use airlock_client::{JobEnd, api, is_live, short_id, signal_name, state_word};
use jiff::Timestamp;

/// The card, without a last end of line.
pub fn card(job: &api::Job, now: Timestamp, paint: Paint) -> String {
    let command = match job.command.is_empty() {
        true => format!("the command of profile {}", sanitize(&job.profile)),
        false => sanitize(&job.command.join(" ")).into_owned(),
    };
    let title = if job.name.is_empty() { command } else { format!("{} · {command}", sanitize(&job.name)) };
    let mark = paint.state(job.state(), if is_live(job) { "○" } else { "●" });
    let mut lines = vec![format!("{mark} {}  {}", sanitize(short_id(&job.job_id)), paint.bold(title))];
    let mut add = |label: &str, text: Option<String>| {
        if let Some(text) = text {
            lines.push(format!("{label:>11}  {text}"));
        }
    };
    add("state", Some(state(job, now, paint)));
    add("exit", exit(job));
    add("owner", Some(owner(job)));
    add("time", times(job, now));
    add("limits", job.limits.as_ref().map(limits));
    add("usage", job.usage.as_ref().map(usage));
    add("output", job.output.as_ref().map(|log| output(job, log)));
    add(
        "input",
        job.input.as_ref().map(|input| format!("{}, sha256 {}", sizes::long(input.bytes), sanitize(&input.sha256))),
    );
    add("directory", (!job.cwd.is_empty()).then(|| sanitize(&job.cwd).into_owned()));
    add("variables", (!job.env_names.is_empty()).then(|| sanitize(&job.env_names.join(" ")).into_owned()));
    add("job id", Some(sanitize(&job.job_id).into_owned()));
    add("next", Some(next(job)));
    lines.join("\n")
}

fn state(job: &api::Job, now: Timestamp, paint: Paint) -> String {
    let since = match job.state() {
        api::JobState::Queued => job.created_at.as_ref(),
        api::JobState::Running => job.started_at.as_ref(),
        api::JobState::Stopping => job.stop.as_ref().and_then(|stop| stop.at.as_ref()),
        _ => job.ended_at.as_ref(),
    };
    let mut text = paint.state(job.state(), state_word(job.state()));
    if let Some(since) = time::from_proto(since) {
        text.push_str(&format!(" since {}, {}", time::full(since), time::ago(since, now)));
    }
    if let Some(stop) = &job.stop {
        text.push_str(&format!("; {} asked for {}", sanitize(&stop.by), signal_name(stop.signal)));
    }
    if job.archived {
        text.push_str("; archived");
    }
    text
}

fn exit(job: &api::Job) -> Option<String> {
    let end = JobEnd::of(job)?;
    let mut text = match (&job.exit, end) {
        (_, JobEnd::NotStarted(status)) => {
            let step = job.start_error.as_ref().map(|error| sanitize(&error.step)).filter(|step| !step.is_empty());
            let step = step.map_or(String::new(), |step| format!(", step {step}"));
            format!("never ran (status {status}{step})")
        }
        (_, JobEnd::Lost) => "not known".to_owned(),
        (Some(api::Exit { signal: Some(signal), core_dumped, .. }), end) => {
            let core = if *core_dumped { ", core dumped" } else { "" };
            format!("killed by {} (status {}{core})", signal_name(*signal), end.exit_status())
        }
        (Some(api::Exit { code: Some(code), .. }), end) if *code != i32::from(end.exit_status()) => {
            format!("exited with {code} (status {})", end.exit_status())
        }
        (_, end) => format!("status {}", end.exit_status()),
    };
    let because = because(job);
    if !because.is_empty() {
        text.push_str(&format!(": {because}"));
    }
    Some(text)
}

fn because(job: &api::Job) -> String {
    let mut facts = Vec::new();
    if let Some(error) = job.start_error.as_ref().filter(|error| !error.message.is_empty()) {
        facts.push(sanitize(&error.message).into_owned());
    }
    if !job.lost_reason.is_empty() {
        facts.push(sanitize(&job.lost_reason).into_owned());
    }
    if job.deadline_hit {
        let limit = job.limits.as_ref().and_then(|limits| limits.timeout_seconds);
        facts.push(
            limit.map_or("deadline".to_owned(), |seconds| format!("deadline {}", time::span_of_seconds(seconds))),
        );
    }
    if job.oom_kills > 0 {
        if let Some(limit) = job.limits.as_ref().and_then(|limits| limits.memory_bytes) {
            facts.push(format!("memory limit {}", sizes::exact(limit)));
        }
        if let Some(peak) = job.usage.as_ref().and_then(|usage| usage.memory_peak_bytes) {
            facts.push(format!("peak {}", sizes::short(peak)));
        }
        facts.push(format!("{} process{} killed", job.oom_kills, if job.oom_kills == 1 { "" } else { "es" }));
    }
    facts.join(", ")
}

fn owner(job: &api::Job) -> String {
    let mut text = format!("{} · profile {}", sanitize(&job.owner), sanitize(&job.profile));
    if let Some(uid) = job.uid {
        text.push_str(&format!(" · uid {uid}"));
    }
    if let Some(pid) = job.pid {
        text.push_str(&format!(" · pid {pid}{}", if is_live(job) { "" } else { " (ended)" }));
    }
    text
}

fn times(job: &api::Job, now: Timestamp) -> Option<String> {
    let started = time::from_proto(job.started_at.as_ref())?;
    let ended = time::from_proto(job.ended_at.as_ref());
    let span = time::span(time::between(started, ended.unwrap_or(now)));
    let verb = if ended.is_some() { "ran" } else { "runs for" };
    let mut text = format!("started {}, {verb} {span}", time::clock(started, Some(ended.unwrap_or(now))));
    if let Some(usage) = &job.usage {
        text.push_str(&format!(", cpu {}", time::span_of_seconds(usage.cpu_seconds)));
    }
    Some(text)
}

/// Limits in one line; those that may be unlimited and are show a dash.
pub fn limits(limits: &api::Limits) -> String {
    let size = |bytes: Option<u64>| bytes.map_or("–".to_owned(), sizes::exact);
    let mut parts = vec![
        format!("cpu {}", limits.cpu_cores.map_or("–".to_owned(), sizes::cores)),
        format!("memory {}", size(limits.memory_bytes)),
        format!("swap {}", size(limits.swap_bytes)),
        format!("pids {}", limits.pids.map_or("–".to_owned(), |pids| pids.to_string())),
    ];
    if let Some(weight) = limits.cpu_weight.filter(|weight| *weight != 100) {
        parts.push(format!("cpu weight {weight}"));
    }
    let rates = [
        limits.io_read_bytes.map(|rate| format!("read {}/s", sizes::exact(rate))),
        limits.io_write_bytes.map(|rate| format!("write {}/s", sizes::exact(rate))),
        limits.io_read_operations.map(|rate| format!("{rate} reads/s")),
        limits.io_write_operations.map(|rate| format!("{rate} writes/s")),
    ];
    let rates: Vec<String> = rates.into_iter().flatten().collect();
    parts.push(format!("io {}", if rates.is_empty() { "–".to_owned() } else { rates.join(" ") }));
    parts.push(format!("timeout {}", limits.timeout_seconds.map_or("–".to_owned(), time::span_of_seconds)));
    parts.join(" · ")
}

fn usage(usage: &api::Usage) -> String {
    let parts = [
        usage.memory_peak_bytes.map(|bytes| format!("memory peak {}", sizes::short(bytes))),
        usage.pids_peak.map(|pids| format!("pids peak {pids}")),
        usage.io_read_bytes.map(|bytes| format!("read {}", sizes::short(bytes))),
        usage.io_written_bytes.map(|bytes| format!("written {}", sizes::short(bytes))),
        usage.throttled_seconds.map(|seconds| format!("throttled {}", time::span_of_seconds(seconds))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { format!("cpu {}", time::span_of_seconds(usage.cpu_seconds)) } else { parts.join(" · ") }
}

fn output(job: &api::Job, output: &api::Output) -> String {
    let standing = match (is_live(job), output.missing_bytes, output.complete) {
        (true, 0, _) => "so far".to_owned(),
        (_, 0, true) => "complete".to_owned(),
        (_, 0, false) => "its end may be missing".to_owned(),
        (_, missing, _) => format!("{} of it gone", sizes::long(missing)),
    };
    let split = if output.stderr_bytes == 0 {
        String::new()
    } else {
        format!(" (stdout {}, stderr {})", sizes::long(output.stdout_bytes), sizes::long(output.stderr_bytes))
    };
    format!("{}{split}, {standing}", sizes::long(output.bytes))
}

fn next(job: &api::Job) -> String {
    let id = sanitize(short_id(&job.job_id)).into_owned();
    match job.state() {
        api::JobState::Running | api::JobState::Stopping => format!("airlock attach {id} · airlock stop {id}"),
        api::JobState::Queued | api::JobState::Unspecified => format!("airlock wait {id} · airlock stop {id}"),
        api::JobState::OutOfMemory => {
            format!("airlock logs {id} --tail 50 · airlock run --memory {} …", more_memory(job))
        }
        api::JobState::TimedOut => format!("airlock logs {id} --tail 50 · airlock run --timeout …"),
        api::JobState::Error => "airlock whoami · airlock doctor".to_owned(),
        _ => format!("airlock logs {id} --tail 50 · airlock delete {id}"),
    }
}

fn more_memory(job: &api::Job) -> String {
    let limit = job.limits.as_ref().and_then(|limits| limits.memory_bytes).unwrap_or(1 << 29);
    sizes::exact(limit.saturating_mul(2))
}

#[cfg(test)]
mod tests;
