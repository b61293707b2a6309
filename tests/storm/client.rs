//! The `airlock` command as the storm uses it: started, perhaps killed by the storm, and read to its end.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use airlock_e2e::Stack;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How clients are started, and which of them live.
#[derive(Debug)]
pub struct Clients {
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    alive: Mutex<HashMap<u64, i32>>,
    next: AtomicU64,
}

/// A client that runs.
#[derive(Debug)]
pub struct Client {
    clients: Arc<Clients>,
    number: u64,
    child: Child,
    told: String,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// A client that has ended.
#[derive(Debug)]
pub struct Ended {
    /// What it was.
    pub told: String,
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// Its signal.
    pub signal: Option<i32>,
    /// Everything it wrote.
    pub stdout: Vec<u8>,
    /// Everything it wrote.
    pub stderr: Vec<u8>,
}

impl Clients {
    /// Clients of this stack, as alice.
    pub fn new(stack: &Stack) -> Self {
        let environment = vec![
            ("HOME", stack.path("home").display().to_string()),
            ("AIRLOCK_SERVER", stack.address()),
            ("AIRLOCK_CERTS", stack.certs().display().to_string()),
            ("AIRLOCK_IDENTITY", "alice".to_owned()),
        ];
        Self { program: stack.path("bin/airlock"), environment, alive: Mutex::default(), next: AtomicU64::new(0) }
    }

    /// Starts one.
    pub fn start(self: &Arc<Self>, words: &[&str]) -> Result<Client, String> {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let told = format!("airlock {}", words.join(" "));
        let mut child = command.spawn().map_err(|e| format!("{told}: {e}"))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.alive().insert(number, child.id().cast_signed());
        let (stdout, stderr) = (child.stdout.take().map(collect), child.stderr.take().map(collect));
        Ok(Client { clients: self.clone(), number, child, told, stdout, stderr })
    }

    /// Runs one to its end.
    pub fn run(self: &Arc<Self>, words: &[&str], limit: Duration) -> Result<Ended, String> {
        self.start(words)?.finish(limit)
    }

    /// Kills one that lives, chosen by a number; tells whether there was one.
    pub fn kill_one(&self, choice: u64) -> bool {
        // The table is held meanwhile, and whoever waits for a child takes it out first: the pid is nobody else's.
        let alive = self.alive();
        let mut pids: Vec<_> = alive.iter().map(|(number, pid)| (*number, *pid)).collect();
        pids.sort_unstable();
        let Some((_, pid)) = pids.get(usize::try_from(choice).unwrap_or(0) % pids.len().max(1)) else { return false };
        Pid::from_raw(*pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }

    fn alive(&self) -> std::sync::MutexGuard<'_, HashMap<u64, i32>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Waits for its end. One that takes longer is killed, and that is the error.
    pub fn finish(mut self, limit: Duration) -> Result<Ended, String> {
        let began = Instant::now();
        let status = loop {
            {
                let mut alive = self.clients.alive();
                match self.child.try_wait() {
                    Ok(Some(status)) => {
                        alive.remove(&self.number);
                        break status;
                    }
                    Ok(None) => {}
                    Err(error) => return Err(format!("{}: {error}", self.told)),
                }
            }
            if began.elapsed() > limit {
                drop(self.child.kill());
                let said = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
                return Err(format!(
                    "{}: did not end in {limit:?}; it said: {}",
                    self.told,
                    String::from_utf8_lossy(&said)
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let joined = |reader: Option<JoinHandle<Vec<u8>>>| reader.and_then(|r| r.join().ok()).unwrap_or_default();
        Ok(Ended {
            told: std::mem::take(&mut self.told),
            code: status.code(),
            signal: status.signal(),
            stdout: joined(self.stdout.take()),
            stderr: joined(self.stderr.take()),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.alive().remove(&self.number);
        // Both fail when it has ended already, which is the ordinary case.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Ended {
    /// Whether the storm killed it.
    pub fn was_killed(&self) -> bool {
        self.signal == Some(9)
    }

    /// The code of the error line that `--format json` prints.
    pub fn error_code(&self) -> Option<String> {
        let line = self.stderr.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"{\"error\""))?;
        let error: Value = serde_json::from_slice(line).ok()?;
        error["error"]["code"].as_str().map(str::to_owned)
    }

    /// The one JSON value that it printed.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.stdout).ok()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { told, code, signal, stdout, stderr } = self;
        let stderr = String::from_utf8_lossy(stderr.get(..stderr.len().min(2000)).unwrap_or_default());
        write!(to, "{told}: code {code:?}, signal {signal:?}, {} bytes on stdout, stderr: {stderr}", stdout.len())
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what there is.
        drop(pipe.read_to_end(&mut bytes));
        bytes
    })
}
