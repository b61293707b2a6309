//! What the kernel says about jobs: their control groups in either layout, and their processes.

use std::fs;
use std::path::{Path, PathBuf};

/// The control groups of one job: one in the v2 tree, and on hybrid hosts one for each v1 controller.
#[derive(Clone, Debug)]
pub struct JobGroup {
    stack: PathBuf,
    job: String,
}

impl JobGroup {
    pub(crate) fn of(stack: &str, job: &str) -> Self {
        Self { stack: PathBuf::from(stack), job: job.to_owned() }
    }

    /// Every folder of the job that exists, over all hierarchies.
    pub fn folders(&self) -> Vec<PathBuf> {
        roots().into_iter().map(|root| self.below(&root)).filter(|folder| folder.is_dir()).collect()
    }

    /// Processes in the job's v2 group and below it.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        collect_processes(&self.below(&v2_root()), &mut found);
        found
    }

    /// A limit by its v2 file or, where the controller is v1, by that controller's folder and file.
    #[track_caller]
    pub fn limit(&self, v2: &str, v1: (&str, &str)) -> String {
        let unified = self.below(&v2_root()).join(v2);
        let legacy = self.below(&Path::new("/sys/fs/cgroup").join(v1.0)).join(v1.1);
        match fs::read_to_string(&unified).or_else(|_| fs::read_to_string(&legacy)) {
            Ok(text) => text.trim().to_owned(),
            Err(error) => panic!("neither {} nor {}: {error}", unified.display(), legacy.display()),
        }
    }

    /// Processor seconds that the job used until now.
    #[track_caller]
    pub fn cpu_seconds(&self) -> f64 {
        let unified = fs::read_to_string(self.below(&v2_root()).join("cpu.stat")).unwrap_or_default();
        let on_v2 = unified.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<f64>().ok());
        if let (Some(microseconds), true) = (on_v2, is_pure_v2()) {
            return microseconds / 1e6;
        }
        let nanoseconds = ["cpu,cpuacct", "cpuacct", "cpu"].iter().find_map(|controller| {
            let file = self.below(&Path::new("/sys/fs/cgroup").join(controller)).join("cpuacct.usage");
            fs::read_to_string(file).ok()?.trim().parse::<f64>().ok()
        });
        match nanoseconds.map(|count| count / 1e9).or(on_v2.map(|count| count / 1e6)) {
            Some(seconds) => seconds,
            None => panic!("no group of job {} counts processor time", self.job),
        }
    }

    /// Tenths of a second in which its limit of processor time held it back.
    #[track_caller]
    pub fn throttled_periods(&self) -> u64 {
        let count = |folder: &PathBuf| {
            let stat = fs::read_to_string(folder.join("cpu.stat")).ok()?;
            stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok())
        };
        match self.folders().iter().find_map(count) {
            Some(periods) => periods,
            None => panic!("no group of job {} counts how often it was held back", self.job),
        }
    }

    fn below(&self, root: &Path) -> PathBuf {
        root.join(&self.stack).join("jobs").join(format!("job-{}", self.job))
    }
}

/// Whether the host has the v2 tree alone.
pub(crate) fn is_pure_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn v2_root() -> PathBuf {
    PathBuf::from(if is_pure_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" })
}

/// Where a hierarchy is mounted.
pub(crate) fn roots() -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    if !is_pure_v2() {
        roots.extend(fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    roots
}

fn collect_processes(folder: &Path, found: &mut Vec<i32>) {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), found);
        }
    }
}

/// Processes whose real uid this is, wherever they are.
pub fn processes_of_uid(uid: u32) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        Process::new(*pid).field("Uid").is_some_and(|ids| ids.split_whitespace().next() == Some(&uid.to_string()))
    })
    .collect()
}

/// A process by its pid on this host.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: i32,
}

impl Process {
    /// Any pid; it need not exist.
    pub fn new(pid: i32) -> Self {
        Self { pid }
    }

    /// Its number.
    pub fn pid(self) -> i32 {
        self.pid
    }

    /// A line of /proc/PID/status, such as `Uid`; nothing when it is gone.
    pub fn field(&self, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find(|line| line.split(':').next() == Some(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }

    /// Name and niceness of each of its threads.
    pub fn niceness(self) -> Vec<(String, i32)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let thread = |task: fs::DirEntry| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            // The name stands in brackets and may hold anything; the niceness is the seventeenth field behind it.
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            let niceness = stat.rsplit_once(") ")?.1.split(' ').nth(16)?.parse().ok()?;
            Some((name.trim().to_owned(), niceness))
        };
        tasks.filter_map(thread).collect()
    }

    /// Whether it exists and has not ended.
    pub fn lives(&self) -> bool {
        self.field("State").is_some_and(|state| !state.starts_with('Z') && !state.starts_with('X'))
    }
}
