//! One command from a fresh process: what a person waits for.

use anyhow::Result;

use super::Bench;
use crate::{
    measure::{Budget, Findings, Row, in_turns},
    peers::milliseconds,
};

/// `airlock run -- true` beside ssh over an open connection, and where its time goes.
pub fn run(bench: &Bench) -> Result<Findings> {
    let stack = &bench.stack;
    let [run, ssh, fresh, whoami, version] = in_turns(
        bench.size(100, 3),
        [
            Box::new(|| milliseconds(stack.airlock()?.args(["run", "--", "true"]))),
            Box::new(|| milliseconds(&mut bench.ssh.over_master(&["true"]))),
            Box::new(|| milliseconds(&mut bench.ssh.fresh(&["true"]))),
            Box::new(|| milliseconds(stack.airlock()?.arg("whoami"))),
            Box::new(|| milliseconds(stack.airlock()?.arg("--version"))),
        ],
    )?;
    let what = "`airlock run -- true`: process, TCP, mutual TLS, start, exit";
    let parts = format!(
        "of it, process start {:.1} ms and connecting {:.1} ms",
        version.median(),
        whoami.median() - version.median()
    );
    Ok(vec![
        Row::pair(what, "ms", &run, "ssh -S (connection open)", &ssh).budget(Budget::RatioAtMost(1.0)).note(parts),
        Row::pair(what, "ms", &run, "ssh (connection of its own)", &fresh),
        Row::pair("`airlock whoami`: process, TCP, mutual TLS, one call", "ms", &whoami, "ssh -S true", &ssh),
    ]
    .into())
}
