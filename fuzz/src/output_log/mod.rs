//! Output logs that are written, torn, altered and read, in any order.
//!
//! Claims: nothing panics or goes on for ever; no byte is served that the job did not write there; offsets never go back and
//! leave nothing out that is not marked as a gap; a log that was only torn at its end keeps everything before the tear. Forged
//! records, whose checksums are right, may say what they like; the first claim and the order of offsets hold even then.

mod damage;
mod reading;
mod source;

use api_frontend::output::{GapReason, LogWriter, OutputError, OutputLimit, OutputLogs, WhenFull};
use ipc_protocol::{JobId, Stream};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{input::Input, tally};
use damage::Damage;
use reading::Followers;

const JOB: JobId = JobId::from_bytes(*b"0123456789abcdef");
/// Steps of one input; more show nothing new and cost time.
const STEPS_MAX: usize = 48;

/// Replays one row of steps.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    RUNTIME.with(|runtime| Replay::begin(&mut input).run(&mut input, runtime));
}

thread_local! {
    // Its clock stands still while anything is left to do, so that following a log that does not grow takes no time.
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    // In memory where there is such a place; the logs of one input are gone before the next.
    static FOLDER: TempDir = tempfile::Builder::new()
        .prefix("airlock-fuzz-")
        .tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder");
}

/// What is known of a log that may hold less than was written.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Bytes were altered, or files.
    damaged: bool,
    /// Records or segments were made up, with right checksums.
    forged: bool,
    /// Bytes may be missing for a reason that the writer was told.
    skipped: bool,
}

struct Replay {
    logs: OutputLogs,
    limit: OutputLimit,
    /// Absent when the log was closed, or cannot be opened for what was done to it.
    writer: Option<LogWriter>,
    known: Known,
    closed: bool,
    time_ns: u64,
}

impl Replay {
    fn begin(input: &mut Input<'_>) -> Self {
        let logs = FOLDER.with(|folder| OutputLogs::open(folder.path())).expect("the folder");
        logs.delete(JOB).expect("nobody writes");
        let when_full = input.pick(&[WhenFull::DropOldest, WhenFull::Wait, WhenFull::Stop]);
        let limit = OutputLimit::new(input.pick(&[1 << 40, 1 << 40, 24 << 10, 64 << 10, 200 << 10]), when_full);
        let writer = logs.writer(JOB, limit).expect("a new log");
        Self { logs, limit, writer: Some(writer), known: Known::default(), closed: false, time_ns: 1 }
    }

    fn run(mut self, input: &mut Input<'_>, runtime: &Runtime) {
        let mut followers = Followers::default();
        for _ in 0..STEPS_MAX {
            if input.is_empty() {
                break;
            }
            self.step(input, &mut followers, runtime);
        }
        // A reader that saw the log before it was damaged may be in the middle of what is not there any more.
        runtime.block_on(followers.drain(self.known));
        drop(self.writer.take());
        let logs = FOLDER.with(|folder| OutputLogs::open(folder.path())).expect("the folder");
        for _ in 0..2 {
            runtime.block_on(reading::read(&logs, input, self.known));
        }
        tally::add("logs", 1);
    }

    fn step(&mut self, input: &mut Input<'_>, followers: &mut Followers, runtime: &Runtime) {
        match input.below(16) {
            0..=6 => self.append(input),
            7 => self.skip(input),
            8 => runtime.block_on(followers.begin(&self.logs, input)),
            9 | 10 => runtime.block_on(followers.step(input, self.known)),
            11 => self.restart(input.coin(), followers),
            12 => {
                drop(self.writer.take());
                damage::tear(&segments(), input);
                // What a closed log loses at its end opens it again.
                self.closed = false;
                self.restart(true, followers);
            }
            13 | 14 => {
                drop(self.writer.take());
                match damage::alter(&segments(), input) {
                    Damage::None => {}
                    Damage::Altered => self.known.damaged = true,
                    Damage::Forged => (self.known.damaged, self.known.forged) = (true, true),
                }
                self.closed = false;
                self.restart(input.coin(), followers);
            }
            _ => self.finish(input.coin()),
        }
    }

    fn append(&mut self, input: &mut Input<'_>) {
        let stream = input.pick(&Stream::BOTH);
        let length = input.length(300 << 10);
        let again = input.length(5000) as u64;
        self.time_ns += input.below(3);
        let Some(writer) = &mut self.writer else { return };
        let at = writer.lengths()[stream as usize];
        let from = at.saturating_sub(again);
        let Some(bytes) = source::written(stream, from, (at - from) as usize + length) else { return };
        let recovered = input.coin();
        match writer.append(stream, from, self.time_ns, recovered, bytes) {
            Ok(appended) => assert!(appended.length >= at && appended.length <= at + length as u64),
            Err(error) => assert!(self.known.damaged, "{error}"),
        }
        tally::add("appends", 1);
    }

    fn skip(&mut self, input: &mut Input<'_>) {
        let stream = input.pick(&Stream::BOTH);
        let length = input.length(70_000) as u64;
        let Some(writer) = &mut self.writer else { return };
        let at = writer.lengths()[stream as usize];
        if source::written(stream, at, length as usize).is_some() {
            writer.skip(stream, at + length, GapReason::Lost);
            self.known.skipped = true;
        }
    }

    /// The log gets another writer: of this process, or of a new one, which finds what the old one left.
    fn restart(&mut self, new_process: bool, followers: &mut Followers) {
        drop(self.writer.take());
        if new_process {
            followers.end();
            self.logs = FOLDER.with(|folder| OutputLogs::open(folder.path())).expect("the folder");
        }
        if self.closed {
            return;
        }
        match self.logs.writer(JOB, self.limit) {
            Ok(writer) => self.writer = Some(writer),
            // A tear can leave the record that closed it.
            Err(OutputError::Closed { .. }) => self.closed = true,
            Err(error) => assert!(self.known.damaged, "{error}"),
        }
    }

    fn finish(&mut self, complete: bool) {
        let Some(writer) = self.writer.take() else { return };
        match writer.finish(self.time_ns, complete) {
            Ok(_) => self.closed = true,
            Err(failed) => assert!(self.known.damaged, "{}", failed.error),
        }
    }
}

/// The log's files in the order of their names.
fn segments() -> Vec<std::path::PathBuf> {
    let folder = FOLDER.with(|folder| folder.path().join(JOB.to_string()));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
