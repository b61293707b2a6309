//! A whole Airlock on this machine, made by `deploy/local`, and what tests do to it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use crate::{Airlock, Job, Outcome, Process, Tool, kernel, scale, wait_until};

/// Both processes, four identities, one folder. Everything is stopped and removed when this is dropped or this process ends.
#[derive(Debug)]
pub struct Stack {
    folder: PathBuf,
    // Ends the stack when the pipe to it closes: in Drop, or by the kernel when this process dies in any way.
    watchdog: Child,
    home: TempDir,
}

/// The stack that tests share; measurements keep others away with [`Stack::quiet`].
#[derive(Debug)]
pub struct Shared(&'static Stack, #[expect(dead_code, reason = "held for its effect")] RwLockReadGuard<'static, ()>);

/// The shared stack while no other test uses it.
#[derive(Debug)]
pub struct Quiet(&'static Stack, #[expect(dead_code, reason = "held for its effect")] RwLockWriteGuard<'static, ()>);

/// Changes to the configuration files of a stack before it starts.
#[derive(Debug, Default)]
pub struct StackOptions {
    edits: Vec<(&'static str, String, String)>,
}

impl StackOptions {
    /// Nothing changed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces text in one of the files, which must hold it.
    pub fn edit(mut self, file: &'static str, from: &str, to: &str) -> Self {
        self.edits.push((file, from.to_owned(), to.to_owned()));
        self
    }

    /// Starts the stack.
    #[track_caller]
    pub fn start(self) -> Stack {
        let stack = self.prepare();
        stack.up().ends_with(0);
        stack
    }

    /// Writes certificates and configuration, and starts nothing.
    #[track_caller]
    pub fn prepare(self) -> Stack {
        let stack = Stack::prepared();
        for (file, from, to) in self.edits {
            stack.edit(file, &from, &to);
        }
        stack
    }
}

impl Stack {
    /// The shared stack, at the same time as other tests.
    #[track_caller]
    pub fn shared() -> Shared {
        let guard = TURN.read().unwrap_or_else(PoisonError::into_inner);
        Shared(Self::of_all(), guard)
    }

    /// The shared stack alone: for tests that measure time or fill the machine.
    #[track_caller]
    pub fn quiet() -> Quiet {
        let guard = TURN.write().unwrap_or_else(PoisonError::into_inner);
        Quiet(Self::of_all(), guard)
    }

    /// A stack of one's own, as `deploy/local` makes it.
    #[track_caller]
    pub fn start() -> Self {
        StackOptions::new().start()
    }

    /// The command as one of admin, alice, bob, rita, or any other whose certificate stands in [`Stack::certs`].
    pub fn airlock(&self, identity: &str) -> Airlock {
        self.airlock_of_nobody().args(["-i", identity])
    }

    /// The command without an identity.
    pub fn airlock_of_nobody(&self) -> Airlock {
        Tool::new(self.path("bin/airlock"))
            .env("HOME", self.home.path())
            .env("AIRLOCK_SERVER", self.address())
            .env("AIRLOCK_CERTS", self.certs())
    }

    /// `run` with a shell command, to its end, as alice.
    #[track_caller]
    pub fn run_sh(&self, script: &str) -> Outcome {
        self.airlock("alice").arg("run").sh(script).run()
    }

    /// Starts a job as alice: options of `start`, then `--` and the command.
    #[track_caller]
    pub fn job(&self, words: &[&str]) -> Job<'_> {
        self.job_of("alice", words)
    }

    /// Starts a shell command as alice.
    #[track_caller]
    pub fn job_sh(&self, script: &str) -> Job<'_> {
        self.job(&["--", "sh", "-c", script])
    }

    /// Starts a job as this identity.
    #[track_caller]
    pub fn job_of(&self, identity: &str, words: &[&str]) -> Job<'_> {
        let started = self.airlock(identity).args(["start", "--format", "json"]).args(words).run().ends_with(0);
        match started.json()["job_id"].as_str() {
            Some(id) => Job::new(self, identity, id.to_owned()),
            None => panic!("no job_id\n{started}"),
        }
    }

    /// The job of alice with this id.
    pub fn job_with_id(&self, id: &str) -> Job<'_> {
        Job::new(self, "alice", id.to_owned())
    }

    /// A file or folder of the stack.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the identities' certificates are.
    pub fn certs(&self) -> PathBuf {
        self.path("certs")
    }

    /// Name and port of the frontend.
    #[track_caller]
    pub fn address(&self) -> String {
        self.setting("env", "export AIRLOCK_SERVER=")
    }

    /// The stack's own cgroup, relative to each hierarchy.
    #[track_caller]
    pub fn cgroup(&self) -> String {
        self.setting("executor.toml", "cgroup = ")
    }

    /// What the executor or the frontend has written to its log.
    pub fn log(&self, process: &str) -> String {
        fs::read_to_string(self.path(&format!("log/{process}.log"))).unwrap_or_default()
    }

    /// The process id of `executor` or `frontend`.
    #[track_caller]
    pub fn pid(&self, process: &str) -> i32 {
        let file = self.path(&format!("run/{process}.pid"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.trim().parse().unwrap_or_else(|_| panic!("{} holds '{text}'", file.display()))
    }

    /// Signals one of the two processes.
    #[track_caller]
    pub fn signal(&self, process: &str, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid(process)) else { panic!("no pid of the {process}") };
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to the {process}: {error}"));
    }

    /// Ends one of the two processes with this signal and waits until it is gone.
    #[track_caller]
    pub fn end(&self, process: &str, signal: Signal) {
        let pid = self.pid(process);
        self.signal(process, signal);
        wait_until(&format!("the {process}'s end after {signal:?}"), scale::seconds(30), || {
            (!Process::new(pid).lives()).then_some(())
        });
    }

    /// Starts what does not run, and waits until all of it answers.
    #[track_caller]
    pub fn up(&self) -> Outcome {
        deploy_local().args(["up", "--dir"]).arg(&self.folder).run()
    }

    /// Stops everything, keeping the files.
    #[track_caller]
    pub fn down(&self) -> Outcome {
        deploy_local().args(["down", "--dir"]).arg(&self.folder).run()
    }

    /// Replaces text in a file of the stack, which must hold it; owner and mode stay.
    #[track_caller]
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(from), "{} does not hold '{from}'", path.display());
        fs::write(&path, text.replace(from, to)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Folders of jobs that exist in any cgroup hierarchy.
    pub fn job_groups(&self) -> Vec<PathBuf> {
        let jobs = kernel::roots().into_iter().map(|root| root.join(self.cgroup()).join("jobs"));
        let entries = jobs.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// Processes of `keepers` or `sweepers`.
    pub fn processes_in(&self, group: &str) -> Vec<i32> {
        let files = kernel::roots().into_iter().map(|root| root.join(self.cgroup()).join(group).join("cgroup.procs"));
        let texts: Vec<String> = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
        texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.parse().ok()).collect()
    }

    fn of_all() -> &'static Self {
        static SHARED: OnceLock<Stack> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    #[track_caller]
    fn prepared() -> Self {
        assert!(getuid().is_root(), "the end-to-end tests start a root executor: run them as root (sudo make test)");
        // Not in /tmp, which may have no block device to limit, nor in /var/tmp, which jobs have for themselves.
        let folder = tempfile::Builder::new().prefix("airlock-e2e-").tempdir_in("/var/lib").and_then(|dir| {
            let home = tempfile::tempdir()?;
            Ok((dir.keep(), home))
        });
        let (folder, home) = folder.unwrap_or_else(|error| panic!("a folder for the stack: {error}"));
        let watchdog = watchdog(&folder);
        let stack = Self { folder, watchdog, home };
        let port = free_port().to_string();
        deploy_local().args(["up", "--prepare", "--port", &port, "--dir"]).arg(&stack.folder).run().ends_with(0);
        stack
    }

    #[track_caller]
    fn setting(&self, file: &str, start: &str) -> String {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match text.lines().find_map(|line| line.strip_prefix(start)) {
            Some(value) => value.trim_matches('"').to_owned(),
            None => panic!("{} has no line '{start}…'", path.display()),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // It tells on standard error what it could not remove; a failing test must not hide behind a second panic.
        if !self.watchdog.wait().is_ok_and(|status| status.success()) && !std::thread::panicking() {
            panic!("the stack in {} could not be stopped and removed; see above", self.folder.display());
        }
    }
}

impl std::ops::Deref for Shared {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.0
    }
}

impl std::ops::Deref for Quiet {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.0
    }
}

static TURN: RwLock<()> = RwLock::new(());

/// `deploy/local` with the binaries under test.
pub fn deploy_local() -> Tool {
    for_deploy_local(Tool::new(deploy_local_script()))
}

/// A program that executes `deploy/local`, with the binaries under test.
pub fn for_deploy_local(program: Tool) -> Tool {
    let seconds = scale::seconds(30).as_secs().to_string();
    program.env("AIRLOCK_UP_SECONDS", seconds).env("AIRLOCK_BIN", binaries()).limit_seconds(120)
}

/// `deploy/demo` with the binaries under test.
pub fn demo() -> Tool {
    Tool::new(deploy_local_script().with_file_name("demo")).env("AIRLOCK_BIN", binaries()).limit_seconds(300)
}

/// The script itself.
pub fn deploy_local_script() -> PathBuf {
    std::env::var_os("AIRLOCK_DEPLOY_LOCAL").map_or_else(|| tree().join("deploy/local"), PathBuf::from)
}

/// The folder of the programs under test.
pub fn binaries() -> PathBuf {
    std::env::var_os("AIRLOCK_BIN").map_or_else(|| tree().join("target/release"), PathBuf::from)
}

// Below the range from which the kernel takes ports by itself, held by nobody, and given once: a stack that is only prepared, or
// whose frontend is down for a moment, does not hold its own, and another one must not take it meanwhile.
fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let somewhere = std::process::id() % 200 * 100;
    for _ in 0..20_000 {
        let place = (somewhere + GIVEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 10_000 + u16::try_from(place).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from 10000 to 29999 is free");
}

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

fn watchdog(folder: &Path) -> Child {
    let watchdog = Command::new("setsid")
        .args(["--wait", "sh", "-c", r#"cat >/dev/null; exec "$1" down --purge --dir "$2" >/dev/null"#, "watchdog"])
        .arg(deploy_local_script())
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    watchdog.unwrap_or_else(|error| panic!("starting the watchdog of {}: {error}", folder.display()))
}
