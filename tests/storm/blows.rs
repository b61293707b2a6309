//! What the storm does to Airlock while jobs live.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use airlock_e2e::Stack;
use rustix::process::{Pid, Signal, kill_process};

use crate::book::Book;
use crate::rng::Rng;
use crate::supervisor::Supervisor;

#[derive(Debug, Clone, Copy)]
enum Blow {
    Executor,
    Frontend,
    Both,
    Client,
    Keeper,
    KeeperAndExecutor,
    ReloadExecutor,
    ReloadFrontend,
    RestartExecutor,
    RestartFrontend,
    StopExecutor,
    StopFrontend,
}

const WEIGHTS: [(Blow, u64); 12] = [
    (Blow::Executor, 34),
    (Blow::Frontend, 30),
    (Blow::Both, 12),
    (Blow::Client, 12),
    (Blow::Keeper, 3),
    (Blow::KeeperAndExecutor, 2),
    (Blow::ReloadExecutor, 3),
    (Blow::ReloadFrontend, 3),
    (Blow::RestartExecutor, 4),
    (Blow::RestartFrontend, 4),
    (Blow::StopExecutor, 2),
    (Blow::StopFrontend, 2),
];

/// The three who are hit.
pub struct Targets<'s> {
    /// Where the stack's groups are.
    pub stack: &'s Stack,
    /// Kept alive.
    pub executor: &'s Supervisor,
    /// Kept alive.
    pub frontend: &'s Supervisor,
}

impl Targets<'_> {
    /// Hits as long as the storm goes on. A kill while no job lives does not count.
    /// `patience` stretches the pauses, for a storm that has most of its kills elsewhere.
    pub fn storm(&self, book: &Book, seed: u64, goes_on: impl Fn() -> bool, patience: u32) {
        let mut rng = Rng::part(seed, u64::MAX);
        while goes_on() {
            sleep(pause(&mut rng) * patience);
            if book.running() == 0 || self.stack.job_groups().is_empty() {
                continue;
            }
            let live = book.running() as u64;
            let blow = rng.weighted(&WEIGHTS);
            if self.strike(book, &mut rng, blow) {
                book.count("jobs that ran, summed over the blows", live);
            }
        }
    }

    /// Kills the keepers of the victims that are left, until there are none.
    pub fn finish(&self, book: &Book) {
        for id in book.victims() {
            self.kill_keeper(book, &id);
        }
    }

    fn strike(&self, book: &Book, rng: &mut Rng, blow: Blow) -> bool {
        let kill = |target: &Supervisor, what: &str| {
            let hit = target.signal(Signal::KILL);
            if hit {
                book.killed(what);
            }
            hit
        };
        let did = |hit: bool, what: &str| {
            if hit {
                book.count(what, 1);
            }
            hit
        };
        match blow {
            Blow::Executor => kill(self.executor, "kills: executor"),
            Blow::Frontend => kill(self.frontend, "kills: frontend"),
            Blow::Both => {
                let (first, second) =
                    if rng.percent(50) { (self.executor, self.frontend) } else { (self.frontend, self.executor) };
                let hit = first.signal(Signal::KILL) | second.signal(Signal::KILL);
                if hit {
                    book.killed("kills: both at once");
                }
                hit
            }
            Blow::Client => {
                let hit = book.clients.kill_one(rng.next());
                if hit {
                    book.killed("kills: client");
                }
                hit
            }
            Blow::Keeper => self.kill_some_keeper(book, rng),
            Blow::KeeperAndExecutor => {
                let first = rng.percent(50) && kill(self.executor, "kills: executor");
                let hit = self.kill_some_keeper(book, rng);
                hit && (first || kill(self.executor, "kills: executor"))
            }
            Blow::ReloadExecutor => did(self.executor.reload(), "reloads: executor"),
            Blow::ReloadFrontend => did(self.frontend.reload(), "reloads: frontend"),
            Blow::RestartExecutor => did(self.executor.signal(Signal::TERM), "restarts: executor"),
            Blow::RestartFrontend => did(self.frontend.signal(Signal::TERM), "restarts: frontend"),
            Blow::StopExecutor => did(hold(self.executor, rng), "executor stopped for a moment"),
            Blow::StopFrontend => did(hold(self.frontend, rng), "frontend stopped for a moment"),
        }
    }

    fn kill_some_keeper(&self, book: &Book, rng: &mut Rng) -> bool {
        let victims = book.victims();
        let choice = usize::try_from(rng.next() >> 1).unwrap_or(0) % victims.len().max(1);
        victims.get(choice).is_some_and(|id| self.kill_keeper(book, id))
    }

    fn kill_keeper(&self, book: &Book, id: &str) -> bool {
        let Some(pid) = keeper_of(id).and_then(Pid::from_raw) else { return false };
        // Noted first: the job may be seen lost before this thread goes on.
        book.keeper_killed(id);
        let hit = kill_process(pid, Signal::KILL).is_ok();
        if hit {
            book.killed("kills: keeper");
        }
        hit
    }
}

// Neither dead nor alive for a while.
fn hold(target: &Supervisor, rng: &mut Rng) -> bool {
    let hit = target.signal(Signal::STOP);
    sleep(Duration::from_millis(rng.between(100, 3000)));
    target.signal(Signal::CONT);
    hit
}

// The keeper of a job, by its command line.
fn keeper_of(id: &str) -> Option<i32> {
    let wanted = format!("airlock-keeper\0{id}\0");
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter()
        .find(|pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
}

// Mostly long enough for something to happen in between, and sometimes right into the restart.
fn pause(rng: &mut Rng) -> Duration {
    let most = rng.weighted(&[(5, 10), (30, 20), (150, 30), (600, 35), (2500, 5)]);
    Duration::from_micros(rng.between(0, most * 1000))
}
