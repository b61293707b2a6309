//! `run` and `start`: bytes, statuses, input, results.

use crate::{
    fake::{Ending, Fake, Step},
    harness::{airlock, airlock_with_input, command, noise, on_a_terminal, spawn},
};
use airlock_client::api::{Exit, JobState};

#[test]
fn run_gives_each_streams_bytes_on_its_descriptor_and_the_jobs_status_and_nothing_else() {
    let fake = Fake::start();
    let (out, err) = (noise(1, 300_000), noise(2, 200_000));
    let text_err = b"to stderr\n".to_vec();
    fake.state.script(vec![
        Step::Out(out.clone()),
        Step::Err(text_err.clone()),
        Step::Out(err.clone()),
        Step::End(Ending::code(3)),
    ]);
    let finished = airlock(&fake, &["run", "--", "true"]);
    assert_eq!(finished.code(), 3);
    assert!(finished.stdout == [out, err].concat());
    assert_eq!(finished.stderr.as_bytes(), text_err);
}

#[test]
fn every_state_ends_run_with_its_published_status() {
    let fake = Fake::start();
    let error = |status| Ending { state: JobState::Error, status, exit: None };
    let code =
        |state, code| Ending { state, status: None, exit: Some(Exit { code: Some(code), ..Default::default() }) };
    for (ending, expected, said) in [
        (Ending::code(0), 0, ""),
        (Ending::code(42), 42, ""),
        (Ending::signal(JobState::Failed, 11), 139, ""),
        (Ending::signal(JobState::Stopped, 15), 143, "was stopped by"),
        (code(JobState::Stopped, 0), 143, "was stopped by"),
        (Ending::signal(JobState::TimedOut, 9), 124, "deadline"),
        (Ending::signal(JobState::OutOfMemory, 9), 137, "ran out of memory"),
        (error(Some(126)), 126, "no program"),
        (error(Some(127)), 127, "no program"),
        (error(None), 125, "no program"),
        (Ending { state: JobState::Lost, status: None, exit: None }, 125, "is lost"),
    ] {
        fake.state.script(vec![Step::End(ending.clone())]);
        let finished = airlock(&fake, &["run", "x"]);
        assert_eq!(finished.code(), expected, "{:?}: {}", ending.state, finished.stderr);
        assert_eq!(finished.stderr.is_empty(), said.is_empty(), "{:?}: {}", ending.state, finished.stderr);
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
        let lines = finished.stderr.lines().count();
        assert!(lines <= 1, "one sentence: {}", finished.stderr);
    }
}

#[test]
fn a_shell_line_in_one_word_is_answered_with_the_way_to_run_it() {
    let fake = Fake::start();
    fake.state.script(vec![Step::End(Ending { state: JobState::Error, status: Some(127), exit: None })]);
    let finished = airlock(&fake, &["run", "--", "mkae test"]);
    assert_eq!(finished.code(), 127);
    assert_eq!(
        finished.stderr,
        "airlock: no program 'mkae test' in /usr/bin (profile standard); for a shell line use: airlock run -- sh -c 'mkae test'\n"
    );
}

#[test]
fn input_is_sent_whole_before_the_job_starts() {
    let fake = Fake::start();
    fake.state.script(vec![Step::End(Ending::code(0))]);
    let input = noise(3, 3_000_000);
    assert_eq!(airlock_with_input(&fake, &["run", "--stdin", "cat"], &input).code(), 0);
    assert_eq!(airlock_with_input(&fake, &["run", "--stdin", "cat"], b"").code(), 0);
    assert_eq!(airlock_with_input(&fake, &["run", "cat"], b"ignored").code(), 0);
    let inner = fake.state.lock();
    assert!(inner.uploads == [input, Vec::new()]);
    let ids: Vec<&str> = inner.starts.iter().map(|start| start.input_id.as_str()).collect();
    assert_eq!(ids, ["input-1", "input-2", ""]);
}

#[test]
fn start_prints_the_id_alone_in_text_and_json() {
    let fake = Fake::start();
    let id = |number: u32| format!("{number:08x}-5b7d-4c1a-9f60-2d8e4b7a1c05");
    assert_eq!(airlock(&fake, &["start", "sleep", "9"]).text(), id(1) + "\n");
    assert_eq!(
        airlock(&fake, &["start", "--format", "json", "--", "x"]).text(),
        format!("{{\"job_id\":\"{}\"}}\n", id(2))
    );
    assert_eq!(airlock(&fake, &["run", "-d", "x"]).text(), id(3) + "\n");
    fake.state.script(vec![Step::End(Ending { state: JobState::Error, status: Some(127), exit: None })]);
    let failed = airlock(&fake, &["start", "nope"]);
    assert_eq!((failed.code(), failed.text().as_str()), (127, ""));
}

#[test]
fn the_result_file_holds_the_whole_job_at_the_end_and_replaces_what_was_there() {
    let fake = Fake::start();
    fake.state.script(vec![Step::End(Ending::code(9))]);
    let file = fake.folder.path().join("result.json");
    std::fs::write(&file, "old").unwrap();
    assert_eq!(airlock(&fake, &["run", "--result", file.to_str().unwrap(), "x"]).code(), 9);
    let result = std::fs::read_to_string(&file).unwrap();
    assert!(result.contains(r#""state":"failed","exit_status":9"#) && result.ends_with("}\n"), "{result}");
    let leftovers = std::fs::read_dir(fake.folder.path()).unwrap().flatten();
    assert_eq!(leftovers.filter(|entry| entry.file_name().to_string_lossy().starts_with(".result")).count(), 0);
}

#[test]
fn a_result_file_that_cannot_be_written_starts_nothing() {
    let fake = Fake::start();
    let finished = airlock(&fake, &["run", "--result", "/nonexistent/result.json", "x"]);
    assert_eq!(finished.code(), 125);
    assert!(finished.stderr.contains("nothing was started"), "{}", finished.stderr);
    assert!(fake.state.lock().starts.is_empty());
}

#[test]
fn a_result_goes_into_files_alone_and_leaves_devices_as_they_are() {
    let fake = Fake::start();
    let finished = airlock(&fake, &["run", "--result", "/dev/null", "x"]);
    let said =
        "result '/dev/null' is not an ordinary file, which it would be replaced by; name a file, such as job.json";
    assert_eq!((finished.code(), finished.stderr), (125, format!("airlock: {said}\n")));
    assert!(fake.state.lock().starts.is_empty());
}

#[test]
fn a_job_whose_output_cannot_be_written_is_not_said_to_run_on_when_it_has_ended() {
    let fake = Fake::start();
    let into_a_full_device = || {
        let mut call = command(&fake, fake.port, &["run", "x"]);
        call.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        call.output().unwrap()
    };
    fake.state.script(vec![Step::Out(b"out".to_vec()), Step::End(Ending::code(0))]);
    let ended = into_a_full_device();
    assert_eq!(
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap().as_str()),
        (
            Some(125),
            "airlock: cannot write the output of job 00000001: no space left on device; airlock logs 00000001 has it\n"
        )
    );
    fake.state.script(vec![Step::Out(b"out".to_vec()), Step::UntilStopped { stubborn: false }]);
    let left = into_a_full_device();
    let said = String::from_utf8(left.stderr).unwrap();
    assert!(left.status.code() == Some(122) && said.contains("job 00000002 runs on\n"), "{said}");
}

#[test]
fn output_that_is_missing_turns_success_into_123_and_is_named() {
    let fake = Fake::start();
    fake.state.script(vec![
        Step::Out(b"head".to_vec()),
        Step::Gap(1 << 20),
        Step::Out(b"tail".to_vec()),
        Step::End(Ending::code(0)),
    ]);
    let finished = airlock(&fake, &["run", "x"]);
    assert_eq!((finished.code(), finished.text().as_str()), (123, "headtail"));
    assert_eq!(
        finished.stderr,
        "airlock: 1 MiB of the output are gone (offsets 4 to 1048580: output limit); the rest is complete\n"
    );
    assert_eq!(airlock(&fake, &["logs", "last"]).code(), 123);
    assert_eq!(
        airlock(&fake, &["attach", "last", "--from", "1048580"]).code(),
        0,
        "what was not asked for is not missing"
    );
}

#[test]
fn attach_begins_at_its_offset_and_ends_as_the_job() {
    let fake = Fake::start();
    fake.state.script(vec![Step::Out(b"0123456789".to_vec()), Step::Err(b"err".to_vec()), Step::End(Ending::code(5))]);
    airlock(&fake, &["start", "x"]);
    let finished = airlock(&fake, &["attach", "last", "--from", "7"]);
    assert_eq!((finished.code(), finished.text().as_str(), finished.stderr.as_str()), (5, "789", "err"));
    assert_eq!(airlock(&fake, &["attach", "last", "--from", "99"]).code(), 125);
}

#[test]
fn the_hint_about_files_appears_only_where_the_jobs_directory_was_certainly_empty() {
    const HINT: &str =
        "hint: the job ran in an empty directory of its own; send files with --stdin (airlock help files)";
    let fake = Fake::start();
    fake.state.script(vec![Step::End(Ending::code(2))]);
    let screen = |words: &[&str]| {
        let shown = spawn(on_a_terminal(&command(&fake, fake.port, words))).finish();
        assert_eq!(shown.code(), 2, "{shown:?}");
        shown.text()
    };
    let hinted = screen(&["run", "make"]);
    assert!(hinted.contains(HINT), "{hinted}");
    assert!(!airlock(&fake, &["run", "make"]).stderr.contains("hint"), "nobody looks");
    let attached = screen(&["attach", "last"]);
    assert!(attached.contains("airlock: job 00000002 on build1 has ended; this is its output"), "{attached}");
    assert!(!attached.contains("hint") && !attached.contains("Ctrl"), "{attached}");
    fake.state.script(vec![Step::End(Ending::signal(JobState::Failed, 9))]);
    let killed = spawn(on_a_terminal(&command(&fake, fake.port, &["run", "make"]))).finish().text();
    assert!(
        killed.contains("was killed by SIGKILL") && !killed.contains("hint"),
        "no file would have helped: {killed}"
    );
    fake.state.script(vec![Step::End(Ending::code(2))]);
    fake.state.lock().standard_cwd = vec!["/srv/src".into()];
    assert!(!screen(&["run", "make"]).contains("hint"), "/srv/src may be the default");
    fake.state.lock().no_fresh_cwd = true;
    assert!(!screen(&["run", "make"]).contains("hint"), "/srv/src is the default");
}
