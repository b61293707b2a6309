//! Commands about jobs that exist.

use crate::{
    fake::{Ending, Fake, Step},
    harness::{airlock, command, spawn},
};

fn with_ended_job(code: i32) -> Fake {
    let fake = Fake::start();
    fake.state.script(vec![
        Step::Out(b"one\ntwo\n".to_vec()),
        Step::Err(b"\xff\n".to_vec()),
        Step::Out(b"three".to_vec()),
        Step::End(Ending::code(code)),
    ]);
    airlock(&fake, &["start", "--name", "nightly", "make", "test"]);
    fake
}

#[test]
fn logs_passes_the_bytes_untouched_on_their_descriptors_or_one_stream_alone() {
    let fake = with_ended_job(0);
    let mut call = command(&fake, fake.port, &["logs", "nightly"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stderr");
    call.stderr(std::fs::File::create(&file).unwrap());
    assert_eq!(call.output().unwrap().stdout, b"one\ntwo\nthree");
    assert_eq!(std::fs::read(&file).unwrap(), b"\xff\n");
    assert_eq!(airlock(&fake, &["logs", "nightly", "--stdout"]).stdout, b"one\ntwo\nthree");
    assert_eq!(airlock(&fake, &["stream", "nightly", "--stderr"]).stdout, b"\xff\n");
    assert_eq!(airlock(&fake, &["logs", "nightly", "--from", "4", "--stdout"]).stdout, b"two\nthree");
}

#[test]
fn logs_in_json_is_one_object_a_line_with_text_or_base64() {
    let fake = with_ended_job(0);
    let text = airlock(&fake, &["logs", "nightly", "--format", "json"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains(r#""stream":"stdout","seq":0,"offset":0,"text":"one\ntwo\n"}"#), "{text}");
    assert!(lines[1].contains(r#""stream":"stderr","seq":0,"offset":8,"base64":"/wo="}"#), "{text}");
}

#[test]
fn logs_with_timestamps_marks_each_line_with_its_stream() {
    let fake = with_ended_job(0);
    let shown = airlock(&fake, &["logs", "nightly", "--timestamps", "--stdout"]).text();
    assert_eq!(shown, "- O one\n- O two\n- O three\n");
}

#[test]
fn status_shows_a_card_or_the_job_object() {
    let fake = with_ended_job(2);
    let card = airlock(&fake, &["status", "nightly"]).text();
    assert!(card.contains("00000001  nightly · make test") && card.contains("status 2"), "{card}");
    let json = airlock(&fake, &["get-status", "0000", "--format", "json"]).text();
    assert!(
        json.starts_with(r#"{"job_id":"00000001-5b7d-4c1a-9f60-2d8e4b7a1c05","name":"nightly","owner":"alice""#),
        "{json}"
    );
    let missing = airlock(&fake, &["query", "nope"]);
    assert_eq!((missing.code(), missing.stderr.as_str()), (125, "airlock: no job 'nope' that you may see on build1\n"));
}

#[test]
fn list_shows_the_same_jobs_in_text_and_json_over_several_pages() {
    let fake = with_ended_job(0);
    for _ in 0..4 {
        airlock(&fake, &["start", "x"]);
    }
    let ids = airlock(&fake, &["list", "-q"]).text();
    assert_eq!(ids.lines().count(), 5);
    let json = airlock(&fake, &["list", "--format", "json"]).text();
    let of_json: Vec<String> = json.lines().map(|line| line.split('"').nth(3).unwrap().to_owned()).collect();
    assert_eq!(of_json, ids.lines().collect::<Vec<_>>());
    let text = airlock(&fake, &["list"]).text();
    assert!(text.starts_with("JOB       NAME     STATE"), "{text}");
    assert!(text.ends_with("5 jobs of alice on build1; older than 7 days: airlock list --all\n"), "{text}");
    assert_eq!(airlock(&fake, &["list", "-q", "-n", "3"]).text().lines().count(), 3);
    assert!(airlock(&fake, &["list", "-n", "3"]).text().contains("3 jobs of alice on build1; there are more"));
}

#[test]
fn an_empty_list_names_the_server_as_it_calls_itself() {
    let fake = Fake::start();
    let text = airlock(&fake, &["list"]).text();
    assert_eq!(text, "no jobs on build1; older than 7 days: airlock list --all\n");
    let none = |words: &[&str]| airlock(&fake, words).text();
    assert_eq!(none(&["list", "--name", "x"]), "no such jobs on build1; older than 7 days: the same with --all\n");
    assert_eq!(none(&["list", "--live"]), "no such jobs on build1\n", "no age leaves out a live job");
    let none = airlock(&fake, &["wait", "--any"]);
    assert_eq!(none.stderr, "airlock: you have no live job on build1 to wait for\n");
}

#[test]
fn wait_ends_with_the_jobs_status_or_the_largest_of_several() {
    let fake = with_ended_job(7);
    fake.state.script(vec![Step::End(Ending::code(3))]);
    airlock(&fake, &["start", "x"]);
    let one = airlock(&fake, &["wait", "nightly"]);
    assert_eq!((one.code(), one.text().as_str()), (7, ""));
    let both = airlock(&fake, &["wait", "nightly", "last"]);
    let mut lines: Vec<String> = both.text().lines().map(String::from).collect();
    lines.sort();
    assert_eq!((both.code(), lines), (7, vec!["00000001 failed 7".to_owned(), "00000002 failed 3".to_owned()]));
}

#[test]
fn wait_that_runs_out_of_time_ends_with_122_and_any_with_the_first() {
    let fake = with_ended_job(4);
    fake.state.script(vec![Step::UntilStopped { stubborn: false }]);
    airlock(&fake, &["start", "x"]);
    let late = airlock(&fake, &["wait", "last", "--timeout", "100ms"]);
    assert_eq!((late.code(), late.stderr.as_str()), (122, "airlock: job 00000002 goes on\n"));
    let any = airlock(&fake, &["wait", "--any", "last", "nightly"]);
    assert_eq!((any.code(), any.text().as_str()), (4, "00000001 failed 4\n"));
}

#[test]
fn wait_notices_an_end_that_comes_later() {
    let fake = Fake::start();
    fake.state.script(vec![Step::UntilStopped { stubborn: false }]);
    airlock(&fake, &["start", "x"]);
    let running = spawn(command(&fake, fake.port, &["wait", "last"]));
    fake.state.until("it is waited for", |inner| inner.waits > 0);
    fake.state.perform(0, &[Step::End(Ending::code(6))]);
    assert_eq!(running.finish().code(), 6);
}

#[test]
fn stop_waits_for_the_end_and_prints_it_and_an_ended_job_is_no_error() {
    let fake = with_ended_job(0);
    fake.state.script(vec![Step::UntilStopped { stubborn: false }]);
    airlock(&fake, &["start", "x"]);
    let stopped = airlock(&fake, &["stop", "last", "nightly"]);
    assert_eq!((stopped.code(), stopped.text().as_str()), (0, "00000002 stopped 143\n00000001 finished 0\n"));
    assert_eq!(fake.state.lock().stops[0].grace_ms, Some(10_000));
}

#[test]
fn stop_all_stops_every_live_job_and_no_wait_does_not_wait() {
    let fake = with_ended_job(0);
    fake.state.script(vec![Step::UntilStopped { stubborn: true }]);
    for _ in 0..3 {
        airlock(&fake, &["start", "x"]);
    }
    let stopping = airlock(&fake, &["stop", "--all", "--no-wait", "-s", "HUP"]);
    assert_eq!(stopping.text().lines().filter(|line| line.ends_with(" stopping")).count(), 3);
    assert!(fake.state.lock().stops.iter().all(|stop| stop.signal == 1));
    let killed = airlock(&fake, &["stop", "--all", "--grace", "0"]);
    assert_eq!(killed.text().lines().filter(|line| line.ends_with(" stopped 137")).count(), 3);
}

#[test]
fn signal_sends_exactly_that_signal() {
    let fake = Fake::start();
    airlock(&fake, &["start", "x"]);
    let sent = airlock(&fake, &["signal", "last", "SIGUSR1"]);
    assert_eq!((sent.code(), sent.text().as_str()), (0, ""));
    assert_eq!(fake.state.lock().signals[0].signal, 10);
    assert!(fake.state.lock().stops.is_empty());
}

#[test]
fn delete_and_archive_take_several_and_one_that_fails_does_not_keep_the_others() {
    let fake = with_ended_job(0);
    assert_eq!(airlock(&fake, &["archive", "nightly"]).text(), "00000001 archived\n");
    fake.state.script(Vec::new());
    airlock(&fake, &["start", "x"]);
    let deleted = airlock(&fake, &["delete", "last", "nightly"]);
    assert_eq!((deleted.code(), deleted.text().as_str()), (125, "00000001 deleted\n"));
    assert_eq!(deleted.stderr, "airlock: job 00000002 is running; stop it first\n");
}

#[test]
fn delete_means_the_jobs_that_were_last_when_it_was_asked_and_each_once() {
    let fake = with_ended_job(0);
    airlock(&fake, &["start", "--name", "newer", "true"]);
    fake.state.script(vec![Step::End(Ending::code(0))]);
    airlock(&fake, &["start", "--name", "newest", "true"]);
    assert_eq!(airlock(&fake, &["delete", "last", "last", "--dry-run"]).text(), "00000003 would be deleted\n");
    assert_eq!(airlock(&fake, &["delete", "last", "last"]).text(), "00000003 deleted\n");
}

#[test]
fn delete_ended_spares_live_and_archived_jobs_and_a_dry_run_spares_all() {
    let fake = with_ended_job(0);
    airlock(&fake, &["start", "x"]);
    airlock(&fake, &["start", "--name", "kept", "x"]);
    airlock(&fake, &["archive", "kept"]);
    fake.state.script(Vec::new());
    airlock(&fake, &["start", "x"]);
    let dry = airlock(&fake, &["delete", "--ended", "--dry-run"]).text();
    assert_eq!(dry, "00000002 would be deleted\n00000001 would be deleted\n");
    assert_eq!(fake.state.lock().jobs.len(), 4);
    let none = airlock(&fake, &["delete", "--ended", "--older-than", "36500d"]);
    assert_eq!((none.code(), none.text().as_str()), (0, ""), "{}", none.stderr);
    let all = airlock(&fake, &["list", "-q", "--since", "36500d", "--until", "1969-07-20T20:17:40Z"]);
    assert_eq!(all.code(), 0, "times before servers' first are no error: {}", all.stderr);
    assert_eq!(airlock(&fake, &["delete", "--ended"]).text(), "00000002 deleted\n00000001 deleted\n");
    assert_eq!(fake.state.lock().jobs.len(), 2);
}

#[test]
fn all_means_ones_own_jobs_also_where_others_can_be_seen() {
    let fake = Fake::start();
    airlock(&fake, &["start", "x"]);
    airlock(&fake, &["start", "x"]);
    fake.state.lock().jobs[0].job.owner = "bob".into();
    assert_eq!(airlock(&fake, &["stop", "--all"]).text(), "00000002 stopped 143\n");
    assert_eq!(airlock(&fake, &["stop", "--all", "--owner", "bob"]).text(), "00000001 stopped 143\n");
    assert_eq!(airlock(&fake, &["delete", "--ended"]).text(), "00000002 deleted\n");
}
