//! Bad input: one clear sentence, the right code and exit status, and no harm to any other job.

use airlock_e2e::{Airlock, Stack};

/// The same request in text, where it must be one sentence with these words, and in JSON, where it must carry this code.
#[track_caller]
fn refused(ask: impl Fn() -> Airlock, code: &str, words: &[&str]) {
    let text = ask().run().says(125, words);
    assert!(text.err().starts_with("airlock: "), "{text}");
    let json = ask().env("AIRLOCK_FORMAT", "json").run().ends_with(125);
    let error: serde_json::Value =
        serde_json::from_str(&json.err()).unwrap_or_else(|_| panic!("not one line of JSON\n{json}"));
    assert_eq!(error["error"]["code"], code, "{json}");
    assert!(error["error"]["message"].is_string(), "{json}");
}

#[test]
fn an_unknown_profile_is_answered_with_those_there_are() {
    let stack = Stack::shared();
    let ask = || stack.airlock("alice").args(["run", "--profile", "nope", "--", "true"]);
    refused(ask, "INVALID_ARGUMENT", &["profile 'nope'", "standard, offline"]);
    for odd in ["../standard", "standard/..", "", "x\u{1b}[31m"] {
        let run = stack.airlock("alice").args(["run", "--profile", odd, "--", "true"]).run();
        assert!(odd.is_empty() || run.code() == Some(125), "{run}");
        assert!(!run.stderr().contains(&0x1b), "{run}");
    }
}

#[test]
fn a_size_that_is_none_is_answered_with_an_example() {
    let stack = Stack::shared();
    let ask = || stack.airlock("alice").args(["run", "--memory", "lots", "--", "true"]);
    refused(ask, "INVALID_ARGUMENT", &["memory 'lots' is not a size", "512M"]);
    let json = ask().args([""; 0]).env("AIRLOCK_FORMAT", "json").run();
    let error: serde_json::Value = serde_json::from_str(&json.err()).expect("JSON");
    assert_eq!(error["error"]["field"], "limits.memory", "{json}");
    assert!(error["error"]["hint"].as_str().is_some_and(|hint| hint.contains("512M")), "{json}");
}

#[test]
fn a_limit_above_the_ceiling_is_refused() {
    let stack = Stack::shared();
    let ask = || stack.airlock("alice").args(["run", "--memory", "800G", "--", "true"]);
    refused(ask, "INVALID_ARGUMENT", &["memory 800G is above the most that profile standard allows", "airlock whoami"]);
}

#[test]
fn a_limit_that_lets_nothing_run_is_refused_in_the_units_that_people_write() {
    let stack = Stack::shared();
    for (option, value, words) in [
        ("--cpu", "0.001", ["cpu 0.001 is below the least", "0.01"]),
        ("--memory", "1.5K", ["memory 1.5K is below the least", "1M"]),
        ("--output-limit", "0", ["output limit 0 is below the least", "4K"]),
    ] {
        let ask = || stack.airlock("alice").args(["run", option, value, "--", "true"]);
        refused(ask, "INVALID_ARGUMENT", &words);
    }
}

#[test]
fn an_empty_command_is_refused() {
    let stack = Stack::shared();
    let nothing = stack.airlock("alice").args(["run", "--"]).run();
    assert_eq!((nothing.code(), nothing.stdout().len()), (Some(125), 0), "{nothing}");
    refused(|| stack.airlock("alice").args(["run", "--", ""]), "INVALID_ARGUMENT", &["command"]);
}

#[test]
fn a_nul_byte_cannot_even_be_typed_and_is_refused_in_an_environment_file() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("env");
    std::fs::write(&file, b"NAME=before\0after\n").expect("a file");
    refused(
        || stack.airlock("alice").args(["run", "--env-file"]).arg(&file).args(["--", "true"]),
        "INVALID_ARGUMENT",
        &["NAME", "NUL"],
    );
}

#[test]
fn two_hundred_kibibytes_of_arguments_are_refused_and_one_hundred_are_not() {
    let stack = Stack::shared();
    let words = |count: usize| std::iter::repeat_n("x".repeat(1023), count);
    refused(|| stack.airlock("alice").args(["run", "--", "echo"]).args(words(200)), "INVALID_ARGUMENT", &["128K"]);
    let run = stack.airlock("alice").args(["run", "--", "sh", "-c", "echo $#", "sh"]).args(words(100)).run();
    assert_eq!(run.ends_with(0).out(), "100");
}

#[test]
fn an_unknown_job_is_not_found_in_every_verb() {
    let stack = Stack::shared();
    let unknown = "11111111-2222-4333-8444-555555555555";
    for verb in ["status", "logs", "attach", "wait", "stop", "delete", "archive"] {
        refused(|| stack.airlock("alice").args([verb, unknown]), "NOT_FOUND", &["no job", unknown]);
    }
    refused(|| stack.airlock("alice").args(["signal", unknown, "HUP"]), "NOT_FOUND", &["no job", unknown]);
    for odd in ["../../etc/passwd", "%00", "' or 1=1 --", "*"] {
        let run = stack.airlock("alice").args(["status", "--", odd]).run();
        assert_eq!(run.code(), Some(125), "{run}");
    }
}

#[test]
fn names_that_could_be_ids_or_are_too_long_are_refused() {
    let stack = Stack::shared();
    let long = "n".repeat(65);
    for name in ["last", "abcdef01", "with space", "a/b", long.as_str()] {
        refused(|| stack.airlock("alice").args(["run", "--name", name, "--", "true"]), "INVALID_ARGUMENT", &["name"]);
    }
    stack.airlock("alice").args(["run", "--name", "A-good_name.2", "--", "true"]).run().ends_with(0);
}

#[test]
fn signals_that_do_not_exist_are_refused() {
    let stack = Stack::shared();
    let job = stack.job_sh("sleep 1000");
    for signal in ["NOPE", "0", "65", "-1"] {
        let run = stack.airlock("alice").args(["signal", job.id(), "--", signal]).run();
        assert_eq!(run.code(), Some(125), "{run}");
    }
    assert_eq!(job.state(), "running");
    job.kill();
}

#[test]
fn a_server_that_is_not_there_or_does_not_speak_tls_is_one_sentence() {
    let stack = Stack::shared();
    let unknown = stack.airlock("alice").env("AIRLOCK_SERVER", "no-such-host.invalid:7443").arg("whoami").run();
    unknown.says(125, &["no-such-host.invalid"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let greeter = std::thread::spawn(move || {
        use std::io::Write;
        while let Ok((mut stream, _)) = listener.accept() {
            drop(stream.write_all(b"220 not what you expect\r\n"));
        }
    });
    let wrong = stack.airlock("alice").env("AIRLOCK_SERVER", format!("localhost:{port}")).arg("whoami").run();
    wrong.says(125, &[&format!("localhost:{port}")]);
    drop(greeter);
    stack.airlock("alice").env("AIRLOCK_SERVER", "localhost:port").arg("whoami").run().says(125, &["localhost:port"]);
}

#[test]
fn a_refused_request_harms_no_running_job() {
    let stack = Stack::shared();
    let job = stack.job_sh("trap 'exit 6' USR1; echo ready; while :; do sleep 0.1; done");
    job.has_said("ready");
    for words in [
        vec!["run", "--memory", "lots", "--", "true"],
        vec!["run", "--profile", "nope", "--", "true"],
        vec!["run", "--name", "last", "--", "true"],
        vec!["run", "--", "nope"],
    ] {
        assert!(stack.airlock("alice").args(words).run().code() >= Some(125));
    }
    job.airlock("signal").args([job.id(), "USR1"]).run().ends_with(0);
    assert_eq!(job.end()["exit_status"], 6);
}

#[test]
fn every_refusal_carries_a_request_id_that_the_frontends_log_knows() {
    let stack = Stack::shared();
    let run = stack
        .airlock("rita")
        .args(["run", "--request-id", "find-me-in-the-log", "--format", "json", "--", "true"])
        .run();
    assert!(run.err().contains("\"request_id\":\"find-me-in-the-log\""), "{run}");
    airlock_e2e::wait_until("the log line", airlock_e2e::scale::seconds(10), || {
        stack.log("frontend").contains("find-me-in-the-log").then_some(())
    });
}
