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
use kill_points::{Census, Death};
use rustix::process::{Pid, Signal, kill_process};

use crate::book::Book;
use crate::points::{Build, Points, Sentence};

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
    pub fn executor(stack: &Stack, book: &Arc<Book>, points: Points, armed: Option<&Path>) -> Self {
        let words = |folder: &Path| {
            let config = stack.path("executor.toml").display().to_string();
            vec![folder.join("airlock-executor").display().to_string(), "--config".into(), config]
        };
        let builds = [Some(words(&stack.path("bin"))), armed.map(words)];
        Self::take_over(stack, "executor", book, points, builds)
    }

    /// Takes over the frontend of a stack.
    pub fn frontend(stack: &Stack, book: &Arc<Book>, points: Points, armed: Option<&Path>, uid: u32) -> Self {
        let words = |folder: &Path| {
            let mut words = vec!["setpriv".to_owned(), format!("--reuid={uid}"), format!("--regid={uid}")];
            words.extend(
                ["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"].map(Into::into),
            );
            words.extend([folder.join("airlock-frontend").display().to_string(), "--config".into()]);
            words.push(stack.path("frontend.toml").display().to_string());
            words
        };
        let builds = [Some(words(&stack.path("bin"))), armed.map(words)];
        Self::take_over(stack, "frontend", book, points, builds)
    }

    fn take_over(
        stack: &Stack,
        name: &'static str,
        book: &Arc<Book>,
        points: Points,
        [ordinary, armed]: [Option<Vec<String>>; 2],
    ) -> Self {
        stack.end(name, Signal::TERM);
        let shared = Arc::new(Mutex::new(State::default()));
        let (log, pid_file) = (stack.path(&format!("log/{name}.log")), stack.path(&format!("run/{name}.pid")));
        let ordinary = ordinary.unwrap_or_default();
        let (book, shared_too) = (book.clone(), shared.clone());
        let mut keeping = Keeping { name, ordinary, armed, log, pid_file, points, book, shared: shared_too };
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
    ordinary: Vec<String>,
    armed: Option<Vec<String>>,
    log: PathBuf,
    pid_file: PathBuf,
    points: Points,
    book: Arc<Book>,
    shared: Arc<Mutex<State>>,
}

/// A process that was started.
struct Started {
    child: Child,
    sentence: Option<Sentence>,
    // Where what it says begins in the log.
    said_from: u64,
}

impl Keeping {
    fn run(&mut self) {
        let mut former = Build::Ordinary;
        loop {
            let (build, sentence) = self.choose();
            let Some(mut started) = self.start(build, sentence) else { return };
            if std::mem::replace(&mut former, build) != build {
                self.book.count(&format!("upgrades between two builds: {}", self.name), 1);
            }
            let ended = self.wait_for(&mut started);
            if self.was_asked_for(&started, &ended) {
                continue;
            }
            let said = self.said(&started);
            let last = said.lines().last().unwrap_or_default();
            let (name, mut state) = (self.name, locked(&self.shared));
            let sent = state.sent;
            state.complaints.push(format!("the {name} ended by itself ({ended:?}, sent {sent:?}); it said: {last}"));
            drop(state);
            std::thread::sleep(SLOW_START);
        }
    }

    fn choose(&mut self) -> (Build, Option<Sentence>) {
        if self.armed.is_none() || self.book.calm.load(Ordering::Relaxed) {
            return (Build::Ordinary, None);
        }
        self.points.next(self.book.histogram(self.name))
    }

    fn was_asked_for(&mut self, started: &Started, ended: &std::io::Result<ExitStatus>) -> bool {
        let Ok(status) = ended else { return false };
        let sent = locked(&self.shared).sent;
        let by_kill = status.signal() == Some(9);
        if let (true, Some(sentence)) = (by_kill, started.sentence)
            && let Some(death) = self.said(started).lines().rev().find_map(|line| line.parse::<Death>().ok())
        {
            self.points.died(sentence, &death);
            self.book.histogram(self.name).add(&death);
            let some_job_lived = death.jobs != Census::default();
            if some_job_lived && sent != Some(Signal::KILL) {
                self.book.killed(&format!("kills: {} at a chosen place", self.name));
            }
            return true;
        }
        // A restart may have been under way when the kill came: the SIGTERM then ended it, in its first moments even by signal.
        match sent {
            Some(_) if status.code() == Some(0) || status.signal() == Some(15) => true,
            Some(Signal::KILL) => by_kill,
            _ => false,
        }
    }

    fn said(&self, started: &Started) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let from = usize::try_from(started.said_from).unwrap_or(0).min(log.len());
        String::from_utf8_lossy(&log[from..]).into_owned()
    }

    fn start(&self, build: Build, sentence: Option<Sentence>) -> Option<Started> {
        let mut state = locked(&self.shared);
        if state.ending {
            return None;
        }
        let words = self.armed.as_ref().filter(|_| build == Build::Armed).unwrap_or(&self.ordinary);
        let said_from = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        match spawn(words, &self.log, sentence) {
            Ok(child) => {
                state.pid = Some(child.id().cast_signed());
                (state.sent, state.starts) = (None, state.starts + 1);
                state.since = Some(Instant::now());
                // For deploy/local, which ends what it finds there.
                drop(std::fs::write(&self.pid_file, format!("{}\n", child.id())));
                Some(Started { child, sentence, said_from })
            }
            Err(error) => {
                state.complaints.push(format!("starting the {}: {error}", self.name));
                None
            }
        }
    }

    fn wait_for(&mut self, started: &mut Started) -> std::io::Result<ExitStatus> {
        let mut comes = started.sentence;
        let began = Instant::now();
        loop {
            {
                let mut state = locked(&self.shared);
                match started.child.try_wait().transpose() {
                    None => {}
                    Some(ended) => {
                        state.pid = None;
                        return ended;
                    }
                }
                if let Some(sentence) = comes.take_if(|sentence| began.elapsed() > sentence.patience()) {
                    self.points.gave_up(sentence);
                    state.sent = Some(Signal::KILL);
                    started.child.kill()?;
                    if self.book.running() > 0 {
                        self.book.killed(&format!("kills: {} that did not come to its place", self.name));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn spawn(words: &[String], log: &Path, sentence: Option<Sentence>) -> std::io::Result<Child> {
    let log = OpenOptions::new().append(true).create(true).open(log)?;
    let (program, arguments) = words.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").envs(sentence.map(Sentence::variable));
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
