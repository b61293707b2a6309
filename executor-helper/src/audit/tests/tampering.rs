//! What somebody with access to the file could try.

use super::{Trail, fs};

fn changed(trail: &Trail, change: impl FnOnce(&mut Vec<String>)) -> String {
    let mut lines: Vec<String> = trail.text().lines().map(|line| format!("{line}\n")).collect();
    change(&mut lines);
    fs::write(trail.path(), lines.concat()).unwrap();
    trail.verify(None).unwrap_err()
}

fn at(trail: &Trail, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", trail.path().display())
}

#[test]
fn any_altered_line_is_found_with_its_number() {
    for line in 1..=5 {
        let trail = Trail::of(5);
        let why = changed(&trail, |lines| lines[line - 1] = lines[line - 1].replace("started", "stopped"));
        assert_eq!(why, at(&trail, line, &format!("line {line} was altered")));
    }
}

#[test]
fn any_single_byte_that_is_altered_is_found_in_its_line() {
    let trail = Trail::of(2);
    let text = trail.text().into_bytes();
    let second = text.iter().position(|b| *b == b'\n').unwrap() + 1;
    for place in (0..text.len()).filter(|place| text[*place] != b'\n') {
        let mut altered = text.clone();
        altered[place] ^= 1;
        fs::write(trail.path(), &altered).unwrap();
        let Err(why) = trail.verify(None) else { panic!("byte {place} was altered and nobody noticed") };
        let line = if place < second { 1 } else { 2 };
        assert!(why.starts_with(&at(&trail, line, "")), "byte {place}: {why}");
    }
}

#[test]
fn a_removed_line_is_found() {
    for line in 2..=4 {
        let trail = Trail::of(5);
        let why = changed(&trail, |lines| drop(lines.remove(line - 1)));
        let what = format!("line {} does not follow line {}: lines are missing or reordered", line + 1, line - 1);
        assert_eq!(why, at(&trail, line, &what));
    }
}

#[test]
fn reordered_lines_are_found() {
    let trail = Trail::of(5);
    let why = changed(&trail, |lines| lines.swap(2, 3));
    assert_eq!(why, at(&trail, 3, "line 4 does not follow line 2: lines are missing or reordered"));
}

#[test]
fn a_line_that_is_there_twice_is_found() {
    let trail = Trail::of(3);
    let why = changed(&trail, |lines| lines.insert(1, lines[1].clone()));
    assert_eq!(why, at(&trail, 3, "line 2 does not follow line 2: lines are missing or reordered"));
}

#[test]
fn a_whole_line_of_another_trail_is_found() {
    let (trail, other) = (Trail::of(3), Trail::new());
    let mut audit = other.open();
    for _ in 0..3 {
        audit.write("reloaded", &[]).unwrap();
    }
    let foreign = format!("{}\n", other.text().lines().nth(1).unwrap());
    let why = changed(&trail, |lines| lines[1] = foreign);
    assert_eq!(why, at(&trail, 2, "line 2 does not follow line 1: lines are missing or reordered"));
}

#[test]
fn a_line_that_is_no_line_is_found() {
    for text in ["\n", "{}\n", "no\n", "{\"seq\":2,\"hash\":\"00\"}\n"] {
        let trail = Trail::of(1);
        fs::write(trail.path(), format!("{}{text}", trail.text())).unwrap();
        assert!(trail.verify(None).unwrap_err().starts_with(&at(&trail, 2, "")), "'{text}'");
    }
}

#[test]
fn a_cut_end_is_found_by_the_head_that_the_journal_has() {
    let trail = Trail::of(5);
    let (_, head) = trail.verify(None).unwrap();
    assert_eq!(trail.verify(Some(&head)).unwrap().0, 5);
    let kept: String = trail.text().lines().take(3).map(|line| format!("{line}\n")).collect();
    fs::write(trail.path(), kept).unwrap();
    assert_eq!(trail.verify(None).unwrap().0, 3, "without a head a shorter trail is a trail");
    assert_eq!(trail.verify(Some(&head)), Err("the trail does not reach the given head: its end was cut off".into()));
    fs::write(trail.path(), "").unwrap();
    assert!(trail.verify(Some(&head)).is_err());
}

#[test]
fn a_head_from_the_middle_is_reached_by_a_longer_trail() {
    let trail = Trail::of(3);
    let (_, head) = trail.verify(None).unwrap();
    trail.open().write("started", &[]).unwrap();
    assert_eq!(trail.verify(Some(&head)).unwrap().0, 4);
}
