//! Upgrades: what a new executor would find, asked before it is started, and what happens until then.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use airlock_e2e::{Outcome, Process, Signal, Stack, StackOptions, Tool, scale, wait_until};
use rustix::fs::{SealFlags, fcntl_add_seals, ftruncate};
use rustix::io::{Errno, pwrite};

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

#[test]
fn what_is_sealed_is_closed_to_jobs_and_unchangeable_for_whoever_holds_it() {
    // Without namespaces a job sees its keeper.
    let stack = StackOptions::new().edit("executor.toml", "namespaces = [", "namespaces = [] # ").start();
    let job = stack.job(&["sleep", "1000"]);
    assert_eq!(job.state(), "running");
    let keeper = fs::read_to_string(keepers_group(&stack)).expect("the keepers").trim().to_owned();
    let script = format!(
        "test -d /proc/{keeper} && echo seen; ls /proc/{keeper}/fd && echo listed; \
         for n in 3 4 8 9; do cat /proc/{keeper}/fd/$n && echo read; true <> /proc/{keeper}/fd/$n && echo open; done; true"
    );
    assert_eq!(stack.run_sh(&script).ends_with(0).out(), "seen");
    // A process that plays the keeper has the same open files as root.
    for (number, name, writable) in [(3, "plan", false), (4, "records", true)] {
        let path = format!("/proc/{keeper}/fd/{number}");
        let file = fs::File::options().read(true).write(true).open(&path).expect(name);
        let size = file.metadata().expect(name).len();
        for other in [0, size - 1, size + 1] {
            assert_eq!(ftruncate(&file, other), Err(Errno::PERM), "the {name} could become {other} bytes long");
        }
        assert_eq!(pwrite(&file, b"x", size), Err(Errno::PERM), "the {name} could grow");
        assert_eq!(fcntl_add_seals(&file, SealFlags::WRITE), Err(Errno::PERM), "the {name} could be sealed further");
        // Two processes record things; the plan is nobody's to write.
        let first = fs::read(&path).expect(name).first().copied().into_iter().collect::<Vec<_>>();
        let written = pwrite(&file, &first, 0);
        assert_eq!(written, if writable { Ok(1) } else { Err(Errno::PERM) }, "writing to the {name}");
    }
    stack.end("executor", Signal::KILL);
    stack.up().ends_with(0);
    assert_eq!(job.state(), "running");
    job.kill();
}
