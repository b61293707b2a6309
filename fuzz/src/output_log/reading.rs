//! Reading a log back, and what must hold of everything that is read.

use std::time::Duration;

use api_frontend::output::{Chunk, Event, GapReason, LogReader, OutputError, OutputLogs, ReadOptions, Start};
use ipc_protocol::Stream;

use super::{JOB, Known, source};
use crate::{input::Input, tally};

/// Longer than anything takes; on a clock that stands still it passes at once when nothing is left to do.
const PATIENCE: Duration = Duration::from_secs(3600);
/// More events than a log of these inputs can hold.
const EVENTS_MAX: usize = 200_000;

/// Reads a log that nobody writes, from its beginning to its end or in part.
pub async fn read(logs: &OutputLogs, input: &mut Input<'_>, known: Known) {
    let options = ReadOptions {
        from: match input.below(5) {
            0 | 1 => Start::Offset(0),
            2 => Start::Offset(input.length(1 << 20) as u64),
            3 => Start::Since(input.below(64)),
            _ => Start::TailLines(input.length(1 << 12) as u64),
        },
        until_ns: (input.below(4) == 0).then(|| input.below(64)),
        stream: input.pick(&[None, None, Some(Stream::Stdout), Some(Stream::Stderr)]),
        follow: input.coin(),
    };
    let reader = match logs.reader(JOB, options).await {
        Ok(reader) => reader,
        Err(error) => return allowed(&error, known),
    };
    let mut reading = Reading::new(reader, options);
    for _ in 0..EVENTS_MAX {
        if !reading.next(known).await {
            tally::add("logs read to an end", 1);
            return;
        }
    }
    panic!("a reader goes on for ever");
}

/// Readers that follow the log while it is written, torn and altered.
#[derive(Default)]
pub struct Followers {
    readings: Vec<Reading>,
}

impl Followers {
    /// Their process ends, and they with it.
    pub fn end(&mut self) {
        self.readings.clear();
    }

    /// One more, unless there are several.
    pub async fn begin(&mut self, logs: &OutputLogs, input: &mut Input<'_>) {
        let from = Start::Offset(input.length(1 << 16) as u64);
        let options = ReadOptions { from, until_ns: None, stream: None, follow: true };
        if self.readings.len() < 3
            && let Ok(reader) = logs.reader(JOB, options).await
        {
            self.readings.push(Reading::new(reader, options));
        }
    }

    /// One of them reads on.
    pub async fn step(&mut self, input: &mut Input<'_>, known: Known) {
        let which = usize::from(input.byte());
        let events = input.below(40);
        if self.readings.is_empty() {
            return;
        }
        let which = which % self.readings.len();
        for _ in 0..events {
            if !self.readings[which].next(known).await {
                self.readings.swap_remove(which);
                return;
            }
        }
    }

    /// All read what there is.
    pub async fn drain(self, known: Known) {
        for mut reading in self.readings {
            let mut events = 0;
            while reading.next(known).await {
                events += 1;
                assert!(events < EVENTS_MAX, "a follower goes on for ever");
            }
        }
    }
}

struct Reading {
    reader: LogReader,
    options: ReadOptions,
    next: u64,
}

impl Reading {
    fn new(reader: LogReader, options: ReadOptions) -> Self {
        let next = reader.begins_at();
        Self { reader, options, next }
    }

    /// Takes one event and judges it. False when nothing more comes, now or ever.
    async fn next(&mut self, known: Known) -> bool {
        let event = match tokio::time::timeout(PATIENCE, self.reader.next()).await {
            Ok(Ok(event)) => event,
            Ok(Err(error)) => {
                allowed(&error, known);
                return false;
            }
            Err(_) => {
                assert!(self.options.follow, "a reader that does not follow waits");
                return false;
            }
        };
        let exact = self.options.stream.is_none();
        match event {
            Event::Chunk(chunk) => {
                assert!(!chunk.bytes.is_empty() && chunk.offset >= self.next, "offsets go back");
                assert!(!exact || chunk.offset == self.next, "bytes are missing without a mark");
                assert!(self.options.stream.is_none_or(|wanted| wanted == chunk.stream));
                self.next = chunk.offset + chunk.bytes.len() as u64;
                if !known.forged {
                    written(&chunk);
                }
                true
            }
            Event::Gap(gap) => {
                assert!(gap.from < gap.to && gap.from >= self.next, "a gap of nothing, or behind us");
                assert!(!exact || gap.from == self.next, "bytes are missing without a mark");
                let accounted = known.damaged
                    || match gap.reason {
                        GapReason::OutputLimit => true,
                        GapReason::Lost => known.skipped,
                        GapReason::DiskFull | GapReason::LogDamaged => false,
                    };
                assert!(accounted, "{gap:?} in a log to which nothing was done");
                self.next = gap.to;
                true
            }
            Event::End(end) => {
                assert!(end.offset >= self.next, "the end is before what was served");
                assert!(!exact || end.offset == self.next, "bytes are missing without a mark");
                let again = self.reader.next().await;
                assert!(matches!(again, Ok(Event::End(same)) if same == end), "the end was not the end");
                false
            }
        }
    }
}

/// No byte that was not written, and none elsewhere than where it was written.
fn written(chunk: &Chunk) {
    let expected = source::written(chunk.stream, chunk.stream_offset, chunk.bytes.len());
    assert!(expected == Some(&chunk.bytes[..]), "bytes that were never written at {:?}", chunk.stream);
    tally::add("bytes compared", chunk.bytes.len() as u64);
}

fn allowed(error: &OutputError, known: Known) {
    let fine = match error {
        OutputError::BeyondEnd { .. } | OutputError::Deleted { .. } => true,
        OutputError::Io { .. } | OutputError::Version { .. } => known.damaged,
        _ => false,
    };
    assert!(fine, "{error}");
}
