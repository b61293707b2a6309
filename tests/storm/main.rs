//! The storm: jobs of every kind, clients that follow them, and SIGKILLs of everything, for as long as it is told to. Afterwards
//! every status and every byte is compared with what the jobs were to do, which the storm knows without Airlock.
//!
//! `airlock-storm [--seed N] [--kills K] [--jobs J] [--at-once P] [--small Q] [--armed DIR [--points C] [--until-hits H
//! [--minutes M]]] [--keep DIR]`, as root. P jobs are asked for by commands, and Q small ones by the client's library. It ends with 0 when nothing was wrong. The seed makes the same jobs and the same order of blows again; when
//! each of them falls, the machine decides. `--armed` names the folder of a second build of the two programs and the keeper, with the
//! feature `kill-points`: each start then is of the one build or the other, and `--points` of a hundred starts die at a chosen place
//! (`kill-points/`). With `--until-hits` the storm goes on until each place was hit so often with a job in each phase, at most so many
//! minutes. With `--keep`, logs and records stay there when something was wrong.

#![forbid(unsafe_code)]

mod act;
mod blows;
mod book;
mod client;
mod errand;
mod leftovers;
mod points;

mod rng;
mod script;
mod seen;
mod small;
mod supervisor;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use airlock_client::Identity;
use airlock_e2e::{Stack, StackOptions, Tool};
use blows::Targets;
use book::Book;
use client::Clients;
use errand::Errand;
use leftovers::{Idle, left_over};
use points::Points;
use supervisor::Supervisor;

const USAGE: &str = "airlock-storm [--seed N] [--kills K] [--jobs J] [--at-once P] [--small Q] [--armed DIR \
                     [--points C] [--until-hits H [--minutes M]]] [--keep DIR]";
/// The user of the frontend in stacks of `deploy/local`.
const FRONTEND_UID: u32 = 64_100;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("act", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return ExitCode::from(u8::try_from(act::act(rest)).unwrap_or(250));
    }
    match Options::parse(&words) {
        Ok(options) => storm(&options),
        Err(why) => {
            eprintln!("airlock-storm: {why}; {USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Options {
    seed: u64,
    kills: u64,
    jobs: u64,
    at_once: u64,
    small: u64,
    points: u64,
    until_hits: u64,
    minutes: u64,
    armed: Option<PathBuf>,
    keep: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut options = Self {
            seed: now.as_micros() as u64,
            kills: 1000,
            jobs: 2000,
            at_once: 32,
            small: 0,
            points: 0,
            until_hits: 0,
            minutes: 60,
            armed: None,
            keep: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("'{word}' needs a value or is unknown"))?;
            let number = value.parse().map_err(|_| format!("{word}: '{value}' is not a number"));
            match word.as_str() {
                "--seed" => options.seed = number?,
                "--kills" => options.kills = number?,
                "--jobs" => options.jobs = number?,
                "--at-once" => options.at_once = number?,
                "--small" => options.small = number?,
                "--points" => options.points = number?,
                "--until-hits" => options.until_hits = number?,
                "--minutes" => options.minutes = number?,
                "--armed" => options.armed = Some(PathBuf::from(value)),
                "--keep" => options.keep = Some(PathBuf::from(value)),
                _ => return Err(format!("unknown option '{word}'")),
            }
        }
        match options.armed {
            None if options.points > 0 || options.until_hits > 0 => {
                Err("--points and --until-hits need --armed".into())
            }
            _ => Ok(options),
        }
    }
}

fn storm(options: &Options) -> ExitCode {
    let &Options { seed, kills, jobs, at_once, small, points, until_hits, .. } = options;
    let again =
        format!("--seed {seed} --kills {kills} --jobs {jobs} --at-once {at_once} --small {small} --points {points}");
    println!("storm: {again}");
    let began = Instant::now();
    // Fewer starts a second than are asked for: one that is refused leaves a record that has to go.
    let stack = StackOptions::new().edit("executor.toml", "starts_per_second = 200", "starts_per_second = 50").start();
    let ground = ground(&stack);
    let program = ground.join("job");
    copy_myself(&program);
    let clients = Arc::new(Clients::new(&stack));
    let book = Arc::new(Book::new(clients, program, ground.join("truth")));
    let armed = options.armed.as_deref().map(|from| copy_armed(from, &stack));
    let armed = armed.as_deref();
    let mut executor = Supervisor::executor(&stack, &book, Points::of_executor(seed, points, until_hits), armed);
    let mut frontend =
        Supervisor::frontend(&stack, &book, Points::of_frontend(seed, points, until_hits), armed, FRONTEND_UID);
    wait_for_service(&book);

    let mut errands: Vec<_> = (0..at_once).map(|_| in_turn(book.clone(), seed, jobs)).collect();
    match Identity::load(&stack.certs(), "alice").map_err(|error| error.to_string()) {
        Ok(_) if small == 0 => {}
        Ok(alice) => match small::begin(book.clone(), seed, small, alice, &stack.address()) {
            Ok(thread) => errands.push(thread),
            Err(why) => book.fail(format!("small jobs: {why}")),
        },
        Err(why) => book.fail(format!("small jobs: {why}")),
    }
    let targets = Targets { stack: &stack, executor: &executor, frontend: &frontend };
    let limit = Duration::from_secs(60 * options.minutes);
    let is_short = || !(book.executor.short_of(until_hits).is_empty() && book.frontend.short_of(until_hits).is_empty());
    let goes_on = || book.kills.load(Ordering::Relaxed) < kills || is_short() && began.elapsed() < limit;
    targets.storm(&book, seed, goes_on, if points > 0 { 12 } else { 1 });
    let killed = book.kills.load(Ordering::Relaxed);
    println!("storm: {killed} kills after {:.0?}; waiting for the last jobs", began.elapsed());
    book.calm.store(true, Ordering::Relaxed);
    while errands.iter().any(|errand| !errand.is_finished()) {
        targets.finish(&book);
        std::thread::sleep(Duration::from_millis(100));
    }

    compare_the_list(&book);
    let ended: BTreeSet<String> = book.ends().into_keys().collect();
    left_over(&stack, &ended, Duration::from_secs(30))
        .into_iter()
        .for_each(|left| book.fail(format!("left over: {left}")));
    compare_descriptors(&stack, &book, [&executor, &frontend]);
    let audit = Tool::new(stack.path("bin/airlock-executor")).arg("verify-audit").arg(stack.path("audit/audit.jsonl"));
    let audit = audit.limit_seconds(300).run();
    if audit.code() != Some(0) {
        book.fail(format!("the audit trail: {audit}"));
    }
    book.count("starts of the executor", executor.starts());
    book.count("starts of the frontend", frontend.starts());
    executor.end().into_iter().chain(frontend.end()).for_each(|complaint| book.fail(complaint));
    println!("storm: over after {:.0?}; {again}", began.elapsed());
    let short: Vec<_> =
        [&book.executor, &book.frontend].iter().flat_map(|places| places.short_of(until_hits)).collect();
    if !short.is_empty() {
        short.iter().for_each(|short| println!("storm: short: {short}"));
        book.fail(format!("{} of the histogram's fields are short of {until_hits}", short.len()));
    }
    // A build that does not hear where it is to die would else pass for one that dies nowhere.
    for places in [&book.executor, &book.frontend].into_iter().filter(|places| points > 0 && places.is_empty()) {
        book.fail(format!("no {} died where it was told to", places.program()));
    }
    book.print();
    if book.failures() == 0 {
        return ExitCode::SUCCESS;
    }
    if let Some(folder) = &options.keep {
        keep(&stack, folder);
    }
    ExitCode::FAILURE
}

// A place that jobs see, and that goes with the stack.
fn ground(stack: &Stack) -> PathBuf {
    let ground = stack.path("storm");
    let truth = ground.join("truth");
    let made = std::fs::create_dir(&ground)
        .and_then(|()| std::fs::set_permissions(&ground, PermissionsExt::from_mode(0o711)))
        .and_then(|()| std::fs::create_dir(&truth))
        .and_then(|()| std::fs::set_permissions(&truth, PermissionsExt::from_mode(0o1777)));
    made.unwrap_or_else(|error| panic!("a folder for the jobs in {}: {error}", ground.display()));
    ground
}

fn copy_myself(to: &Path) {
    let copied = std::env::current_exe().and_then(|from| std::fs::copy(from, to));
    let allowed = copied.and_then(|_| std::fs::set_permissions(to, PermissionsExt::from_mode(0o755)));
    allowed.unwrap_or_else(|error| panic!("copying this program to {}: {error}", to.display()));
}

// Where both users may execute them; the executor finds its keeper beside itself.
fn copy_armed(from: &Path, stack: &Stack) -> PathBuf {
    let to = stack.path("armed");
    let copied = std::fs::create_dir(&to)
        .and_then(|()| std::fs::set_permissions(&to, PermissionsExt::from_mode(0o755)))
        .and_then(|()| {
            ["airlock-executor", "airlock-frontend", "airlock-keeper"].iter().try_for_each(|name| {
                std::fs::copy(from.join(name), to.join(name))?;
                std::fs::set_permissions(to.join(name), PermissionsExt::from_mode(0o755))
            })
        });
    copied.unwrap_or_else(|error| panic!("copying the armed build from {}: {error}", from.display()));
    to
}

fn wait_for_service(book: &Book) {
    let began = Instant::now();
    loop {
        let doctor = book.clients.run(&["doctor"], Duration::from_secs(60));
        match doctor {
            Ok(ended) if ended.code == Some(0) => return,
            _ if began.elapsed() < Duration::from_secs(60) => std::thread::sleep(Duration::from_millis(50)),
            Ok(ended) => {
                let said = String::from_utf8_lossy(&ended.stdout).into_owned();
                return book.fail(format!("the stack does not answer: {ended}; {said}"));
            }
            Err(why) => return book.fail(format!("the stack does not answer: {why}")),
        }
    }
}

fn in_turn(book: Arc<Book>, seed: u64, jobs: u64) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        loop {
            let n = book.jobs.fetch_add(1, Ordering::Relaxed);
            if n >= jobs && book.calm.load(Ordering::Relaxed) {
                return;
            }
            Errand::of(book.clone(), seed, n).run();
        }
    })
}

// What was seen at each job's end is still so: ended states never change.
fn compare_the_list(book: &Book) {
    let listed = match book.clients.run(&["list", "--all", "--format", "json"], Duration::from_secs(120)) {
        Ok(ended) if ended.code == Some(0) => ended.stdout,
        Ok(ended) => return book.fail(format!("no list: {ended}")),
        Err(why) => return book.fail(why),
    };
    let mut expected = book.ends();
    for line in listed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(job) = serde_json::from_slice::<serde_json::Value>(line) else {
            return book.fail(format!("no JSON in the list: {}", String::from_utf8_lossy(line)));
        };
        let id = job["job_id"].as_str().unwrap_or_default();
        let now = errand::state_and_status(&job);
        match expected.remove(id) {
            Some(then) if then == now => book.count("ends that stayed as they were", 1),
            Some(then) => book.fail(format!("{id} was {then} and is {now}")),
            None if now.starts_with("error") => {}
            None => book.fail(format!("a job that nobody asked for, or whose start was given up: {job}")),
        }
    }
    expected.into_iter().for_each(|(id, then)| book.fail(format!("{id} was {then} and is not listed")));
}

// Those that were restarted again and again under jobs hold as many as new ones.
fn compare_descriptors(stack: &Stack, book: &Book, both: [&Supervisor; 2]) {
    let after = Idle::of(stack);
    for process in both {
        let starts = process.starts();
        process.signal(rustix::process::Signal::TERM);
        let began = Instant::now();
        while process.starts() == starts && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    wait_for_service(book);
    let fresh = Idle::of(stack);
    if after.executor > fresh.executor {
        book.fail(format!("the executor holds {} descriptors, a new one {}", after.executor, fresh.executor));
    }
    println!("storm: descriptors after {after:?}, of new processes {fresh:?}");
}

fn keep(stack: &Stack, folder: &Path) {
    for name in ["log", "audit", "state"] {
        let to = folder.join(name);
        let copied = std::fs::create_dir_all(&to)
            .and_then(|()| Command::new("cp").arg("-a").arg(stack.path(name).join(".")).arg(&to).status());
        match copied {
            Ok(status) if status.success() => println!("storm: kept {}", to.display()),
            other => eprintln!("airlock-storm: keeping {}: {other:?}", to.display()),
        }
    }
}
