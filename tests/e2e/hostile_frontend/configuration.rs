//! Every way in which a configuration could let a job be root: the executor does not start with it, and a running one keeps the
//! configuration that it has.

use std::path::Path;

use airlock_e2e::{Outcome, Signal, StackOptions, Tool, scale, wait_until};

use super::{Executor, Mounted};

const POOL: &str = "run_as = \"pool\"";

#[track_caller]
fn starts_not(from: &str, to: &str, says: &str) {
    let stack = StackOptions::new().edit("executor.toml", from, to).prepare();
    let executor = stack.path("bin/airlock-executor");
    let outcome: Outcome = Tool::new(executor).arg("--config").arg(stack.path("executor.toml")).run().ends_with(1);
    assert!(outcome.err().contains(says), "expected '{says}'\n{outcome}");
}

#[test]
fn a_profile_that_runs_as_root_is_refused() {
    starts_not(POOL, "run_as = \"root\"", "no profile can run as uid or gid 0");
}

#[test]
fn a_profile_that_runs_as_uid_0_by_number_is_refused() {
    starts_not(POOL, "run_as = \"0\"", "there is no user '0'");
}

#[test]
fn a_profile_with_group_0_is_refused() {
    starts_not(POOL, "run_as = \"nobody\"\ngroups = [\"root\"]", "no profile can have group 0");
}

#[test]
fn a_pool_that_begins_at_0_is_refused() {
    let stack = StackOptions::new().prepare();
    let text = std::fs::read_to_string(stack.path("executor.toml")).unwrap_or_default();
    let first = text.lines().find(|line| line.starts_with("first = ")).unwrap_or_else(|| panic!("no pool in {text}"));
    for (range, says) in [
        ("first = 0", "must lie above 1000"),
        ("first = 4294967200", "must lie above 1000"),
        ("first = 65530", "meets user "),
    ] {
        stack.edit("executor.toml", first, range);
        let tool = Tool::new(stack.path("bin/airlock-executor")).arg("--config").arg(stack.path("executor.toml"));
        let outcome = tool.run().ends_with(1);
        assert!(outcome.err().contains(says), "expected '{says}'\n{outcome}");
        stack.edit("executor.toml", range, first);
    }
}

#[test]
fn a_frontend_that_is_root_is_refused() {
    starts_not("frontend_user = 64100", "frontend_user = 0", "frontend_user is root");
    starts_not("frontend_user = 64100", "frontend_user = \"root\"", "frontend_user is root");
}

#[test]
fn a_bad_configuration_changes_nothing_in_a_running_executor() {
    let executor = Executor::start(StackOptions::new());
    let (stack, bad) = (executor.stack(), "run_as = \"root\"");
    stack.edit("executor.toml", POOL, bad);
    stack.signal("executor", Signal::HUP);
    wait_until("the refusal in the journal", scale::seconds(10), || {
        stack.log("executor").contains("no profile can run as uid or gid 0").then_some(())
    });
    executor.serves_and_nothing_is_left();
    stack.edit("executor.toml", bad, POOL);
    stack.signal("executor", Signal::HUP);
    wait_until("the reload in the journal", scale::seconds(10), || {
        stack.log("executor").contains("configuration reloaded").then_some(())
    });
    executor.serves_and_nothing_is_left();
}

#[test]
fn a_ceiling_that_the_kernel_does_not_hold_is_refused() {
    let executor = Executor::start(StackOptions::new());
    let stack = executor.stack();
    let files = ["memory/CGROUP/jobs/memory.limit_in_bytes", "CGROUP/jobs/memory.max"];
    let files = files.map(|file| format!("/sys/fs/cgroup/{}", file.replace("CGROUP", &stack.cgroup())));
    let Some(file) = files.iter().find(|file| Path::new(file).exists()) else { panic!("none of {files:?}") };
    // A kernel that takes the value and forgets it.
    let forgetful = Mounted::over(file, &["--bind", "/dev/null"]);
    stack.edit("executor.toml", "memory = \"80%\"", "memory = \"70%\"");
    stack.signal("executor", Signal::HUP);
    wait_until("what became of the configuration", scale::seconds(10), || {
        let log = stack.log("executor");
        assert!(!log.contains("configuration reloaded"), "{log}");
        log.contains("does not read back").then_some(())
    });
    drop(forgetful);
    executor.serves_and_nothing_is_left();
}
