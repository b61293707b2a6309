//! From what the frontend knows to the messages of the interface.

use std::time::SystemTime;

use airlock_proto::v1;
use ipc_protocol::{InputDigest, Limit, Limits, ProfileInfo, StopFact, Stream};
use prost::Message;
use prost_types::Timestamp;

use crate::jobs::{GroupView, JobView, Listing, exit_status};
use crate::output::{Chunk, Gap, Totals};
use crate::store::{Cursor, EndState, HowEnded, Job, JobState, Usage};

/// A job.
pub(super) fn job(view: JobView, host: &str) -> v1::Job {
    let JobView { job, output } = view;
    let state = job.state;
    let (command, command_bytes) = words(&job.argv);
    let status = match (state, &job.end) {
        (JobState::Ended(end), Some(how)) => exit_status(end, how, job.stop.as_ref()),
        _ => None,
    };
    let (start_error, lost_reason) = match &job.end {
        Some(HowEnded::NotStarted { step, errno, message }) => {
            (Some(v1::StartError { step: step.clone(), errno: *errno, message: message.clone() }), String::new())
        }
        Some(HowEnded::Lost { reason }) => (None, reason.clone()),
        _ => (None, String::new()),
    };
    v1::Job {
        job_id: job.id.to_string(),
        host: host.to_owned(),
        state: job_state(state).into(),
        exit_status: status,
        command,
        command_bytes,
        created_at: Some(time(job.created_ns)),
        started_at: job.started_ns.map(time),
        ended_at: job.ended_ns.map(time),
        exit: exit(&job),
        start_error,
        lost_reason,
        output: Some(totals(&output, !state.is_live())),
        name: job.name.unwrap_or_default(),
        owner: job.owner,
        profile: job.profile,
        env_names: job.env_names,
        cwd: job.cwd.unwrap_or_default(),
        pid: job.pid.map(i64::from),
        uid: job.uid,
        oom_kills: job.oom_kills,
        stop: job.stop.map(stop),
        deadline_hit: job.deadline_hit,
        limits: job.limits.as_ref().map(limits),
        usage: job.usage.as_ref().map(usage),
        archived: job.archived,
        merge: job.merge,
        input: job.input.map(input),
        request_id: job.request_id,
    }
}

/// A page of a list, cut where the message would become longer than clients take by default.
pub(super) fn page(listing: Listing, host: &str) -> v1::ListJobsResponse {
    let Listing { jobs: views, mut next } = listing;
    let (mut jobs, mut bytes) = (Vec::with_capacity(views.len()), 0);
    let mut last = None;
    for view in views {
        let place = Cursor::after(&view.job);
        let message = job(view, host);
        bytes += message.encoded_len();
        if bytes > PAGE_BYTES_MAX && !jobs.is_empty() {
            next = last;
            break;
        }
        last = Some(place);
        jobs.push(message);
    }
    v1::ListJobsResponse { jobs, next_page_token: next.map(|cursor| cursor.to_string()).unwrap_or_default() }
}

/// gRPC clients refuse messages above 4 MiB unless told otherwise.
const PAGE_BYTES_MAX: usize = 3 << 20;

/// A profile as callers may use it.
pub(super) fn profile(info: &ProfileInfo) -> v1::Profile {
    v1::Profile {
        name: info.name.clone(),
        default_limits: Some(limits(&info.default)),
        max_limits: Some(limits(&info.max)),
        max_input_bytes: info.max.get(Limit::Input).unwrap_or(0),
        fixed_command: info.command.clone(),
        no_network: !info.network,
        cwd: info.cwd.clone(),
        fresh_cwd: info.fresh_cwd,
        path: info.path.clone(),
    }
}

/// A group, with what is taken of it.
pub(super) fn group(view: GroupView) -> v1::Group {
    let GroupView { group, taken } = view;
    let cores = |milli: u64| milli as f64 / 1000.0;
    v1::Group {
        name: group.name().to_owned(),
        jobs: taken.jobs,
        max_jobs: group.most().jobs,
        memory_bytes: taken.memory,
        max_memory_bytes: group.most().memory,
        cpu_cores: cores(taken.cpu_milli),
        max_cpu_cores: group.most().cpu_milli.map(cores),
    }
}

/// Bytes of output.
pub(super) fn chunk(chunk: Chunk) -> v1::Chunk {
    v1::Chunk {
        stream: stream(chunk.stream).into(),
        offset: chunk.offset,
        stream_offset: chunk.stream_offset,
        time: Some(time(chunk.time_ns)),
        seq: chunk.seq,
        data: chunk.bytes,
        recovered: chunk.recovered,
    }
}

/// Output that is not there.
pub(super) fn gap(gap: Gap) -> v1::Gap {
    v1::Gap { from: gap.from, to: gap.to, reason: gap.reason.to_string() }
}

/// Nanoseconds since 1970.
pub(super) fn time(ns: u64) -> Timestamp {
    // Both fit: seconds are below 2^35, nanoseconds below 2^30.
    let seconds = i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: i32::try_from(ns % 1_000_000_000).unwrap_or(0) }
}

/// A time of the system's clock.
pub(super) fn system_time(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn words(argv: &[Vec<u8>]) -> (Vec<String>, Vec<prost::bytes::Bytes>) {
    let text: Vec<String> = argv.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    let exact = argv.iter().all(|w| std::str::from_utf8(w).is_ok());
    let bytes = if exact { Vec::new() } else { argv.iter().map(|w| w.clone().into()).collect() };
    (text, bytes)
}

fn stream(stream: Stream) -> v1::Stream {
    match stream {
        Stream::Stdout => v1::Stream::Stdout,
        Stream::Stderr => v1::Stream::Stderr,
    }
}

fn job_state(state: JobState) -> v1::JobState {
    match state {
        JobState::Queued => v1::JobState::Queued,
        JobState::Running => v1::JobState::Running,
        JobState::Stopping => v1::JobState::Stopping,
        JobState::Ended(EndState::Finished) => v1::JobState::Finished,
        JobState::Ended(EndState::Failed) => v1::JobState::Failed,
        JobState::Ended(EndState::Stopped) => v1::JobState::Stopped,
        JobState::Ended(EndState::TimedOut) => v1::JobState::TimedOut,
        JobState::Ended(EndState::OutOfMemory) => v1::JobState::OutOfMemory,
        JobState::Ended(EndState::Error) => v1::JobState::Error,
        JobState::Ended(EndState::Lost) => v1::JobState::Lost,
    }
}

fn exit(job: &Job) -> Option<v1::Exit> {
    match job.end {
        Some(HowEnded::Exited(code)) => {
            Some(v1::Exit { code: Some(code), signal: None, signal_name: String::new(), core_dumped: false })
        }
        Some(HowEnded::Signaled { signal, core }) => Some(v1::Exit {
            code: None,
            signal: Some(i32::from(signal)),
            signal_name: signal_name(signal),
            core_dumped: core,
        }),
        Some(HowEnded::NotStarted { .. } | HowEnded::Lost { .. }) | None => None,
    }
}

/// Such as SIGKILL; the real-time signals as SIGRTMIN+n, as the C library counts them.
fn signal_name(signal: u8) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::from(signal).checked_sub(1).and_then(|i| NAMES.get(i)) {
        Some(name) => format!("SIG{name}"),
        None if (34..=64).contains(&signal) => format!("SIGRTMIN+{}", signal - 34),
        None => format!("signal {signal}"),
    }
}

fn stop(fact: StopFact) -> v1::Stop {
    v1::Stop { by: fact.by, signal: i32::from(fact.signal), at: Some(time(fact.at_ns)) }
}

fn limits(limits: &Limits) -> v1::Limits {
    let thousandths = |limit| limits.get(limit).map(|value| value as f64 / 1000.0);
    v1::Limits {
        cpu_cores: thousandths(Limit::Cpu),
        cpu_weight: limits.get(Limit::CpuWeight).and_then(|w| u32::try_from(w).ok()),
        memory_bytes: limits.get(Limit::Memory),
        swap_bytes: limits.get(Limit::Swap),
        pids: limits.get(Limit::Pids),
        io_read_bytes: limits.get(Limit::IoRead),
        io_write_bytes: limits.get(Limit::IoWrite),
        io_read_operations: limits.get(Limit::IoReadOps),
        io_write_operations: limits.get(Limit::IoWriteOps),
        timeout_seconds: thousandths(Limit::Timeout),
    }
}

fn usage(usage: &Usage) -> v1::Usage {
    v1::Usage {
        cpu_seconds: usage.cpu_ns as f64 / 1e9,
        memory_peak_bytes: usage.memory_peak,
        pids_peak: usage.pids_peak,
        io_read_bytes: usage.io_read,
        io_written_bytes: usage.io_written,
        throttled_seconds: usage.throttled_ns.map(|ns| ns as f64 / 1e9),
    }
}

fn totals(totals: &Totals, ended: bool) -> v1::Output {
    v1::Output {
        bytes: totals.bytes,
        stdout_bytes: totals.streams[0],
        stderr_bytes: totals.streams[1],
        first_offset: totals.first_offset,
        missing_bytes: totals.missing,
        complete: ended && totals.complete,
    }
}

fn input(digest: InputDigest) -> v1::InputInfo {
    v1::InputInfo { bytes: digest.bytes, sha256: hex(&digest.sha256) }
}
