//! What the init system does: starts a process, and starts it again at once when it has ended.

use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use airlock_e2e::Stack;

use crate::book::Book;
use crate::points::Points;
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
    pub fn executor(stack: &Stack, book: &Arc<Book>, points: Points) -> Self {
        let words = ["bin/airlock-executor", "executor.toml"].map(|name| stack.path(name).display().to_string());
        let [program, config] = words;
        Self::take_over(stack, "executor", book, points, vec![program, "--config".into(), config])
    }

    /// Takes over the frontend of a stack.
    pub fn frontend(stack: &Stack, book: &Arc<Book>, points: Points, uid: u32) -> Self {
        let mut words = vec!["setpriv".to_owned(), format!("--reuid={uid}"), format!("--regid={uid}")];
        words.extend(
            ["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"].map(Into::into),
        );
        words.extend([stack.path("bin/airlock-frontend").display().to_string(), "--config".into()]);
        words.push(stack.path("frontend.toml").display().to_string());
        Self::take_over(stack, "frontend", book, points, words)
    }

    fn take_over(stack: &Stack, name: &'static str, book: &Arc<Book>, points: Points, words: Vec<String>) -> Self {
        stack.end(name, Signal::TERM);
        let shared = Arc::new(Mutex::new(State::default()));
        let (log, pid_file) = (stack.path(&format!("log/{name}.log")), stack.path(&format!("run/{name}.pid")));
        let mut keeping = Keeping { name, words, log, pid_file, points, book: book.clone(), shared: shared.clone() };
        let thread = std::thread::spawn(move || keeping.run());
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

struct Keeping {
    name: &'static str,
    words: Vec<String>,
    log: PathBuf,
    pid_file: PathBuf,
    points: Points,
    book: Arc<Book>,
    shared: Arc<Mutex<State>>,
}

impl Keeping {
    fn run(&mut self) {
        loop {
            let (words, point) = self.points.next(&self.words, self.book.calm.load(Ordering::Relaxed));
            let Some(mut child) = self.start(&words) else { return };
            let ended = self.wait_for(&mut child);
            let mut state = locked(&self.shared);
            let sent = state.sent;
            // A restart may have been under way when the kill came: the SIGTERM then ended it, in its first moments even by signal.
            let as_asked = match (&ended, sent) {
                (Ok(Some(status)), Some(_)) if status.code() == Some(0) || status.signal() == Some(15) => true,
                (Ok(Some(status)), Some(Signal::KILL)) => status.signal() == Some(9),
                _ => false,
            };
            if as_asked {
                continue;
            }
            if let (Ok(Some(status)), Some(point)) = (&ended, &point)
                && status.signal() == Some(9)
            {
                if self.book.running() > 0 {
                    self.book.killed(&format!("kills: {} at {point}", self.name));
                }
                continue;
            }
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default();
            let name = self.name;
            state.complaints.push(format!("the {name} ended by itself ({ended:?}, sent {sent:?}); it said: {last}"));
            drop(state);
            std::thread::sleep(SLOW_START);
        }
    }

    fn start(&self, words: &[String]) -> Option<Child> {
        let mut state = locked(&self.shared);
        if state.ending {
            return None;
        }
        match spawn(words, &self.log) {
            Ok(child) => {
                state.pid = Some(child.id().cast_signed());
                (state.sent, state.starts) = (None, state.starts + 1);
                state.since = Some(Instant::now());
                // For deploy/local, which ends what it finds there.
                drop(std::fs::write(&self.pid_file, format!("{}\n", child.id())));
                Some(child)
            }
            Err(error) => {
                state.complaints.push(format!("starting the {}: {error}", self.name));
                None
            }
        }
    }

    fn wait_for(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        loop {
            {
                let mut state = locked(&self.shared);
                match child.try_wait() {
                    Ok(None) => {}
                    ended => {
                        state.pid = None;
                        return ended;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn spawn(words: &[String], log: &Path) -> std::io::Result<Child> {
    let log = OpenOptions::new().append(true).create(true).open(log)?;
    let (program, arguments) = words.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/");
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
