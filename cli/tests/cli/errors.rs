//! Errors in text and JSON, and the grammar's refusals.

use crate::{
    fake::Fake,
    harness::{airlock, airlock_with_input, command},
};
use tonic_types::{ErrorDetails, StatusExt};

fn refusal() -> tonic::Status {
    let mut details = ErrorDetails::new();
    details
        .set_error_info(
            "LIMIT_ABOVE_MAXIMUM",
            "airlock",
            [("limit", "memory")].map(|(a, b)| (a.to_owned(), b.to_owned())),
        )
        .add_bad_request_violation("limits.memory", "airlock whoami shows all limits")
        .set_request_info("0c5e-17", "");
    let message = "memory 32G is above the most that profile standard allows, 16G; airlock whoami shows all limits";
    tonic::Status::with_error_details(tonic::Code::InvalidArgument, message, details)
}

#[test]
fn a_refusal_is_the_servers_sentence_once() {
    let fake = Fake::start();
    fake.state.lock().refuse_start = Some(refusal());
    let finished = airlock(&fake, &["run", "-m", "32G", "x"]);
    assert_eq!(finished.code(), 125);
    assert_eq!(
        finished.stderr,
        "airlock: memory 32G is above the most that profile standard allows, 16G; airlock whoami shows all limits\n"
    );
}

#[test]
fn a_refusal_in_json_is_one_line_with_field_hint_and_request_id() {
    let fake = Fake::start();
    fake.state.lock().refuse_start = Some(refusal());
    let finished = airlock(&fake, &["--format", "json", "run", "-m", "32G", "x"]);
    assert_eq!(
        finished.stderr,
        concat!(
            r#"{"error":{"code":"INVALID_ARGUMENT","field":"limits.memory","#,
            r#""message":"memory 32G is above the most that profile standard allows, 16G","#,
            r#""hint":"airlock whoami shows all limits","request_id":"0c5e-17"}}"#,
            "\n"
        )
    );
}

#[test]
fn the_request_id_is_shown_to_those_who_ask_for_more() {
    let fake = Fake::start();
    fake.state.lock().refuse_start = Some(refusal());
    assert!(airlock(&fake, &["-v", "run", "x"]).stderr.contains("request 0c5e-17"));
}

#[test]
fn a_servers_words_cannot_steer_the_terminal() {
    let fake = Fake::start();
    fake.state.lock().refuse_start = Some(tonic::Status::not_found("evil \x1b[2J"));
    assert_eq!(airlock(&fake, &["run", "x"]).stderr, "airlock: evil \\x1b[2J\n");
}

#[test]
fn wrong_usage_is_one_sentence_and_status_125() {
    let fake = Fake::start();
    for words in [
        &["run", "--memroy", "1G", "x"][..],
        &["run", "-i", "x"],
        &["run", "--memory", "lots", "x"],
        &["nonsense"],
        &[],
        &["status"],
        &["signal", "last", "NOSUCH"],
        &["list", "--state", "happy"],
        &["logs", "x", "--since", "yesterday-ish"],
        &["-c", "nope", "list"],
        &["--server", "a b", "list"],
    ] {
        let finished = airlock(&fake, words);
        assert_eq!(finished.code(), 125, "{words:?}: {}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1, "{words:?}: {}", finished.stderr);
        assert!(
            finished.stderr.starts_with("airlock: ") && finished.stdout.is_empty(),
            "{words:?}: {}",
            finished.stderr
        );
    }
    let json = airlock(&fake, &["--format", "json", "run", "--memory", "lots", "x"]).stderr;
    assert!(json.starts_with(r#"{"error":{"code":"INVALID_ARGUMENT","field":"limits.memory""#), "{json}");
    assert!(airlock(&fake, &["list", "--format", "json", "--nope"]).stderr.starts_with(r#"{"error":"#));
    assert!(fake.state.lock().starts.is_empty());
}

#[test]
fn what_selects_among_all_jobs_is_never_dropped_silently_beside_a_named_one() {
    let fake = Fake::start();
    for (words, said) in [
        (
            &["delete", "--older-than", "1d", "last"][..],
            "--older-than and JOB exclude each other; leave one of them out",
        ),
        (&["delete", "--state", "failed", "last"], "--state and JOB exclude each other; leave one of them out"),
        (&["delete", "--ended", "last"], "--ended and JOB exclude each other; leave one of them out"),
        (
            &["delete", "--older-than", "1d"],
            "no job is named; write an id, the beginning of one, a name or last; or --ended for all that have ended, with \
             --older-than and --state",
        ),
        (
            &["delete", "--ended", "--state", "running"],
            "a job that is running has not ended; stop it first: airlock stop",
        ),
        (&["stop", "--owner", "bob", "last"], "--owner and JOB exclude each other; leave one of them out"),
        (&["stop", "--owner", "bob"], "--owner says whose jobs --all means; write airlock stop --all --owner NAME"),
        (&["stop"], "no job is named; write an id, the beginning of one, a name or last; or --all for all of yours"),
        (
            &["wait"],
            "no job is named; write an id, the beginning of one, a name or last; or --any for the first of your live ones",
        ),
        (&["list", "-n", "0"], "-n 0 would list nothing; leave it out for all, or use 1 or more"),
    ] {
        let finished = airlock(&fake, words);
        assert_eq!((finished.code(), finished.stderr), (125, format!("airlock: {said}\n")), "{words:?}");
    }
}

#[test]
fn a_configuration_that_was_named_must_be_there() {
    let fake = Fake::start();
    let finished = airlock(&fake, &["--config", "/nowhere/config.toml", "list"]);
    let said = "there is no configuration file /nowhere/config.toml; airlock --config /nowhere/config.toml context add NAME \
                --server HOST makes it";
    assert_eq!((finished.code(), finished.stderr), (125, format!("airlock: {said}\n")));
}

#[test]
fn help_and_version_are_data_and_no_error() {
    let fake = Fake::start();
    for words in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let finished = airlock(&fake, words);
        assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""), "{words:?}");
        assert!(!finished.stdout.is_empty());
    }
}

#[test]
fn no_answer_is_lost_in_silence_when_nothing_takes_it() {
    let fake = Fake::start();
    for words in [&["--help"][..], &["--version"], &["help", "files"], &["completions", "bash"], &["list"]] {
        let mut call = command(&fake, fake.port, words);
        call.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        let ended = call.output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        let whole = "airlock: cannot write to standard output: no space left on device\n";
        assert_eq!((ended.status.code(), said.as_str()), (Some(125), whole), "{words:?}");
    }
}

#[test]
fn no_note_about_unsent_input_without_a_terminal() {
    let fake = Fake::start();
    fake.state.script(vec![crate::fake::Step::End(crate::fake::Ending::code(0))]);
    assert_eq!(airlock_with_input(&fake, &["run", "x"], b"data").stderr, "");
}
