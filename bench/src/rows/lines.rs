//! What the job of the latency row runs: lines that say when they were written.

use std::{
    io::Write,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;

/// Nanoseconds since 1970, on the clock that all processes of a host share.
pub fn now_ns() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes `count` lines, one each `interval`.
pub fn write(count: usize, interval: Duration) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let begun = Instant::now();
    for number in 0..count {
        let due = interval * u32::try_from(number)?;
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        writeln!(out, "{}", now_ns())?;
        out.flush()?;
    }
    Ok(())
}
