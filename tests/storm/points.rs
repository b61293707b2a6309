//! Which build of a process is started next, and where it is told to die.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    at_start: bool,
}

impl Sentence {
    /// A process that has not come to its place by then is killed wherever it is.
    pub fn patience(self) -> Duration {
        Duration::from_millis(if self.at_start { 700 } else { 3000 })
    }

    /// The variable that says so to a process.
    pub fn variable(self) -> (&'static str, String) {
        (KILL_AT, format!("{}:{}:{:?}", self.name, self.nth, self.phase))
    }
}

/// Deaths with a job in each phase; none where that cannot be.
type Hits = [Option<u64>; 3];

/// How often a program died at each of its places, and in how many of these deaths a job was in each phase.
#[derive(Debug)]
pub struct Histogram {
    program: &'static str,
    hits: Mutex<BTreeMap<&'static str, Hits>>,
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
        let places = || P::ALL.iter().copied();
        let hits = places().map(|point| (point.name(), Phase::ALL.map(|phase| point.allows(phase).then_some(0))));
        let deaths = places().map(|point| (point.name(), 0)).collect();
        Self { program, hits: Mutex::new(hits.collect()), deaths: Mutex::new(deaths) }
    }

    /// A death at a place.
    pub fn add(&self, death: &Death) {
        if let Some(hits) = locked(&self.hits).get_mut(death.name.as_str()) {
            let had = |phase: Phase| u64::from(death.jobs.get(phase) > 0);
            // One that was thought impossible is shown all the same.
            Phase::ALL
                .into_iter()
                .zip(hits)
                .filter(|(phase, hits)| hits.is_some() || had(*phase) > 0)
                .for_each(|(phase, hits)| *hits = Some(hits.unwrap_or(0) + had(phase)));
        }
        if let Some(deaths) = locked(&self.deaths).get_mut(death.name.as_str()) {
            *deaths += 1;
        }
    }

    /// Whether nothing died anywhere.
    pub fn is_empty(&self) -> bool {
        locked(&self.deaths).values().all(|deaths| *deaths == 0)
    }

    /// What is short of so many deaths, in words.
    pub fn short_of(&self, wanted: u64) -> Vec<String> {
        let short = self.fields().into_iter().filter(|field| field.hits < wanted);
        let program = self.program;
        short.map(|Field { name, phase, hits }| format!("{program} {name}: {phase:?} {hits} of {wanted}")).collect()
    }

    /// The program.
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// One line for each place: deaths, and those with a job spawning, writing and ending.
    pub fn print(&self) {
        println!("{:>8}  {:>8}  {:>8}  {:>8}  at", "deaths", "spawning", "writing", "ending");
        let deaths = locked(&self.deaths);
        for (name, hits) in locked(&self.hits).iter() {
            let [spawning, writing, ending] = hits.map(|hits| hits.map_or_else(|| "-".to_owned(), |n| n.to_string()));
            println!("{:>8}  {spawning:>8}  {writing:>8}  {ending:>8}  {} {name}", deaths[name], self.program);
        }
    }

    fn fields(&self) -> Vec<Field> {
        let of = |(name, hits): (&&'static str, &Hits)| {
            let (name, hits) = (*name, *hits);
            Phase::ALL.map(|phase| hits[phase as usize].map(|hits| Field { name, phase, hits }))
        };
        locked(&self.hits).iter().flat_map(of).flatten().collect()
    }
}

/// Deaths at a place with a job in a phase.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    phase: Phase,
    hits: u64,
}

/// What is started next, start by start.
#[derive(Debug)]
pub struct Points {
    rng: Rng,
    chance: u64,
    wanted: u64,
    at_start: Vec<&'static str>,
    // The largest number of times that a place is passed alive.
    most: BTreeMap<&'static str, u64>,
    // How often one was waited for in vain.
    vain: BTreeMap<(&'static str, Phase), u64>,
    before: Census,
}

const MOST_AT_FIRST: u64 = 4;
const MOST: u64 = 32;
/// The ordinary build is the one that is restarted into as often as into the other.
const EVEN: u64 = 50;
/// So many of the fields that were hit least are chosen from.
const LEAST: u64 = 6;

impl Points {
    /// Of the executor, at so many of a hundred starts; so many deaths with a job in each phase are enough for a place, as long as
    /// others have fewer.
    pub fn of_executor(seed: u64, chance: u64, wanted: u64) -> Self {
        Self::of::<Executor>(Rng::part(seed, u64::MAX - 1), chance, wanted)
    }

    /// Of the frontend.
    pub fn of_frontend(seed: u64, chance: u64, wanted: u64) -> Self {
        Self::of::<Frontend>(Rng::part(seed, u64::MAX - 2), chance, wanted)
    }

    fn of<P: Point>(rng: Rng, chance: u64, wanted: u64) -> Self {
        let at_start = P::ALL.iter().filter(|point| point.is_at_start()).map(|point| point.name()).collect();
        let most = P::ALL.iter().map(|point| (point.name(), MOST_AT_FIRST)).collect();
        Self { rng, chance, wanted, at_start, most, vain: BTreeMap::new(), before: Census::default() }
    }

    /// The build of the next start, and where it is to die, if it is: mostly at one of the places that were hit least.
    pub fn next(&mut self, histogram: &Histogram) -> (Build, Option<Sentence>) {
        if !self.rng.percent(self.chance) {
            let build = if self.rng.percent(EVEN) { Build::Armed } else { Build::Ordinary };
            return (build, None);
        }
        let mut fields = histogram.fields();
        fields.retain(|field| self.may_serve(field));
        if fields.iter().any(|field| field.hits < self.wanted) {
            fields.retain(|field| field.hits < self.wanted);
        }
        // A place at the start can be had only now; the others come again.
        if fields.iter().any(|field| self.is_at_start(field) && field.hits < self.wanted) && self.rng.percent(EVEN) {
            fields.retain(|field| self.is_at_start(field));
        }
        // A wait in vain counts as a hit here, so that a field that is hard to come to does not hold up the others.
        fields.sort_by_key(|field| field.hits + self.vain.get(&(field.name, field.phase)).copied().unwrap_or(0));
        let choice = self.rng.between(0, LEAST.min(fields.len() as u64));
        let chosen = usize::try_from(choice).ok().and_then(|choice| fields.get(choice).copied());
        let sentence = chosen.map(|field| {
            let at_start = self.is_at_start(&field);
            let most = if at_start { 1 } else { self.most.get(field.name).copied().unwrap_or(1) };
            Sentence { name: field.name, nth: self.rng.between(1, most + 1), phase: field.phase, at_start }
        });
        (Build::Armed, sentence)
    }

    fn is_at_start(&self, field: &Field) -> bool {
        self.at_start.contains(&field.name)
    }

    // A process that starts finds what the one before left: a place at the start is worth a death when that had what the place lacks.
    fn may_serve(&self, field: &Field) -> bool {
        !self.is_at_start(field) || self.before.get(field.phase) > 0
    }

    /// The process died where it was told to: it passes the place more often, the next time.
    pub fn died(&mut self, sentence: Sentence, death: &Death) {
        self.before = death.jobs;
        self.most.entry(sentence.name).and_modify(|most| *most = (*most * 2).min(MOST));
    }

    /// It did not come to the place so often.
    pub fn gave_up(&mut self, sentence: Sentence) {
        self.most.entry(sentence.name).and_modify(|most| *most = (*most / 2).max(1));
        *self.vain.entry((sentence.name, sentence.phase)).or_default() += 1;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
