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
    let table: [(Wrong, &str, &str); 22] = [
        (
            |a| a.request_id = "a b".into(),
            "request_id",
            "request id 'a b' is not 1 to 64 letters, digits and dashes; a random UUID is fine",
        ),
        (|a| a.name = "last".into(), "name", "name 'last' looks like a job id or means the newest job; choose another"),
        (|a| a.name = "beef".into(), "name", "name 'beef' looks like a job id or means the newest job; choose another"),
        (
            |a| a.name = "a/b".into(),
            "name",
            "name 'a/b' is not 1 to 64 letters, digits, dashes, underscores and dots; choose another",
        ),
        (|a| a.command.clear(), "command", "there is no command; write one after --"),
        (
            |a| a.command = vec![b"a".to_vec(), b"b\0c".to_vec()],
            "command",
            "word 2 of the command has a NUL byte in it, which no program can be given; send such data as input",
        ),
        (
            |a| a.command.push(vec![b'x'; 200 * 1024]),
            "command",
            "arguments and environment are 204806 bytes, above the most, 128K; send large data as input",
        ),
        (
            |a| a.env = vec![("1X".into(), vec![])],
            "env",
            "'1X' is not a name for an environment variable; use letters, digits and underscores, no digit first",
        ),
        (
            |a| a.env = vec![("A".into(), b"x\0".to_vec())],
            "env",
            "the value of environment variable A has a NUL byte in it; send such data as input",
        ),
        (
            |a| a.cwd = "srv".into(),
            "cwd",
            "working directory 'srv' is not an absolute path; write one from /, or leave it out for the profile's default",
        ),
        (
            |a| a.cwd = "/etc".into(),
            "cwd",
            "working directory '/etc' is not allowed in profile standard; name one of /srv/src, or leave it out for the \
             profile's default",
        ),
        (
            |a| a.cwd = "fresh".into(),
            "cwd",
            "working directory 'fresh' cannot be named in profile standard, which has others; name one of them, /srv/src, \
             or leave it out for the profile's default",
        ),
        (|a| a.profile = "nope".into(), "profile", "profile 'nope' is not among yours: standard, deploy-web"),
        (
            |a| a.limits = Limits::default().with(Limit::Memory, 32 << 30),
            "limits.memory_bytes",
            "memory 32G is above the most that profile standard allows, 16G; airlock whoami shows all limits",
        ),
        (
            |a| a.limits = Limits::default().with(Limit::IoRead, 1 << 63),
            "limits.io_read_bytes",
            "io-read 8388608T is more than any host has; leave it out for the default",
        ),
        (
            |a| a.limits = Limits::default().with(Limit::Cpu, 1),
            "limits.cpu_cores",
            "cpu 0.001 is below the least that a job runs with, 0.01; leave it out for the default",
        ),
        (
            |a| a.limits = Limits::default().with(Limit::Memory, 1536),
            "limits.memory_bytes",
            "memory 1.5K is below the least that a job runs with, 1M; leave it out for the default",
        ),
        (
            |a| a.limits = Limits::default().with(Limit::CpuWeight, 10_001),
            "limits.cpu_weight",
            "cpu weight 10001 is not between 1 and 10000; leave it out for the default",
        ),
        (
            |a| a.command = vec![Vec::new()],
            "command",
            "the command's first word is empty; write the program's name or path there",
        ),
        (
            |a| a.output_limit = Some(0),
            "output_limit_bytes",
            "output limit 0 is below the least that a log keeps, 4K; leave it out for the default",
        ),
        (
            |a| a.output_limit = Some(4095),
            "output_limit_bytes",
            "output limit 4095 is below the least that a log keeps, 4K; leave it out for the default",
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
fn the_least_of_each_limit_is_admitted() {
    let limits = Limits::default().with(Limit::Cpu, 10).with(Limit::Memory, 1 << 20);
    StartSpec::check(StartAsk { limits, output_limit: Some(4096), ..ask("r1") }, &profiles()).unwrap();
}

#[test]
fn a_fresh_directory_may_be_named_where_there_is_no_other_and_is_what_the_executor_gives_unasked() {
    let mut alone = profiles();
    alone[0].cwd.clear();
    let named = |cwd: &str| StartSpec::check(StartAsk { cwd: cwd.into(), ..ask("r1") }, &alone);
    assert_eq!(named("fresh").unwrap().ask().cwd, "");
    let refused = named("/srv/src").unwrap_err().to_string();
    assert_eq!(
        refused,
        "working directory '/srv/src' is not allowed in profile standard, which has fresh directories alone; leave it out"
    );
    alone[0].fresh_cwd = false;
    alone[0].cwd = vec!["/srv/www".into()];
    let refused = StartSpec::check(StartAsk { cwd: "fresh".into(), ..ask("r1") }, &alone).unwrap_err().to_string();
    assert!(refused.starts_with("working directory 'fresh' is not allowed in profile standard; name one of /srv/www"));
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
        let (_, message) = refusal(|ask| change(ask, "N".repeat(50_000)));
        assert!(message.chars().count() < 300 && message.contains("NNN…"), "{message}");
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
