//! Somebody has taken over the frontend and says to the executor whatever they like. Each case ends with the same question:
//! does the executor go on serving, as small as before, with nothing of the attack left on the host?

mod audit;
mod chance;
mod configuration;
mod contents;
mod floods;
mod frames;
mod hello;
mod input;
mod jobs;
mod peer;
mod permission;
mod statement;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use airlock_e2e::{Signal, Stack, StackOptions, Tool, scale, wait_until};

use peer::Peer;

/// A real executor whose frontend was ended: the frontend is this test.
#[derive(Debug)]
pub struct Executor {
    stack: Stack,
    idle_descriptors: usize,
}

/// What the executor may hold in memory, whatever it is told.
const RSS_MAX_KIB: u64 = 32 * 1024;

/// Runs an attack on the executor that such tests share, one at a time, and asks the question.
#[track_caller]
pub fn attack(attack: impl FnOnce(&Executor)) {
    static SHARED: Mutex<Option<Executor>> = Mutex::new(None);
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    // Put back after success alone: one that an attack has harmed is not shown to the next.
    let executor = shared.take().unwrap_or_else(|| Executor::start(StackOptions::new()));
    attack(&executor);
    executor.serves_and_nothing_is_left();
    *shared = Some(executor);
}

impl Executor {
    /// One of its own, with a changed configuration.
    pub fn start(options: StackOptions) -> Self {
        Self::of(options.prepare())
    }

    /// The one of a stack that is prepared.
    pub fn of(stack: Stack) -> Self {
        stack.up().ends_with(0);
        stack.end("frontend", Signal::KILL);
        let mut executor = Self { stack, idle_descriptors: 0 };
        executor.idle_descriptors = wait_until("an executor without a connection", scale::seconds(10), || {
            let before = executor.descriptors();
            drop(executor.live());
            std::thread::yield_now();
            (executor.descriptors() == before).then_some(before)
        });
        executor
    }

    /// A connection of the frontend's user that has said nothing.
    #[track_caller]
    pub fn connect(&self) -> Peer {
        self.connect_as(FRONTEND, FRONTEND).unwrap_or_else(|error| panic!("connecting as the frontend: {error}"))
    }

    /// A connection of another user.
    pub fn connect_as(&self, uid: u32, gid: u32) -> std::io::Result<Peer> {
        Peer::connect(&self.stack.path("run/executor.sock"), uid, gid)
    }

    /// A connection that has compared all jobs and may say everything.
    #[track_caller]
    pub fn live(&self) -> Peer {
        // Connections that were dropped a moment ago may still be counted.
        wait_until("room for a connection", scale::seconds(20), || {
            let mut peer = self.connect();
            peer.is_heard(EPOCH).then(|| {
                peer.compares();
                peer
            })
        })
    }

    /// Its files and cgroups.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.stack.pid("executor"));
        fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// Resident memory in KiB: now, or at its highest.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.stack.pid("executor"))).unwrap_or_default();
        let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
        value.and_then(|kib| kib.parse().ok()).unwrap_or_else(|| panic!("the executor is gone"))
    }

    /// Processor time that it has used.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.stack.pid("executor"))).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        // utime and stime, the fourteenth and fifteenth field, in ticks of a hundredth of a second.
        let ticks = fields.get(11..13).and_then(|both| both.iter().map(|n| n.parse::<u64>().ok()).sum::<Option<u64>>());
        Duration::from_millis(10 * ticks.unwrap_or_else(|| panic!("the executor is gone")))
    }

    /// Bytes of the audit trail.
    pub fn audit_bytes(&self) -> u64 {
        fs::metadata(self.stack.path("audit/audit.jsonl")).map_or(0, |file| file.len())
    }

    /// The question.
    #[track_caller]
    pub fn serves_and_nothing_is_left(&self) {
        let mut peer = self.live();
        peer.ends_and_releases_everything();
        peer.runs_true();
        drop(peer);
        let rss = self.memory_kib("VmRSS");
        assert!(rss <= RSS_MAX_KIB, "the executor holds {rss} KiB");
        wait_until("the executor's descriptors as before", scale::seconds(10), || {
            (self.descriptors() <= self.idle_descriptors).then_some(())
        });
        wait_until("no cgroup of a job", scale::seconds(10), || self.stack.job_groups().is_empty().then_some(()));
        wait_until("no keeper", scale::seconds(10), || self.keepers().is_empty().then_some(()));
        wait_until("no directory of a job", scale::seconds(10), || self.directories().is_empty().then_some(()));
    }

    /// Pids of keepers and sweepers.
    pub fn keepers(&self) -> Vec<i32> {
        [self.stack.processes_in("keepers"), self.sweepers()].concat()
    }

    /// Pids of what empties directories.
    pub fn sweepers(&self) -> Vec<i32> {
        self.stack.processes_in("sweepers")
    }

    fn directories(&self) -> Vec<std::path::PathBuf> {
        fs::read_dir(self.stack.path("work")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.stack.log("executor");
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the executor said last:");
            last.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// Something mounted for a while.
#[derive(Debug)]
pub struct Mounted(PathBuf);

/// Held where a mount of this host comes or goes, and by who compares a job's mounts with the host's.
pub static MOUNTING: Mutex<()> = Mutex::new(());

impl Mounted {
    /// `mount` with these words, over this path.
    #[track_caller]
    pub fn over(path: impl AsRef<Path>, words: &[&str]) -> Self {
        let _turn = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        Tool::new("mount").args(words).arg(path.as_ref()).run().ends_with(0);
        Self(path.as_ref().to_owned())
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _turn = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        // Lazily: an executor may still have a file open there.
        drop(std::process::Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// The frontend's uid in a local stack.
pub const FRONTEND: u32 = 64_100;
/// Above every epoch that the stack's own frontend could have had.
pub const EPOCH: u64 = 1_000_000;
