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
