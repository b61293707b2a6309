//! Output: live to one and to four, and of a job that has ended.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use airlock_client::{Client, FollowEvent, Follower, OutputQuery};
use anyhow::{Context, Result, bail, ensure};

use super::Bench;
use crate::{
    measure::{Budget, Curve, Findings, Row, Series, in_turns},
    peers::{Basin, mib, ssh::Ssh, tls},
    stack::{PATIENCE, finished, start},
    usage,
};

/// What a job of [`on_signal`] says when it can be signalled.
pub const READY: &str = "ready\n";

/// A shell line for a job that says that it is ready, and writes this file once it gets SIGUSR1. (Standard error is closed, or
/// the shell would tell of its sleep's end by the signal.)
pub fn on_signal(file: &str) -> String {
    format!("exec 2>/dev/null; trap go=1 USR1; echo ready; while [ -z \"$go\" ]; do sleep 0.02; done; exec cat {file}")
}

/// All rows of the output.
pub fn run(bench: &Bench) -> Result<Findings> {
    let bytes = bench.size(512 << 20, 4 << 20);
    let rounds = bench.size(9, 2);
    let path = bench.random_file(bytes)?;
    let file = path.to_str().context("the folder's path is not text")?;
    let mut findings = Findings::default();
    findings.rows.extend(live(bench, file, rounds)?);
    findings.rows.extend(live_to_four(bench, file, bench.size(5, 1))?);
    findings.rows.extend(replay(bench, file, rounds)?);
    findings.curves.extend(growth(bench)?);
    Ok(findings)
}

fn live(bench: &Bench, file: &str, rounds: usize) -> Result<Vec<Row>> {
    let basin = &std::cell::RefCell::new(Basin::of(file.as_ref())?);
    let gib = mib(basin.borrow().bytes()) / 1024.0;
    let mut spent: [Series; 4] = Default::default();
    let over_ssh = |ssh: &'static str, bench: &Bench| -> Result<f64> {
        let peer = if ssh == "fast" { &bench.fast_ssh } else { &bench.ssh };
        basin.borrow_mut().fill(&mut peer.over_master(&["cat", file]))
    };
    let [ours, ssh, fast] = in_turns(
        rounds,
        [
            Box::new(|| {
                let before = spent_by_airlock(bench)?;
                let speed = basin.borrow_mut().fill(bench.stack.airlock()?.args(["run", "--", "cat", file]))?;
                let after = spent_by_airlock(bench)?;
                spent.iter_mut().zip(before.iter().zip(after)).for_each(|(s, (b, a))| s.push((a - b) / gib));
                Ok(speed)
            }),
            Box::new(|| over_ssh("own", bench)),
            Box::new(|| over_ssh("fast", bench)),
        ],
    )?;
    let before = spent_by_ssh(&bench.ssh)?;
    over_ssh("own", bench)?;
    let by_ssh = (spent_by_ssh(&bench.ssh)? - before) / gib;
    let what = "live output to one follower, `airlock run -- cat`";
    let mut rows = vec![
        Row::pair(what, "MiB/s", &ours, &named(&bench.ssh), &ssh).budget(Budget::RatioAtLeast(1.2)),
        Row::pair(what, "MiB/s", &ours, &named(&bench.fast_ssh), &fast),
    ];
    for (name, seconds) in ["executor", "frontend", "airlock"].into_iter().zip(spent) {
        rows.push(Row::alone(format!("processor time of 1 GiB live: {name}"), "s", seconds));
    }
    rows.push(Row::alone("processor time of 1 GiB of `ssh cat`: server, master and client", "s", Series::one(by_ssh)));
    Ok(rows)
}

fn named(ssh: &Ssh) -> String {
    format!("ssh -S cat ({})", ssh.cipher())
}

fn spent_by_airlock(bench: &Bench) -> Result<[f64; 3]> {
    Ok([
        usage::cpu(bench.stack.pid("executor")?)?.own,
        usage::cpu(bench.stack.pid("frontend")?)?.own,
        usage::cpu_of_children()?,
    ])
}

fn spent_by_ssh(ssh: &Ssh) -> Result<f64> {
    let [server, master] = ssh.pids()?;
    Ok(usage::cpu_of_tree(server)? + usage::cpu_of_tree(master)? + usage::cpu_of_children()?)
}

fn live_to_four(bench: &Bench, file: &str, rounds: usize) -> Result<Vec<Row>> {
    let total = mib(4 * std::fs::metadata(file)?.len());
    let line = on_signal(file);
    let client = bench.runtime.block_on(async { bench.stack.client() })?;
    let [ours, ssh] = in_turns(
        rounds,
        [
            Box::new(|| {
                let job = bench.runtime.block_on(start(&client, &["sh", "-c", &line]))?;
                let mut followers = Vec::new();
                for _ in 0..4 {
                    followers
                        .push(bench.stack.airlock()?.args(["logs", "--follow", &job]).stdout(Stdio::null()).spawn()?);
                }
                bench.runtime.block_on(ready(&client, &job))?;
                // Time enough for each to have connected; one that comes later reads what it missed from the log.
                std::thread::sleep(Duration::from_millis(300));
                let begun = Instant::now();
                bench.runtime.block_on(client.signal(&job, 10))?;
                for mut follower in followers {
                    ensure!(follower.wait()?.success(), "a follower failed");
                }
                let took = begun.elapsed().as_secs_f64();
                bench.runtime.block_on(finished(&client, &job))?;
                Ok(total / took)
            }),
            Box::new(|| {
                let begun = Instant::now();
                let spawn =
                    |_| bench.ssh.over_master(&["cat", file]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
                let readers: Vec<_> = (0..4).map(spawn).collect::<Result<_, _>>()?;
                for mut reader in readers {
                    ensure!(reader.wait()?.success(), "ssh failed");
                }
                Ok(total / begun.elapsed().as_secs_f64())
            }),
        ],
    )?;
    let what = "live output to four followers, all together";
    Ok(vec![Row::pair(what, "MiB/s", &ours, "four times ssh -S cat", &ssh)])
}

/// Waits for a job's first output.
async fn ready(client: &Client, job: &str) -> Result<()> {
    let mut follower = Follower::new(client.clone(), OutputQuery::follow(job, 0), PATIENCE);
    while let Some(event) = follower.next().await? {
        if matches!(event, FollowEvent::Chunk(_)) {
            return Ok(());
        }
    }
    bail!("job {job} ended before it was ready")
}

/// A finished job that wrote this file.
fn written(bench: &Bench, client: &Client, file: &str) -> Result<String> {
    bench.runtime.block_on(async {
        let job = start(client, &["cat", file]).await?;
        finished(client, &job).await?;
        Ok(job)
    })
}

fn replay(bench: &Bench, file: &str, rounds: usize) -> Result<Vec<Row>> {
    let client = bench.runtime.block_on(async { bench.stack.client() })?;
    let job = written(bench, &client, file)?;
    let basin = &std::cell::RefCell::new(Basin::of(file.as_ref())?);
    let folder = bench.stack.path("");
    let address = tls::serve(&folder, file.as_ref())?;
    let [ours, ssh, bare] = in_turns(
        rounds,
        [
            Box::new(|| basin.borrow_mut().fill(bench.stack.airlock()?.args(["logs", &job]))),
            Box::new(|| basin.borrow_mut().fill(&mut bench.ssh.over_master(&["cat", file]))),
            Box::new(|| basin.borrow_mut().fill(&mut tls::fetch_command(&folder, address)?)),
        ],
    )?;
    let what = "a finished log, `airlock logs`";
    Ok(vec![
        Row::pair(what, "MiB/s", &ours, &named(&bench.ssh), &ssh).budget(Budget::RatioAtLeast(2.0)),
        Row::pair(what, "MiB/s", &ours, "bare rustls over loopback", &bare).budget(Budget::RatioAtLeast(0.8)),
    ])
}

// Seconds until everything was followed and recorded, over the size of the output.
fn growth(bench: &Bench) -> Result<Vec<Curve>> {
    let largest: u64 = bench.size(10 << 30, 4 << 20);
    let mut points = Vec::new();
    let mut bytes = 1u64 << 20;
    while bytes <= largest {
        let size = bytes.to_string();
        let words = ["run", "--", "head", "-c", &size, "/dev/zero"];
        let begun = Instant::now();
        let mut command: Command = bench.stack.airlock()?;
        let status = command.args(words).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{words:?} ended with {status}");
        points.push((mib(bytes), begun.elapsed().as_secs_f64()));
        let client = bench.runtime.block_on(async { bench.stack.client() })?;
        bench.runtime.block_on(delete_last(&client))?;
        bytes = if bytes < 8 << 30 && bytes * 8 > largest && bytes < largest { largest } else { bytes * 8 };
    }
    Ok(vec![Curve { name: "output", of: "MiB written by one job", cost: "s until all was followed", points }])
}

async fn delete_last(client: &Client) -> Result<()> {
    let (job, _) = client.wait("last", None, PATIENCE).await?;
    client.delete(&job.job_id).await?;
    Ok(())
}
