//! Everything that a job is given, compared whole with what is written down beside this file, one document per kind of profile.
//! What differs from host to host is replaced by a name that says what it must equal; everything else is literal, so that
//! whatever leaks into jobs one day is a difference.

mod comparison;
mod mounts;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use airlock_e2e::{Stack, StackOptions, Tool, binaries, probe};
use serde_json::Value;

use crate::hostile_frontend::MOUNTING;
use comparison::Given;

#[test]
fn a_job_of_the_standard_profile_is_given_what_is_written_down_and_nothing_else() {
    let stack = Stack::shared();
    compare(&stack, "standard", &["run", "--profile", "standard", "--", &installed(&stack)]);
}

#[test]
fn a_job_of_the_offline_profile_is_given_what_is_written_down_and_nothing_else() {
    let stack = Stack::shared();
    compare(&stack, "offline", &["run", "--profile", "offline", "--", &installed(&stack)]);
}

#[test]
fn a_job_on_the_host_itself_is_given_what_is_written_down_and_nothing_else() {
    let stack = with_named_users();
    compare(&stack, "host", &["run", "--profile", "host", "--env", "ASKED=for", "--", &installed(&stack), "a word"]);
}

#[test]
fn a_job_with_a_fixed_command_is_given_what_is_written_down_and_nothing_else() {
    let stack = with_named_users();
    compare(&stack, "fixed", &["run", "--profile", "fixed"]);
}

/// A stack with two more profiles: a named user on the host itself, and one whose command is fixed.
fn with_named_users() -> Stack {
    let stack = StackOptions::new().prepare();
    let probe = installed(&stack);
    let profiles = format!(
        "[profile.host]\nrun_as = \"nobody\"\nenv_allow = [\"*\"]\ncwd = [\"/usr\"]\nnamespaces = []\n\n\
         [profile.fixed]\nrun_as = \"nobody\"\ncommand = [\"{probe}\", \"exactly\", \"these words\"]\nenv_allow = []\n\
         umask = \"0027\"\n\n[profile.offline]"
    );
    stack.edit("executor.toml", "[profile.offline]", &profiles);
    stack.up().ends_with(0);
    stack
}

/// Where the probe stands: jobs may enter the folder of the stack's programs.
fn installed(stack: &Stack) -> String {
    let path = stack.path("bin/airlock-jobprobe");
    if !path.exists() {
        // Written apart and renamed: a job of another test may be about to run it. And by another process: whoever holds it open for
        // writing keeps everybody from running it, and what other tests start here has for a moment all that this process has open.
        let fresh = path.with_extension(format!("{:?}", std::thread::current().id()));
        Tool::new("install").args(["-m", "0755"]).arg(built()).arg(&fresh).run().ends_with(0);
        fs::rename(fresh, &path).expect("the probe's name");
    }
    path.display().to_string()
}

// Beside the programs under test, as in a guest, or where cargo made it.
fn built() -> PathBuf {
    let beside = binaries().join("airlock-jobprobe");
    if beside.exists() { beside } else { env!("CARGO_BIN_EXE_airlock-jobprobe").into() }
}

#[track_caller]
fn compare(stack: &Stack, name: &str, words: &[&str]) {
    let executor = || probe::document(Path::new(&format!("/proc/{}", stack.pid("executor"))));
    let mounting = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = executor();
    let run = stack.airlock("alice").args(words).run().ends_with(0);
    let document = run.json();
    let Some(id) = document["environment"]["AIRLOCK_JOB_ID"].as_str() else { panic!("no job id\n{run}") };
    let status = stack.job_with_id(id).status();
    let given = Given {
        job: id.to_owned(),
        uid: status["uid"].as_u64().map(|uid| uid.to_string()).unwrap_or_else(|| panic!("no uid in {status}")),
        pid: status["pid"].as_u64().map(|pid| pid.to_string()).unwrap_or_else(|| panic!("no pid in {status}")),
        stack: stack.path("").display().to_string().trim_end_matches('/').to_owned(),
        cgroup: stack.cgroup(),
        executor: [before, executor()],
        limits: if ["standard", "offline"].contains(&name) { &["Max core file size", "Max open files"] } else { &[] },
    };
    drop(mounting);
    let found = given.named(document);
    if let Some(folder) = std::env::var_os("AIRLOCK_PROBE_KEEP") {
        let text = serde_json::to_string_pretty(&found).expect("JSON") + "\n";
        fs::write(Path::new(&folder).join(format!("{name}.json")), text).expect("keeping what was found");
    }
    let written_down: Value = serde_json::from_str(expectation(name)).expect("JSON");
    let differences = comparison::differences(&written_down, &found);
    assert!(
        differences.is_empty(),
        "what a job of profile '{name}' is given is not what e2e/jobprobe/{name}.json says:\n{differences}"
    );
}

fn expectation(name: &str) -> &'static str {
    match name {
        "standard" => include_str!("standard.json"),
        "offline" => include_str!("offline.json"),
        "host" => include_str!("host.json"),
        _ => include_str!("fixed.json"),
    }
}
