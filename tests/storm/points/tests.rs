//! The storm goes where it was least.

use std::collections::BTreeSet;

use kill_points::{Census, Death, Executor, Phase, Point};

use super::{Build, Histogram, Points, Sentence};

fn death(name: &str, jobs: [u64; 3]) -> Death {
    Death { name: name.to_owned(), jobs: Census(jobs) }
}

fn sentence(name: &'static str, nth: u64) -> Sentence {
    Sentence { name, nth, phase: Phase::Writing, at_start: false }
}

#[test]
fn a_place_is_short_until_it_was_hit_often_enough_with_a_job_in_each_phase() {
    let histogram = Histogram::of_executor();
    let allowed = |point: &Executor| Phase::ALL.into_iter().filter(|phase| point.allows(*phase)).count();
    let all: usize = Executor::ALL.iter().map(allowed).sum();
    assert_eq!(histogram.short_of(1).len(), all);
    assert!(!histogram.short_of(1).iter().any(|short| short.contains("Listed: Spawning")));
    assert!(histogram.short_of(0).is_empty());
    histogram.add(&death("Sent", [3, 0, 1]));
    assert_eq!(histogram.short_of(1).len(), all - 2);
    assert!(histogram.short_of(1).contains(&"executor Sent: Writing 0 of 1".to_owned()));
    histogram.add(&death("Sent", [0, 1, 0]));
    assert!(!histogram.short_of(1).iter().any(|short| short.contains(" Sent:")));
    assert!(histogram.short_of(2).contains(&"executor Sent: Spawning 1 of 2".to_owned()));
}

#[test]
fn every_place_has_its_turn_because_the_least_hit_ones_come_first() {
    let histogram = Histogram::of_executor();
    let mut points = Points::of_executor(7, 100, 20);
    let mut met = BTreeSet::new();
    for _ in 0..40 * Executor::ALL.len() {
        let (build, sentence) = points.next(&histogram);
        let sentence = sentence.expect("each start has a place");
        assert_eq!(build, Build::Armed);
        let death = death(sentence.name, [1, 1, 1]);
        histogram.add(&death);
        points.died(sentence, &death);
        met.insert(sentence.name);
    }
    assert_eq!(met.len(), Executor::ALL.len());
    assert!(histogram.short_of(20).is_empty(), "{:?}", histogram.short_of(20));
}

#[test]
fn a_place_at_the_start_waits_for_a_death_that_leaves_what_it_lacks() {
    let histogram = Histogram::of_executor();
    for name in Executor::ALL.iter().map(|point| point.name()) {
        let (times, jobs) = if name == "Probed" { (20, [0, 1, 1]) } else { (19, [1, 1, 1]) };
        (0..times).for_each(|_| histogram.add(&death(name, jobs)));
    }
    let mut points = Points::of_executor(7, 100, 20);
    let comes = |points: &mut Points| (0..100).any(|_| points.next(&histogram).1.is_some_and(|s| s.name == "Probed"));
    let sentence = sentence("Sent", 1);
    points.died(sentence, &death("Sent", [0, 5, 5]));
    assert!(!comes(&mut points));
    points.died(sentence, &death("Sent", [1, 0, 0]));
    assert!(comes(&mut points));
}

#[test]
fn a_place_that_was_not_come_to_so_often_is_tried_earlier() {
    let mut points = Points::of_executor(7, 100, 20);
    let sentence = sentence("BeforeKillGroup", 8);
    (0..5).for_each(|_| points.gave_up(sentence));
    assert_eq!(points.most["BeforeKillGroup"], 1);
    points.died(sentence, &death("BeforeKillGroup", [1, 1, 1]));
    assert_eq!(points.most["BeforeKillGroup"], 2);
}

#[test]
fn without_a_place_each_build_is_started_now_and_then() {
    let histogram = Histogram::of_frontend();
    let mut points = Points::of_frontend(7, 0, 20);
    let builds: Vec<Build> = (0..50).map(|_| points.next(&histogram)).map(|(build, _)| build).collect();
    assert!(builds.contains(&Build::Ordinary) && builds.contains(&Build::Armed));
}
