//! A server that is not there for a moment, as while it is upgraded.

use crate::{
    fake::{Ending, Fake, Peculiarities, Proxy, Step},
    harness::{airlock, command, noise, silent_port, spawn, until},
};
use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

/// A job that has ended, so that every command has something to say.
fn with_ended_job() -> Fake {
    let fake = Fake::start();
    fake.state.script(vec![Step::Out(b"data".to_vec()), Step::End(Ending::code(0))]);
    assert_eq!(airlock(&fake, &["start", "x"]).code(), 0);
    fake
}

#[test]
fn every_command_waits_for_a_server_that_is_back_within_a_moment() {
    for words in [
        &["status", "last"][..],
        &["list"],
        &["logs", "last"],
        &["wait", "last"],
        &["start", "y"],
        &["run", "y"],
        &["attach", "last"],
        &["whoami"],
        &["stop", "last"],
        &["signal", "last", "HUP"],
        &["archive", "last"],
        &["delete", "last"],
    ] {
        let fake = with_ended_job();
        let proxy = Proxy::to(fake.port);
        proxy.refuse(true);
        let mut words = words.to_vec();
        words.splice(0..0, ["--patience", "20s"]);
        let running = spawn(command(&fake, proxy.port, &words));
        until("an attempt", || proxy.accepted() > 0);
        proxy.refuse(false);
        let finished = running.finish();
        assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""), "{words:?}");
    }
}

#[test]
fn a_server_that_stays_away_is_an_error_after_the_patience_and_not_after_five_minutes() {
    let fake = Fake::start();
    let (_held, free) = silent_port();
    for words in [&["list"][..], &["logs", "last"], &["wait", "last"], &["start", "x"], &["run", "x"]] {
        let mut words = words.to_vec();
        words.splice(0..0, ["--patience", "400ms"]);
        let begun = Instant::now();
        let finished = spawn(command(&fake, free, &words)).finish();
        assert!(begun.elapsed() >= Duration::from_millis(400), "{words:?} did not wait");
        assert_eq!(finished.code(), 125);
        let expected = format!(
            "airlock: cannot reach localhost:{free}: connection refused, nothing listens there; airlock doctor looks for the cause\n"
        );
        assert_eq!(finished.stderr, expected, "{words:?}");
    }
}

#[test]
fn without_patience_there_is_one_attempt() {
    let fake = Fake::start();
    let proxy = Proxy::to(fake.port);
    proxy.refuse(true);
    let finished = spawn(command(&fake, proxy.port, &["--patience", "0", "run", "x"])).finish();
    assert_eq!((finished.code(), proxy.accepted()), (125, 1), "{}", finished.stderr);
}

#[test]
fn a_start_that_a_stopping_server_refuses_is_repeated_as_the_same_request() {
    let fake = Fake::start();
    fake.state.script(vec![Step::End(Ending::code(0))]);
    fake.state.lock().refuse_start = Some(tonic::Status::unavailable("build1 is stopping"));
    assert_eq!(airlock(&fake, &["start", "x"]).code(), 0);
    let inner = fake.state.lock();
    assert_eq!(inner.starts.len(), 2);
    assert_eq!(inner.starts[0].request_id, inner.starts[1].request_id);
    assert_eq!(inner.jobs.len(), 1);
}

#[test]
fn input_that_waited_for_the_server_is_sent_whole_and_once() {
    let fake = Fake::start();
    fake.state.script(vec![Step::End(Ending::code(0))]);
    let proxy = Proxy::to(fake.port);
    proxy.refuse(true);
    let data = noise(6, 700_000);
    let mut call = command(&fake, proxy.port, &["--patience", "20s", "run", "--stdin", "x"]);
    let mut child = call.stdin(Stdio::piped()).spawn().unwrap();
    until("an attempt", || proxy.accepted() > 0);
    proxy.refuse(false);
    // More than a pipe holds: it is read once there is a connection, and not before.
    child.stdin.take().unwrap().write_all(&data).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let inner = fake.state.lock();
    assert!(inner.uploads == [data]);
    assert_eq!(inner.starts.len(), 1);
}

#[test]
fn a_refused_certificate_is_never_waited_for() {
    for peculiarities in [
        Peculiarities { revoked: vec!["alice"], ..Default::default() },
        Peculiarities { server_expired: true, ..Default::default() },
        Peculiarities { server_names: Some(vec!["elsewhere.example".into()]), ..Default::default() },
    ] {
        let fake = Fake::with(peculiarities);
        let begun = Instant::now();
        let finished = airlock(&fake, &["--patience", "5m", "list"]);
        assert_eq!(finished.code(), 125);
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", finished.stderr);
    }
}

#[test]
fn a_patience_that_is_no_duration_is_refused() {
    let fake = Fake::start();
    let finished = airlock(&fake, &["--patience", "soon", "list"]);
    assert_eq!(finished.code(), 125);
    assert!(finished.stderr.starts_with("airlock: patience 'soon' "), "{}", finished.stderr);
}
