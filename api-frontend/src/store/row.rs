//! A job as a row.

use ipc_protocol::{InputDigest, JobId, Limit, Limits, StopFact};
use rusqlite::{
    Row,
    types::{FromSql, Type},
};

use super::{
    error::StoreError,
    model::{HowEnded, Job, OutputRecord, Usage},
    state::JobState,
};
use crate::output::{OutputLimit, WhenFull};

/// The columns that [`job`] reads, in its order.
pub(super) const COLUMNS: &str = "id, owner, name, request_id, fingerprint, serial, peer, profile, argv, env_names, cwd, merge, \
     input_bytes, input_sha256, output_limit, when_full, created_ns, state, started_ns, ended_ns, pid, uid, \
     cpu_milli, cpu_weight, memory, swap, pids, io_read, io_write, io_read_ops, io_write_ops, timeout_ms, \
     stop_by, stop_signal, stop_at_ns, exit_code, exit_signal, exit_core, start_step, start_errno, start_message, \
     lost_reason, oom_kills, deadline_hit, used_cpu_ns, used_memory_peak, used_pids_peak, used_io_read, used_io_written, \
     used_throttled_ns, out_stdout, out_stderr, out_first, out_missing, out_complete, out_disk, archived";

/// Reads a job from a row of [`COLUMNS`].
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let mut columns = Columns { row, at: 0 };
    let c = &mut columns;
    Ok(Job {
        id: c.parsed(|text: String| text.parse::<JobId>().ok())?,
        owner: c.next()?,
        name: c.next()?,
        request_id: c.next()?,
        fingerprint: c.next()?,
        serial: c.next()?,
        peer: c.next()?,
        profile: c.next()?,
        argv: split_words(&c.next::<Vec<u8>>()?),
        env_names: c.parsed(|text: String| serde_json::from_str(&text).ok())?,
        cwd: c.next()?,
        merge: c.next()?,
        input: match (c.number()?, c.next()?) {
            (Some(bytes), Some(sha256)) => Some(InputDigest { bytes, sha256 }),
            _ => None,
        },
        output_limit: OutputLimit::new(c.number()?.unwrap_or(0), c.parsed(|text: String| when_full(&text))?),
        created_ns: c.number()?.unwrap_or(0),
        state: c.parsed(|text: String| text.parse::<JobState>().ok())?,
        started_ns: c.number()?,
        ended_ns: c.number()?,
        pid: c.next()?,
        uid: c.next()?,
        limits: limits(c)?,
        stop: stop(c)?,
        end: end(c)?,
        oom_kills: c.number()?.unwrap_or(0),
        deadline_hit: c.next()?,
        usage: usage(c)?,
        output: output(c)?,
        archived: c.next()?,
    })
    .map(|mut job: Job| {
        if let Some(output) = &mut job.output {
            output.bytes = output.streams[0].saturating_add(output.streams[1]);
        }
        job
    })
}

/// Words as they are stored: a NUL after each, which none of them can hold.
pub(super) fn join_words(words: &[Vec<u8>]) -> Vec<u8> {
    words.iter().flat_map(|word| word.iter().copied().chain([0])).collect()
}

fn split_words(stored: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<_> = stored.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    words.pop();
    words
}

/// The word for what happens at the output limit.
pub(super) fn when_full_name(when_full: WhenFull) -> &'static str {
    match when_full {
        WhenFull::DropOldest => "drop-oldest",
        WhenFull::Wait => "wait",
        WhenFull::Stop => "stop",
    }
}

fn when_full(name: &str) -> Option<WhenFull> {
    [WhenFull::DropOldest, WhenFull::Wait, WhenFull::Stop].into_iter().find(|it| when_full_name(*it) == name)
}

/// A number as SQLite holds it.
pub(super) fn stored(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::TooLarge(number))
}

/// The same of one that may be absent.
pub(super) fn stored_option(number: Option<u64>) -> Result<Option<i64>, StoreError> {
    number.map(stored).transpose()
}

fn limits(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<Limits>> {
    let numbers: [Option<u64>; 10] = c.numbers()?;
    let mut limits = Limits::default();
    Limit::ALL.into_iter().zip(numbers).for_each(|(limit, number)| limits.set(limit, number));
    // One that always is in force tells whether any are: nothing is recorded before the birth.
    Ok(limits.get(Limit::Memory).map(|_| limits))
}

fn stop(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<StopFact>> {
    Ok(match (c.next()?, c.next()?, c.number()?) {
        (Some(by), Some(signal), Some(at_ns)) => Some(StopFact { by, signal, at_ns }),
        _ => None,
    })
}

fn end(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<HowEnded>> {
    let (code, signal, core): (Option<i32>, Option<u8>, Option<bool>) = (c.next()?, c.next()?, c.next()?);
    let (step, errno, message): (Option<String>, Option<i32>, Option<String>) = (c.next()?, c.next()?, c.next()?);
    let lost: Option<String> = c.next()?;
    Ok(match (code, signal, step, lost) {
        (Some(code), ..) => Some(HowEnded::Exited(code)),
        (_, Some(signal), ..) => Some(HowEnded::Signaled { signal, core: core.unwrap_or(false) }),
        (_, _, Some(step), _) => {
            Some(HowEnded::NotStarted { step, errno: errno.unwrap_or(0), message: message.unwrap_or_default() })
        }
        (.., Some(reason)) => Some(HowEnded::Lost { reason }),
        _ => None,
    })
}

fn usage(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<Usage>> {
    let [cpu_ns, memory_peak, pids_peak, io_read, io_written, throttled_ns] = c.numbers()?;
    Ok(cpu_ns.map(|cpu_ns| Usage { cpu_ns, memory_peak, pids_peak, io_read, io_written, throttled_ns }))
}

fn output(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<OutputRecord>> {
    let [stdout, stderr, first_offset, missing] = c.numbers()?;
    let complete: Option<bool> = c.next()?;
    let disk = c.number()?;
    Ok(match (stdout, stderr) {
        (Some(stdout), Some(stderr)) => Some(OutputRecord {
            bytes: 0,
            streams: [stdout, stderr],
            first_offset: first_offset.unwrap_or(0),
            missing: missing.unwrap_or(0),
            complete: complete.unwrap_or(false),
            disk_bytes: disk.unwrap_or(0),
        }),
        _ => None,
    })
}

/// Takes the columns of a row one after the other.
struct Columns<'r, 'stmt> {
    row: &'r Row<'stmt>,
    at: usize,
}

impl Columns<'_, '_> {
    fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.at += 1;
        self.row.get(self.at - 1)
    }

    fn number(&mut self) -> rusqlite::Result<Option<u64>> {
        Ok(self.next::<Option<i64>>()?.map(|number| u64::try_from(number).unwrap_or(0)))
    }

    fn numbers<const N: usize>(&mut self) -> rusqlite::Result<[Option<u64>; N]> {
        let mut numbers = [None; N];
        for number in &mut numbers {
            *number = self.number()?;
        }
        Ok(numbers)
    }

    /// A column whose value must have a certain form, which nobody but a hand in the database can have broken.
    fn parsed<T, R: FromSql>(&mut self, parse: impl FnOnce(R) -> Option<T>) -> rusqlite::Result<T> {
        let at = self.at;
        let raw = self.next()?;
        let name = || self.row.as_ref().column_name(at).unwrap_or_default().to_owned();
        parse(raw).ok_or_else(|| rusqlite::Error::InvalidColumnType(at, name(), Type::Text))
    }
}
