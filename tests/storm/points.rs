//! Which build of a process is started next, and where it is told to die.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kill_points::{Census, Death, Executor, Frontend, KILL_AT, Phase, Point};

use crate::rng::Rng;

/// The two builds of a program: the one that is shipped, and the one that can be told to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As it is shipped.
    Ordinary,
    /// With kill points.
    Armed,
}

/// A place to die at, and the how manieth time of those at which a job is in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sentence {
    name: &'static str,
    nth: u64,
    phase: Phase,
}

impl Sentence {
    /// The variable that says so to a process.
    pub fn variable(self) -> (&'static str, String) {
        (KILL_AT, format!("{}:{}:{:?}", self.name, self.nth, self.phase))
    }
}

/// How often a program died at each of its places, and in how many of these deaths a job was in each phase.
#[derive(Debug)]
pub struct Histogram {
    program: &'static str,
    hits: Mutex<BTreeMap<&'static str, [u64; 3]>>,
    deaths: Mutex<BTreeMap<&'static str, u64>>,
}

impl Histogram {
    /// Of the executor, empty.
    pub fn of_executor() -> Self {
        Self::of::<Executor>("executor")
    }

    /// Of the frontend, empty.
    pub fn of_frontend() -> Self {
        Self::of::<Frontend>("frontend")
    }

    fn of<P: Point>(program: &'static str) -> Self {
        let names = || P::ALL.iter().map(|point| point.name());
        let hits = names().map(|name| (name, [0; 3])).collect();
        Self { program, hits: Mutex::new(hits), deaths: Mutex::new(names().map(|name| (name, 0)).collect()) }
    }

    /// A death at a place.
    pub fn add(&self, death: &Death) {
        if let Some(hits) = locked(&self.hits).get_mut(death.name.as_str()) {
            Phase::ALL.into_iter().zip(hits).for_each(|(phase, hits)| *hits += u64::from(death.jobs.get(phase) > 0));
        }
        if let Some(deaths) = locked(&self.deaths).get_mut(death.name.as_str()) {
            *deaths += 1;
        }
    }

    /// What is short of so many deaths, in words.
    pub fn short_of(&self, wanted: u64) -> Vec<String> {
        let hits = locked(&self.hits);
        let short = hits.iter().flat_map(|(name, hits)| Phase::ALL.map(|phase| (*name, phase, hits[phase as usize])));
        let program = self.program;
        short
            .filter(|(.., hits)| *hits < wanted)
            .map(|(name, phase, hits)| format!("{program} {name}: {phase:?} {hits} of {wanted}"))
            .collect()
    }

    /// One line for each place: deaths, and those with a job spawning, writing and ending.
    pub fn print(&self) {
        println!("{:>8}  {:>8}  {:>8}  {:>8}  at", "deaths", "spawning", "writing", "ending");
        let deaths = locked(&self.deaths);
        for (name, [spawning, writing, ending]) in locked(&self.hits).iter() {
            println!("{:>8}  {spawning:>8}  {writing:>8}  {ending:>8}  {} {name}", deaths[name], self.program);
        }
    }

    fn needs(&self) -> Vec<(&'static str, [u64; 3])> {
        locked(&self.hits).iter().map(|(name, hits)| (*name, *hits)).collect()
    }
}

/// What is started next, start by start.
#[derive(Debug)]
pub struct Points {
    rng: Rng,
    chance: u64,
    at_start: Vec<&'static str>,
    // The largest number of times that a place is passed alive.
    most: BTreeMap<&'static str, u64>,
    // How often one was waited for in vain.
    vain: BTreeMap<&'static str, u64>,
    before: Census,
}

const MOST_AT_FIRST: u64 = 4;
const MOST: u64 = 32;
/// The ordinary build is the one that is restarted into as often as into the other.
const EVEN: u64 = 50;

impl Points {
    /// Of the executor, at so many of a hundred starts.
    pub fn of_executor(seed: u64, chance: u64) -> Self {
        Self::of::<Executor>(Rng::part(seed, u64::MAX - 1), chance)
    }

    /// Of the frontend.
    pub fn of_frontend(seed: u64, chance: u64) -> Self {
        Self::of::<Frontend>(Rng::part(seed, u64::MAX - 2), chance)
    }

    fn of<P: Point>(rng: Rng, chance: u64) -> Self {
        let at_start = P::ALL.iter().filter(|point| point.is_at_start()).map(|point| point.name()).collect();
        let most = P::ALL.iter().map(|point| (point.name(), MOST_AT_FIRST)).collect();
        Self { rng, chance, at_start, most, vain: BTreeMap::new(), before: Census::default() }
    }

    /// The build of the next start, and where it is to die, if it is: mostly at one of the places that were hit least.
    pub fn next(&mut self, histogram: &Histogram) -> (Build, Option<Sentence>) {
        if !self.rng.percent(self.chance) {
            let build = if self.rng.percent(EVEN) { Build::Armed } else { Build::Ordinary };
            return (build, None);
        }
        let mut needs = histogram.needs();
        needs.retain(|(name, hits)| self.may_serve(name, hits));
        // A wait in vain counts as a hit here, so that a place that is hard to come to does not hold up the others.
        let vain = |name| self.vain.get(name).copied().unwrap_or(0);
        needs
            .sort_by_key(|(name, hits)| (hits.iter().min().map(|least| least + vain(*name)), hits.iter().sum::<u64>()));
        let choice = self.rng.between(0, 4.min(needs.len() as u64));
        let chosen = usize::try_from(choice).ok().and_then(|choice| needs.get(choice));
        let sentence = chosen.map(|(name, hits)| {
            let most = if self.at_start.contains(name) { 1 } else { self.most.get(name).copied().unwrap_or(1) };
            let phase = Phase::ALL.into_iter().min_by_key(|phase| hits[*phase as usize]).unwrap_or(Phase::Writing);
            Sentence { name, nth: self.rng.between(1, most + 1), phase }
        });
        (Build::Armed, sentence)
    }

    // A process that starts finds what the one before left: a place at the start is worth a death when that had what the place lacks.
    fn may_serve(&self, name: &str, hits: &[u64; 3]) -> bool {
        let least = hits.iter().min().copied().unwrap_or(0);
        let lacks = |phase: &Phase| hits[*phase as usize] == least && self.before.get(*phase) > 0;
        !self.at_start.contains(&name) || Phase::ALL.iter().any(lacks)
    }

    /// The process died where it was told to: it passes the place more often, the next time.
    pub fn died(&mut self, sentence: Sentence, death: &Death) {
        self.before = death.jobs;
        self.most.entry(sentence.name).and_modify(|most| *most = (*most * 2).min(MOST));
    }

    /// It did not come to the place so often.
    pub fn gave_up(&mut self, sentence: Sentence) {
        self.most.entry(sentence.name).and_modify(|most| *most = (*most / 2).max(1));
        *self.vain.entry(sentence.name).or_default() += 1;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
