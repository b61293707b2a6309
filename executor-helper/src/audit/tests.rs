//! The trail: what is written holds together, and what is done to it afterwards is found.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod tampering;
mod trouble;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Audit, BOUNDED_PER_SECOND, GENESIS};
use crate::verify::verify;

pub(crate) struct Trail(tempfile::TempDir);

impl Trail {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("log/audit.jsonl")
    }

    fn open(&self) -> Audit {
        Audit::open(&self.path()).unwrap()
    }

    fn of(lines: u64) -> Self {
        let trail = Self::new();
        let mut audit = trail.open();
        for number in 0..lines {
            audit.write("started", &[("job", json!(number)), ("argv", json!(["a\nb", "\"hash\":\""]))]).unwrap();
        }
        trail
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn verify(&self, head: Option<&str>) -> Result<(u64, String), String> {
        verify([self.path().as_path()], head)
    }
}

#[test]
fn every_line_carries_the_hash_of_the_one_before() {
    let trail = Trail::of(3);
    let lines = trail.lines();
    assert_eq!(lines[0]["prev"], GENESIS);
    for pair in lines.windows(2) {
        assert_eq!(pair[1]["prev"], pair[0]["hash"]);
        assert_eq!(pair[1]["seq"].as_u64().unwrap(), pair[0]["seq"].as_u64().unwrap() + 1);
    }
    let head = lines[2]["hash"].as_str().unwrap();
    assert_eq!(trail.verify(None), Ok((3, head.to_owned())));
}

#[test]
fn a_line_says_what_happened_when_and_in_which_order() {
    let trail = Trail::new();
    let fields = [("job", json!("j")), ("pid", Value::Null), ("claimed", json!({ "owner": "eve\n\u{1b}[31m\"" }))];
    trail.open().write("ended", &fields).unwrap();
    let text = trail.text();
    assert!(text.starts_with("{\"seq\":1,\"time\":\"20"), "{text}");
    assert!(text.contains("Z\",\"event\":\"ended\",\"job\":\"j\",\"claimed\":{"), "{text}");
    assert_eq!(text.lines().count(), 1, "a peer's newline made a second line");
    assert!(!text.contains('\u{1b}'));
    assert_eq!(trail.lines()[0]["claimed"]["owner"], "eve\n\u{1b}[31m\"");
}

#[test]
fn the_chain_goes_on_where_a_former_executor_stopped() {
    let trail = Trail::of(2);
    let mut audit = trail.open();
    assert_eq!(audit.seq, 2);
    assert_eq!(audit.head, trail.lines()[1]["hash"]);
    audit.write("adopted", &[]).unwrap();
    assert_eq!(trail.verify(None).unwrap().0, 3);
}

#[test]
fn only_root_reads_and_writes_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let trail = Trail::of(1);
    assert_eq!(fs::metadata(trail.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_a_peer_causes_is_bounded_and_what_was_left_out_is_counted() {
    let trail = Trail::new();
    let mut audit = trail.open();
    let bound = BOUNDED_PER_SECOND as usize;
    audit.write_bounded("refused", &[("why", json!("no"))]).unwrap();
    // A second that is not over however long the rest takes here.
    audit.bounded.0 = Instant::now().checked_add(Duration::from_secs(3600));
    for _ in 1..bound + 30 {
        audit.write_bounded("refused", &[("why", json!("no"))]).unwrap();
    }
    assert_eq!(trail.lines().len(), bound);
    assert!(trail.lines().iter().all(|line| line.get("suppressed").is_none()), "nothing was left out before");
    // What is no peer's doing is written all the same.
    audit.write("ended", &[]).unwrap();
    assert_eq!(trail.lines().len(), bound + 1);
    // A second later.
    audit.bounded.0 = Instant::now().checked_sub(Duration::from_secs(1));
    audit.write_bounded("refused", &[("why", json!("no"))]).unwrap();
    audit.write_bounded("refused", &[("why", json!("no"))]).unwrap();
    let lines = trail.lines();
    assert_eq!((lines.len(), &lines[bound + 1]["suppressed"]), (bound + 3, &json!(30)));
    assert!(lines[bound + 2].get("suppressed").is_none(), "the same ones were counted twice");
    trail.verify(None).unwrap();
}

#[test]
fn other_events_are_never_left_out() {
    let many = 3 * u64::from(BOUNDED_PER_SECOND);
    assert_eq!(Trail::of(many).lines().len() as u64, many);
}

fn rotated(trail: &Trail) -> PathBuf {
    let folder = trail.path().parent().unwrap().to_owned();
    let mut others: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|p| *p != trail.path()).collect();
    assert_eq!(others.len(), 1);
    others.remove(0)
}

#[test]
fn a_full_file_is_set_aside_and_the_chain_goes_on() {
    let trail = Trail::of(3);
    let mut audit = trail.open();
    audit.length = super::ROTATE_AT;
    audit.write("started", &[]).unwrap();
    let old = rotated(&trail);
    assert!(old.to_str().unwrap().ends_with("audit.jsonl.3"));
    let lines = trail.lines();
    assert_eq!((&lines[0]["event"], &lines[0]["seq"]), (&json!("rotated"), &json!(4)));
    assert_eq!(lines[0]["file"], old.to_str().unwrap());
    assert_eq!(verify([old.as_path(), &trail.path()], None).unwrap().0, 5);
    // Alone, each part is whole; in the wrong order they are not.
    assert_eq!(trail.verify(None).unwrap().0, 5);
    let wrong: [&Path; 2] = [&trail.path(), &old];
    assert!(verify(wrong, None).is_err());
    drop(audit);
    assert_eq!(trail.open().seq, 5);
}

#[test]
fn a_rotation_that_was_cut_short_leaves_one_whole_trail() {
    let trail = Trail::of(3);
    let [old, new] = ["jsonl.3", "jsonl.new"].map(|extension| trail.path().with_extension(extension));
    fs::hard_link(trail.path(), &old).unwrap();
    fs::write(&new, "{\"seq\":4").unwrap();
    let mut audit = trail.open();
    assert!(!old.exists() && !new.exists(), "the file is still the one in use");
    audit.write("started", &[]).unwrap();
    assert_eq!(trail.verify(None).unwrap().0, 4);
    audit.length = super::ROTATE_AT;
    audit.write("started", &[]).unwrap();
    assert_eq!(verify([rotated(&trail).as_path(), &trail.path()], None).unwrap().0, 6);
}

#[test]
fn a_rotation_that_fails_changes_nothing_and_is_tried_again() {
    let trail = Trail::of(3);
    let mut audit = trail.open();
    audit.length = super::ROTATE_AT;
    let in_the_way = trail.path().with_extension("jsonl.new");
    fs::create_dir(&in_the_way).unwrap();
    assert!(audit.write("started", &[]).is_err());
    assert_eq!(trail.verify(None).unwrap().0, 3);
    assert_eq!(trail.open().seq, 3);
    fs::remove_dir(&in_the_way).unwrap();
    audit.write("started", &[]).unwrap();
    assert_eq!(verify([rotated(&trail).as_path(), &trail.path()], None).unwrap().0, 5);
}
