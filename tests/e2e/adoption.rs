//! Upgrades: what a new executor would find, asked before it is started, and what happens until then.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use airlock_e2e::{Outcome, Process, Stack, Tool, scale, wait_until};

fn dry_run(stack: &Stack) -> Outcome {
    let config = stack.path("executor.toml");
    let asked = ["--check", "--adopt-dry-run", "--config"];
    Tool::new(stack.path("bin/airlock-executor")).args(asked).arg(&config).run()
}

fn keepers_group(stack: &Stack) -> PathBuf {
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(|root| Path::new(root).join(stack.cgroup()));
    let found = roots.into_iter().map(|group| group.join("keepers/cgroup.procs")).find(|file| file.exists());
    found.expect("the keepers' cgroup")
}

#[test]
fn a_new_program_says_beforehand_that_it_will_take_over_every_job_and_touches_none() {
    let stack = Stack::start();
    let jobs = [stack.job(&["sleep", "1000"]), stack.job_sh("echo begun; exec sleep 1000")];
    jobs[1].has_said("begun");
    let said = dry_run(&stack).ends_with(0).out();
    assert!(said.contains("2 jobs would be taken over, 0 would not"), "{said}");
    for job in &jobs {
        assert_eq!(job.state(), "running");
    }
}

#[test]
fn a_keeper_that_would_not_be_believed_is_named_beforehand_and_lives_on() {
    let stack = Stack::start();
    let job = stack.job(&["sleep", "1000"]);
    // It waits for ever, and has a job's id where keepers have it.
    let (folder, id) = (tempfile::tempdir().expect("a folder"), "3f9a1c2e-5b7d-4c1a-9f60-2d8e4b7a1c05");
    Tool::new("mkfifo").arg(folder.path().join(id)).run().ends_with(0);
    let mut stranger = Command::new("cat").arg(id).current_dir(&folder).spawn().expect("a process");
    fs::write(keepers_group(&stack), stranger.id().to_string()).expect("a process in the keepers' cgroup");
    let outcome = dry_run(&stack);
    let lives = Process::new(stranger.id() as i32).lives();
    let _ = stranger.kill();
    let _ = stranger.wait();
    let said = outcome.ends_with(1).out();
    assert!(said.contains(&format!("keeper {} of job {id}: ", stranger.id())), "{said}");
    assert!(said.contains("1 jobs would be taken over, 1 would not"), "{said}");
    assert!(lives, "asking ended a process");
    assert_eq!(job.state(), "running");
}

#[test]
fn while_an_upgrade_is_unpacked_jobs_are_born_with_the_keeper_of_the_executor_that_runs() {
    let stack = Stack::start();
    let keeper = stack.path("bin/airlock-keeper");
    fs::rename(&keeper, stack.path("bin/airlock-keeper.old")).expect("the old keeper aside");
    fs::write(&keeper, "#!/bin/false\n").expect("another program in its place");
    stack.run_sh("exit 3").ends_with(3);
}

#[test]
fn a_plan_that_could_be_changed_is_not_believed() {
    let stack = Stack::start();
    let job = stack.job(&["sleep", "1000"]);
    let group = keepers_group(&stack);
    let keeper = fs::read_to_string(&group).expect("the keepers").trim().to_owned();
    // The same bytes in a file in memory that nobody sealed, beside everything else that the keeper has.
    let plan = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file in memory");
    fs::copy(format!("/proc/{keeper}/fd/3"), plan.path()).expect("the plan");
    let given =
        format!("exec 3<{} 5</proc/{keeper}/fd/5 6</proc/{keeper}/fd/6 7</proc/{keeper}/fd/7", plan.path().display());
    let script = format!("{given} 8<>/proc/{keeper}/fd/8 9<>/proc/{keeper}/fd/9; exec sleep 1000");
    let mut stranger = Command::new("bash").args(["-c", &script]).spawn().expect("a process");
    let name = format!("/proc/{}/comm", stranger.id());
    wait_until("all of it", scale::seconds(10), || {
        fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n").then_some(())
    });
    fs::write(&group, stranger.id().to_string()).expect("a process in the keepers' cgroup");
    let outcome = dry_run(&stack);
    let _ = stranger.kill();
    let _ = stranger.wait();
    let said = outcome.ends_with(1).out();
    assert!(said.contains(&format!("keeper {}: its plan is not sealed", stranger.id())), "{said}");
    assert!(said.contains("1 jobs would be taken over, 1 would not"), "{said}");
    assert_eq!(job.state(), "running");
}
