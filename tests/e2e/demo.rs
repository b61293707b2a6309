//! The demonstration holds, and it is honest: with limits, change of user or executor away it fails.

use airlock_e2e::{Outcome, Signal, Stack, StackOptions, demo};

#[track_caller]
fn fails(stack: &Stack, because: &str) -> Outcome {
    let run = demo().env("DEMO_STACK", stack.path("")).run();
    assert_eq!(run.code(), Some(1), "{run}");
    assert!(run.err().contains("NOT SO") && run.err().contains(because), "expected '{because}'\n{run}");
    run
}

#[test]
fn the_demonstration_shows_everything_and_cleans_up_after_itself() {
    let run = demo().run().ends_with(0);
    for shown in [
        "capabilities of the frontend: 0000000000000000",
        "SHA-256 by the compiled program",
        "memory limit seen by the job: 100663296",
        "stdout: out",
        "stderr: err",
        "state: out-of-memory",
        "stopped 137",
        "bob is told: airlock: no job",
        "no process, cgroup or mount",
    ] {
        assert!(run.out().contains(shown), "'{shown}' is missing\n{run}");
    }
}

#[test]
fn the_demonstration_fails_without_limits() {
    let stack = Stack::start();
    let run = demo().env("DEMO_STACK", stack.path("")).env("DEMO_LIMITS", "").run();
    assert_eq!(run.code(), Some(1), "{run}");
    assert!(run.err().contains("NOT SO") && run.err().contains("memory limit"), "{run}");
}

#[test]
fn the_demonstration_fails_when_the_user_is_not_changed_to_one_of_the_pool() {
    let stack = StackOptions::new().edit("executor.toml", "run_as = \"pool\"", "run_as = \"games\"").start();
    fails(&stack, "uid");
}

#[test]
fn the_demonstration_fails_without_an_executor() {
    let stack = Stack::start();
    stack.end("executor", Signal::KILL);
    fails(&stack, "executor");
}
