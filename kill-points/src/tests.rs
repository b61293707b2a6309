//! Names, and the line that the storm reads.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use crate::armed::Sentence;
use crate::{Census, Death, Executor, Frontend, Phase, Point, name_of};

#[test]
fn a_process_dies_the_nth_time_that_it_comes_to_its_place_and_at_no_other() {
    let sentence = Sentence::parse("GroupMade:2").expect("a place and a number");
    let is_due_at = |name| sentence.is_due_at(name, Census::default);
    assert!(!is_due_at("LimitSet") && !is_due_at("GroupMade"));
    assert!(is_due_at("GroupMade") && !is_due_at("GroupMade"));
    for text in ["", "GroupMade", "GroupMade:0", "GroupMade:x", "GroupMade:1:Sleeping"] {
        assert!(Sentence::parse(text).is_none(), "{text}");
    }
}

#[test]
fn a_time_counts_only_while_a_job_is_in_the_phase_that_is_asked_for() {
    let sentence = Sentence::parse("Sent:2:Ending").expect("a place, a number and a phase");
    let is_due_with = |jobs| sentence.is_due_at("Sent", || Census(jobs));
    assert!(!is_due_with([1, 1, 0]) && !is_due_with([0, 0, 1]) && !is_due_with([1, 1, 0]));
    assert!(is_due_with([0, 0, 1]));
}

#[test]
fn what_a_dying_process_says_is_read_again_and_nothing_else_is() {
    let phases = [Some(Phase::Ending), None, Some(Phase::Writing), Some(Phase::Ending)];
    let death = Death { name: "Sent".into(), jobs: Census::of(phases) };
    assert_eq!(death.to_string(), "kill-point Sent 0 1 2");
    assert_eq!(death.to_string().parse(), Ok(death));
    for line in
        ["", "kill-point", "kill-point Sent 1 2", "kill-point Sent 1 2 3 4", "kill-point Sent 1 2 x", "Sent 1 2 3"]
    {
        assert!(line.parse::<Death>().is_err(), "{line}");
    }
}

#[test]
fn an_effect_is_found_by_the_beginning_of_its_description() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "described")]
    enum Effect {
        Tell(Answer),
        Punch(u8, u64),
        WaitForRoom,
    }
    #[derive(Debug)]
    #[expect(dead_code, reason = "described")]
    enum Answer {
        Spawned { job: u8 },
    }
    let names =
        [Effect::Tell(Answer::Spawned { job: 1 }), Effect::Punch(0, 1), Effect::WaitForRoom].map(|e| name_of(&e));
    assert_eq!(names, ["BeforeTellSpawned", "BeforePunch", "BeforeWaitForRoom"]);
    assert_eq!(Executor::before(&Effect::Punch(0, 1)), Some(Executor::BeforePunch));
    assert_eq!(Frontend::before(&Effect::WaitForRoom), None);
}

#[test]
fn every_place_of_both_programs_is_named_in_their_code_and_every_named_place_is_one() {
    agree::<Executor>("executor-helper/src");
    agree::<Frontend>("api-frontend/src");
}

// Places before effects are found by the effects' own names, of which each must be there.
fn agree<P: Point + Debug>(folder: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").join(folder);
    let text: String = sources(&root).iter().map(|path| fs::read_to_string(path).expect("a source")).collect();
    let named: BTreeSet<&str> = text
        .split("kill_point!(")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(name, _)| name))
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric()))
        .collect();
    let table: BTreeSet<&str> = P::ALL.iter().map(|point| point.name()).filter(|n| !n.starts_with("Before")).collect();
    assert_eq!(named, table, "{folder}");
    for effect in P::ALL.iter().filter_map(|point| point.name().strip_prefix("Before")) {
        let effect = effect.strip_prefix("Tell").filter(|_| text.contains("Effect::Tell(")).unwrap_or(effect);
        let is_there =
            [format!("Effect::{effect}"), format!("Answer::{effect}")].iter().any(|name| text.contains(name));
        assert!(is_there, "{folder} has no effect {effect}");
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources").flatten().map(|entry| entry.path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    folders.iter().flat_map(|folder| sources(folder)).chain(rust).collect()
}
