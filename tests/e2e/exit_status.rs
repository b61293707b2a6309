//! Every exit status of `run`, `start`, `attach` and `wait` means one thing.

use airlock_e2e::Stack;

#[test]
fn run_ends_with_the_jobs_own_status() {
    let stack = Stack::shared();
    for code in [0, 1, 3, 99, 122, 255] {
        let run = stack.run_sh(&format!("exit {code}"));
        assert_eq!(run.code(), Some(code), "{run}");
        assert!(run.stderr().is_empty(), "{run}");
    }
}

#[test]
fn a_job_ended_by_a_signal_nobody_asked_for_has_failed_with_128_and_its_number() {
    let stack = Stack::shared();
    for (signal, status, name) in [("TERM", 143, "SIGTERM"), ("KILL", 137, "SIGKILL"), ("SEGV", 139, "SIGSEGV")] {
        let label = format!("self-{signal}").to_lowercase();
        let run =
            stack.airlock("alice").args(["run", "--name", &label]).sh(&format!("kill -{signal} $$; sleep 60")).run();
        assert_eq!(run.code(), Some(status), "{run}");
        let job = stack.airlock("alice").args(["status", &label, "--format", "json"]).run().json();
        assert_eq!(job["state"], "failed", "{job}");
        assert_eq!(job["exit_status"], status, "{job}");
        assert_eq!(job["exit"]["signal_name"], name, "{job}");
    }
}

#[test]
fn a_command_that_does_not_exist_is_127_and_named_also_from_start() {
    let stack = Stack::shared();
    for verb in ["run", "start"] {
        let named = stack.airlock("alice").args([verb, "--", "no-such-program"]).run();
        named.says(127, &["no-such-program", "/usr/local/bin:/usr/bin:/bin"]);
        let path = stack.airlock("alice").args([verb, "--", "/no/such/file"]).run();
        path.says(127, &["/no/such/file"]);
    }
    stack.airlock("alice").args(["run", "--name", "not-there", "--", "no-such-program"]).run().ends_with(127);
    let job = stack.airlock("alice").args(["status", "not-there", "--format", "json"]).run().ends_with(0).json();
    assert_eq!((&job["state"], &job["exit_status"]), (&"error".into(), &127.into()), "{job}");
    assert_eq!(job["start_error"]["step"], "exec", "{job}");
}

#[test]
fn a_command_that_is_not_executable_is_126_also_from_start() {
    let stack = Stack::shared();
    for verb in ["run", "start"] {
        stack.airlock("alice").args([verb, "--", "/etc/passwd"]).run().says(126, &["/etc/passwd", "not executable"]);
        let folder = stack.airlock("alice").args([verb, "--", "/usr"]).run();
        assert_eq!(folder.code(), Some(126), "a folder\n{folder}");
    }
}

#[test]
fn a_job_past_its_deadline_ends_with_124_whatever_it_does_on_being_stopped() {
    let stack = Stack::shared();
    for script in ["sleep 1000", "trap 'exit 0' TERM; sleep 1000 & wait", "trap 'exit 7' TERM; sleep 1000 & wait"] {
        let run = stack.airlock("alice").args(["run", "--timeout", "1s", "--name", "too-long"]).sh(script).run();
        assert_eq!(run.code(), Some(124), "{script}\n{run}");
        let job = stack.airlock("alice").args(["status", "too-long", "--format", "json"]).run().ends_with(0).json();
        assert_eq!((&job["state"], &job["exit_status"]), (&"timed-out".into(), &124.into()), "{job}");
    }
}

#[test]
fn what_airlock_itself_refuses_is_125() {
    let stack = Stack::shared();
    for words in [
        vec!["run"],
        vec!["run", "--no-such-option", "--", "true"],
        vec!["run", "--memory", "lots", "--", "true"],
        vec!["run", "--profile", "nope", "--", "true"],
        vec!["status", "00000000-0000-4000-8000-000000000000"],
        vec!["attach", "nothing-of-that-name"],
        vec!["no-such-command"],
    ] {
        let refused = stack.airlock("alice").args(&words).run();
        assert_eq!(refused.code(), Some(125), "{refused}");
        assert!(refused.stdout().is_empty() && !refused.stderr().is_empty(), "{refused}");
    }
    let unreachable = stack.airlock("alice").env("AIRLOCK_SERVER", "localhost:1").args(["run", "--", "true"]).run();
    unreachable.says(125, &["localhost:1"]);
}

#[test]
fn a_stopped_job_that_then_exits_with_0_counts_as_ended_by_the_signal() {
    let stack = Stack::shared();
    let job = stack.job_sh("trap 'exit 0' TERM; echo ready; sleep 1000 & wait");
    job.has_said("ready");
    job.airlock("stop").arg(job.id()).run().ends_with(0);
    let end = job.end();
    assert_eq!((&end["state"], &end["exit_status"]), (&"stopped".into(), &143.into()), "{end}");
    assert_eq!(end["exit"]["code"], 0, "the raw status stays known: {end}");
    assert_eq!(end["stop"]["by"], "alice", "{end}");
    assert_eq!(job.airlock("wait").arg(job.id()).run().code(), Some(143));
    assert_eq!(job.airlock("attach").arg(job.id()).run().code(), Some(143));
}

#[test]
fn a_stopped_job_that_exits_with_another_code_keeps_it() {
    let stack = Stack::shared();
    let job = stack.job_sh("trap 'exit 9' TERM; echo ready; sleep 1000 & wait");
    job.has_said("ready");
    job.airlock("stop").arg(job.id()).run().ends_with(0);
    let end = job.end();
    assert_eq!((&end["state"], &end["exit_status"]), (&"stopped".into(), &9.into()), "{end}");
}

#[test]
fn wait_ends_with_the_jobs_status_and_with_the_largest_of_several() {
    let stack = Stack::shared();
    let jobs = [0, 5, 3].map(|code| stack.job_sh(&format!("exit {code}")));
    let one = stack.airlock("alice").args(["wait", jobs[1].id()]).run();
    assert_eq!(one.code(), Some(5), "{one}");
    let all = stack.airlock("alice").arg("wait").args(jobs.iter().map(|job| job.id())).run();
    assert_eq!(all.code(), Some(5), "{all}");
    assert_eq!(all.out().lines().count(), 3, "one line each\n{all}");
    for job in &jobs {
        assert!(all.out().contains(job.short()), "{all}");
    }
}

#[test]
fn wait_that_runs_out_of_time_is_122_and_the_job_goes_on() {
    let stack = Stack::shared();
    let job = stack.job_sh("sleep 1000");
    let wait = stack.airlock("alice").args(["wait", job.id(), "--timeout", "1s"]).run();
    assert_eq!(wait.code(), Some(122), "{wait}");
    assert_eq!(job.state(), "running");
    job.kill();
}

#[test]
fn missing_output_turns_0_into_123_and_names_the_gap() {
    let stack = Stack::shared();
    let job = stack.job(&["--output-limit", "2M", "--", "head", "-c", "16M", "/dev/zero"]);
    let end = job.end();
    assert_eq!(end["state"], "finished", "{end}");
    let missing = end["output"]["missing_bytes"].as_u64().unwrap_or(0);
    assert!(missing > 8 << 20, "most of it is gone: {end}");
    let attach = job.airlock("attach").arg(job.id()).run();
    assert_eq!(attach.code(), Some(123), "{attach}");
    assert!(attach.err().contains("output limit"), "{attach}");
    assert_eq!(attach.stdout().len() as u64 + missing, 16 << 20, "kept and missing make up the whole");
}

#[test]
fn attach_to_an_ended_job_gives_its_output_and_its_status() {
    let stack = Stack::shared();
    let job = stack.job_sh("echo out; echo err >&2; exit 3");
    job.end();
    let attach = job.airlock("attach").arg(job.id()).run().ends_with(3);
    assert_eq!((attach.out().as_str(), attach.err().as_str()), ("out", "err"), "{attach}");
}

#[test]
fn the_result_file_holds_the_job_from_its_start_and_then_its_end() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("result.json");
    let read = || {
        let bytes = std::fs::read(&file).expect("the result file");
        serde_json::from_slice::<serde_json::Value>(&bytes).expect("a whole JSON value")
    };
    // 122 from the job itself cannot be told from a lost connection by the status alone.
    let mut run = stack.airlock("alice").args(["run", "--result"]).arg(&file);
    run = run.sh("trap 'exit 122' USR1; echo ready; sleep 1000 & wait");
    let mut run = run.start();
    run.wait_for_out("ready");
    let at_start = read();
    assert_eq!(at_start["state"], "running", "{at_start}");
    assert!(at_start.get("exit_status").is_none(), "{at_start}");
    let id = at_start["job_id"].as_str().expect("an id").to_owned();
    stack.airlock("alice").args(["signal", &id, "USR1"]).run().ends_with(0);
    run.finish().ends_with(122);
    let at_end = read();
    assert_eq!(at_end["job_id"], at_start["job_id"]);
    assert_eq!((&at_end["state"], &at_end["exit_status"]), (&"failed".into(), &122.into()), "{at_end}");
}
