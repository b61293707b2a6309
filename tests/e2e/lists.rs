//! Finding jobs again: lists, filters, references, and how both are shown.

use std::fs;

use airlock_e2e::{Job, Outcome, Stack, StackOptions, Tool, scale, wait_until};

fn ids(outcome: &Outcome) -> Vec<String> {
    outcome.out().lines().map(str::to_owned).collect()
}

fn list(stack: &Stack, words: &[&str]) -> Vec<String> {
    ids(&stack.airlock("alice").args(["list", "-q"]).args(words).run().ends_with(0))
}

#[test]
fn the_newest_job_stands_first_and_text_and_json_select_the_same() {
    let stack = Stack::start();
    let jobs: Vec<Job<'_>> = (0..5).map(|code| stack.job_sh(&format!("exit {code}"))).collect();
    for job in &jobs {
        job.end();
    }
    let expected: Vec<String> = jobs.iter().rev().map(|job| job.id().to_owned()).collect();
    assert_eq!(list(&stack, &[]), expected);
    let json = stack.airlock("alice").args(["list", "--format", "json"]).run().ends_with(0).json_lines();
    let from_json: Vec<&str> = json.iter().map(|job| job["job_id"].as_str().expect("an id")).collect();
    assert_eq!(from_json, expected);
    assert_eq!(json[0], jobs[4].status(), "the same objects as status");
    let text = stack.airlock("alice").arg("list").run().ends_with(0).out();
    let shown: Vec<&str> = text.lines().skip(1).take(5).map(|line| &line[..8]).collect();
    assert_eq!(shown, expected.iter().map(|id| &id[..8]).collect::<Vec<_>>(), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.contains("5 jobs of alice")), "{text}");
    assert_eq!(list(&stack, &["-n", "2"]), expected[..2]);
}

#[test]
fn filters_select_by_state_name_profile_command_and_life() {
    let stack = Stack::start();
    let failed = stack.job(&["--name", "breaks", "--", "sh", "-c", "exit 2"]);
    failed.end();
    let fine = stack.job(&["--profile", "offline", "--", "echo", "needle in a haystack"]);
    fine.end();
    let missing = stack.airlock("alice").args(["start", "--", "mkae", "test"]).run().ends_with(127);
    assert!(missing.err().contains("mkae"));
    let live = stack.job_sh("sleep 1000");
    let only = |words: &[&str]| list(&stack, words);
    assert_eq!(only(&["--state", "failed"]), [failed.id()]);
    assert_eq!(only(&["--state", "failed,finished"]), [fine.id(), failed.id()]);
    assert_eq!(only(&["--state", "error"]).len(), 1);
    assert_eq!(only(&["--live"]), [live.id()]);
    assert_eq!(only(&["--name", "breaks"]), [failed.id()]);
    assert_eq!(only(&["--profile", "offline"]), [fine.id()]);
    assert_eq!(only(&["--command", "needle in"]), [fine.id()]);
    assert_eq!(only(&["--until", "1h"]), [""; 0], "nothing is an hour old");
    assert_eq!(only(&["--since", "1h"]).len(), 4);
    let refused = stack.airlock("alice").args(["list", "--state", "sleeping"]).run();
    refused.says(125, &["sleeping"]);
    live.kill();
}

#[test]
fn a_prefix_a_name_and_last_all_mean_the_job() {
    let stack = Stack::shared();
    let job = stack.job_of("bob", &["--name", "bobs-nightly", "--", "sleep", "1000"]);
    for reference in [job.id(), job.short(), "bobs-nightly"] {
        let found = stack.airlock("bob").args(["status", reference, "--format", "json"]).run().ends_with(0).json();
        assert_eq!(found["job_id"], job.id(), "{reference}");
    }
    let second = stack.airlock("bob").args(["start", "--name", "bobs-nightly", "--", "true"]).run().ends_with(125);
    assert!(second.err().contains("bobs-nightly"), "a live job has the name\n{second}");
    stack.job_of("alice", &["--name", "bobs-nightly", "--", "true"]).end();
    stack.airlock("bob").args(["stop", "bobs-nightly", "--grace", "0"]).run().ends_with(0);
    assert_eq!(stack.airlock("bob").args(["status", job.id(), "--format", "json"]).run().json()["state"], "stopped");
    let again = stack.job_of("bob", &["--name", "bobs-nightly", "--", "true"]);
    let found = stack.airlock("bob").args(["wait", "bobs-nightly"]).run().ends_with(0);
    assert!(found.out().is_empty() || found.out().contains(again.short()), "a free name means its newest job\n{found}");
}

#[test]
fn last_is_ones_own_newest() {
    let stack = Stack::start();
    stack.airlock("alice").args(["status", "last"]).run().says(125, &["no job"]);
    let mine = stack.job_sh("exit 0");
    stack.job_of("bob", &["--", "true"]);
    let last = stack.airlock("alice").args(["status", "last", "--format", "json"]).run().ends_with(0).json();
    assert_eq!(last["job_id"], mine.id());
}

#[test]
fn a_reference_too_short_to_be_meant_is_refused_with_what_to_write() {
    let stack = Stack::shared();
    let job = stack.job_sh("exit 0");
    for length in 1..4 {
        let refused = stack.airlock("alice").args(["status", &job.id()[..length]]).run().ends_with(125);
        let fits = format!("'{}' fits ", &job.id()[..length]);
        assert!(refused.err().contains(&fits) && refused.err().contains("write at least 4 characters"), "{refused}");
        let others = stack.airlock("bob").args(["status", &job.id()[..length]]).run().ends_with(125);
        assert!(!others.err().contains(job.short()), "{others}");
    }
}

#[test]
fn a_job_of_a_fixed_command_is_listed_and_found_by_the_words_that_ran() {
    let stack = StackOptions::new().prepare();
    let profile =
        "[profile.fixed]\nrun_as = \"nobody\"\ncommand = [\"/bin/echo\", \"these words\"]\n\n[profile.offline]";
    stack.edit("executor.toml", "[profile.offline]", profile);
    stack.up().ends_with(0);
    let job = stack.job(&["--profile", "fixed", "--cwd", "fresh"]);
    job.end();
    assert_eq!(job.status()["command"], serde_json::json!(["/bin/echo", "these words"]));
    assert_eq!(list(&stack, &["--command", "these words"]), [job.id()]);
    assert!(stack.airlock("alice").arg("list").run().ends_with(0).out().contains("/bin/echo these words"));
}

#[test]
fn columns_fit_the_terminal_and_pipes_do_not_cut() {
    let stack = Stack::shared();
    let long = "x".repeat(300);
    let job = stack.job(&["--", "echo", &long]);
    let piped = stack.airlock("alice").arg("list").run().ends_with(0).out();
    assert!(piped.contains(&long), "{piped}");
    let mut screen = stack.airlock("alice").arg("list").on_a_terminal().start();
    screen.wait_for_out(job.short());
    let screen = screen.finish().ends_with(0).out();
    assert!(!screen.contains(&long) && screen.contains('…'), "{screen}");
}

#[test]
fn control_characters_of_data_never_reach_the_screen() {
    let stack = Stack::shared();
    let evil = "\x1b]0;owned\x07\x1b[31m";
    let job = stack.job(&["--", "true", evil]);
    job.end();
    for words in [vec!["list"], vec!["list", "--wide"], vec!["status", job.id()]] {
        let shown = stack.airlock("alice").args(&words).run().ends_with(0);
        assert!(!shown.stdout().contains(&0x1b) && !shown.stdout().contains(&0x07), "{words:?}");
        assert!(shown.out().contains("\\x1b"), "{shown}");
    }
    let screen = stack.airlock("alice").args(["list"]).on_a_terminal().run();
    assert!(!screen.out().contains("\x1b]0;owned"), "{screen}");
    let missing = stack.airlock("alice").args(["run", "--", evil]).run().ends_with(127);
    assert!(!missing.stderr().contains(&0x1b), "{missing}");
    assert_eq!(job.status()["command"][1], evil, "JSON has the exact words");
}

#[test]
fn the_job_object_leaves_out_what_does_not_apply() {
    let stack = Stack::shared();
    let job = stack.job_sh("sleep 1000");
    let live = job.status();
    for absent in ["exit_status", "exit", "ended_at", "lost_reason", "start_error", "stop", "usage", "input"] {
        assert!(live.get(absent).is_none(), "{absent} while it runs: {live}");
    }
    job.kill();
    let ended = job.status();
    assert_eq!((&ended["owner"], &ended["profile"]), (&"alice".into(), &"standard".into()), "{ended}");
    for present in [
        "exit_status", "exit", "started_at", "ended_at", "created_at", "usage", "uid", "pid", "limits", "output",
        "host",
    ] {
        assert!(ended.get(present).is_some_and(|value| !value.is_null()), "{present} when it has ended: {ended}");
    }
    assert!(ended["ended_at"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 30), "{ended}");
}

#[test]
fn values_of_the_environment_are_shown_and_stored_nowhere() {
    let stack = Stack::start();
    let value = "value-that-nobody-keeps";
    let job = stack.job(&["--env", &format!("TOKEN={value}"), "--", "true"]);
    job.end();
    let shown = job.status();
    assert_eq!(shown["env_names"], serde_json::json!(["TOKEN"]), "{shown}");
    assert!(!shown.to_string().contains(value));
    // What is emptied and removed while it is searched would make the search fail.
    wait_until("the directory's end", scale::seconds(30), || {
        fs::read_dir(stack.path("work")).ok()?.next().is_none().then_some(())
    });
    let found = Tool::new("grep").args(["-r", "-a", "-l", value, "--"]).arg(stack.path("")).run();
    assert_eq!(found.code(), Some(1), "found in\n{found}");
}

#[test]
fn archived_jobs_leave_the_list_and_are_kept() {
    let stack = Stack::start();
    let job = stack.job_sh("echo kept");
    job.end();
    job.airlock("archive").arg(job.id()).run().ends_with(0);
    assert_eq!(list(&stack, &[]), [""; 0]);
    assert_eq!(list(&stack, &["--all"]), [job.id()]);
    assert_eq!(job.stdout(), b"kept\n");
    let live = stack.job_sh("sleep 1000");
    assert_eq!(live.airlock("archive").arg(live.id()).run().code(), Some(125), "a live job cannot be archived");
    live.kill();
}

#[test]
fn delete_of_ended_jobs_says_first_what_it_would_remove() {
    let stack = Stack::start();
    let (one, two) = (stack.job_sh("exit 0"), stack.job_sh("exit 1"));
    one.end();
    two.end();
    let live = stack.job_sh("sleep 1000");
    let dry = stack.airlock("alice").args(["delete", "--ended", "--dry-run"]).run().ends_with(0);
    assert!(
        dry.out().contains(one.short()) && dry.out().contains(two.short()) && !dry.out().contains(live.short()),
        "{dry}"
    );
    assert_eq!(list(&stack, &[]).len(), 3);
    stack.airlock("alice").args(["delete", "--ended", "--state", "failed"]).run().ends_with(0);
    assert_eq!(list(&stack, &[]), [live.id(), one.id()]);
    stack.airlock("alice").args(["delete", "--ended"]).run().ends_with(0);
    assert_eq!(list(&stack, &[]), [live.id()]);
    live.kill();
}
