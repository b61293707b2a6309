//! What processes take, from /proc.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// What /proc counts time in: USER_HZ, which is 100 everywhere that Airlock runs.
const TICKS: f64 = 100.0;
/// The parent of all threads of the kernel.
const KTHREADD: i32 = 2;

/// Processor time in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// Of the process itself.
    pub own: f64,
    /// Of children that it has waited for.
    pub waited: f64,
}

/// Processor time of a process so far.
pub fn cpu(pid: i32) -> Result<Cpu> {
    let fields = stat(pid)?;
    let seconds = |first: usize| {
        let sum: f64 =
            fields.get(first..first + 2).unwrap_or_default().iter().filter_map(|f| f.parse::<f64>().ok()).sum();
        sum / TICKS
    };
    Ok(Cpu { own: seconds(11), waited: seconds(13) })
}

/// Processor time of a process and of everything below it, in seconds.
pub fn cpu_of_tree(root: i32) -> Result<f64> {
    let used = |pid: &i32| cpu(*pid).map_or(0.0, |cpu| cpu.own + cpu.waited);
    Ok(tree(root)?.iter().map(used).sum())
}

/// What the whole machine did with its processors, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine {
    /// Of all processes and of the kernel.
    pub busy: f64,
    /// Of it, of the kernel's own threads: they give back what a process had, after it has gone.
    pub kernel_threads: f64,
    /// No thread was ready to run.
    pub unused: f64,
}

impl Machine {
    /// Adds what it does while `work` runs.
    pub fn during<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (times, threads) = (machine_times()?, threads_of_tree(KTHREADD)?);
        let answer = work()?;
        let [busy, unused] = machine_times()?;
        self.busy += busy - times[0];
        self.unused += unused - times[1];
        for (thread, used) in threads_of_tree(KTHREADD)? {
            self.kernel_threads += (used - threads.get(&thread).copied().unwrap_or(0.0)) / 1e9;
        }
        Ok(answer)
    }
}

// Seconds so far that the processors had something to run, and that they had not.
fn machine_times() -> Result<[f64; 2]> {
    let text = fs::read_to_string("/proc/stat")?;
    let all = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat has no line cpu")?;
    let times: Vec<f64> = all.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, idle, waiting, irq, softirq, ..] = times[..] else { bail!("a short /proc/stat") };
    Ok([user + nice + system + irq + softirq, idle + waiting].map(|ticks| ticks / TICKS))
}

/// Processor time that each thread of a process, and of everything below it, has had so far, in nanoseconds. By the scheduler's own
/// figures: those of /proc/PID/stat come in hundredths of a second, and of thousands that do almost nothing one always comes to its next.
pub fn threads_of_tree(root: i32) -> Result<BTreeMap<PathBuf, f64>> {
    let mut threads = BTreeMap::new();
    for pid in tree(root)? {
        // What has ended meanwhile is not idle.
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten().map(|task| task.path()) {
            let Ok(text) = fs::read_to_string(task.join("schedstat")) else { continue };
            threads.insert(task, text.split(' ').next().context("schedstat is empty")?.parse()?);
        }
    }
    Ok(threads)
}

fn tree(root: i32) -> Result<Vec<i32>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
            && let Ok(fields) = stat(pid)
        {
            parents.insert(pid, fields.get(1).and_then(|f| f.parse::<i32>().ok()).unwrap_or(0));
        }
    }
    let below = |mut pid: i32| loop {
        match parents.get(&pid) {
            _ if pid == root => return true,
            Some(parent) if *parent > 0 => pid = *parent,
            _ => return false,
        }
    };
    Ok(parents.keys().copied().filter(|pid| below(*pid)).collect())
}

/// Processor time of this process' children that were waited for, in seconds.
pub fn cpu_of_children() -> Result<f64> {
    Ok(cpu(i32::try_from(std::process::id())?)?.waited)
}

/// How long ago a process was started.
pub fn age(pid: i32) -> Result<Duration> {
    let fields = stat(pid)?;
    let started: f64 = fields.get(19).context("a short /proc/PID/stat")?.parse()?;
    let up: f64 = fs::read_to_string("/proc/uptime")?.split(' ').next().context("/proc/uptime is empty")?.parse()?;
    Ok(Duration::from_secs_f64((up - started / TICKS).max(0.0)))
}

/// Memory that a process has resident, in KiB.
pub fn resident_kib(pid: i32) -> Result<f64> {
    line_of(Path::new(&format!("/proc/{pid}/status")), "VmRSS:")
}

/// Memory of a process, shared pages divided among those who share them, in KiB.
pub fn proportional_kib(pid: i32) -> Result<f64> {
    line_of(Path::new(&format!("/proc/{pid}/smaps_rollup")), "Pss:")
}

/// Memory of the whole machine that is in use and not only a copy of a file's bytes, in KiB. Caches of files would drown what a few
/// jobs take.
pub fn held_kib() -> Result<f64> {
    let held = ["AnonPages:", "Shmem:", "Slab:", "KernelStack:", "PageTables:", "Percpu:"];
    held.iter().map(|name| line_of(Path::new("/proc/meminfo"), name)).sum()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// How nice this process' session is to the others of the machine, from -20 to 19. Where the kernel groups threads by session, the
/// niceness of a thread counts only among those of its own. Where it does not, this does nothing, and neither does it in the session
/// of the machine's first process: that has no group, its threads are weighed beside the other sessions one by one
/// (kernel/sched/autogroup.c: its file reads as empty, and the root group's weight cannot be set).
pub fn set_session_niceness(niceness: i32) -> Result<()> {
    const GROUP: &str = "/proc/self/autogroup";
    match fs::read_to_string(GROUP) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(group) if group.is_empty() => Ok(()),
        _ => fs::write(GROUP, niceness.to_string()).context(GROUP),
    }
}

/// The line of a file that begins with `name`, as a number.
fn line_of(path: &Path, name: &str) -> Result<f64> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let words = text.lines().find_map(|line| line.strip_prefix(name));
    let word = words.and_then(|line| line.split_whitespace().next());
    Ok(word.with_context(|| format!("{} has no line {name}", path.display()))?.parse()?)
}

// The fields after the program's name, which may hold anything: the state is number 0.
fn stat(pid: i32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let (_, rest) = text.rsplit_once(") ").context("an odd /proc/PID/stat")?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}
