//! What a process does at the places it comes to.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

use crate::{Census, Death, Executor, Phase, Point};

/// The variable of the environment that says where to die: the name of a place, a colon, and the how manieth time; with another colon
/// and the name of a phase, only the times count at which a job is in that phase.
pub const KILL_AT: &str = "AIRLOCK_KILL_AT";

/// The place to die at, as the environment says it.
#[derive(Debug)]
pub(crate) struct Sentence {
    name: String,
    left: AtomicU64,
    phase: Option<Phase>,
}

impl Sentence {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(':');
        let (name, nth) = (words.next()?.to_owned(), words.next()?.parse::<NonZeroU64>().ok()?);
        let phase = match words.next() {
            None => None,
            Some(word) => Some(Phase::ALL.into_iter().find(|phase| format!("{phase:?}") == word)?),
        };
        Some(Self { name, left: nth.get().into(), phase })
    }

    /// Whether this is the time.
    pub(crate) fn is_due_at(&self, name: &str, jobs: impl Fn() -> Census) -> bool {
        let counts = self.name == name && self.phase.is_none_or(|phase| jobs().get(phase) > 0);
        counts && self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

type Count = Box<dyn Fn() -> Census + Send + Sync>;

static NOTED: Mutex<Census> = Mutex::new(Census([0; 3]));
static HALF_BORN: AtomicU64 = AtomicU64::new(0);
static AT_HAND: AtomicBool = AtomicBool::new(false);
static COUNT: OnceLock<Count> = OnceLock::new();

/// The process has come to a place. It ends there when that is what [`KILL_AT`] says; otherwise nothing happens.
pub fn reach<P: Point>(point: impl Into<Option<P>>) {
    static SENTENCE: OnceLock<Option<Sentence>> = OnceLock::new();
    let Some(point) = point.into() else { return };
    if point.name() == Executor::StartAudited.name() {
        AT_HAND.store(true, Ordering::SeqCst);
    }
    let sentence = SENTENCE.get_or_init(|| Sentence::parse(&std::env::var(KILL_AT).ok()?));
    let jobs = || jobs_at(point);
    if sentence.as_ref().is_some_and(|sentence| sentence.is_due_at(point.name(), jobs)) {
        die(&Death { name: point.name().to_owned(), jobs: jobs() });
    }
}

/// The jobs as they stand, each with whether it runs, has written and has ended, for a process of one thread; the one whose start
/// was begun last is among them.
pub fn note(jobs: impl Iterator<Item = (bool, bool, bool)>) {
    AT_HAND.store(false, Ordering::SeqCst);
    let jobs = Census::of(jobs.map(|(runs, wrote, ended)| Phase::of(runs, wrote, ended)));
    *NOTED.lock().unwrap_or_else(PoisonError::into_inner) = jobs;
}

/// Jobs that a starting executor finds half born: they come into no table, and the frontend will ask for them again.
pub fn half_born(spawning: usize) {
    HALF_BORN.store(spawning as u64, Ordering::SeqCst);
}

/// How to count the jobs, for a process of several threads. It must wait for nothing. The first one given is kept.
pub fn count_with(count: impl Fn() -> Census + Send + Sync + 'static) {
    drop(COUNT.set(Box::new(count)));
}

fn jobs_at(point: impl Point) -> Census {
    let noted = || *NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    let Census([spawning, writing, ending]) = COUNT.get().map_or_else(noted, |count| count());
    let half_born = if point.is_at_start() { HALF_BORN.load(Ordering::SeqCst) } else { 0 };
    Census([spawning + half_born + u64::from(AT_HAND.load(Ordering::SeqCst)), writing, ending])
}

fn die(death: &Death) -> ! {
    // In one piece, and whatever becomes of it, the process ends.
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{death}\n").as_bytes());
    loop {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
