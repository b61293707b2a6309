//! The job object of every JSON answer: names of the proto, numbers as numbers, what does not apply left out.

use super::{base64, time};
use airlock_client::{api, is_live, signal_name, state_word};
use serde::{Serialize, Serializer};

/// A job as JSON shows it. A field once published keeps name and meaning.
#[derive(Serialize)]
pub struct JobObject<'a> {
    job_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    owner: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    profile: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<ExitObject>,
    #[serde(skip_serializing_if = "is_zero")]
    oom_kills: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<StopObject<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    deadline_hit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_error: Option<StartErrorObject<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    lost_reason: &'a str,
    command: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    command_bytes: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    env_names: &'a [String],
    cwd: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<OutputObject>,
    #[serde(skip_serializing_if = "is_false")]
    merge: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<InputObject<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    archived: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
}

#[derive(Serialize)]
struct ExitObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core_dumped: Option<bool>,
}

#[derive(Serialize)]
struct StopObject<'a> {
    by: &'a str,
    signal: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

#[derive(Serialize)]
struct StartErrorObject<'a> {
    step: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    message: &'a str,
}

/// Limits, also of profiles.
#[derive(Serialize)]
pub struct LimitsObject {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain_number")]
    cpu_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_read_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_write_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_read_operations: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_write_operations: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain_number")]
    timeout_seconds: Option<f64>,
}

#[derive(Serialize)]
struct UsageObject {
    #[serde(serialize_with = "plain_number")]
    cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids_peak: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_read_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_written_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain_number")]
    throttled_seconds: Option<f64>,
}

#[derive(Serialize)]
struct OutputObject {
    bytes: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
    first_offset: u64,
    missing_bytes: u64,
    complete: bool,
}

#[derive(Serialize)]
struct InputObject<'a> {
    bytes: u64,
    sha256: &'a str,
}

/// A job as one line of JSON, without its end of line.
pub fn job_line(job: &api::Job) -> String {
    line(&JobObject::of(job))
}

/// Any value as one line of JSON.
pub fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{{\"message\":\"{error}\"}}}}"))
}

/// Bytes as `text`, or as `base64` when they are not UTF-8: exactly one of the two is there.
pub fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(base64::encode(bytes))),
    }
}

impl<'a> JobObject<'a> {
    /// The object of one job.
    pub fn of(job: &'a api::Job) -> Self {
        let at = |moment: Option<&prost_types::Timestamp>| time::from_proto(moment).map(time::rfc3339);
        JobObject {
            job_id: &job.job_id,
            name: &job.name,
            owner: &job.owner,
            host: &job.host,
            profile: &job.profile,
            state: state_word(job.state()),
            exit_status: job.exit_status.filter(|_| !is_live(job)),
            exit: job.exit.as_ref().map(|exit| ExitObject {
                code: exit.code,
                signal: exit.signal,
                signal_name: exit.signal.map(|signal| match exit.signal_name.as_str() {
                    "" => signal_name(signal),
                    name => name.to_owned(),
                }),
                core_dumped: exit.signal.map(|_| exit.core_dumped),
            }),
            oom_kills: job.oom_kills,
            stop: job.stop.as_ref().map(|stop| StopObject {
                by: &stop.by,
                signal: stop.signal,
                at: at(stop.at.as_ref()),
            }),
            deadline_hit: job.deadline_hit,
            start_error: job.start_error.as_ref().map(|error| StartErrorObject {
                step: &error.step,
                errno: Some(error.errno).filter(|errno| *errno != 0),
                message: &error.message,
            }),
            lost_reason: &job.lost_reason,
            command: &job.command,
            command_bytes: job.command_bytes.iter().map(|word| base64::encode(word)).collect(),
            env_names: &job.env_names,
            cwd: &job.cwd,
            pid: job.pid,
            uid: job.uid,
            created_at: at(job.created_at.as_ref()),
            started_at: at(job.started_at.as_ref()),
            ended_at: at(job.ended_at.as_ref()),
            limits: job.limits.as_ref().map(LimitsObject::of),
            usage: job.usage.as_ref().map(|usage| UsageObject {
                cpu_seconds: Some(usage.cpu_seconds),
                memory_peak_bytes: usage.memory_peak_bytes,
                pids_peak: usage.pids_peak,
                io_read_bytes: usage.io_read_bytes,
                io_written_bytes: usage.io_written_bytes,
                throttled_seconds: usage.throttled_seconds,
            }),
            output: job.output.as_ref().map(|output| OutputObject {
                bytes: output.bytes,
                stdout_bytes: output.stdout_bytes,
                stderr_bytes: output.stderr_bytes,
                first_offset: output.first_offset,
                missing_bytes: output.missing_bytes,
                complete: output.complete,
            }),
            merge: job.merge,
            input: job.input.as_ref().map(|input| InputObject { bytes: input.bytes, sha256: &input.sha256 }),
            archived: job.archived,
            request_id: &job.request_id,
        }
    }
}

impl LimitsObject {
    /// The object of one set of limits.
    pub fn of(limits: &api::Limits) -> Self {
        LimitsObject {
            cpu_cores: limits.cpu_cores,
            cpu_weight: limits.cpu_weight,
            memory_bytes: limits.memory_bytes,
            swap_bytes: limits.swap_bytes,
            pids: limits.pids,
            io_read_bytes: limits.io_read_bytes,
            io_write_bytes: limits.io_write_bytes,
            io_read_operations: limits.io_read_operations,
            io_write_operations: limits.io_write_operations,
            timeout_seconds: limits.timeout_seconds,
        }
    }
}

/// 4 instead of 4.0, since people read it, too.
pub fn plain_number<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => {
            serializer.serialize_i64(*number as i64)
        }
        Some(number) => serializer.serialize_f64(*number),
        None => serializer.serialize_none(),
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests;
