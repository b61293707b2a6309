//! The program as an operator meets it: what it refuses and in which words, how it starts, reloads and ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nobody's on a Debian host.
const UID: u32 = 64_123;

/// A folder with everything that a frontend needs, owned by its user.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let mut ca = CertificateParams::new(Vec::new()).expect("good parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.not_after = date_time_ymd(2096, 1, 1);
    let ca_key = KeyPair::generate().expect("a key");
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let issuer = Issuer::new(ca, ca_key);
    let mut server = CertificateParams::new(vec!["localhost".to_owned()]).expect("good parameters");
    server.not_after = date_time_ymd(2095, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let pem = server.signed_by(&key, &issuer).expect("a certificate").pem();
    put(dir.path(), "server.crt", &pem);
    put(dir.path(), "server.key", &key.serialize_pem());
    put(dir.path(), "ca.crt", &ca_pem);
    fs::create_dir(dir.path().join("state")).expect("a folder");
    put(dir.path(), "policy.toml", "visibility = \"own\"\n");
    let text = config(dir.path(), "127.0.0.1:0");
    put(dir.path(), "frontend.toml", &text);
    own(dir.path());
    dir
}

fn config(dir: &Path, listen: &str) -> String {
    format!(
        "listen = \"{listen}\"\nhost = \"build1\"\nexecutor_socket = \"{0}/executor.sock\"\nstate_dir = \"{0}/state\"\n\
         policy = \"{0}/policy.toml\"\n[tls]\ncertificate = \"{0}/server.crt\"\nkey = \"{0}/server.key\"\n\
         client_ca = \"{0}/ca.crt\"\n",
        dir.display()
    )
}

fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    own(&path);
}

fn own(path: &Path) {
    if is_root() {
        chown(path, Some(UID), Some(UID)).expect("its owner");
        let state = path.join("state");
        if state.exists() {
            chown(state, Some(UID), Some(UID)).expect("its owner");
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn frontend(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airlock-frontend"));
    command.arg("--config").arg(dir.join("frontend.toml")).env_remove("NOTIFY_SOCKET");
    command
}

/// As its own user, where the tests run as root.
fn unprivileged(dir: &Path) -> Command {
    let mut command = frontend(dir);
    if is_root() {
        command.uid(UID).gid(UID);
    }
    command
}

fn refusal(mut command: Command) -> String {
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// A frontend that runs, and its journal.
struct Running {
    child: Child,
    journal: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let mut child = unprivileged(dir).stderr(Stdio::piped()).spawn().expect("it starts");
        let journal = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut running = Self { child, journal, said: String::new() };
        running.wait_for(" serving ");
        running
    }

    /// Reads the journal up to a line with this in it.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let n = self.journal.read_line(&mut line).expect("the journal can be read");
            assert!(n > 0, "it ended before it said {text:?}: {}", self.said);
            self.said.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the signal can be sent");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_refuses_to_run_as_root() {
    if !is_root() {
        println!("skipped it_refuses_to_run_as_root: the tests do not run as root");
        return;
    }
    let dir = folder();
    let said = refusal(frontend(dir.path()));
    assert!(said.starts_with("airlock-frontend: airlock-frontend does not run as root"), "{said}");
}

#[test]
fn a_wrong_key_in_the_configuration_is_named_with_its_line() {
    let dir = folder();
    put(dir.path(), "frontend.toml", &config(dir.path(), "127.0.0.1:0").replace("client_ca", "cleint_ca"));
    let said = refusal(unprivileged(dir.path()));
    let expected = "frontend.toml:9: unknown key 'cleint_ca' in [tls]; did you mean 'client_ca'?\n";
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn a_port_that_is_taken_is_said_with_what_to_do() {
    let dir = folder();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    put(dir.path(), "frontend.toml", &config(dir.path(), &address));
    let said = refusal(unprivileged(dir.path()));
    assert!(said.contains(&format!("cannot listen on {address}: ")), "{said}");
    assert!(said.contains("another program listens there"), "{said}");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let dir = folder();
    let key = dir.path().join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("its mode");
    let said = refusal(unprivileged(dir.path()));
    assert!(said.ends_with("server.key may be read by others (mode 0640); chmod 0600 it\n"), "{said}");
}

#[test]
fn the_check_says_what_would_work_and_what_not() {
    let dir = folder();
    let mut good = unprivileged(dir.path());
    let output = good.arg("--check").output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("ok    tls"), "{text}");
    put(dir.path(), "policy.toml", "visible = 1\n");
    let mut bad = unprivileged(dir.path());
    let output = bad.arg("--check").output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("FAIL  policy") && text.contains("policy.toml:1: unknown key 'visible'"), "{text}");
}

#[test]
fn it_confines_itself_reloads_and_ends_when_asked() {
    let dir = folder();
    let mut running = Running::start(dir.path());
    assert!(running.said.contains("confined"), "{}", running.said);
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).expect("it lives");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    running.signal(Signal::HUP);
    running.wait_for("were read again");
    put(dir.path(), "policy.toml", "visible = 1\n");
    running.signal(Signal::HUP);
    let line = running.wait_for("reload refused");
    assert!(line.contains("policy.toml:1: unknown key 'visible'"), "{line}");
    let begin = Instant::now();
    running.signal(Signal::TERM);
    let mut rest = String::new();
    running.journal.read_to_string(&mut rest).expect("the journal can be read");
    let status = running.child.wait().expect("it ends");
    assert!(status.success(), "{status}: {rest}");
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
}

#[test]
fn after_a_kill_it_starts_again_on_what_is_there() {
    let dir = folder();
    let first = Running::start(dir.path());
    first.signal(Signal::KILL);
    drop(first);
    let second = Running::start(dir.path());
    assert!(second.said.contains("no connection to the executor") || second.said.contains("serving"));
    for name in ["records.db", "output", "input"] {
        let mode = fs::metadata(dir.path().join("state").join(name)).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is open to others: {mode:o}");
    }
}
