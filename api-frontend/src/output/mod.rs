//! Output logs: everything a job writes, kept in files, read by any number of followers.
//!
//! A log is a directory of append-only segment files (`record.rs` and `segment.rs` have the format). One [`LogWriter`] adds to
//! it, exactly once by (stream, offset in the stream); [`LogReader`]s read the files, never the writer, so that a slow one slows
//! nobody. Those at the same place share what one of them read; a thousand at different places hold one record each, and
//! those that wait hold nothing.
//!
//! What is appended survives the death of this process at once: it stands in the page cache. Nothing waits for the disk, so after
//! a power cut a log may end early. One that was still open says so itself; of one that was closed, the job's record counts what
//! it must hold.

mod batch;
mod error;
mod file;
mod finished;
mod limit;
mod logs;
mod reader;
mod record;
mod seek;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod writer;

pub use error::OutputError;
pub use finished::FinishedLog;
pub use limit::{OUTPUT_LIMIT_MIN, OutputLimit, WhenFull};
pub use logs::OutputLogs;
pub use reader::{Chunk, Event, Gap, LogEnd, LogReader, ReadOptions, Start};
pub use record::{GapReason, HEADER_LEN, PAYLOAD_MAX, ParseError, RecordHeader, parse_record};
pub use state::Totals;
pub use writer::{Appended, FinishError, LogWriter};
