use ipc_protocol::{InputDigest, Limit, Limits};

use super::*;
use crate::executor::fake::profiles;

/// Makes a request wrong.
type Wrong = fn(&mut StartAsk);

fn refusal(change: impl FnOnce(&mut StartAsk)) -> (String, String) {
    let mut wrong = ask("r1");
    change(&mut wrong);
    match StartSpec::check(wrong, &profiles()) {
        Err(JobsError::Invalid { field, message }) => (field, message),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn what_is_wrong_with_a_request_is_said_with_the_field_the_value_and_what_to_do() {
    let table: [(Wrong, &str, &str); 15] = [
        (|a| a.request_id = "a b".into(), "request_id", "request id 'a b' is not 1 to 64 letters, digits and dashes"),
        (|a| a.name = "last".into(), "name", "name 'last' looks like a job id or means the newest job; choose another"),
        (|a| a.name = "beef".into(), "name", "name 'beef' looks like a job id or means the newest job; choose another"),
        (|a| a.name = "a/b".into(), "name", "name 'a/b' is not 1 to 64 letters, digits, dashes, underscores and dots"),
        (|a| a.command.clear(), "command", "there is no command; write one after --"),
        (
            |a| a.command = vec![b"a".to_vec(), b"b\0c".to_vec()],
            "command",
            "word 2 of the command has a NUL byte in it, which no program can be given",
        ),
        (
            |a| a.command.push(vec![b'x'; 200 * 1024]),
            "command",
            "arguments and environment are 204806 bytes, above the most, 128K; send large data as input",
        ),
        (
            |a| a.env = vec![("1X".into(), vec![])],
            "env",
            "'1X' is not a name for an environment variable (letters, digits, underscores)",
        ),
        (
            |a| a.env = vec![("A".into(), b"x\0".to_vec())],
            "env",
            "the value of environment variable A has a NUL byte in it",
        ),
        (|a| a.cwd = "srv".into(), "cwd", "working directory 'srv' is not an absolute path"),
        (|a| a.cwd = "/etc".into(), "cwd", "working directory '/etc' is not allowed in profile standard: /srv/src"),
        (|a| a.profile = "nope".into(), "profile", "profile 'nope' is not among yours: standard, deploy-web"),
        (
            |a| a.limits = Limits::default().with(Limit::Memory, 32 << 30),
            "limits.memory_bytes",
            "memory 32G is above the most that profile standard allows, 16G; airlock whoami shows all limits",
        ),
        (
            |a| a.limits = Limits::default().with(Limit::IoRead, 1 << 63),
            "limits.io_read_bytes",
            "io-read 8388608T is more than any host has",
        ),
        (
            |a| a.profile = "deploy-web".into(),
            "command",
            "profile deploy-web runs exactly '/usr/local/bin/deploy-web' and takes no words of its own; leave the command out",
        ),
    ];
    for (change, field, message) in table {
        assert_eq!(refusal(change), (field.to_owned(), message.to_owned()));
    }
}

#[test]
fn the_fingerprint_knows_every_parameter_but_the_values_of_variables() {
    let base = ask("r1").fingerprint(None);
    let other = |change: Wrong| {
        let mut changed = ask("r1");
        change(&mut changed);
        changed.fingerprint(None)
    };
    let changes: [Wrong; 9] = [
        |a| a.command.push(b"x".to_vec()),
        |a| a.command = vec![b"tr".to_vec(), b"ue".to_vec()],
        |a| a.name = "n".into(),
        |a| a.profile = "offline".into(),
        |a| a.env = vec![("A".into(), b"1".to_vec())],
        |a| a.cwd = "/srv/src".into(),
        |a| a.limits.set(Limit::Pids, Some(5)),
        |a| a.merge = true,
        |a| a.output_limit = Some(1),
    ];
    for change in changes {
        assert_ne!(other(change), base);
    }
    let with_value = |value: &[u8]| StartAsk { env: vec![("A".into(), value.to_vec())], ..ask("r1") }.fingerprint(None);
    assert_eq!(with_value(b"1"), with_value(b"2"));
    let input = InputDigest { bytes: 1, sha256: [1; 32] };
    assert_ne!(ask("r1").fingerprint(Some(&input)), base);
}

#[test]
fn what_is_refused_comes_back_no_longer_than_it_can_be_read_and_without_control_characters() {
    let long = "\x1b[31m".to_owned() + &"x".repeat(100_000);
    let changes: [fn(&mut StartAsk, String); 6] = [
        |a, long| a.request_id = long,
        |a, long| a.name = long,
        |a, long| a.cwd = long,
        |a, long| a.cwd = format!("/{long}"),
        |a, long| a.profile = long,
        |a, long| a.env = vec![(long, Vec::new())],
    ];
    for change in changes {
        let (field, message) = refusal(|ask| change(ask, long.clone()));
        assert!(
            message.chars().count() < 300 && message.contains("\\u{1b}[31mxxx") && message.contains('…'),
            "{message}"
        );
        assert!(!message.contains('\x1b') && field.len() < 20, "{message}");
    }
    let with_names: [fn(&mut StartAsk, String); 2] = [
        |a, name| a.env = vec![(name.clone(), Vec::new()), (name, Vec::new())],
        |a, name| a.env = vec![(name, vec![0])],
    ];
    for change in with_names {
        let (_, message) = refusal(|ask| change(ask, "X".repeat(50_000)));
        assert!(message.chars().count() < 300 && message.contains("XXX…"), "{message}");
    }
}

#[test]
fn a_job_input_or_program_of_a_long_name_is_refused_with_a_short_sentence() {
    let rig = Rig::new();
    let long = "ü\n".repeat(50_000);
    let jobs = rig.jobs();
    let not_found = rig.run(jobs.get(&alice(), &long)).unwrap_err();
    let no_input = rig.start(&alice(), StartAsk { input_id: long.clone(), ..ask("r1") }).unwrap_err();
    let from_executor = JobsError::refused(ipc_protocol::Refusal::Invalid, "env", &"X".repeat(50_000));
    for error in [not_found, no_input, from_executor] {
        let sentence = error.to_string();
        assert!(sentence.chars().count() < 1100 && sentence.contains('…') && !sentence.contains('\n'), "{sentence}");
    }
    rig.fake.world().script.push_back(crate::executor::fake::OnSpawn::NotStarted(ipc_protocol::Step::Exec, 2));
    let program = StartAsk { command: vec![b"p\x1b".repeat(30_000)], ..ask("r2") };
    let job = rig.start(&alice(), program).unwrap().job.id;
    let view = rig.until("the end", || Some(rig.status(job)).filter(|view| !view.job.state.is_live()));
    let Some(crate::store::HowEnded::NotStarted { message, .. }) = view.job.end else { panic!("{:?}", view.job.end) };
    assert!(message.starts_with("no program 'p\\u{1b}p") && message.chars().count() < 300, "{message}");
}
