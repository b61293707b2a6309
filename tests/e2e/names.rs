//! Users of the pool have names where the module for the C library is installed, and the host is told where they have none.

use std::fs;
use std::path::PathBuf;

use airlock_e2e::{Outcome, Stack, StackOptions, Tool, binaries, deploy_local_script, for_deploy_local, skip};

/// A stack whose processes see the module as the package installs it. It lies in a copy of the host's files that only they have.
fn with_names() -> Option<Stack> {
    let module = binaries().join("libnss_airlock.so");
    if !module.exists() {
        skip(&format!("{} is not there", module.display()));
        return None;
    }
    let stack = StackOptions::new().prepare();
    let layers = stack.path("layers");
    let script = r#"mkdir "$1" && mount -t tmpfs layers "$1" && mkdir "$1/upper" "$1/work"
        mount -t overlay -o "lowerdir=/usr/lib,upperdir=$1/upper,workdir=$1/work" layers /usr/lib
        install -m 0644 "$2" /usr/lib/libnss_airlock.so.2
        sed -E 's/^(passwd|group):.*/& airlock/' /etc/nsswitch.conf > "$1/nsswitch.conf"
        mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
        exec "$3" up --dir "$4""#;
    let words: [PathBuf; 5] = ["names".into(), layers, module, deploy_local_script(), stack.path("")];
    let alone = Tool::new("unshare").args(["--mount", "--propagation", "private", "sh", "-ec", script]).args(words);
    for_deploy_local(alone).run().ends_with(0);
    Some(stack)
}

/// `--check` among the files that the executor of this stack sees.
fn check(stack: &Stack) -> Outcome {
    let executor = stack.pid("executor").to_string();
    let asked = Tool::new("nsenter").args(["--mount", "--target", &executor]).arg(stack.path("bin/airlock-executor"));
    asked.args(["--check", "--config"]).arg(stack.path("executor.toml")).run().ends_with(0)
}

#[test]
fn a_job_has_the_name_that_its_environment_says_and_programs_find_it() {
    let Some(stack) = with_names() else { return };
    let names = stack.run_sh("id -un; id -gn; whoami; echo airlock-$(id -u); echo $USER").ends_with(0).out();
    let names: Vec<&str> = names.lines().collect();
    assert!(names.len() == 5 && names.iter().all(|name| *name == names[0]), "{names:?}");
    // What ends without a name, where this host has it; of a job's own, since ssh looks for a home.
    for (program, script) in [
        ("ssh", "ssh -F none -G localhost > /dev/null"),
        ("git", "EMAIL=a@example.org git var GIT_AUTHOR_IDENT"),
        ("python3", "python3 -c 'import os, pwd; assert pwd.getpwuid(os.getuid()).pw_name == os.environ[\"USER\"]'"),
        ("node", "node -e 'if (os.userInfo().username !== process.env.USER) process.exit(1)'"),
        ("perl", "perl -e 'exit(getpwuid($<) ne $ENV{USER})'"),
    ] {
        stack.run_sh(&format!("if command -v {program} > /dev/null; then {script}; fi")).ends_with(0);
    }
    assert!(!check(&stack).out().contains("have no names"), "there are names");
}

#[test]
fn a_pool_whose_users_have_no_names_is_named() {
    let stack = StackOptions::new().prepare();
    let configuration = fs::read_to_string(stack.path("executor.toml")).unwrap_or_default();
    let first = configuration.lines().find(|line| line.starts_with("first = ")).unwrap_or_default();
    // Beyond every name that anybody gives.
    stack.edit("executor.toml", first, "first = 3900000000");
    stack.up().ends_with(0);
    let said = check(&stack).out();
    assert!(said.contains("warn  uid pool") && said.contains("they have no names"), "{said}");
}
