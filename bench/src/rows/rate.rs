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
    usage,
};

/// One client with 1, 8 and 32 jobs in flight, beside the bare kernel.
pub fn run(bench: &Bench) -> Result<Findings> {
    let mut rows = Vec::new();
    let client = bench.runtime.block_on(async { bench.stack.client() })?;
    for in_flight in [1, 8, 32] {
        let jobs = bench.size(25 * in_flight.clamp(8, 32), 8);
        let mut spent = Spent::default();
        let [ours, same, plain] = in_turns(
            bench.size(11, 2),
            [
                Box::new(|| {
                    let before = Spent::so_far(bench)?;
                    let rate = bench.runtime.block_on(rate(&client, jobs, in_flight))?;
                    spent.add(&before, &Spent::so_far(bench)?, jobs);
                    Ok(rate)
                }),
                Box::new(|| bench.kernel.rate(Work::Same, jobs, in_flight)),
                Box::new(|| bench.kernel.rate(Work::Plain, jobs, in_flight)),
            ],
        )?;
        let what = format!("jobs from start to recorded end, one client, {in_flight} in flight");
        let budget = if in_flight == 32 { Budget::RatioAtLeast(0.75) } else { Budget::None };
        rows.push(Row::pair(&what, "jobs/s", &ours, "the same kernel work in C", &same).budget(budget));
        rows.push(Row::pair(&what, "jobs/s", &ours, "plain loop in C: one cgroup, one clone", &plain));
        if in_flight == 32 {
            rows.extend(spent.rows());
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
