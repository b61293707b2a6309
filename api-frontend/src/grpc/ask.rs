//! From the messages of the interface to what the frontend works with. What is wrong with a field is said here.

use std::time::Duration;

use airlock_proto::v1;
use ipc_protocol::{Limit, Limits, Stream};
use prost_types::Timestamp;

use crate::config::duration_words;
use crate::jobs::{JobsError, StartAsk};
use crate::output::{ReadOptions, Start};
use crate::policy::WhenFull;
use crate::store::{EndState, Filter, JobState, Page};

/// SIGTERM, the signal of a stop that names none.
const SIGNAL_DEFAULT: u8 = 15;
/// The grace of a stop that names none.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);
const GRACE_MAX_MS: u64 = 3_600_000;
const PAGE_DEFAULT: usize = 100;

/// A request to start.
pub(super) fn start(request: v1::StartJobRequest) -> Result<StartAsk, JobsError> {
    let both = !request.command.is_empty() && !request.command_bytes.is_empty();
    if both {
        return Err(JobsError::invalid("command_bytes", "give command or command_bytes, not both"));
    }
    let command = match request.command_bytes.is_empty() {
        true => request.command.into_iter().map(String::into_bytes).collect(),
        false => request.command_bytes.into_iter().map(|word| word.to_vec()).collect(),
    };
    let output_full = match known_enum(request.output_full, "output_full")? {
        v1::OutputFull::Unspecified => None,
        v1::OutputFull::DropOldest => Some(WhenFull::DropOldest),
        v1::OutputFull::Wait => Some(WhenFull::Wait),
        v1::OutputFull::Stop => Some(WhenFull::Stop),
    };
    // The largest number that the records hold; nobody has as much room.
    if let Some(bytes) = request.output_limit_bytes.filter(|bytes| i64::try_from(*bytes).is_err()) {
        let message =
            format!("an output limit of {bytes} bytes is more than any host has; leave it out for the default");
        return Err(JobsError::invalid("output_limit_bytes", message));
    }
    Ok(StartAsk {
        request_id: request.request_id,
        name: request.name,
        profile: request.profile,
        command,
        env: request.env.into_iter().map(|e| (e.name, e.value.to_vec())).collect(),
        cwd: request.cwd,
        limits: limits(request.limits.unwrap_or_default())?,
        input_id: request.input_id,
        merge: request.merge,
        output_limit: request.output_limit_bytes,
        output_full,
    })
}

fn limits(limits: v1::Limits) -> Result<Limits, JobsError> {
    let cpu = thousandths(limits.cpu_cores, "limits.cpu_cores", "a number of cores, such as 0.5")?;
    let timeout = thousandths(limits.timeout_seconds, "limits.timeout_seconds", "a number of seconds, such as 1.5")?;
    let mut asked = Limits::default();
    for (limit, value) in [
        (Limit::Cpu, cpu),
        (Limit::CpuWeight, limits.cpu_weight.map(u64::from)),
        (Limit::Memory, limits.memory_bytes),
        (Limit::Swap, limits.swap_bytes),
        (Limit::Pids, limits.pids),
        (Limit::IoRead, limits.io_read_bytes),
        (Limit::IoWrite, limits.io_write_bytes),
        (Limit::IoReadOps, limits.io_read_operations),
        (Limit::IoWriteOps, limits.io_write_operations),
        (Limit::Timeout, timeout),
    ] {
        asked.set(limit, value);
    }
    Ok(asked)
}

/// Thousandths of a number, rounded up so that something small does not become nothing.
fn thousandths(value: Option<f64>, field: &str, what: &str) -> Result<Option<u64>, JobsError> {
    const MOST: f64 = 1e12;
    match value {
        None => Ok(None),
        // The bound makes the conversion exact.
        Some(v) if (0.0..=MOST).contains(&v) => Ok(Some((v * 1000.0 - 1e-6).ceil().max(0.0) as u64)),
        Some(v) => Err(JobsError::invalid(field, format!("{v} is not {what}"))),
    }
}

/// Which jobs to list, whether old and archived ones too, and which page.
pub(super) fn list(request: v1::ListJobsRequest) -> Result<(Filter, bool, Page), JobsError> {
    let size = match usize::try_from(request.page_size) {
        Ok(0) => PAGE_DEFAULT,
        Ok(n) => n,
        Err(_) => return Err(JobsError::invalid("page_size", "page_size is negative; 0 means 100")),
    };
    let after = match request.page_token.as_str() {
        "" => None,
        token => {
            let parsed = token.parse().map_err(|_| {
                JobsError::invalid("page_token", "the page token is not one of this server; begin again without one")
            })?;
            Some(parsed)
        }
    };
    // Each once, however often a peer names it: there are ten.
    let mut states: Vec<JobState> = Vec::new();
    for state in request.states {
        let state = job_state(known_enum(state, "states")?)?;
        if !states.contains(&state) {
            states.push(state);
        }
    }
    let text = |t: String| Some(t).filter(|t| !t.is_empty());
    let filter = Filter {
        recent_since_ns: None,
        states,
        live: request.live,
        name: text(request.name),
        owner: text(request.owner),
        profile: text(request.profile),
        since_ns: request.since.map(|t| nanoseconds(t, "since")).transpose()?,
        until_ns: request.until.map(|t| nanoseconds(t, "until")).transpose()?,
        command: text(request.command),
    };
    Ok((filter, request.all, Page { size, after }))
}

/// What to read of a job's output.
pub(super) fn output(request: &v1::StreamOutputRequest) -> Result<ReadOptions, JobsError> {
    use v1::stream_output_request::From as Place;
    let from = match request.from {
        None => Start::Offset(0),
        Some(Place::Offset(offset)) => Start::Offset(offset),
        Some(Place::Since(at)) => Start::Since(nanoseconds(at, "since")?),
        Some(Place::TailLines(lines)) => Start::TailLines(lines),
    };
    let stream = match known_enum(request.stream, "stream")? {
        v1::Stream::Unspecified => None,
        v1::Stream::Stdout => Some(Stream::Stdout),
        v1::Stream::Stderr => Some(Stream::Stderr),
    };
    let until_ns = request.until.map(|t| nanoseconds(t, "until")).transpose()?;
    Ok(ReadOptions { from, until_ns, stream, follow: request.follow })
}

/// A stop's signal and grace.
pub(super) fn stop(request: &v1::StopJobRequest) -> Result<(u8, Duration), JobsError> {
    let signal = if request.signal == 0 { SIGNAL_DEFAULT } else { signal(request.signal)? };
    let grace = match request.grace_ms {
        None => GRACE_DEFAULT,
        Some(ms) if ms <= GRACE_MAX_MS => Duration::from_millis(ms),
        Some(ms) => {
            return Err(JobsError::invalid(
                "grace_ms",
                format!("a grace of {} is above the most, 1h; give less", duration_words(ms)),
            ));
        }
    };
    Ok((signal, grace))
}

/// A signal's number.
pub(super) fn signal(number: i32) -> Result<u8, JobsError> {
    u8::try_from(number)
        .ok()
        .filter(|n| (1..=64).contains(n))
        .ok_or_else(|| JobsError::invalid("signal", format!("{number} is not a signal number; use 1 to 64")))
}

fn known_enum<E: TryFrom<i32>>(value: i32, field: &str) -> Result<E, JobsError> {
    E::try_from(value).map_err(|_| {
        let message = format!("{value} is not a value of {field} that this server knows; leave it out for the default");
        JobsError::invalid(field, message)
    })
}

fn job_state(state: v1::JobState) -> Result<JobState, JobsError> {
    Ok(match state {
        v1::JobState::Unspecified => {
            return Err(JobsError::invalid("states", "a state to filter by is unspecified; leave it out"));
        }
        v1::JobState::Queued => JobState::Queued,
        v1::JobState::Running => JobState::Running,
        v1::JobState::Stopping => JobState::Stopping,
        v1::JobState::Finished => JobState::Ended(EndState::Finished),
        v1::JobState::Failed => JobState::Ended(EndState::Failed),
        v1::JobState::Stopped => JobState::Ended(EndState::Stopped),
        v1::JobState::TimedOut => JobState::Ended(EndState::TimedOut),
        v1::JobState::OutOfMemory => JobState::Ended(EndState::OutOfMemory),
        v1::JobState::Error => JobState::Ended(EndState::Error),
        v1::JobState::Lost => JobState::Ended(EndState::Lost),
    })
}

/// Nanoseconds since 1970, within what the records can hold; earlier times are 1970.
fn nanoseconds(at: Timestamp, field: &str) -> Result<u64, JobsError> {
    // Whatever its fraction: clients differ in how they count one before 1970.
    let Ok(seconds) = u64::try_from(at.seconds) else { return Ok(0) };
    let nanos = u64::try_from(at.nanos).ok().filter(|n| *n < 1_000_000_000).ok_or_else(|| {
        let message = format!("a time's fraction of {} nanoseconds is none; use 0 to 999999999", at.nanos);
        JobsError::invalid(field, message)
    })?;
    let whole = seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(nanos));
    whole.filter(|ns| i64::try_from(*ns).is_ok()).ok_or_else(|| {
        let message = format!("{seconds} seconds after 1970 are later than the year 2262, the last here; leave it out");
        JobsError::invalid(field, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_is_1970_however_its_fraction_is_counted() {
        for (seconds, nanos) in [(-1_357_596_333, -664_819_922), (-1, 999_999_999), (i64::MIN, i32::MIN)] {
            assert_eq!(nanoseconds(Timestamp { seconds, nanos }, "since").unwrap(), 0);
        }
        assert_eq!(nanoseconds(Timestamp { seconds: 1, nanos: 5 }, "since").unwrap(), 1_000_000_005);
    }

    #[test]
    fn a_time_that_is_none_is_refused_with_the_number_that_is_wrong() {
        let refused = |seconds, nanos| nanoseconds(Timestamp { seconds, nanos }, "until").unwrap_err().to_string();
        assert_eq!(refused(1, -5), "a time's fraction of -5 nanoseconds is none; use 0 to 999999999");
        let late = "9300000000 seconds after 1970 are later than the year 2262, the last here; leave it out";
        assert_eq!(refused(9_300_000_000, 0), late);
    }
}
