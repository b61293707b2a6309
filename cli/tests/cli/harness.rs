//! Starts the real binary the way a shell would.

use crate::fake::Fake;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What a finished call left.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// A call that still runs.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<()>>,
    /// What came on standard output so far.
    shown: Arc<Mutex<Vec<u8>>>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Finished {
    /// The exit code, or 128 + signal as a shell shows it.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

impl Running {
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes the reading side of its standard output.
    pub fn take_stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Waits until so many bytes came on standard output.
    pub fn until_shown(&self, bytes: usize) {
        until("output", || self.shown.lock().unwrap().len() >= bytes);
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn finish(mut self) -> Finished {
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                let stderr = String::from_utf8_lossy(&self.stderr.join().unwrap()).into_owned();
                panic!("airlock did not end; it said: {stderr}");
            }
            thread::sleep(Duration::from_millis(2));
        };
        if let Some(reader) = self.stdout {
            reader.join().unwrap();
        }
        let stdout = std::mem::take(&mut *self.shown.lock().unwrap());
        Finished { status, stdout, stderr: String::from_utf8(self.stderr.join().unwrap()).unwrap() }
    }
}

/// The binary, told to speak to `port` as alice. `env` undoes what our own parent made us ignore.
pub fn command(fake: &Fake, port: u16, words: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/env");
    command
        .arg("--default-signal=INT,QUIT,HUP,TERM,PIPE")
        .arg(env!("CARGO_BIN_EXE_airlock"))
        .args(words)
        .env_clear()
        .env("HOME", fake.folder.path())
        .env("TZ", "UTC")
        .env("AIRLOCK_SERVER", format!("localhost:{port}"))
        .env("AIRLOCK_CERTS", fake.folder.path())
        .env("AIRLOCK_IDENTITY", "alice")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn spawn(mut command: Command) -> Running {
    attend(command.spawn().unwrap())
}

/// As [`spawn`], and leaves standard output to the test.
pub fn spawn_unread(mut command: Command) -> Running {
    let mut child = command.spawn().unwrap();
    let mut err = child.stderr.take().unwrap();
    Running { child, stdout: None, shown: Arc::default(), stderr: thread::spawn(move || read_all(&mut err)) }
}

/// The same call on a terminal of its own, whose screen is standard output.
pub fn on_a_terminal(command: &Command) -> Command {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
        .collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &format!("exec {}", words.join(" ")), "/dev/null"]).env_clear();
    for (name, value) in command.get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    script.env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh").env("TERM", "dumb");
    script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    script
}

/// Calls the binary and waits for its end.
pub fn airlock(fake: &Fake, words: &[&str]) -> Finished {
    spawn(command(fake, fake.port, words)).finish()
}

/// As [`airlock`], with something on standard input.
pub fn airlock_with_input(fake: &Fake, words: &[&str], input: &[u8]) -> Finished {
    let mut command = command(fake, fake.port, words);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = thread::spawn(move || drop(pipe.write_all(&input)));
    let running = attend(child);
    let finished = running.finish();
    feeder.join().unwrap();
    finished
}

/// Bytes without any pattern, the same in every run.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A port at which nothing listens, and nothing will for as long as it is held.
pub fn silent_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn attend(mut child: Child) -> Running {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
    let kept = shown.clone();
    let stdout = thread::spawn(move || {
        let mut block = vec![0; 65536];
        while let Ok(count @ 1..) = out.read(&mut block) {
            kept.lock().unwrap().extend_from_slice(&block[..count]);
        }
    });
    Running { child, stdout: Some(stdout), shown, stderr: thread::spawn(move || read_all(&mut err)) }
}

fn read_all(source: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    source.read_to_end(&mut all).unwrap();
    all
}
