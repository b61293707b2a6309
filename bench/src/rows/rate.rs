//! Jobs from start to recorded end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use airlock_client::Client;
use anyhow::Result;
use tokio::task::JoinSet;

use super::Bench;
use crate::{
    measure::{Budget, Findings, Row, Series, in_turns},
    peers::kernel::Work,
    stack::{finished, start},
    usage::{self, Machine},
};

/// One client with 1, 8 and 32 jobs in flight, beside the bare kernel.
pub fn run(bench: &Bench) -> Result<Findings> {
    let mut rows = Vec::new();
    let client = bench.runtime.block_on(async { bench.stack.client() })?;
    for in_flight in [1, 8, 32] {
        let jobs = bench.size(25 * in_flight.clamp(8, 32), 8);
        let (mut spent, mut ours_at_all, mut same_at_all) = (Spent::default(), Machine::default(), Machine::default());
        let [ours, same, plain] = in_turns(
            bench.size(11, 2),
            [
                Box::new(|| {
                    let before = Spent::so_far(bench)?;
                    let rate = ours_at_all.during(|| bench.runtime.block_on(rate(&client, jobs, in_flight)))?;
                    spent.add(&before, &Spent::so_far(bench)?, jobs);
                    Ok(rate)
                }),
                Box::new(|| same_at_all.during(|| bench.kernel.rate(Work::Same, jobs, in_flight))),
                Box::new(|| bench.kernel.rate(Work::Plain, jobs, in_flight)),
            ],
        )?;
        let what = format!("jobs from start to recorded end, one client, {in_flight} in flight");
        let budget = if in_flight == 32 { Budget::RatioAtLeast(0.75) } else { Budget::None };
        rows.push(Row::pair(&what, "jobs/s", &ours, "the same kernel work in C", &same).budget(budget));
        rows.push(Row::pair(&what, "jobs/s", &ours, "plain loop in C: one cgroup, one clone", &plain));
        if in_flight == 32 {
            rows.extend(spent.rows());
            rows.extend(of_the_machine(&ours_at_all, &same_at_all, spent.jobs));
        }
    }
    Ok(rows.into())
}

/// Brings jobs to their recorded end, so many at a time, and answers jobs a second.
pub async fn rate(client: &Client, jobs: usize, in_flight: usize) -> Result<f64> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut chains = JoinSet::new();
    for _ in 0..in_flight {
        let (client, next) = (client.clone(), next.clone());
        chains.spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < jobs {
                finished(&client, &start(&client, &["true"]).await?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(chain) = chains.join_next().await {
        chain??;
    }
    Ok(jobs as f64 / begun.elapsed().as_secs_f64())
}

// What the whole machine did for as many jobs of either: how much of a difference is work, and how much is waiting.
fn of_the_machine(ours: &Machine, same: &Machine, jobs: usize) -> [Row; 3] {
    let row = |what, of: fn(&Machine) -> f64| {
        let each = |machine| Series::one(of(machine) * 1000.0 / jobs.max(1) as f64);
        let what = format!("1,000 jobs, 32 in flight: {what}");
        Row::pair(what, "s", &each(ours), "the same kernel work in C", &each(same))
    };
    [
        row("processor time of the whole machine", |machine| machine.busy),
        row("of it, the kernel's own threads", |machine| machine.kernel_threads),
        row("processors unused", |machine| machine.unused),
    ]
}

/// Processor seconds, by process.
#[derive(Debug, Default)]
struct Spent {
    executor: f64,
    keepers: f64,
    frontend: f64,
    client: f64,
    jobs: usize,
}

impl Spent {
    fn so_far(bench: &Bench) -> Result<Self> {
        let executor = usage::cpu(bench.stack.pid("executor")?)?;
        let frontend = usage::cpu(bench.stack.pid("frontend")?)?;
        let client = usage::cpu(i32::try_from(std::process::id())?)?;
        Ok(Self {
            executor: executor.own,
            keepers: executor.waited,
            frontend: frontend.own,
            client: client.own,
            jobs: 0,
        })
    }

    fn add(&mut self, before: &Self, after: &Self, jobs: usize) {
        self.executor += after.executor - before.executor;
        self.keepers += after.keepers - before.keepers;
        self.frontend += after.frontend - before.frontend;
        self.client += after.client - before.client;
        self.jobs += jobs;
    }

    fn rows(&self) -> Vec<Row> {
        let parts = [
            ("executor", self.executor),
            ("keepers with what they clone", self.keepers),
            ("frontend", self.frontend),
            ("client", self.client),
        ];
        let row = |(name, seconds)| {
            let each = Series::one(seconds * 1000.0 / self.jobs.max(1) as f64);
            Row::alone(format!("processor time of 1,000 jobs: {name}"), "s", each)
        };
        parts.map(row).into()
    }
}
