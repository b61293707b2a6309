//! What the storm knows and has counted, shared by all of its threads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::Clients;
use crate::points::Histogram;
use crate::script::Kind;

/// Everything that threads of the storm share.
#[derive(Debug)]
pub struct Book {
    /// Where the executor died.
    pub executor: Histogram,
    /// Where the frontend died.
    pub frontend: Histogram,
    /// How the storm talks to Airlock.
    pub clients: Arc<Clients>,
    /// The program that jobs are.
    pub program: PathBuf,
    /// Where jobs tell that they began.
    pub truth: PathBuf,
    /// Jobs started or being started.
    pub jobs: AtomicU64,
    /// Kills that count.
    pub kills: AtomicU64,
    /// Nothing more is to be killed but what keepers of victims are left.
    pub calm: AtomicBool,
    counts: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<Vec<String>>,
    running: Mutex<BTreeSet<String>>,
    victims: Mutex<BTreeMap<String, bool>>,
    ends: Mutex<BTreeMap<String, String>>,
}

impl Book {
    /// An empty one.
    pub fn new(clients: Arc<Clients>, program: PathBuf, truth: PathBuf) -> Self {
        Self {
            executor: Histogram::of_executor(),
            frontend: Histogram::of_frontend(),
            clients,
            program,
            truth,
            jobs: AtomicU64::new(0),
            kills: AtomicU64::new(0),
            calm: AtomicBool::new(false),
            counts: Mutex::default(),
            failures: Mutex::default(),
            running: Mutex::default(),
            victims: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    /// Where a program died.
    pub fn histogram(&self, program: &str) -> &Histogram {
        if program == "executor" { &self.executor } else { &self.frontend }
    }

    /// Adds to a count.
    pub fn count(&self, what: &str, more: u64) {
        *locked(&self.counts).entry(what.to_owned()).or_default() += more;
    }

    /// Notes what must not be, and shows it at once.
    pub fn fail(&self, what: String) {
        eprintln!("WRONG  {what}");
        locked(&self.failures).push(what);
    }

    /// What must not be, so far.
    pub fn failures(&self) -> usize {
        locked(&self.failures).len()
    }

    /// A job was seen running.
    pub fn runs(&self, id: &str, kind: Kind) {
        locked(&self.running).insert(id.to_owned());
        if kind == Kind::Victim {
            locked(&self.victims).entry(id.to_owned()).or_default();
        }
    }

    /// A job was seen ended, in this state with this exit status; it is to stay so.
    pub fn ended(&self, id: &str, state_and_status: String) {
        locked(&self.running).remove(id);
        locked(&self.ends).insert(id.to_owned(), state_and_status);
    }

    /// A job that was seen ended is about to be deleted, and is not to be seen again.
    pub fn deleted(&self, id: &str) {
        locked(&self.ends).remove(id);
    }

    /// How many jobs are known to run.
    pub fn running(&self) -> usize {
        locked(&self.running).len()
    }

    /// Jobs whose keepers are to be killed and were not yet.
    pub fn victims(&self) -> Vec<String> {
        locked(&self.victims).iter().filter(|(_, killed)| !**killed).map(|(id, _)| id.clone()).collect()
    }

    /// The keeper of a job was killed.
    pub fn keeper_killed(&self, id: &str) {
        locked(&self.victims).insert(id.to_owned(), true);
    }

    /// Whether the storm killed the keeper of this job.
    pub fn was_keeper_killed(&self, id: &str) -> bool {
        locked(&self.victims).get(id).copied().unwrap_or(false)
    }

    /// Every job that ended, with how.
    pub fn ends(&self) -> BTreeMap<String, String> {
        locked(&self.ends).clone()
    }

    /// One more kill that counts.
    pub fn killed(&self, what: &str) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        self.count(what, 1);
    }

    /// Prints the counts, one a line.
    pub fn print(&self) {
        for (what, count) in locked(&self.counts).iter() {
            println!("{count:>8}  {what}");
        }
        self.executor.print();
        self.frontend.print();
        let failures = locked(&self.failures);
        println!("{:>8}  wrong", failures.len());
        failures.iter().for_each(|failure| println!("          WRONG  {failure}"));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
