//! What the init system does: starts a process, and starts it again at once when it has ended.

use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use airlock_e2e::Stack;
use rustix::process::{Pid, Signal, kill_process};

/// A process that is kept alive until [`Supervisor::end`].
#[derive(Debug)]
pub struct Supervisor {
    name: &'static str,
    shared: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<i32>,
    // What was sent to the present process that ends it.
    sent: Option<Signal>,
    starts: u64,
    since: Option<Instant>,
    ending: bool,
    complaints: Vec<String>,
}

impl Supervisor {
    /// Takes over the executor of a stack: what runs is asked to end, and started again from here.
    pub fn executor(stack: &Stack) -> Self {
        let program = stack.path("bin/airlock-executor");
        let config = stack.path("executor.toml");
        Self::take_over(stack, "executor", move || {
            let mut command = Command::new(&program);
            command.arg("--config").arg(&config);
            command
        })
    }

    /// Takes over the frontend of a stack.
    pub fn frontend(stack: &Stack, uid: u32) -> Self {
        let program = stack.path("bin/airlock-frontend");
        let config = stack.path("frontend.toml");
        Self::take_over(stack, "frontend", move || {
            let mut command = Command::new("setpriv");
            let ids = [format!("--reuid={uid}"), format!("--regid={uid}")];
            command.args(ids).args([
                "--clear-groups",
                "--no-new-privs",
                "--inh-caps=-all",
                "--bounding-set=-all",
                "--",
            ]);
            command.arg(&program).arg("--config").arg(&config);
            command
        })
    }

    fn take_over(stack: &Stack, name: &'static str, command: impl Fn() -> Command + Send + 'static) -> Self {
        stack.end(name, Signal::TERM);
        let shared = Arc::new(Mutex::new(State::default()));
        let (log, pid_file) = (stack.path(&format!("log/{name}.log")), stack.path(&format!("run/{name}.pid")));
        let state = shared.clone();
        let thread = std::thread::spawn(move || supervise(name, &command, &log, &pid_file, &state));
        Self { name, shared, thread: Some(thread) }
    }

    /// Signals the process of the moment; tells whether there was one.
    pub fn signal(&self, signal: Signal) -> bool {
        let mut state = locked(&self.shared);
        // Whoever waits for it takes the pid out first: it is nobody else's.
        let Some(pid) = state.pid.and_then(Pid::from_raw) else { return false };
        if signal == Signal::KILL || signal == Signal::TERM && state.sent.is_none() {
            state.sent = Some(signal);
        }
        kill_process(pid, signal).is_ok()
    }

    /// Asks it to read its configuration again; not in its first moment, in which it does not listen yet.
    pub fn reload(&self) -> bool {
        let settled = locked(&self.shared).since.is_some_and(|since| since.elapsed() > SETTLED);
        settled && self.signal(Signal::HUP)
    }

    /// How often it was started.
    pub fn starts(&self) -> u64 {
        locked(&self.shared).starts
    }

    /// Ends it, and gives what was wrong with it all the time: ends that nobody asked for.
    pub fn end(&mut self) -> Vec<String> {
        locked(&self.shared).ending = true;
        self.signal(Signal::CONT);
        let asked = Instant::now();
        while let Some(thread) = self.thread.take_if(|thread| !thread.is_finished()) {
            let late = asked.elapsed() > Duration::from_secs(60);
            self.signal(if late { Signal::KILL } else { Signal::TERM });
            std::thread::sleep(Duration::from_millis(100));
            self.thread = Some(thread);
            if late {
                locked(&self.shared).complaints.push(format!("the {} did not end after SIGTERM", self.name));
                break;
            }
        }
        std::mem::take(&mut locked(&self.shared).complaints)
    }
}

/// After a start that nobody asked for.
const SLOW_START: Duration = Duration::from_millis(200);
const SETTLED: Duration = Duration::from_secs(1);

fn supervise(name: &str, command: &impl Fn() -> Command, log: &Path, pid_file: &Path, shared: &Mutex<State>) {
    loop {
        let mut child = {
            let mut state = locked(shared);
            if state.ending {
                return;
            }
            match start(command(), log) {
                Ok(child) => {
                    state.pid = Some(child.id().cast_signed());
                    (state.sent, state.starts) = (None, state.starts + 1);
                    state.since = Some(Instant::now());
                    drop(std::fs::write(pid_file, format!("{}\n", child.id())));
                    child
                }
                Err(error) => {
                    state.complaints.push(format!("starting the {name}: {error}"));
                    return;
                }
            }
        };
        let ended = loop {
            {
                let mut state = locked(shared);
                match child.try_wait() {
                    Ok(None) => {}
                    ended => {
                        state.pid = None;
                        break ended;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let mut state = locked(shared);
        let as_asked = match (&ended, state.sent) {
            (Ok(Some(status)), Some(Signal::KILL)) => status.signal() == Some(9) || status.code() == Some(0),
            (Ok(Some(status)), Some(_)) => status.code() == Some(0) || status.signal() == Some(15),
            _ => false,
        };
        if !as_asked {
            let sent = state.sent;
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default().to_owned();
            state.complaints.push(format!("the {name} ended by itself ({ended:?}, sent {sent:?}); it said: {last}"));
            drop(state);
            std::thread::sleep(SLOW_START);
        }
    }
}

fn start(mut command: Command, log: &Path) -> std::io::Result<std::process::Child> {
    let log = OpenOptions::new().append(true).create(true).open(log)?;
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
