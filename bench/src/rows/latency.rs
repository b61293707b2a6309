//! From the job's write to the line in the follower's hands.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{Bench, lines};
use crate::measure::{Budget, Findings, Row, Series};

/// p50 and p99 of lines 4 ms apart, beside the same over ssh.
pub fn run(bench: &Bench) -> Result<Findings> {
    let rounds = bench.size(7, 1);
    let count = bench.size(1000, 50);
    // A copy that the job's user can reach.
    let writer = bench.stack.path("bin/bench-lines");
    std::fs::copy(std::env::current_exe()?, &writer)?;
    let writer = writer.to_str().context("the folder's path is not text")?;
    let (number, mut figures) = (count.to_string(), [const { [const { Vec::new() }; 2] }; 2]);
    for round in 0..=rounds {
        let words = [writer, "lines", &number, "4000"];
        let airlock = lines_of(bench.stack.airlock()?.args(["run", "--"]).args(words), count)?;
        let ssh = lines_of(&mut bench.ssh.over_master(&words), count)?;
        if round > 0 {
            for (which, of) in [airlock, ssh].into_iter().enumerate() {
                figures[0][which].push(of.median());
                figures[1][which].push(of.quantile(0.99));
            }
        }
    }
    let row = |name: &str, [ours, ssh]: [Vec<f64>; 2]| {
        let what = format!("line written by the job → shown by the follower, {name}");
        Row::pair(what, "ms", &ours.into_iter().collect(), "ssh -S", &ssh.into_iter().collect())
    };
    let [median, tail] = figures;
    Ok(vec![row("p50", median), row("p99", tail).budget(Budget::AtMost(1.0))].into())
}

// The delays of all lines in milliseconds.
fn lines_of(command: &mut Command, count: usize) -> Result<Series> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("no pipe")?;
    let mut delays = Series::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        let now = lines::now_ns();
        let written: u64 = line.parse().with_context(|| format!("'{line}' is no time"))?;
        delays.push(now.saturating_sub(written) as f64 / 1e6);
    }
    let status = child.wait()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    ensure!(delays.values().len() == count, "{} lines of {count} came", delays.values().len());
    Ok(delays)
}
