//! Every row of the table of interruptions, with real signals to the real binary.

use crate::{
    fake::{Fake, Step},
    harness::{Running, command, spawn, spawn_unread, until},
};
use airlock_client::api::StopJobRequest;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;

fn running(fake: &Fake, stubborn: bool, words: &[&str]) -> Running {
    fake.state.script(vec![Step::Out(b"begun\n".to_vec()), Step::UntilStopped { stubborn }]);
    let running = spawn(command(fake, fake.port, words));
    fake.state.until("its output is followed", |inner| !inner.streams.is_empty());
    running
}

fn asked(fake: &Fake, number: usize) -> StopJobRequest {
    fake.state.until("a stop was asked for", |inner| inner.stops.len() >= number);
    fake.state.lock().stops[number - 1].clone()
}

#[test]
fn sigint_stops_the_job_with_sigint_and_run_dies_of_it_after_the_jobs_end() {
    let fake = Fake::start();
    let running = running(&fake, false, &["run", "--grace", "7s", "x"]);
    running.signal(Signal::INT);
    let stop = asked(&fake, 1);
    assert_eq!((stop.signal, stop.grace_ms), (2, Some(7000)));
    let finished = running.finish();
    assert_eq!(finished.status.signal(), Some(2), "{:?}", finished.status);
    assert_eq!((finished.text().as_str(), finished.stderr.as_str()), ("begun\n", ""));
}

#[test]
fn sigterm_stops_the_job_and_run_ends_with_the_jobs_status() {
    let fake = Fake::start();
    let running = running(&fake, false, &["run", "x"]);
    running.signal(Signal::TERM);
    let stop = asked(&fake, 1);
    assert_eq!((stop.signal, stop.grace_ms), (15, Some(10_000)));
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(143));
    assert_eq!(finished.stderr, "");
}

#[test]
fn a_second_interruption_kills_at_once_and_ends_with_137() {
    for (first, second) in [(Signal::INT, Signal::INT), (Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let fake = Fake::start();
        let mut running = running(&fake, true, &["run", "x"]);
        running.signal(first);
        asked(&fake, 1);
        assert!(!running.is_over(), "it waits for the job's end");
        running.signal(second);
        let stop = asked(&fake, 2);
        assert_eq!((stop.signal, stop.grace_ms), (9, Some(0)));
        assert_eq!(running.finish().status.code(), Some(137));
    }
}

#[test]
fn ctrl_backslash_leaves_the_job_running_and_says_how_to_come_back() {
    let fake = Fake::start();
    let running = running(&fake, false, &["run", "x"]);
    running.until_shown(6);
    running.signal(Signal::QUIT);
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(122));
    assert_eq!(
        finished.stderr,
        "airlock: job 00000001 runs on\nairlock: come back with: airlock attach 00000001 --from 6\n"
    );
    assert!(fake.state.lock().stops.is_empty());
}

#[test]
fn a_hangup_leaves_the_job_running() {
    let fake = Fake::start();
    let running = running(&fake, false, &["run", "x"]);
    running.signal(Signal::HUP);
    assert_eq!(running.finish().status.code(), Some(122));
    assert!(fake.state.lock().stops.is_empty());
}

#[test]
fn a_reader_that_closes_the_pipe_stops_the_job_with_sigpipe_and_run_ends_with_141() {
    let fake = Fake::start();
    fake.state.script(vec![Step::Out(b"begun\n".to_vec())]);
    let mut running = spawn_unread(command(&fake, fake.port, &["run", "x"]));
    fake.state.until("its output is followed", |inner| !inner.streams.is_empty());
    drop(running.take_stdout());
    // More than once: a child that another test is just about to start holds the pipe's other end too, until it is another program.
    until("a stop was asked for", || {
        fake.state.perform(0, &[Step::Out(b"more\n".to_vec())]);
        !fake.state.lock().stops.is_empty()
    });
    assert_eq!(asked(&fake, 1).signal, 13);
    assert_eq!(running.finish().status.code(), Some(141));
}

#[test]
fn interruptions_work_while_nobody_reads_our_output() {
    let fake = Fake::start();
    fake.state.script(vec![Step::Out(vec![b'x'; 4 << 20])]);
    let mut running = spawn_unread(command(&fake, fake.port, &["run", "x"]));
    let unread = running.take_stdout();
    fake.state.until("its output is followed", |inner| !inner.streams.is_empty());
    until("the pipe is full", || rustix::io::ioctl_fionread(&unread).unwrap() >= 65_536);
    running.signal(Signal::INT);
    assert_eq!(asked(&fake, 1).signal, 2);
    running.signal(Signal::QUIT);
    assert_eq!(running.finish().status.code(), Some(122));
    drop(unread);
}

#[test]
fn an_interruption_during_the_start_stops_the_job_as_soon_as_it_is_known() {
    let fake = Fake::start();
    fake.state.lock().hold_start = true;
    let running = spawn(command(&fake, fake.port, &["run", "x"]));
    fake.state.until("the start has arrived", |inner| !inner.starts.is_empty());
    running.signal(Signal::INT);
    fake.state.lock().hold_start = false;
    fake.state.notify();
    assert_eq!(asked(&fake, 1).signal, 2);
    assert_eq!(running.finish().status.signal(), Some(2));
}

#[test]
fn attach_passes_the_same_interruptions_on() {
    let fake = Fake::start();
    spawn(command(&fake, fake.port, &["start", "x"])).finish();
    let running = spawn(command(&fake, fake.port, &["attach", "last"]));
    fake.state.until("its output is followed", |inner| !inner.streams.is_empty());
    running.signal(Signal::TERM);
    assert_eq!(asked(&fake, 1).signal, 15);
    assert_eq!(running.finish().status.code(), Some(143));
}

#[test]
fn logs_only_looks_and_an_interruption_ends_it_alone() {
    let fake = Fake::start();
    spawn(command(&fake, fake.port, &["start", "x"])).finish();
    let running = spawn(command(&fake, fake.port, &["logs", "-f", "last"]));
    fake.state.until("its output is followed", |inner| !inner.streams.is_empty());
    running.signal(Signal::INT);
    assert_eq!(running.finish().status.signal(), Some(2));
    assert!(fake.state.lock().stops.is_empty());
}
