//! Measures what Airlock costs beside what else could run a command. `bench/run` builds what this needs and starts it.

#![forbid(unsafe_code)]

mod measure;
mod peers;
mod plot;
mod report;
mod rows;
mod stack;
mod usage;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::{
    measure::Findings,
    peers::{kernel::Kernel, ssh::Ssh, tls},
    report::Setting,
    rows::{Bench, PARTS, lines},
    stack::Stack,
};

/// Measures Airlock beside ssh, the bare kernel and bare TLS.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures everything, or the parts named, and writes RESULTS.md, results.json and plots.
    Run(Run),
    /// Writes lines that say when they were written; runs as a job.
    #[command(hide = true)]
    Lines { count: usize, interval_us: u64 },
    /// Fetches over bare TLS; runs beside `airlock logs`.
    #[command(hide = true)]
    Fetch { folder: PathBuf, address: String },
}

#[derive(clap::Args)]
struct Run {
    /// The repository, which holds deploy/local
    #[arg(long)]
    tree: PathBuf,
    /// A folder for the stack and the peers; removed at the end
    #[arg(long)]
    dir: PathBuf,
    /// The built kernel peer
    #[arg(long)]
    kernel: PathBuf,
    /// Where the results go
    #[arg(long)]
    out: PathBuf,
    /// Small sizes and few rounds, to see that it works
    #[arg(long)]
    short: bool,
    /// Only these parts: cold, rate, stream, followers, latency, idle, list
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(run) => measure(&run),
        Command::Lines { count, interval_us } => lines::write(count, Duration::from_micros(interval_us)),
        Command::Fetch { folder, address } => tls::fetch(&folder, &address),
    }
}

fn measure(run: &Run) -> Result<()> {
    ensure!(rustix::process::getuid().is_root(), "the bench starts a root executor: run it as root (sudo make bench)");
    for name in &run.only {
        ensure!(PARTS.iter().any(|(part, _)| part == name), "no part '{name}'; there are {}", names());
    }
    std::fs::create_dir_all(run.out.join("plots"))?;
    let load = load()?;
    let bench = Bench {
        stack: Stack::start(&run.tree, &run.dir.join("stack"))?,
        ssh: Ssh::start(&run.dir.join("ssh"), None)?,
        fast_ssh: Ssh::start(&run.dir.join("ssh-fast"), Some("aes128-gcm@openssh.com"))?,
        kernel: Kernel::new(&run.kernel, &run.dir.join("kernel"))?,
        runtime: tokio::runtime::Runtime::new()?,
        short: run.short,
    };
    let info = bench.runtime.block_on(bench.stack.require_guarantees())?;
    let mut findings = Findings::default();
    for (name, part) in PARTS.iter().filter(|(name, _)| run.only.is_empty() || run.only.iter().any(|only| only == name))
    {
        let begun = Instant::now();
        let found = part(&bench).with_context(|| format!("part {name}"))?;
        println!("== {name}, {:.0} s", begun.elapsed().as_secs_f64());
        found.rows.iter().for_each(|row| println!("{}", report::line(row)));
        findings.rows.extend(found.rows);
        findings.curves.extend(found.curves);
    }
    let cgroups = info.executor.map(|executor| executor.cgroups).unwrap_or_default();
    let setting = Setting::here(run.short, &info.version, &cgroups, [load, self::load()?])?;
    for curve in &findings.curves {
        plot::write(&run.out.join("plots"), curve)?;
    }
    report::write(&run.out, &setting, &findings.rows, &findings.curves)?;
    say_where(&run.out);
    Ok(())
}

fn say_where(out: &Path) {
    println!("the table: {}", out.join("RESULTS.md").display());
}

fn names() -> String {
    PARTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

// The machine's load, which says how far figures can be trusted.
fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().context("/proc/loadavg is empty")?.parse()?)
}
