//! Many followers of one job.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use airlock_client::{Client, FollowEvent, Follower, OutputQuery, api};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::{
    Bench,
    stream::{READY, on_signal},
};
use crate::{
    measure::{Budget, Curve, Findings, Row, Series},
    peers::mib,
    stack::{PATIENCE, finished, start},
    usage,
};

/// What one round with some followers showed.
struct Seen {
    /// KiB of the frontend for each follower that waits.
    waiting_kib: f64,
    /// The same at the most while bytes flow.
    flowing_kib: f64,
    /// Until the last follower had the last byte, seconds.
    seconds: f64,
}

/// A thousand followers, each with a connection of its own, and the same over few connections.
pub fn run(bench: &Bench) -> Result<Findings> {
    let bytes: u64 = bench.size(2 << 20, 256 << 10);
    let most = bench.size(1000, 20);
    let rounds = bench.size(3, 1);
    let path = bench.random_file(bytes)?;
    let file = path.to_str().context("the folder's path is not text")?;
    let (mut apart, mut shared) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        apart.push(round(bench, file, most, most)?);
        shared.push(round(bench, file, most, most.div_ceil(100))?);
    }
    let of = |seen: &[Seen], figure: fn(&Seen) -> f64| seen.iter().map(figure).collect::<Series>();
    let speeds = speeds(bench, most)?;
    let deliver = |seen: &[Seen]| of(seen, |s| s.seconds).map(|s| mib(bytes) * most as f64 / s);
    let bound = Budget::AtMost(32.0);
    let rows = vec![
        Row::alone(
            format!("{most} followers, streams of few connections: frontend memory each, waiting"),
            "KiB",
            of(&shared, |s| s.waiting_kib),
        )
        .budget(bound),
        Row::alone(
            format!("{most} followers, streams of few connections: frontend memory each, at most"),
            "KiB",
            of(&shared, |s| s.flowing_kib),
        )
        .budget(bound),
        Row::alone(
            format!("{most} followers, a connection each: frontend memory each, waiting"),
            "KiB",
            of(&apart, |s| s.waiting_kib),
        )
        .budget(bound),
        Row::alone(
            format!("{most} followers, a connection each: frontend memory each, at most"),
            "KiB",
            of(&apart, |s| s.flowing_kib),
        ),
        Row::pair(
            format!("speed of the job that {most} follow"),
            "MiB/s",
            &speeds.many,
            "with one follower",
            &speeds.one,
        )
        .budget(Budget::RatioAtLeast(0.95))
        .note("the followers' threads are nice to all others, as if on machines of their own"),
        Row::pair(
            "speed of a job with one follower, beside threads that spin, one for each core",
            "MiB/s",
            &speeds.beside,
            "with one follower",
            &speeds.one,
        )
        .note("what any other work on the machine does to it"),
        Row::alone(format!("{most} followers: bytes delivered, all together"), "MiB/s", deliver(&apart))
            .note("SHA-256 equal for every follower"),
    ];
    let mut points = Vec::new();
    for followers in [1, 10, 100, 300, 1000].into_iter().filter(|n| *n <= most) {
        points.push((followers as f64, round(bench, file, followers, followers)?.seconds));
    }
    let curve = Curve { name: "followers", of: "followers of one job", cost: "s until the last has all bytes", points };
    Ok(Findings { rows, curves: vec![curve] })
}

/// How fast a job writes, MiB/s.
struct Speeds {
    /// That one follows.
    one: Series,
    /// That many follow. They are let go of when it has ended.
    many: Series,
    /// That one follows while threads, one for each core, do nothing but spin.
    beside: Series,
}

fn speeds(bench: &Bench, most: usize) -> Result<Speeds> {
    const NICEST: i32 = 19;
    let (bytes, rounds) = (bench.size(96 << 20, 1 << 20), bench.size(7, 1));
    let path = bench.random_file(bytes)?;
    let file = path.to_str().context("the folder's path is not text")?;
    let yielding = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(|| _ = rustix::process::setpriority_process(None, NICEST))
        .enable_all()
        .build()?;
    let speed = |followers| anyhow::Ok(mib(bytes) / yielding.block_on(job_seconds(bench, file, followers))?);
    let (mut one, mut many, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=rounds {
        usage::set_session_niceness(NICEST)?;
        one.push(speed(1)?);
        many.push(speed(most)?);
        usage::set_session_niceness(0)?;
        let over = AtomicBool::new(false);
        beside.push(std::thread::scope(|scope| {
            let count = std::thread::available_parallelism().map_or(2, usize::from);
            for _ in 0..count {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let speed = speed(1);
            over.store(true, Ordering::Relaxed);
            speed
        })?);
    }
    // The first round does not count.
    let [one, many, beside] = [one, many, beside].map(|speeds| speeds.into_iter().skip(1).collect());
    Ok(Speeds { one, many, beside })
}

async fn job_seconds(bench: &Bench, file: &str, followers: usize) -> Result<f64> {
    let starter = bench.stack.client()?;
    let job = start(&starter, &["sh", "-c", &on_signal(file)]).await?;
    let reading = attach(bench, &job, followers, followers).await?;
    let told = SystemTime::now();
    starter.signal(&job, 10).await?;
    let ended = finished(&starter, &job).await?;
    drop(reading);
    starter.delete(&job).await?;
    Ok(ended_at(&ended)?.duration_since(told)?.as_secs_f64())
}

// With processes of its own: memory that a former round has used and the allocator has kept would pass for nobody's.
fn round(bench: &Bench, file: &str, followers: usize, connections: usize) -> Result<Seen> {
    bench.stack.down()?;
    bench.stack.up()?;
    // One that is not counted: what the first follower makes once for all is no follower's cost.
    bench.runtime.block_on(follow(bench, file, 1, 1))?;
    bench.runtime.block_on(follow(bench, file, followers, connections))
}

async fn follow(bench: &Bench, file: &str, followers: usize, connections: usize) -> Result<Seen> {
    let frontend = bench.stack.pid("frontend")?;
    let starter = bench.stack.client()?;
    let job = start(&starter, &["sh", "-c", &on_signal(file)]).await?;
    let before = usage::resident_kib(frontend)?;
    let wanted: [u8; 32] = Sha256::new_with_prefix(READY).chain_update(std::fs::read(file)?).finalize().into();
    let mut reading = attach(bench, &job, followers, connections).await?;
    let each = |kib: f64| (kib - before).max(0.0) / followers as f64;
    let waiting_kib = each(usage::resident_kib(frontend)?);
    let highest = Arc::new(AtomicU64::new(0));
    let watcher = tokio::spawn({
        let highest = highest.clone();
        async move {
            while let Ok(kib) = usage::resident_kib(frontend) {
                highest.fetch_max(kib as u64, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let begun = Instant::now();
    starter.signal(&job, 10).await?;
    while let Some(read) = reading.join_next().await {
        ensure!(read?? == wanted, "a follower got other bytes: the SHA-256 differs");
    }
    let seconds = begun.elapsed().as_secs_f64();
    watcher.abort();
    finished(&starter, &job).await?;
    Ok(Seen { waiting_kib, flowing_kib: each(highest.load(Ordering::Relaxed) as f64), seconds })
}

/// Followers of a job that has written its first line and waits. Each has that line when this returns.
async fn attach(bench: &Bench, job: &str, followers: usize, connections: usize) -> Result<JoinSet<Result<[u8; 32]>>> {
    let attached = Arc::new(AtomicUsize::new(0));
    let mut reading = JoinSet::new();
    let clients: Vec<Client> = (0..connections).map(|_| bench.stack.client()).collect::<Result<_>>()?;
    for number in 0..followers {
        let client = clients[number % connections].clone();
        reading.spawn(read(client, job.to_owned(), attached.clone()));
        // No more at a time than the server shakes hands with.
        while number + 1 - attached.load(Ordering::Relaxed).min(number + 1) >= 32 {
            ensure_none_failed(&mut reading)?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    while attached.load(Ordering::Relaxed) < followers {
        ensure_none_failed(&mut reading)?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(reading)
}

fn ensure_none_failed(reading: &mut JoinSet<Result<[u8; 32]>>) -> Result<()> {
    match reading.try_join_next() {
        Some(read) => {
            read??;
            anyhow::bail!("a follower came to the end before the job did")
        }
        None => Ok(()),
    }
}

async fn read(client: Client, job: String, attached: Arc<AtomicUsize>) -> Result<[u8; 32]> {
    let mut follower = Follower::new(client, OutputQuery::follow(&job, 0), PATIENCE);
    let mut hash = Sha256::new();
    while let Some(event) = follower.next().await? {
        match event {
            FollowEvent::Chunk(chunk) => {
                if chunk.offset == 0 {
                    attached.fetch_add(1, Ordering::Relaxed);
                }
                hash.update(&chunk.data);
            }
            FollowEvent::Gap(gap) => anyhow::bail!("a gap: {gap:?}"),
            FollowEvent::Begin { .. } | FollowEvent::Lost | FollowEvent::Resumed | FollowEvent::End { .. } => {}
        }
    }
    Ok(hash.finalize().into())
}

fn ended_at(job: &api::Job) -> Result<SystemTime> {
    let at = job.ended_at.as_ref().context("no time of the end")?;
    Ok(SystemTime::UNIX_EPOCH + Duration::new(at.seconds.unsigned_abs(), at.nanos.unsigned_abs()))
}
