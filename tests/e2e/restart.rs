//! Frontend and executor die and come back; the jobs run on, and nothing of theirs is lost.

use rustix::process::{Pid, kill_process};

use airlock_e2e::{Job, Process, Sha256Reader, Signal, Stack, Tool, scale, wait_until};

const WRITTEN: u64 = 1 << 30;

const PARTS: u64 = 40;

/// A job that tells the digest of its gibibyte on stderr before it writes it. Where less is written, it takes its time, or it would
/// have ended before anything else has.
fn big_writer(stack: &Stack, size: u64) -> Job<'_> {
    let part = size / PARTS;
    let write = match scale::factor() {
        1 => "cat data".to_owned(),
        _ => format!(
            "for n in $(seq 0 {}); do dd if=data bs={part} skip=$n count=1 status=none; sleep 1; done",
            PARTS - 1
        ),
    };
    stack.job_sh(&format!("head -c {size} /dev/urandom > data && sha256sum < data >&2 && {write}"))
}

fn digest_of_log(job: &Job<'_>) -> (u64, String) {
    let mut logs = job.airlock("logs").args([job.id(), "--stdout"]).start_unread();
    let result = Sha256Reader::new(logs.stdout.take().expect("piped")).finish(|_| ());
    assert!(logs.wait().expect("airlock logs").success());
    result
}

fn told_digest(job: &Job<'_>) -> String {
    let told = job.airlock("logs").args([job.id(), "--stderr"]).run().ends_with(0).out();
    told.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Ends one process again and again while a job writes, and compares what was kept with what it wrote.
fn the_log_is_exact_after_ending(process: &str, signal: Signal) {
    let stack = Stack::start();
    let size = scale::bytes(WRITTEN) / PARTS * PARTS;
    let job = big_writer(&stack, size);
    let pid = job.status()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    let follower = job.airlock("logs").args(["-f", "--stdout", job.id()]).start_unread();
    let follower = std::thread::spawn(move || {
        let mut follower = follower;
        let result = Sha256Reader::new(follower.stdout.take().expect("piped")).finish(|_| ());
        (result, follower.wait().expect("airlock logs").code())
    });
    let mut in_the_middle = 0;
    for part in 1..=4 {
        job.has_written(size / 5 * part, scale::seconds(120));
        stack.end(process, signal);
        in_the_middle += u32::from(Process::new(pid).lives());
        stack.up().ends_with(0);
    }
    assert!(in_the_middle >= 2, "the job ended before {process} was ended in its middle twice");
    let end = job.end_within(180);
    assert_eq!((&end["state"], &end["exit_status"]), (&"finished".into(), &0.into()), "{end}");
    assert_eq!(end["pid"], pid, "the same process all the time");
    assert_eq!((&end["output"]["stdout_bytes"], &end["output"]["complete"]), (&size.into(), &true.into()), "{end}");
    let told = told_digest(&job);
    assert_eq!(digest_of_log(&job), (size, told.clone()), "the log");
    assert_eq!(follower.join().expect("a thread"), ((size, told), Some(0)), "who followed all the time");
    stack.down().ends_with(0);
}

#[test]
fn the_log_is_exact_when_the_frontend_is_restarted_while_a_job_writes() {
    the_log_is_exact_after_ending("frontend", Signal::TERM);
}

#[test]
fn the_log_is_exact_when_the_frontend_is_killed_while_a_job_writes() {
    the_log_is_exact_after_ending("frontend", Signal::KILL);
}

#[test]
fn the_log_is_exact_when_the_executor_is_restarted_while_a_job_writes() {
    the_log_is_exact_after_ending("executor", Signal::TERM);
}

#[test]
fn the_log_is_exact_when_the_executor_is_killed_while_a_job_writes() {
    the_log_is_exact_after_ending("executor", Signal::KILL);
}

#[test]
fn run_comes_back_by_itself_and_shows_each_byte_once() {
    let stack = Stack::start();
    let mut run = stack.airlock("alice").arg("run").limit_seconds(120);
    run = run.sh("trap 'exit 5' USR1; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done");
    let mut run = run.start();
    for mark in ["\n50\n", "\n150\n", "\n250\n"] {
        run.wait_for_out(mark);
        stack.end("frontend", Signal::KILL);
        stack.up().ends_with(0);
    }
    run.wait_for_out("\n350\n");
    stack.airlock("alice").args(["signal", "last", "USR1"]).run().ends_with(0);
    let run = run.finish().ends_with(5);
    let lines: Vec<u64> = run.out().lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(lines, (1..=lines.len() as u64).collect::<Vec<_>>(), "each number once, in order");
}

#[test]
fn a_job_that_ends_while_nobody_looks_has_its_true_status_and_output_afterwards() {
    for processes in [&["frontend"][..], &["executor"], &["frontend", "executor"]] {
        let stack = Stack::start();
        let job = stack.job_sh(
            "echo ready; while [ ! -e /proc/1/none ] && [ $((n=n+1)) -le 30 ]; do sleep 0.1; done; echo late; exit 7",
        );
        job.has_said("ready");
        let pid = job.status()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
        for process in processes {
            stack.end(process, Signal::KILL);
        }
        wait_until("the job's end", scale::seconds(60), || (!Process::new(pid).lives()).then_some(()));
        stack.up().ends_with(0);
        let end = job.end();
        assert_eq!((&end["state"], &end["exit_status"]), (&"failed".into(), &7.into()), "{processes:?}: {end}");
        assert_eq!(job.stdout(), b"ready\nlate\n", "{processes:?}");
    }
}

#[test]
fn a_deadline_holds_while_the_executor_is_dead() {
    let stack = Stack::start();
    let job = stack.job(&["--timeout", "3s", "--", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
    let pid = job.status()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    stack.end("executor", Signal::KILL);
    wait_until("the keeper to end it", scale::seconds(60), || (!Process::new(pid).lives()).then_some(()));
    stack.up().ends_with(0);
    let end = job.end();
    assert_eq!((&end["state"], &end["exit_status"]), (&"timed-out".into(), &124.into()), "{end}");
}

#[test]
fn a_deadline_holds_while_the_executor_is_stopped() {
    let stack = Stack::start();
    // Time enough to set the trap and for the look at it.
    let timeout = format!("{}s", scale::seconds(4).as_secs());
    let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let job = stack.job(&["--timeout", &timeout, "--", "sh", "-c", script]);
    job.has_said("ready");
    let pid = job.status()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    stack.signal("executor", Signal::STOP);
    wait_until("the keeper to end it", scale::seconds(60), || (!Process::new(pid).lives()).then_some(()));
    stack.signal("executor", Signal::CONT);
    let end = job.end();
    assert_eq!((&end["state"], &end["exit_status"]), (&"timed-out".into(), &124.into()), "{end}");
    assert_eq!(end["exit"]["signal"], 9, "nobody but the keeper could end it: {end}");
}

#[test]
fn jobs_with_their_limits_uids_and_names_are_the_same_after_both_were_killed() {
    let stack = Stack::start();
    let jobs: Vec<Job<'_>> = (0..5)
        .map(|n| stack.job(&["--name", &format!("kept-{n}"), "--memory", "64M", "--", "sleep", "1000"]))
        .collect();
    let before: Vec<_> = jobs.iter().map(Job::status).collect();
    stack.end("executor", Signal::KILL);
    stack.end("frontend", Signal::KILL);
    stack.up().ends_with(0);
    for (job, before) in jobs.iter().zip(before) {
        let after = job.status();
        for field in ["state", "pid", "uid", "name", "owner", "limits", "started_at", "command"] {
            assert_eq!(after[field], before[field], "{field}: {after}");
        }
        let fresh = stack.job_sh("sleep 1000");
        assert_ne!(fresh.status()["uid"], after["uid"], "a new job never gets the uid of a live one");
        fresh.kill();
        job.kill();
    }
}

#[test]
fn a_repeated_request_id_is_still_one_job_after_a_restart() {
    let stack = Stack::start();
    let start = || {
        stack.airlock("alice").args(["start", "--format", "json", "--request-id", "over-restarts", "--", "true"]).run()
    };
    let first = start().ends_with(0).json();
    for process in ["frontend", "executor"] {
        stack.end(process, Signal::KILL);
        stack.up().ends_with(0);
        assert_eq!(start().ends_with(0).json()["job_id"], first["job_id"], "after the {process}");
    }
}

#[test]
fn without_the_executor_starts_are_refused_and_everything_recorded_is_served() {
    let stack = Stack::start();
    let done = stack.job_sh("echo kept; exit 3");
    done.end();
    let live = stack.job_sh("echo live; sleep 1000");
    live.has_said("live");
    stack.end("executor", Signal::KILL);
    let refused = stack.airlock("alice").args(["run", "--", "true"]).run();
    refused.says(125, &["cannot start jobs at the moment", "nothing was started", "safe to repeat"]);
    let json = stack.airlock("alice").args(["start", "--format", "json", "--", "true"]).run().ends_with(125);
    assert!(json.err().contains("\"UNAVAILABLE\""), "{json}");
    assert_eq!(done.stdout(), b"kept\n");
    assert_eq!(live.state(), "running");
    let doctor = stack.airlock("alice").arg("doctor").run().ends_with(1);
    assert!(doctor.out().contains("FAIL  executor"), "{doctor}");
    stack.up().ends_with(0);
    assert_eq!(
        stack.airlock("alice").args(["list", "-q"]).run().out().lines().count(),
        2,
        "the refused ones started nothing"
    );
    stack.run_sh("exit 0").ends_with(0);
    live.kill();
}

#[test]
fn a_stopped_frontend_ends_its_streams_so_that_clients_come_back_or_say_how() {
    let stack = Stack::start();
    let mut run = stack.airlock("alice").args(["run", "--reconnect", "1s"]).sh("echo ready; sleep 1000").start();
    run.wait_for_out("ready");
    stack.end("frontend", Signal::TERM);
    let run = run.finish().ends_with(122);
    assert!(run.err().contains("runs on") && run.err().contains("airlock -i alice attach"), "{run}");
    stack.up().ends_with(0);
    let job = stack.airlock("alice").args(["status", "last", "--format", "json"]).run().ends_with(0).json();
    assert_eq!(job["state"], "running", "{job}");
}

#[test]
fn waiting_and_following_end_as_left_when_the_connection_stays_away_and_in_time() {
    let stack = Stack::start();
    let job = stack.job_sh("echo ready; sleep 1000");
    job.has_said("ready");
    let ended = stack.job_sh("exit 0");
    ended.end();
    let begun = std::time::Instant::now();
    // The one that has ended is told at once: then there is a connection, and the call for the other one is on it.
    let wait = |options: [&str; 2]| {
        let mut wait = stack.airlock("alice").arg("wait").args(options).args([ended.id(), job.id()]).start();
        wait.wait_for_out(&ended.id()[..8]);
        wait
    };
    let (give_up, in_time) = (wait(["--reconnect", "1s"]), wait(["--timeout", "8s"]));
    let mut follower = stack.airlock("alice").args(["logs", "-f", "--reconnect", "1s", job.id()]).start();
    follower.wait_for_out("ready");
    stack.end("frontend", Signal::KILL);
    for lost in [give_up, follower] {
        let lost = lost.finish().ends_with(122);
        assert!(lost.err().contains("no connection to"), "{lost}");
    }
    in_time.finish().ends_with(122);
    assert!(
        begun.elapsed() < scale::seconds(30),
        "a time that is over ends the wait, whether or not the server is there"
    );
    stack.up().ends_with(0);
}

#[test]
fn a_job_whose_keeper_and_executor_are_killed_is_lost_with_its_output_and_nobody_else_suffers() {
    let stack = Stack::start();
    let lost = stack.job_sh("head -c 100000 /dev/zero; echo over; sleep 1000");
    lost.has_said("over");
    let kept = stack.job_sh("trap 'echo late; exit 7' USR1; echo ready; while :; do sleep 0.1; done");
    kept.has_said("ready");
    let keeper = keeper_of(lost.id());
    stack.end("executor", Signal::KILL);
    kill_process(keeper, Signal::KILL).expect("the keeper");
    stack.up().ends_with(0);
    let end = lost.end();
    assert_eq!((&end["state"], &end["lost_reason"]), (&"lost".into(), &"keeper died".into()), "{end}");
    assert_eq!(end["output"]["stdout_bytes"], 100_005, "{end}");
    stack.airlock("alice").args(["signal", kept.id(), "USR1"]).run().ends_with(0);
    assert_eq!(kept.end()["exit_status"], 7);
    assert_eq!(kept.stdout(), b"ready\nlate\n");
    // They go when the frontend has let the jobs go, a moment after it has told their ends.
    wait_until("the groups' end", scale::seconds(30), || stack.job_groups().is_empty().then_some(()));
}

// A keeper says in its command line whose it is.
fn keeper_of(job: &str) -> Pid {
    let told = format!("airlock-keeper\0{job}\0");
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let keeper =
        pids.find(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == told.as_bytes()));
    keeper.and_then(Pid::from_raw).expect("a keeper")
}

#[test]
fn output_is_exact_when_many_jobs_end_while_others_write() {
    let stack = Stack::start();
    let many = |n: usize| {
        let script = format!("i=0; while [ $i -lt 40 ]; do head -c 200001 /dev/zero | tr '\\0' {n}; i=$((i+1)); done");
        (n, stack.job_sh(&script))
    };
    let jobs: Vec<_> = (1..=9).map(many).collect();
    for (n, job) in jobs {
        assert_eq!(job.end()["exit_status"], 0);
        let expected = n.to_string().as_bytes()[0];
        let log = job.stdout();
        assert_eq!(log.len(), 40 * 200_001);
        assert!(log.iter().all(|byte| *byte == expected), "bytes of something else in the output of {}", job.id());
    }
}

#[test]
fn the_audit_chain_is_whole_after_restarts() {
    let stack = Stack::start();
    stack.run_sh("exit 0").ends_with(0);
    stack.end("executor", Signal::KILL);
    stack.up().ends_with(0);
    stack.run_sh("exit 0").ends_with(0);
    let file = stack.path("audit/audit.jsonl");
    let verify = || Tool::new(stack.path("bin/airlock-executor")).arg("verify-audit").arg(&file).run();
    verify().ends_with(0);
    let text = std::fs::read_to_string(&file).expect("the audit trail");
    assert!(text.matches("\"event\":\"started\"").count() >= 2 && text.contains("\"event\":\"ended\""), "{text}");
    std::fs::write(&file, text.replacen("\"alice\"", "\"mallory\"", 1)).expect("a change");
    assert!(verify().code() != Some(0), "a changed line is found");
}
