//! A program that still runs: signals, what it has said so far, its end.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Outcome, wait_until};

/// A started program whose output is collected. Killed when dropped before its end.
#[derive(Debug)]
pub struct Running {
    told: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
    limit: Duration,
    begin: Instant,
}

impl Running {
    pub(crate) fn new(told: String, mut child: Child, input: Option<Vec<u8>>, limit: Duration) -> Self {
        let stdout = child.stdout.take().map(Collected::from).unwrap_or_default();
        let stderr = child.stderr.take().map(Collected::from).unwrap_or_default();
        let mut stdin = child.stdin.take();
        if let Some(bytes) = input
            && let Some(mut pipe) = stdin.take()
        {
            // The program may end without reading all of it, which is its own affair.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Self { told, child, stdin, stdout, stderr, limit, begin: Instant::now() }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a signal to it alone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).unwrap_or_else(|| panic!("no pid: {}", self.told));
        if let Err(error) = kill_process(pid, signal) {
            panic!("signal {signal:?} to {}: {error}", self.told);
        }
    }

    /// Writes to its standard input, which must have been left open by [`Airlock::with_open_stdin`](crate::Airlock::with_open_stdin).
    #[track_caller]
    pub fn types(&mut self, bytes: &[u8]) {
        let Some(pipe) = self.stdin.as_mut() else { panic!("standard input is not open: {}", self.told) };
        pipe.write_all(bytes)
            .and_then(|()| pipe.flush())
            .unwrap_or_else(|error| panic!("typing to {}: {error}", self.told));
    }

    /// What it has written to standard output until now.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.bytes().clone()
    }

    /// What it has written to standard error until now.
    pub fn stderr(&self) -> Vec<u8> {
        self.stderr.bytes().clone()
    }

    /// Waits until standard output holds the text.
    #[track_caller]
    pub fn wait_for_out(&mut self, text: &str) {
        self.wait_for(text, Self::stdout);
    }

    /// Waits until standard error holds the text.
    #[track_caller]
    pub fn wait_for_err(&mut self, text: &str) {
        self.wait_for(text, Self::stderr);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Closes its standard input and waits for its end; panics when its time is over.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        self.stdin = None;
        let left = self.limit.saturating_sub(self.begin.elapsed());
        let begin = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if begin.elapsed() < left => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => {
                    drop(self.child.kill());
                    let status = self.child.wait().unwrap_or_else(|_| ExitStatusExt::from_raw(9));
                    let limit = self.limit;
                    panic!("did not end within {limit:?}\n{}", self.outcome(status));
                }
                Err(error) => panic!("waiting for {}: {error}", self.told),
            }
        };
        self.outcome(status)
    }

    fn outcome(&mut self, status: std::process::ExitStatus) -> Outcome {
        Outcome { told: self.told.clone(), status, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str, said: fn(&Self) -> Vec<u8>) {
        let what = format!("'{text}' from {}", self.told);
        let limit = self.limit;
        wait_until(&what, limit, || {
            let ended = self.has_ended();
            if contains(&said(self), text.as_bytes()) {
                return Some(());
            }
            let words = || String::from_utf8_lossy(&self.stderr()).into_owned();
            assert!(!ended || self.stdout.reader_lives(), "ended before {what}\n  stderr: {}", words());
            None
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is the ordinary case.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Bytes that a thread reads from a pipe.
#[derive(Debug, Default)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let target = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut block = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut block) {
                locked(&target).extend_from_slice(&block[..length]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        locked(&self.bytes)
    }

    fn reader_lives(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| !reader.is_finished())
    }

    fn all(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        std::mem::take(&mut *self.bytes())
    }
}

fn locked(bytes: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
