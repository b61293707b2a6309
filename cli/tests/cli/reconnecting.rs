//! Lost connections: each byte once, and never a success that nobody reported.

use crate::{
    fake::{Ending, Fake, Proxy, Step},
    harness::{command, noise, spawn},
};
use airlock_client::api::stream_output_request::From;

#[test]
fn a_connection_cut_again_and_again_neither_loses_nor_doubles_a_byte() {
    let fake = Fake::start();
    let proxy = Proxy::to(fake.port);
    let (out, err) = (noise(4, 2_000_000), noise(5, 1_000_000));
    let mut steps: Vec<Step> = Vec::new();
    for (out, err) in out.chunks(20_000).zip(err.chunks(10_000)) {
        steps.extend([Step::Out(out.to_vec()), Step::Err(err.to_vec())]);
    }
    steps.push(Step::End(Ending::code(0)));
    fake.state.script(steps);
    proxy.break_after((0..20).map(|round| 20_000 + round * 17_321 % 190_000));
    let mut call = command(&fake, proxy.port, &["run", "x"]);
    let folder = tempfile::tempdir().unwrap();
    let stderr = folder.path().join("stderr");
    call.stderr(std::fs::File::create(&stderr).unwrap());
    let mut child = call.spawn().unwrap();
    let mut stdout = Vec::new();
    std::io::Read::read_to_end(&mut child.stdout.take().unwrap(), &mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(stdout == out);
    assert!(std::fs::read(&stderr).unwrap() == err);
    let offsets: Vec<Option<From>> = fake.state.lock().streams.iter().map(|stream| stream.from).collect();
    assert!(offsets.len() > 5, "it was cut: {offsets:?}");
    assert_eq!(
        fake.state.lock().starts.iter().map(|start| &start.request_id).collect::<std::collections::HashSet<_>>().len(),
        1
    );
}

#[test]
fn a_connection_that_stays_away_ends_with_122_and_the_way_back() {
    let fake = Fake::start();
    let proxy = Proxy::to(fake.port);
    fake.state.script(vec![Step::Out(b"twelve bytes".to_vec()), Step::UntilStopped { stubborn: false }]);
    let running = spawn(command(&fake, proxy.port, &["run", "--reconnect", "300ms", "x"]));
    fake.state.until("the stream is open", |inner| !inner.streams.is_empty());
    running.until_shown(12);
    proxy.refuse(true);
    proxy.cut();
    let finished = running.finish();
    assert_eq!((finished.code(), finished.text().as_str()), (122, "twelve bytes"));
    assert!(
        finished.stderr.contains(&format!("connection to localhost:{} lost after ", proxy.port)),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.ends_with("airlock: come back with: airlock attach 00000001 --from 12\n"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_short_loss_is_not_worth_a_word() {
    let fake = Fake::start();
    let proxy = Proxy::to(fake.port);
    fake.state.script(vec![Step::Out(b"a".to_vec())]);
    let running = spawn(command(&fake, proxy.port, &["run", "x"]));
    fake.state.until("the stream is open", |inner| !inner.streams.is_empty());
    proxy.cut();
    fake.state.until("the stream is open again", |inner| inner.streams.len() > 1);
    fake.state.perform(0, &[Step::Out(b"b".to_vec()), Step::End(Ending::code(0))]);
    let finished = running.finish();
    assert_eq!((finished.code(), finished.text().as_str(), finished.stderr.as_str()), (0, "ab", ""));
}

#[test]
fn a_stream_that_ends_while_the_job_lives_is_never_a_success() {
    let fake = Fake::start();
    fake.state.script(vec![Step::Out(b"x".to_vec()), Step::End(Ending::code(0))]);
    fake.state.lock().lie_about_the_end = true;
    let finished = spawn(command(&fake, fake.port, &["run", "--reconnect", "300ms", "x"])).finish();
    assert_eq!((finished.code(), finished.text().as_str()), (122, "x"));
}

#[test]
fn a_lost_answer_to_the_start_is_asked_for_again_with_the_same_request_id() {
    let fake = Fake::start();
    let proxy = Proxy::to(fake.port);
    fake.state.script(vec![Step::Out(b"once".to_vec()), Step::End(Ending::code(0))]);
    fake.state.lock().hold_start = true;
    let running = spawn(command(&fake, proxy.port, &["run", "x"]));
    fake.state.until("the start has arrived", |inner| !inner.starts.is_empty());
    proxy.cut();
    fake.state.until("the start was repeated", |inner| inner.starts.len() > 1);
    fake.state.lock().hold_start = false;
    fake.state.notify();
    let finished = running.finish();
    assert_eq!((finished.code(), finished.text().as_str()), (0, "once"));
    let inner = fake.state.lock();
    assert_eq!(inner.starts[0].request_id, inner.starts[1].request_id);
    assert_eq!(inner.jobs.len(), 1);
}

#[test]
fn an_answer_that_stays_away_is_said_to_be_unknown_with_the_id_to_repeat() {
    let fake = Fake::start();
    let proxy = Proxy::to(fake.port);
    fake.state.lock().hold_start = true;
    let running = spawn(command(&fake, proxy.port, &["run", "--reconnect", "300ms", "--request-id", "my-id", "x"]));
    fake.state.until("the start has arrived", |inner| !inner.starts.is_empty());
    proxy.refuse(true);
    proxy.cut();
    let finished = running.finish();
    assert_eq!(finished.code(), 125);
    assert_eq!(
        finished.stderr,
        "airlock: the answer to the start was lost; the job may run; repeat with --request-id my-id and it will not start twice\n"
    );
}
