//! The places between two lasting effects of the executor and of the frontend, each with a name, and what kills a process there.
//!
//! Both programs name these places with a `kill_point!` of their own, which is nothing in an ordinary build. Built with the feature
//! `kill-points`, they die by SIGKILL when [`KILL_AT`] says `NAME:N` and they come to that place for the Nth time. Before it dies, a
//! process says on standard error where, and how many of its jobs were spawning, writing and ending ([`Death`]). The storm
//! (`tests/storm`) chooses the places and adds the deaths up.

mod armed;
mod executor;
mod frontend;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use armed::{KILL_AT, count_with, half_born, note, reach};
pub use executor::Executor;
pub use frontend::Frontend;

/// What a job can be doing when its process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its start is under way, and the process that dies has not been told that its command runs.
    Spawning,
    /// It runs, and some of its output was seen.
    Writing,
    /// It has ended, and not everything of it is recorded and let go.
    Ending,
}

impl Phase {
    /// All of them, in the order of a [`Census`].
    pub const ALL: [Self; 3] = [Self::Spawning, Self::Writing, Self::Ending];

    /// The phase of a job that was seen to run, to have written, to have ended; none of one that runs and has written nothing yet.
    pub fn of(runs: bool, wrote: bool, ended: bool) -> Option<Self> {
        match (runs, wrote, ended) {
            (_, _, true) => Some(Self::Ending),
            (false, _, false) => Some(Self::Spawning),
            (true, true, false) => Some(Self::Writing),
            (true, false, false) => None,
        }
    }
}

/// Jobs by phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census(pub [u64; 3]);

impl Census {
    /// Counts jobs; one in none of the phases is left out.
    pub fn of(jobs: impl IntoIterator<Item = Option<Phase>>) -> Self {
        let mut counts = [0; 3];
        jobs.into_iter().flatten().for_each(|phase| counts[phase as usize] += 1);
        Self(counts)
    }

    /// Jobs in a phase.
    pub fn get(self, phase: Phase) -> u64 {
        self.0[phase as usize]
    }
}

/// A place in one of the two programs.
pub trait Point: Copy + 'static {
    /// Every place of the program.
    const ALL: &'static [Self];

    /// Its name, as [`KILL_AT`] and [`Death`] have it.
    fn name(self) -> &'static str;

    /// Whether a process comes there once in its life, at its start.
    fn is_at_start(self) -> bool;

    /// Whether it can come there while a job is in this phase.
    fn allows(self, phase: Phase) -> bool;
}

/// What a process says before it dies: `kill-point NAME SPAWNING WRITING ENDING`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The place.
    pub name: String,
    /// Its jobs at that moment.
    pub jobs: Census,
}

const WORD: &str = "kill-point";

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, jobs: Census([spawning, writing, ending]) } = self;
        write!(f, "{WORD} {name} {spawning} {writing} {ending}")
    }
}

/// The line is something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDeath;

impl FromStr for Death {
    type Err = NoDeath;

    fn from_str(line: &str) -> Result<Self, NoDeath> {
        let words: Vec<&str> = line.split(' ').collect();
        let [WORD, name, counts @ ..] = &words[..] else { return Err(NoDeath) };
        let counts: Vec<u64> = counts.iter().map(|n| n.parse()).collect::<Result<_, _>>().map_err(|_| NoDeath)?;
        let jobs = counts.try_into().map_err(|_| NoDeath)?;
        Ok(Self { name: (*name).to_owned(), jobs: Census(jobs) })
    }
}

/// Makes the enum of a program's places, each with what was done last.
macro_rules! points {
    ($(#[$about:meta])* $program:ident { $($(#[$doc:meta])* $name:ident,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $program { $($(#[$doc])* $name,)* }

        impl $program {
            const EVERY: &[Self] = &[$(Self::$name,)*];

            const fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The place before an effect, by the first words of its description; none for one that needs a trouble which no storm
            /// makes, such as a full disk.
            pub fn before(effect: &impl std::fmt::Debug) -> Option<Self> {
                let name = $crate::name_of(effect);
                Self::EVERY.iter().copied().find(|point| point.word() == name)
            }
        }
    };
}
use points;

/// `Tell(Spawned { job: … })` is `BeforeTellSpawned`, `Punch(Stdout, 1, 2)` is `BeforePunch`.
fn name_of(effect: &impl fmt::Debug) -> String {
    let text = format!("{effect:?}");
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let first = words.next().unwrap_or_default();
    let second = if first == "Tell" { words.next().unwrap_or_default() } else { "" };
    format!("Before{first}{second}")
}
