//! What must not be there when every job has ended.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use airlock_e2e::Stack;

/// What an idle stack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// Descriptors of the executor.
    pub executor: usize,
    /// Descriptors of the frontend.
    pub frontend: usize,
}

impl Idle {
    /// Counts the descriptors of both processes.
    pub fn of(stack: &Stack) -> Self {
        let count =
            |process| fs::read_dir(format!("/proc/{}/fd", stack.pid(process))).map(Iterator::count).unwrap_or_default();
        Self { executor: count("executor"), frontend: count("frontend") }
    }
}

/// What is left over, each with one line; it is looked for until there is nothing or the time is over.
pub fn left_over(stack: &Stack, jobs: &BTreeSet<String>, patience: Duration) -> Vec<String> {
    let began = Instant::now();
    loop {
        let found = look(stack, jobs);
        if found.is_empty() || began.elapsed() > patience {
            return found;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn look(stack: &Stack, jobs: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for group in stack.job_groups() {
        found.push(format!("the cgroup {}", group.display()));
    }
    found.extend(processes(stack));
    for (folder, what) in [("work", "of a job's directory"), ("state/input", "of a job's input")] {
        for name in names(&stack.path(folder)) {
            found.push(format!("{what}: {folder}/{name}"));
        }
    }
    for name in names(&stack.path("state/output")) {
        if !jobs.contains(&name) {
            found.push(format!("an output log of no job: {name}"));
        }
    }
    found
}

// Keepers, and whatever has a uid of the pool.
fn processes(stack: &Stack) -> Vec<String> {
    let config = fs::read_to_string(stack.path("executor.toml")).unwrap_or_default();
    let first = config.lines().find_map(|line| line.strip_prefix("first = ")?.trim().parse::<u32>().ok());
    let pool = first.map_or(0..0, |first| first..first.saturating_add(65_536));
    let is_keeper = |exe: &Path| exe.starts_with(stack.path("")) && exe.ends_with("airlock-keeper");
    let pids = names(Path::new("/proc")).into_iter().filter_map(|name| name.parse::<u32>().ok());
    let is_left = |pid: &u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
        is_keeper(&exe) || uid.is_some_and(|uid| pool.contains(&uid))
    };
    let told = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("the process {pid}: {}", String::from_utf8_lossy(&line).replace('\0', " "))
    };
    pids.filter(is_left).map(told).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
