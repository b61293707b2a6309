//! Stopping, signalling, waiting for the end, and what a job leaves behind: nothing.

use std::path::Path;
use std::time::Instant;

use airlock_e2e::{Job, Stack, processes_of_uid, scale, wait_until};

fn uid_of(job: &Job<'_>) -> u32 {
    u32::try_from(job.status()["uid"].as_u64().expect("a uid")).expect("32 bits")
}

#[test]
fn a_job_that_ignores_sigterm_is_killed_after_its_grace() {
    let stack = Stack::shared();
    let job = stack.job_sh("trap '' TERM; echo ready; while :; do sleep 1; done");
    job.has_said("ready");
    let begin = Instant::now();
    let stop = job.airlock("stop").args([job.id(), "--grace", "1s"]).run().ends_with(0);
    assert_eq!(stop.out(), format!("{} stopped 137", job.short()), "{stop}");
    assert!(begin.elapsed().as_millis() >= 900, "it had its grace: {:?}", begin.elapsed());
    let end = job.status();
    assert_eq!((&end["state"], &end["exit"]["signal"]), (&"stopped".into(), &9.into()), "{end}");
}

#[test]
fn stop_without_waiting_answers_at_once_and_shows_the_job_as_stopping() {
    let stack = Stack::shared();
    let job = stack.job_sh("trap '' TERM; echo ready; while :; do sleep 1; done");
    job.has_said("ready");
    job.airlock("stop").args([job.id(), "--no-wait", "--grace", "1h"]).run().ends_with(0);
    job.reaches("stopping");
    // A second stop may shorten the grace.
    job.kill();
    assert_eq!(job.status()["exit_status"], 137);
}

#[test]
fn a_job_whose_output_limit_asked_for_its_end_first_says_so_whoever_asks_afterwards() {
    let stack = Stack::shared();
    let job = stack.job(&[
        "--output-limit",
        "64K",
        "--output-full",
        "stop",
        "--",
        "sh",
        "-c",
        "trap '' TERM; head -c 1000000 /dev/zero; while :; do sleep 1; done",
    ]);
    let status = job.reaches("stopping");
    assert_eq!(status["stop"]["by"], "output limit", "{status}");
    job.airlock("stop").args([job.id(), "--grace", "0s"]).run().ends_with(0);
    let end = job.end();
    assert_eq!((&end["state"], &end["stop"]["by"]), (&"stopped".into(), &"output limit".into()), "{end}");
}

#[test]
fn stopping_an_ended_job_is_no_error_and_changes_nothing() {
    let stack = Stack::shared();
    let job = stack.job_sh("exit 3");
    let before = job.end();
    job.airlock("stop").arg(job.id()).run().ends_with(0);
    assert_eq!(job.status(), before);
}

#[test]
fn a_daemonising_job_leaves_nothing_behind() {
    let stack = Stack::shared();
    let script = "for i in 1 2 3; do setsid sh -c 'trap \"\" HUP INT TERM; (sleep 1000 &) ; exec sleep 1000' \
                  > /dev/null 2>&1 < /dev/null & done; until [ $(pgrep -c sleep) -ge 6 ]; do :; done; exit 0";
    let job = stack.job_sh(script);
    let end = job.end();
    assert_eq!(end["state"], "finished", "{end}");
    let uid = uid_of(&job);
    wait_until("the daemons' end", scale::seconds(30), || processes_of_uid(uid).is_empty().then_some(()));
    wait_until("the groups' end", scale::seconds(30), || job.group().folders().is_empty().then_some(()));
}

#[test]
fn the_working_directory_is_gone_when_the_job_has_ended() {
    let stack = Stack::shared();
    let job =
        stack.job_sh("mkdir -p deep/er; echo x > deep/er/file; ln -s /etc link; mkfifo fifo; chmod 000 deep; pwd");
    job.end();
    let folder = String::from_utf8(job.stdout()).expect("a path");
    let folder = Path::new(folder.trim());
    assert!(folder.is_absolute(), "{}", folder.display());
    wait_until("the directory's end", scale::seconds(30), || (!folder.exists()).then_some(()));
    wait_until("nothing of it below work", scale::seconds(30), || {
        let left = std::fs::read_dir(stack.path("work")).expect("work").flatten();
        let uid = uid_of(&job);
        let mine = left.filter(|entry| {
            use std::os::unix::fs::MetadataExt;
            entry.metadata().is_ok_and(|meta| meta.uid() == uid)
        });
        (mine.count() == 0).then_some(())
    });
    assert!(Path::new("/etc/passwd").exists(), "links are not followed");
}

#[test]
fn signal_sends_it_and_nothing_more() {
    let stack = Stack::shared();
    let job = stack.job_sh("trap 'echo reloaded' HUP; echo ready; while :; do sleep 0.1; done");
    job.has_said("ready");
    job.airlock("signal").args([job.id(), "HUP"]).run().ends_with(0);
    job.has_said("reloaded");
    let job_now = job.status();
    assert_eq!(job_now["state"], "running", "{job_now}");
    assert!(job_now.get("stop").is_none(), "nobody asked for its end: {job_now}");
    job.airlock("signal").args([job.id(), "9"]).run().ends_with(0);
    let end = job.end();
    assert_eq!(end["exit"]["signal"], 9, "{end}");
    job.airlock("signal").args([job.id(), "HUP"]).run().says(125, &[job.short()]);
}

#[test]
fn stop_all_ends_ones_own_live_jobs_and_no_others() {
    let stack = Stack::start();
    let mine = [stack.job_sh("sleep 1000"), stack.job_sh("sleep 1000")];
    let theirs = stack.job_of("bob", &["--", "sleep", "1000"]);
    stack.airlock("alice").args(["stop", "--all"]).run().ends_with(0);
    for job in &mine {
        assert_eq!(job.state(), "stopped");
    }
    assert_eq!(theirs.state(), "running");
    stack.airlock("admin").args(["stop", "--all", "--owner", "bob"]).run().ends_with(0);
    let end = theirs.status();
    assert_eq!((&end["state"], &end["stop"]["by"]), (&"stopped".into(), &"admin".into()), "{end}");
}

#[test]
fn wait_any_answers_with_the_first_end() {
    let stack = Stack::shared();
    let long = stack.job_sh("sleep 1000");
    let short = stack.job_sh("exit 4");
    let wait = stack.airlock("alice").args(["wait", "--any", long.id(), short.id()]).run();
    assert_eq!(wait.code(), Some(4), "{wait}");
    assert!(wait.out().contains(short.short()), "{wait}");
    long.kill();
}

#[test]
fn a_live_job_cannot_be_deleted_and_an_ended_one_is_gone_afterwards() {
    let stack = Stack::shared();
    let job = stack.job_sh("echo kept; sleep 1000");
    job.has_said("kept");
    job.airlock("delete").arg(job.id()).run().says(125, &[job.short()]);
    job.kill();
    assert_eq!(job.stdout(), b"kept\n");
    job.airlock("delete").arg(job.id()).run().ends_with(0);
    job.airlock("status").arg(job.id()).run().says(125, &["no job"]);
    job.airlock("logs").arg(job.id()).run().says(125, &["no job"]);
}

#[test]
fn the_first_cause_of_an_end_wins() {
    let stack = Stack::shared();
    let job = stack.job(&["--timeout", "1h", "--", "sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 1000 & wait"]);
    job.has_said("ready");
    job.airlock("stop").args([job.id(), "--no-wait"]).run().ends_with(0);
    let end = job.end();
    assert_eq!(end["state"], "stopped", "{end}");
    assert!(end["deadline_hit"] != true, "{end}");
}
