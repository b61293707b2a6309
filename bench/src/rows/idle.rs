//! Thousands of jobs that do nothing: memory, descriptors, processor time, and the way back after both processes were killed.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use airlock_client::{Client, api};
use anyhow::{Context, Result, ensure};
use tokio::{sync::Semaphore, task::JoinSet};

use super::Bench;
use crate::{
    measure::{Budget, Curve, Findings, Row, Series},
    stack::{PATIENCE, finished, start},
    usage,
};

const HELD: &str = "the same kernel work in C, held";

/// What was seen with so many idle jobs.
struct Seen {
    jobs: f64,
    kib_each: f64,
    starts: f64,
    output: f64,
}

/// Up to 3,000 idle jobs, then both processes killed under them.
pub fn run(bench: &Bench) -> Result<Findings> {
    let steps: &[usize] = bench.size(&[10, 100, 300, 1000, 3000], &[5, 20]);
    let (executor, frontend) = (bench.stack.pid("executor")?, bench.stack.pid("frontend")?);
    let command_kib = command_kib(bench.size(300, 20))?;
    settle(bench);
    let group_kib = empty_group_kib(bench.size(300, 20))?;
    let client = bench.runtime.block_on(async { bench.stack.client() })?;
    let empty = usage::held_kib()?;
    let descriptors = usage::descriptors(executor)?;
    let mut jobs = Vec::new();
    let mut seen = Vec::new();
    for step in steps {
        let (more, begun) = (step - jobs.len(), Instant::now());
        jobs.extend(bench.runtime.block_on(start_idle(&client, more))?);
        let starts = more as f64 / begun.elapsed().as_secs_f64();
        settle(bench);
        let kib_each = (usage::held_kib()? - empty) / *step as f64 - command_kib;
        seen.push(Seen { jobs: *step as f64, kib_each, starts, output: output_speed(bench, &client)? });
    }
    let most = jobs.len();
    let each = (usage::descriptors(executor)? - descriptors) as f64 / most as f64;
    let alone = |what: &str, unit, value| Row::alone(format!("{most} idle jobs: {what}"), unit, Series::one(value));
    let last = seen.last().map_or(f64::NAN, |s| s.kib_each);
    let first_starts: Series = seen.iter().take(2).map(|s| s.starts).collect();
    let mut rows = vec![
        alone("of it, the keeper's own pages", "KiB", keeper_kib(executor)?),
        alone("of it, an empty memory cgroup of this kernel, before the first", "KiB", group_kib),
        alone(
            "of it, an empty memory cgroup of this kernel, beside them",
            "KiB",
            empty_group_kib(bench.size(300, 20))?,
        ),
        alone("executor's descriptors each", "", each).budget(Budget::AtMost(5.0)),
        alone("executor, resident", "MiB", usage::resident_kib(executor)? / 1024.0).budget(Budget::AtMost(32.0)),
        alone("frontend, resident", "MiB", usage::resident_kib(frontend)? / 1024.0).budget(Budget::AtMost(128.0)),
        alone(
            "processor time of executor, keepers and frontend in an idle second",
            "ms",
            idle_cpu(executor, frontend)?,
        )
        .budget(Budget::AtMost(1.0)),
        compare(most, "starts, the last two thirds", "jobs/s", seen.last().map(|s| s.starts), first_starts.median()),
        compare(most, "output of one job", "MiB/s", seen.last().map(|s| s.output), seen[0].output),
    ];
    rows.push(
        alone("both killed: all shown as they are, after the last restart", "s", recovery(bench, &client, most)?)
            .budget(Budget::AtMost(2.0)),
    );
    bench.runtime.block_on(stop_all(&client, jobs))?;
    let (held_kib, held) = held(bench, most)?;
    let memory = "memory each, all processes and kernel, without the command";
    let beside = Series::one(held_kib - command_kib);
    let memory = Row::pair(format!("{most} idle jobs: {memory}"), "KiB", &Series::one(last), HELD, &beside);
    rows.insert(0, memory.budget(Budget::AtMost(100.0)));
    let slower = Series::one(seen.last().map_or(f64::NAN, |s| s.starts) / first_starts.median());
    let starts = format!("{most} idle jobs: starts, the last two thirds as a share of the first ones");
    rows.push(Row::pair(starts, "", &slower, HELD, &Series::one(held)));
    let curve = |name, cost, figure: fn(&Seen) -> f64| Curve {
        name,
        of: "idle jobs",
        cost,
        points: seen.iter().map(|s| (s.jobs, figure(s))).collect(),
    };
    let curves = vec![
        curve("jobs-memory", "MiB in all without the commands", |s| s.kib_each * s.jobs / 1024.0),
        curve("jobs-start", "ms for one more, 16 in flight", |s| 1000.0 / s.starts),
    ];
    Ok(Findings { rows, curves })
}

// The same by the C program: memory each with the command, and the starts of the last as a share of the first.
fn held(bench: &Bench, jobs: usize) -> Result<(f64, f64)> {
    settle(bench);
    let before = usage::held_kib()?;
    let held = bench.kernel.hold(jobs)?;
    settle(bench);
    let each = (usage::held_kib()? - before) / jobs as f64;
    let share = held.last / held.first;
    held.end()?;
    Ok((each, share))
}

// What births and ends leave behind for a moment, such as groups that the kernel frees later, is no cost of idle jobs.
fn settle(bench: &Bench) {
    std::thread::sleep(Duration::from_secs(bench.size(3, 0)));
}

fn compare(most: usize, what: &str, unit: &'static str, last: Option<f64>, first: f64) -> Row {
    let last = Series::one(last.unwrap_or(f64::NAN));
    Row::pair(format!("{most} idle jobs: {what}"), unit, &last, "with the first ones", &Series::one(first))
        .budget(Budget::RatioAtLeast(0.8))
}

async fn start_idle(client: &Client, count: usize) -> Result<Vec<String>> {
    let permits = std::sync::Arc::new(Semaphore::new(16));
    let mut starting = JoinSet::new();
    for _ in 0..count {
        let (client, permit) = (client.clone(), permits.clone().acquire_owned().await?);
        starting.spawn(async move {
            let started = start(&client, &["sleep", "infinity"]).await;
            drop(permit);
            started
        });
    }
    starting.join_all().await.into_iter().collect()
}

// The median of some: what one job of 64 MiB takes varies by half where memory comes from the hypervisor page by page.
fn output_speed(bench: &Bench, client: &Client) -> Result<f64> {
    let speeds = (0..bench.size(7, 1)).map(|_| bench.runtime.block_on(one_output_speed(client)));
    Ok(speeds.collect::<Result<Series>>()?.median())
}

async fn one_output_speed(client: &Client) -> Result<f64> {
    const MIB: u32 = 64;
    let size = (MIB << 20).to_string();
    let begun = Instant::now();
    let job = start(client, &["head", "-c", &size, "/dev/zero"]).await?;
    finished(client, &job).await?;
    let took = begun.elapsed().as_secs_f64();
    client.delete(&job).await?;
    Ok(f64::from(MIB) / took)
}

async fn stop_all(client: &Client, jobs: Vec<String>) -> Result<()> {
    let permits = std::sync::Arc::new(Semaphore::new(16));
    let mut stopping = JoinSet::new();
    for job in jobs {
        let (client, permit) = (client.clone(), permits.clone().acquire_owned().await?);
        stopping.spawn(async move {
            client.stop(&job, 9, Some(Duration::ZERO)).await?;
            let ended = client.wait(&job, None, PATIENCE).await?;
            drop(permit);
            ensure!(ended.0.state() == api::JobState::Stopped, "job {job} is {:?}", ended.0.state());
            Ok(())
        });
    }
    stopping.join_all().await.into_iter().collect()
}

// What the command itself takes: a job is not cheaper for running a small one.
fn command_kib(count: usize) -> Result<f64> {
    let before = usage::held_kib()?;
    let spawn = |_| Command::new("sleep").arg("infinity").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut commands: Vec<_> = (0..count).map(spawn).collect::<Result<_, _>>()?;
    std::thread::sleep(Duration::from_secs(1));
    let each = (usage::held_kib()? - before) / count as f64;
    for command in &mut commands {
        command.kill()?;
        command.wait()?;
    }
    Ok(each)
}

// A group with its limits off and nobody in it. The kernel keeps a map over all file systems for each, which never shrinks again:
// 1 KiB for every 64 that were mounted at one time since the machine started (mm/shrinker.c), and every job has three.
fn empty_group_kib(count: usize) -> Result<f64> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let v1 =
        own.lines().any(|line| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|n| n == "memory")));
    let root = Path::new(if v1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" });
    let parent = root.join(format!("airlock-bench-empty-{}", std::process::id()));
    let groups: Vec<_> = (0..count).map(|number| parent.join(number.to_string())).collect();
    fs::create_dir(&parent).with_context(|| parent.display().to_string())?;
    if !v1 {
        fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
    }
    let before = usage::held_kib()?;
    groups.iter().try_for_each(fs::create_dir)?;
    let each = (usage::held_kib()? - before) / count as f64;
    groups.iter().chain([&parent]).try_for_each(fs::remove_dir)?;
    Ok(each)
}

// Of some keepers, which are the executor's children.
fn keeper_kib(executor: i32) -> Result<f64> {
    let children = fs::read_to_string(format!("/proc/{executor}/task/{executor}/children"))?;
    let keepers = children.split_whitespace().take(20).filter_map(|pid| pid.parse().ok());
    Ok(keepers.filter_map(|pid| usage::proportional_kib(pid).ok()).collect::<Series>().median())
}

fn idle_cpu(executor: i32, frontend: i32) -> Result<f64> {
    const SECONDS: u64 = 10;
    let used = || anyhow::Ok([usage::threads_of_tree(executor)?, usage::threads_of_tree(frontend)?]);
    let before = used()?;
    std::thread::sleep(Duration::from_secs(SECONDS));
    let after = used()?;
    let more = before.iter().zip(&after).flat_map(|(before, after)| {
        after.iter().map(|(thread, nanoseconds)| nanoseconds - before.get(thread).copied().unwrap_or(0.0))
    });
    Ok(more.sum::<f64>() / 1e6 / SECONDS as f64)
}

fn recovery(bench: &Bench, client: &Client, most: usize) -> Result<f64> {
    for process in ["executor", "frontend"] {
        let pid = rustix::process::Pid::from_raw(bench.stack.pid(process)?);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        }
    }
    bench.stack.up()?;
    let live = |page_token: String| {
        let request = api::ListJobsRequest { live: true, page_size: 1000, page_token, ..Default::default() };
        bench.runtime.block_on(client.list(request))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (mut running, mut token) = (0, String::new());
        loop {
            let page = live(token)?;
            running += page.jobs.iter().filter(|job| job.state() == api::JobState::Running).count();
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        if running == most {
            return Ok(usage::age(bench.stack.pid("frontend")?)?.as_secs_f64());
        }
        ensure!(Instant::now() < deadline, "after a minute {running} of {most} jobs are shown as running");
        std::thread::sleep(Duration::from_millis(20));
    }
}
