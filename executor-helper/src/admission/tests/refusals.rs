//! Every reason to refuse, with the class that becomes a gRPC code and the field that people are shown.

use ipc_protocol::{ARGUMENT_BYTES_MAX, Claimed, InputDigest, Limit, Limits, Refusal, Spawn};

use super::{EPOCH, POOL_UID, config, plan, refusal, spawn};
use crate::admission::{Refused, admit};

#[track_caller]
fn refused(spawn: &Spawn, class: Refusal, field: &str, says: &str) {
    let Refused { refusal, field: at, message } = refusal(spawn);
    assert_eq!((refusal, at.as_str()), (class, field), "{message}");
    assert!(message.contains(says), "expected '{says}' in: {message}");
}

fn standard(change: impl FnOnce(&mut Spawn)) -> Spawn {
    let mut asked = spawn("standard", &["true"]);
    change(&mut asked);
    asked
}

#[test]
fn an_unknown_profile_is_refused_as_such() {
    for name in ["nope", "", "Standard", "standard/", "../standard", "standard\0"] {
        let asked = standard(|s| s.profile = name.into());
        refused(&asked, Refusal::Profile, "profile", "there is no profile '");
    }
    let asked = standard(|s| s.profile = "a\x1b[31m\n".into());
    assert_eq!(refusal(&asked).message, "there is no profile 'a\u{fffd}[31m\u{fffd}' on this host");
}

#[test]
fn a_command_is_needed_where_the_profile_has_none() {
    refused(&spawn("standard", &[]), Refusal::Invalid, "command", "the command is empty");
    refused(&spawn("standard", &["", "x"]), Refusal::Invalid, "command", "the command is empty");
}

#[test]
fn a_fixed_command_takes_no_words() {
    let says = "profile deploy-web runs a fixed command and takes no words";
    refused(&spawn("deploy-web", &["sh"]), Refusal::Invalid, "command", says);
    refused(&spawn("deploy-web", &["/usr/local/bin/deploy-web", "--now"]), Refusal::Invalid, "command", says);
    refused(&spawn("deploy-web", &[""]), Refusal::Invalid, "command", says);
}

#[test]
fn an_argument_with_a_nul_byte_is_refused() {
    refused(&spawn("standard", &["sh", "a\0b"]), Refusal::Invalid, "command", "an argument has a NUL byte");
    refused(&spawn("standard", &["/bin/sh\0"]), Refusal::Invalid, "command", "an argument has a NUL byte");
}

#[test]
fn arguments_and_environment_have_one_bound_together() {
    let fits = standard(|s| s.argv = vec![vec![b'x'; ARGUMENT_BYTES_MAX - 1]]);
    plan(&fits);
    let one_more = standard(|s| s.argv = vec![vec![b'x'; ARGUMENT_BYTES_MAX]]);
    refused(&one_more, Refusal::Invalid, "command", "131073 bytes of arguments and environment are above 131072");
    let shared = standard(|s| {
        s.argv = vec![vec![b'x'; ARGUMENT_BYTES_MAX - 6]];
        s.env = vec![("CI".into(), b"12".to_vec())];
    });
    refused(&shared, Refusal::Invalid, "command", "send data with --stdin");
    let many = standard(|s| s.argv = vec![Vec::new(); ARGUMENT_BYTES_MAX + 1]);
    refused(&many, Refusal::Invalid, "command", "above 131072");
}

fn limited(limit: Limit, value: u64) -> Spawn {
    standard(|s| s.limits = Limits::default().with(limit, value))
}

#[test]
fn limits_above_the_maximum_are_refused_by_name_with_both_numbers() {
    for (limit, value, field, says) in [
        (
            Limit::Memory,
            34_359_738_368,
            "limits.memory",
            "memory 34359738368 is above the most that profile standard allows, 17179869185",
        ),
        (Limit::Cpu, 8001, "limits.cpu", "cpu 8001 is above"),
        (Limit::CpuWeight, 10_001, "limits.cpu_weight", "cpu_weight 10001 is above"),
        (Limit::Swap, 1, "limits.swap", "swap 1 is above the most that profile standard allows, 0"),
        (Limit::Pids, 4097, "limits.pids", "pids 4097 is above"),
        (Limit::IoWrite, (100 << 20) + 1, "limits.io_write", "io_write 104857601 is above"),
        (Limit::Timeout, 604_800_001, "limits.timeout", "timeout 604800001 is above"),
        (Limit::Memory, u64::MAX, "limits.memory", "above"),
    ] {
        refused(&limited(limit, value), Refusal::Invalid, field, says);
    }
}

#[test]
fn limits_that_let_nothing_run_are_refused() {
    for (limit, value, field) in [
        (Limit::Memory, 1024 * 1024 - 1, "limits.memory"),
        (Limit::Memory, 0, "limits.memory"),
        (Limit::Cpu, 9, "limits.cpu"),
        (Limit::CpuWeight, 0, "limits.cpu_weight"),
        (Limit::Pids, 0, "limits.pids"),
        (Limit::IoRead, 0, "limits.io_read"),
        (Limit::IoReadOps, 0, "limits.io_read_ops"),
        (Limit::IoWriteOps, 0, "limits.io_write_ops"),
        (Limit::Timeout, 0, "limits.timeout"),
    ] {
        refused(&limited(limit, value), Refusal::Invalid, field, "is below the least that");
    }
}

#[test]
fn input_above_the_profiles_bound_is_refused() {
    let input = |bytes| Some(InputDigest { bytes, sha256: [0; 32] });
    plan(&standard(|s| s.input = input(256 << 20)));
    let more = standard(|s| s.input = input((256 << 20) + 1));
    refused(&more, Refusal::Invalid, "input_id", "are above the most that profile standard allows, 268435456");
    let none = Spawn { input: input(1), ..spawn("open", &["true"]) };
    refused(&none, Refusal::Invalid, "input_id", "allows, 0");
}

#[test]
fn a_directory_is_one_of_the_profiles_or_none() {
    for dir in [
        "/srv", "/srv/src/", "/srv/src/..", "/srv/src/../../etc", "/srv//src", "srv/src", "/", "", "~", "/srv/src\0",
        "fresh", "fresh/..",
    ] {
        let asked = standard(|s| s.cwd = Some(dir.into()));
        refused(&asked, Refusal::Invalid, "cwd", "is not among those of profile standard: fresh, /srv/src");
    }
    let asked = Spawn { cwd: Some("/srv/src".into()), ..spawn("open", &["true"]) };
    refused(&asked, Refusal::Invalid, "cwd", "is not among those of profile open");
}

#[test]
fn names_that_a_request_may_not_set_are_refused() {
    let env = |name: &str| standard(|s| s.env = vec![(name.to_owned(), b"x".to_vec())]);
    for name in ["PATH", "ci", "FOO", "", "CI=", "CI\0", "A=B", "LD_PRELOAD", "AIRLOCK_JOB_ID"] {
        refused(&env(name), Refusal::Invalid, "env", "may not be set in profile standard");
    }
    assert_eq!(
        refusal(&env("LD_PRELOAD")).message,
        "environment variable LD_PRELOAD may not be set in profile standard"
    );
    for name in ["CI", "CI_X", "LANG", "HOME"] {
        plan(&env(name));
    }
}

#[test]
fn names_that_change_what_a_program_loads_are_refused_even_where_every_name_is_allowed() {
    for name in [
        "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_", "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES",
        "LOCALDOMAIN", "LOCPATH", "MALLOC_CHECK_", "NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TZDIR",
        "AIRLOCK_JOB_ID",
    ] {
        let asked = Spawn { env: vec![(name.into(), b"x".to_vec())], ..spawn("open", &["true"]) };
        refused(
            &asked,
            Refusal::Invalid,
            "env",
            &format!("environment variable {name} may not be set in profile open"),
        );
    }
    for name in ["LDX", "MALLOCX", "TZ", "ld_preload"] {
        plan(&Spawn { env: vec![(name.into(), b"x".to_vec())], ..spawn("open", &["true"]) });
    }
}

#[test]
fn a_value_with_a_nul_byte_is_refused() {
    let asked = standard(|s| s.env = vec![("CI".into(), b"a\0b".to_vec())]);
    refused(&asked, Refusal::Invalid, "env", "the value of environment variable CI has a NUL byte");
}

#[test]
fn names_of_whoever_asks_are_bounded() {
    let long = || "x".repeat(257);
    for claimed in [
        Claimed { owner: long(), ..Claimed::default() },
        Claimed { serial: long(), ..Claimed::default() },
        Claimed { peer: long(), ..Claimed::default() },
        Claimed { request: long(), ..Claimed::default() },
    ] {
        refused(&standard(|s| s.claimed = claimed), Refusal::Invalid, "claimed", "a name is longer than 256 bytes");
    }
    refused(&standard(|s| s.profile = long()), Refusal::Invalid, "claimed", "a name is longer than 256 bytes");
    plan(&standard(|s| s.claimed.owner = "x".repeat(256)));
}

// The pool never gives these; admission does not rely on it.
#[test]
fn ids_that_never_run_a_job_are_refused_wherever_they_come_from() {
    for uid in [0, 900, u32::MAX] {
        let refused = admit(&spawn("standard", &["true"]), config(), uid, EPOCH).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Host);
        assert!(refused.message.contains("can never run a job"), "{}", refused.message);
    }
    admit(&spawn("standard", &["true"]), config(), POOL_UID, EPOCH).unwrap();
}
