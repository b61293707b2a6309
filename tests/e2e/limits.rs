//! Limits hold: seen by the kernel before the command runs, by the job itself, and in how it ends.

use std::time::{Duration, Instant};

use airlock_e2e::{Job, Stack, StackOptions, scale, skip, wait_until};

fn has_controller(job: &Job<'_>, v2: &str, v1: &str) -> bool {
    job.group().folders().iter().any(|folder| folder.join(v2).exists() || folder.to_string_lossy().contains(v1))
}

#[test]
fn every_limit_stands_in_the_jobs_own_group_from_its_first_instruction() {
    let stack = Stack::shared();
    let job =
        stack.job(&["--memory", "64M", "--pids", "17", "--cpu", "50%", "--cpu-weight", "50", "--", "sleep", "1000"]);
    let group = job.group();
    assert_eq!(group.limit("memory.max", ("memory", "memory.limit_in_bytes")), (64 << 20).to_string());
    assert_eq!(group.limit("pids.max", ("pids", "pids.max")), "17");
    let quota = group.limit("cpu.max", ("cpu", "cpu.cfs_quota_us"));
    let quota: Vec<f64> = quota.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let period = quota
        .get(1)
        .copied()
        .unwrap_or_else(|| group.limit("cpu.max", ("cpu", "cpu.cfs_period_us")).parse().expect("µs"));
    assert!((quota[0] / period - 0.5).abs() < 0.001, "{quota:?} of {period}");
    let shown = job.status();
    let limits = &shown["limits"];
    assert_eq!(limits["memory_bytes"], 64 << 20, "{shown}");
    assert_eq!(limits["pids"], 17, "{shown}");
    assert_eq!(limits["cpu_cores"].as_f64(), Some(0.5), "{shown}");
    assert_eq!(limits["swap_bytes"], 0, "{shown}");
    assert!(limits["timeout_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "the profile's default: {shown}");
    job.kill();
}

#[test]
fn no_job_has_more_of_the_processors_than_all_jobs_together() {
    let cores = std::thread::available_parallelism().expect("a number of processors");
    let ceiling = format!("cpu = \"{cores}\"\npids");
    let stack = StackOptions::new().edit("executor.toml", &ceiling, "cpu = \"0.5\"\npids").start();
    let job = stack.job(&["--", "sleep", "1000"]);
    assert_eq!(job.status()["limits"]["cpu_cores"].as_f64(), Some(0.5), "{}", job.status());
    let refused = stack.airlock("alice").args(["run", "--cpu", "1", "--", "true"]).run().ends_with(125);
    assert!(refused.err().contains("cpu 1 is above the most that profile standard allows, 0.5"), "{refused}");
    job.kill();
}

#[test]
fn a_fork_bomb_meets_its_pids_limit_and_harms_nobody() {
    let stack = Stack::shared();
    let bomb = stack.job(&["--pids", "50", "--timeout", "60s", "--", "bash", "-c", "f() { f | f & }; f; sleep 1000"]);
    wait_until("a fork that its limit refuses", scale::seconds(30), || {
        let events = bomb.group().limit("pids.events", ("pids", "pids.events"));
        (events.split_whitespace().nth(1)?.parse::<u64>().ok()? > 0).then_some(())
    });
    let neighbour = stack.run_sh("for i in 1 2 3 4 5; do /bin/true || exit 1; done; echo unharmed");
    assert_eq!(neighbour.ends_with(0).out(), "unharmed");
    // While some end and others are born the kernel's list may hold both; without a limit it only grows.
    wait_until("a list of no more than 50 processes", scale::seconds(10), || {
        (bomb.group().processes().len() <= 50).then_some(())
    });
    bomb.kill();
    let end = bomb.status();
    let peak = end["usage"]["pids_peak"].as_u64();
    assert!(peak.is_none_or(|peak| peak <= 50), "{end}");
    assert!(bomb.group().processes().is_empty());
}

#[test]
fn a_job_cannot_have_more_processes_than_its_limit() {
    let stack = Stack::shared();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 1000 & echo $i; done";
    let run = stack.airlock("alice").args(["run", "--pids", "10"]).sh(script).run();
    assert!(run.code() != Some(0) && run.err().to_lowercase().contains("fork"), "{run}");
    assert!(run.out().lines().count() < 10, "{run}");
}

#[test]
fn a_memory_hog_ends_as_out_of_memory() {
    let stack = Stack::shared();
    // tail keeps the last line, and there is only one.
    let run = stack
        .airlock("alice")
        .args(["run", "--memory", "48M", "--name", "hog"])
        .args(["--", "tail", "/dev/zero"])
        .run();
    assert_eq!(run.code(), Some(137), "{run}");
    let job = stack.airlock("alice").args(["status", "hog", "--format", "json"]).run().ends_with(0).json();
    assert_eq!((&job["state"], &job["exit"]["signal"]), (&"out-of-memory".into(), &9.into()), "{job}");
    assert!(job["oom_kills"].as_u64().is_some_and(|count| count >= 1), "{job}");
    let peak = job["usage"]["memory_peak_bytes"].as_u64().expect("a peak");
    assert!((32 << 20..=49 << 20).contains(&peak), "{job}");
    let text = stack.airlock("alice").args(["status", "hog"]).run().ends_with(0).out();
    assert!(text.contains("out-of-memory") && text.contains("48M"), "{text}");
}

#[test]
fn a_process_killed_for_memory_in_a_job_that_still_succeeds_is_a_fact_not_the_state() {
    let stack = Stack::shared();
    let job = stack.job(&["--memory", "48M", "--", "sh", "-c", "tail /dev/zero; echo went on; exit 0"]);
    let end = job.end();
    assert_eq!((&end["state"], &end["exit_status"]), (&"finished".into(), &0.into()), "{end}");
    assert!(end["oom_kills"].as_u64().is_some_and(|count| count >= 1), "{end}");
}

#[test]
fn a_fifth_of_a_core_is_a_fifth_of_a_core_over_five_seconds() {
    if !scale::times_are_meaningful() {
        return skip("emulated processors keep no time");
    }
    let stack = Stack::quiet();
    let job = stack.job(&["--cpu", "20%", "--", "sh", "-c", "while :; do :; done & while :; do :; done"]);
    // Let the first period pass, in which there was nothing to hold back yet.
    wait_until("it spins", scale::seconds(10), || (job.group().cpu_seconds() > 0.1).then_some(()));
    // Other work on this machine can take time away from the job, but nothing may give it more than its share; and of each tenth of
    // a second in which its limit held it back it has had a fifth, sooner or later: each processor may have put a slice of it aside.
    let (mut used, mut held_back) = (0.0, 0);
    let held = (0..6).any(|_| {
        let (begin, before, periods) = (Instant::now(), job.group().cpu_seconds(), job.group().throttled_periods());
        std::thread::sleep(Duration::from_secs(5));
        held_back = job.group().throttled_periods() - periods;
        used = job.group().cpu_seconds() - before;
        let share = used / begin.elapsed().as_secs_f64();
        assert!(share <= 0.22, "{used:.3} s of processor time in five seconds: {share:.3} of a core");
        held_back > 0 && used >= 0.018 * held_back as f64 - 0.01
    });
    job.kill();
    assert!(held, "at last {used:.3} s of processor time in five seconds, and held back in {held_back} tenths of them");
    let end = job.status();
    assert!(end["usage"]["cpu_seconds"].as_f64().is_some_and(|seconds| seconds >= used), "{end}");
    // How often it was held back by its limit, and not by other work on this machine, nobody can promise.
    assert!(end["usage"]["throttled_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{end}");
}

#[test]
fn an_io_limit_holds_for_direct_writes_and_reads() {
    let stack = Stack::quiet();
    let size = 6 << 20;
    let write = format!("dd if=/dev/zero of=data bs=64k count={} oflag=direct 2>&1", size / (64 << 10));
    let free = stack.airlock("alice").arg("run").sh(&write).run();
    if free.code() != Some(0) && free.out().contains("Invalid argument") {
        return skip("the file system of the work folder cannot do direct i/o");
    }
    free.ends_with(0);
    for (option, script) in [
        ("--io-write", write.clone()),
        ("--io-read", format!("{write} && dd if=data of=/dev/null bs=64k iflag=direct 2>&1")),
    ] {
        let begin = Instant::now();
        let run = stack.airlock("alice").args(["run", option, "2M"]).limit_seconds(120).sh(&script).run();
        let run = run.ends_with(0);
        let took = begin.elapsed().as_secs_f64();
        assert!(took > 2.0, "6 MiB at 2 MiB a second took {took:.2} s with {option}\n{run}");
    }
    let job = stack.job(&["--io-write", "2M", "--io-read-ops", "100", "--", "sleep", "1000"]);
    let shown = job.status();
    assert_eq!(shown["limits"]["io_write_bytes"], 2 << 20, "{shown}");
    assert_eq!(shown["limits"]["io_read_operations"], 100, "{shown}");
    assert!(has_controller(&job, "io.max", "/blkio/"), "{:?}", job.group().folders());
    job.kill();
}

#[test]
fn a_job_sees_its_own_limits_and_nothing_lets_it_raise_them() {
    let stack = Stack::shared();
    let script = "for f in $(find /sys/fs/cgroup -name cgroup.procs 2>/dev/null | head -50); do \
                  (echo $$ > $f) 2>/dev/null && echo moved by $f; done; ulimit -n; ulimit -c; \
                  ulimit -n 100000 2>/dev/null && echo raised; true";
    let run = stack.run_sh(script).ends_with(0);
    assert_eq!(run.out(), "1024\n0", "{run}");
}

#[test]
fn asking_for_more_than_the_profile_allows_is_refused_with_both_figures() {
    let stack = Stack::shared();
    let run = stack.airlock("alice").args(["run", "--memory", "900G", "--", "true"]).run();
    run.says(125, &["memory 900G", "profile standard allows", "airlock whoami"]);
    stack.airlock("alice").args(["run", "--pids", "100000", "--", "true"]).run().says(125, &["pids 100000", "4096"]);
    stack.airlock("alice").args(["run", "--timeout", "8d", "--", "true"]).run().says(125, &["8d", "7d"]);
    stack.airlock("alice").args(["run", "--cpu", "5000", "--", "true"]).run().says(125, &["cpu 5000", "standard"]);
    stack.airlock("alice").args(["run", "--memory", "0", "--", "true"]).run().says(125, &["memory"]);
}

#[test]
fn units_mean_the_same_everywhere() {
    let stack = Stack::shared();
    for (words, field, value) in [
        (["--memory", "0.0625G"], "memory_bytes", 64_u64 << 20),
        (["-m", "64MiB"], "memory_bytes", 64 << 20),
        (["--memory", "65536K"], "memory_bytes", 64 << 20),
        (["--timeout", "1h30m"], "timeout_seconds", 5400),
        (["--timeout", "90"], "timeout_seconds", 90),
        (["--pids-limit", "33"], "pids", 33),
    ] {
        let job = stack.job(&[&words[..], &["--", "true"]].concat());
        let shown = job.end();
        assert_eq!(shown["limits"][field].as_f64(), Some(value as f64), "{words:?}: {shown}");
    }
    stack.airlock("alice").args(["run", "--memory", "64MB", "--", "true"]).run().says(125, &["64MB"]);
}
