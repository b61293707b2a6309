//! Everything said at the wrong moment closes the connection; nothing of it is done.

use ipc_protocol::{Claimed, JobId, Request, Stream};

use super::{
    EPOCH, attack,
    peer::{fresh_id, sleeper},
};

const JOB: JobId = JobId::from_bytes([5; 16]);

#[track_caller]
fn closes_before_hello(request: &Request) {
    attack(|executor| {
        let mut peer = executor.connect();
        peer.say(request);
        peer.is_closed();
    });
}

#[track_caller]
fn closes_while_comparing(request: &Request) {
    attack(|executor| {
        let mut peer = executor.connect();
        peer.begins(EPOCH);
        peer.say(request);
        peer.is_closed();
    });
}

#[track_caller]
fn closes_when_live(request: &Request) {
    attack(|executor| {
        let mut peer = executor.live();
        peer.is_open();
        peer.say(request);
        peer.is_closed();
    });
}

fn resume() -> Request {
    Request::Resume { job: JOB, have: [0, 0] }
}

fn input() -> Request {
    Request::Input { job: JOB, offset: 0, bytes: vec![1] }
}

fn spawn() -> Request {
    Request::Spawn(Box::new(sleeper()))
}

fn ack() -> Request {
    Request::Ack { job: JOB, stream: Stream::Stdout, offset: 0 }
}

fn stop() -> Request {
    Request::Stop { job: fresh_id(), signal: 15, grace_ms: 0, by: Claimed::default() }
}

fn signal() -> Request {
    Request::Signal { job: fresh_id(), signal: 15, by: Claimed::default() }
}

fn release() -> Request {
    Request::Release { job: fresh_id() }
}

#[test]
fn a_resume_before_hello_closes() {
    closes_before_hello(&resume());
}

#[test]
fn an_end_of_the_comparison_before_hello_closes() {
    closes_before_hello(&Request::SyncEnd);
}

#[test]
fn input_before_hello_closes() {
    closes_before_hello(&input());
}

#[test]
fn a_spawn_before_hello_closes_and_starts_nothing() {
    closes_before_hello(&spawn());
}

#[test]
fn an_acknowledgement_before_hello_closes() {
    closes_before_hello(&ack());
}

#[test]
fn a_stop_before_hello_closes() {
    closes_before_hello(&stop());
}

#[test]
fn a_signal_before_hello_closes() {
    closes_before_hello(&signal());
}

#[test]
fn a_release_before_hello_closes() {
    closes_before_hello(&release());
}

#[test]
fn input_while_comparing_closes() {
    closes_while_comparing(&input());
}

#[test]
fn a_spawn_while_comparing_closes_and_starts_nothing() {
    closes_while_comparing(&spawn());
}

#[test]
fn a_stop_while_comparing_closes() {
    closes_while_comparing(&stop());
}

#[test]
fn a_signal_while_comparing_closes() {
    closes_while_comparing(&signal());
}

#[test]
fn a_release_while_comparing_closes() {
    closes_while_comparing(&release());
}

#[test]
fn a_resume_when_live_closes() {
    closes_when_live(&resume());
}

#[test]
fn an_end_of_the_comparison_when_live_closes() {
    closes_when_live(&Request::SyncEnd);
}
