//! What happens to the job, and to `run`, when the client is interrupted.

use std::time::Instant;

use airlock_e2e::{Job, Running, Signal, Stack, processes_of_uid, scale, wait_until};

/// A `run` of alice's whose job has said "ready", and that job.
fn running<'stack>(stack: &'stack Stack, options: &[&str], script: &str) -> (Running, Job<'stack>) {
    let name = format!("interrupted-{:?}", std::thread::current().id()).replace(['(', ')'], "-");
    let mut run = stack.airlock("alice").args(["run", "--name", &name]).args(options).sh(script).start();
    run.wait_for_out("ready");
    let job = stack.airlock("alice").args(["status", &name, "--format", "json"]).run().ends_with(0).json();
    let id = job["job_id"].as_str().expect("an id").to_owned();
    (run, stack.job_with_id(&id))
}

const PATIENT: &str = "echo ready; sleep 1000 & wait";
const STUBBORN: &str = "trap '' INT TERM; echo ready; while :; do sleep 1; done";

#[test]
fn ctrl_c_stops_the_job_by_sigint_and_run_then_dies_of_sigint_itself() {
    let stack = Stack::shared();
    let (run, job) = running(&stack, &[], PATIENT);
    run.signal(Signal::INT);
    let run = run.finish();
    assert_eq!((run.code(), run.signal()), (None, Some(Signal::INT.as_raw())), "{run}");
    let end = job.status();
    assert_eq!((&end["state"], &end["exit_status"]), (&"stopped".into(), &130.into()), "{end}");
    assert_eq!(end["stop"]["signal"], 2, "{end}");
}

#[test]
fn after_ctrl_c_run_shows_what_the_job_still_says() {
    let stack = Stack::shared();
    let (run, _) = running(&stack, &[], "trap 'echo cleaning up; exit 4' INT; echo ready; sleep 1000 & wait");
    run.signal(Signal::INT);
    let run = run.finish();
    assert_eq!(run.signal(), Some(Signal::INT.as_raw()), "{run}");
    assert_eq!(run.out(), "ready\ncleaning up", "{run}");
}

#[test]
fn sigterm_stops_the_job_and_run_ends_with_its_status() {
    let stack = Stack::shared();
    let (run, job) = running(&stack, &[], PATIENT);
    run.signal(Signal::TERM);
    run.finish().ends_with(143);
    let end = job.status();
    assert_eq!((&end["state"], &end["exit_status"]), (&"stopped".into(), &143.into()), "{end}");
}

#[test]
fn a_second_interruption_kills_at_once() {
    let stack = Stack::shared();
    for (first, second) in [(Signal::INT, Signal::INT), (Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let (run, job) = running(&stack, &["--grace", "1h"], STUBBORN);
        run.signal(first);
        job.reaches("stopping");
        run.signal(second);
        run.finish().ends_with(137);
        let end = job.status();
        assert_eq!((&end["state"], &end["exit_status"]), (&"stopped".into(), &137.into()), "{end}");
    }
}

#[test]
fn a_job_that_ignores_the_interruption_is_killed_after_its_grace() {
    let stack = Stack::shared();
    let (run, job) = running(&stack, &["--grace", "1s"], STUBBORN);
    let begin = Instant::now();
    run.signal(Signal::TERM);
    run.finish().ends_with(137);
    assert!(begin.elapsed().as_millis() >= 900, "it had its grace: {:?}", begin.elapsed());
    assert_eq!(job.status()["state"], "stopped");
}

#[test]
fn ctrl_backslash_leaves_the_job_running_and_says_how_to_come_back() {
    let stack = Stack::shared();
    let (run, job) = running(&stack, &[], PATIENT);
    run.signal(Signal::QUIT);
    let run = run.finish().ends_with(122);
    assert!(run.err().contains(&format!("airlock -i alice attach {}", job.short())), "{run}");
    assert!(run.err().contains("--from 6"), "after the six bytes shown\n{run}");
    assert_eq!(job.state(), "running");
    job.kill();
}

#[test]
fn a_closed_terminal_leaves_the_job_running() {
    let stack = Stack::shared();
    let (run, job) = running(&stack, &[], PATIENT);
    run.signal(Signal::HUP);
    run.finish().ends_with(122);
    assert_eq!(job.state(), "running");
    job.kill();
}

#[test]
fn a_killed_client_leaves_the_job_running_and_attach_takes_it_over() {
    let stack = Stack::shared();
    let (run, job) = running(&stack, &[], "trap 'echo late; exit 3' USR1; echo ready; sleep 1000 & wait");
    run.signal(Signal::KILL);
    assert_eq!(run.finish().signal(), Some(9));
    assert_eq!(job.state(), "running");
    let attach = job.airlock("attach").args([job.id(), "--from", "6"]).start();
    job.airlock("signal").args([job.id(), "USR1"]).run().ends_with(0);
    let attach = attach.finish().ends_with(3);
    assert_eq!(attach.out(), "late", "{attach}");
}

#[test]
fn a_suspended_client_leaves_the_job_running_and_misses_nothing() {
    let stack = Stack::shared();
    let (run, job) = running(&stack, &[], "trap 'echo while asleep; exit 0' USR1; echo ready; sleep 1000 & wait");
    run.signal(Signal::STOP);
    job.airlock("signal").args([job.id(), "USR1"]).run().ends_with(0);
    assert_eq!(job.end()["state"], "finished");
    run.signal(Signal::CONT);
    assert_eq!(run.finish().ends_with(0).out(), "ready\nwhile asleep");
}

#[test]
fn a_reader_that_closes_the_pipe_stops_the_job_with_sigpipe_and_run_ends_with_141() {
    let stack = Stack::shared();
    let airlock = stack.path("bin/airlock");
    let script = format!(
        "'{}' -i alice run --name piped -- sh -c 'while :; do echo y; done' | head -n 3; echo ${{PIPESTATUS[0]}}",
        airlock.display()
    );
    let shell = airlock_e2e::Tool::new("bash").args(["-c", &script]);
    let shell =
        shell.env("AIRLOCK_SERVER", stack.address()).env("AIRLOCK_CERTS", stack.certs()).env("HOME", "/nonexistent");
    let shell = shell.run().ends_with(0);
    assert_eq!(shell.out(), "y\ny\ny\n141", "{shell}");
    let job = stack.airlock("alice").args(["status", "piped", "--format", "json"]).run().ends_with(0).json();
    assert_eq!(job["state"], "stopped", "{job}");
    assert_eq!(job["stop"]["signal"], 13, "{job}");
}

#[test]
fn keys_on_a_terminal_act_as_the_first_line_promises() {
    let stack = Stack::shared();
    let mut run = stack.airlock("alice").args(["run", "--name", "keys"]).sh(PATIENT).on_a_terminal().start();
    run.wait_for_out("ready");
    run.wait_for_out("Ctrl-C stops it");
    run.types(b"\x1c");
    run.wait_for_out("attach ");
    run.finish().ends_with(122);

    let mut attach = stack.airlock("alice").args(["attach", "keys"]).on_a_terminal().start();
    attach.wait_for_out("ready");
    attach.types(b"\x03");
    let attach = attach.finish();
    assert_eq!(attach.code(), Some(130), "{attach}");
    let job = stack.airlock("alice").args(["status", "keys", "--format", "json"]).run().ends_with(0).json();
    assert_eq!((&job["state"], &job["exit_status"]), (&"stopped".into(), &130.into()), "{job}");
}

#[test]
fn on_a_terminal_the_first_line_names_the_job_and_a_quick_failure_gets_a_hint() {
    let stack = Stack::shared();
    let run = stack.airlock("alice").args(["run", "--", "false"]).on_a_terminal().run().ends_with(1);
    assert!(run.out().starts_with("airlock: job "), "{run}");
    assert!(run.out().contains("Ctrl-\\ leaves it running"), "{run}");
    assert!(run.out().contains("empty directory of its own"), "{run}");
}

#[test]
fn ctrl_c_ends_logs_alone() {
    let stack = Stack::shared();
    let job = stack.job_sh(PATIENT);
    let mut logs = job.airlock("logs").args(["-f", job.id()]).start();
    logs.wait_for_out("ready");
    logs.signal(Signal::INT);
    drop(logs.finish());
    assert_eq!(job.state(), "running");
    job.kill();
}

#[test]
fn nothing_of_an_interrupted_job_lives_on() {
    let stack = Stack::shared();
    let (run, job) = running(
        &stack,
        &[],
        "setsid sleep 1000 & (setsid sh -c 'trap \"\" INT TERM; sleep 1000' &) ; echo ready; wait",
    );
    let uid = u32::try_from(job.status()["uid"].as_u64().expect("a uid")).expect("32 bits");
    run.signal(Signal::INT);
    run.finish();
    wait_until("the end of everything the job started", scale::seconds(30), || {
        processes_of_uid(uid).is_empty().then_some(())
    });
    wait_until("the job's groups to go", scale::seconds(30), || job.group().folders().is_empty().then_some(()));
}
