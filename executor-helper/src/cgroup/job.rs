//! One job's groups: made, limited, read, killed, removed.

use std::{fs, path::PathBuf};

use ipc_protocol::{Facts, JobId, Limit, Limits, StartError, Step};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{Hierarchy, errno, open, read, write};

/// The groups of a job by their name; whether they are there shows when something is done with them.
#[derive(Debug)]
pub struct JobGroup<'a> {
    hierarchy: &'a Hierarchy,
    name: String,
}

// Where each limit is set: its controller, its file in the v2 tree and in a v1 hierarchy, and its key where one file has several.
const FILES: [(Limit, &str, &str, &str, &str); 9] = [
    (Limit::Cpu, "cpu", "cpu.max", "cpu.cfs_quota_us", ""),
    (Limit::CpuWeight, "cpu", "cpu.weight", "cpu.shares", ""),
    (Limit::Memory, "memory", "memory.max", "memory.limit_in_bytes", ""),
    (Limit::Swap, "memory", "memory.swap.max", "memory.memsw.limit_in_bytes", ""),
    (Limit::Pids, "pids", "pids.max", "pids.max", ""),
    (Limit::IoRead, "io", "io.max", "blkio.throttle.read_bps_device", "rbps"),
    (Limit::IoWrite, "io", "io.max", "blkio.throttle.write_bps_device", "wbps"),
    (Limit::IoReadOps, "io", "io.max", "blkio.throttle.read_iops_device", "riops"),
    (Limit::IoWriteOps, "io", "io.max", "blkio.throttle.write_iops_device", "wiops"),
];

impl<'a> JobGroup<'a> {
    /// The groups of a job.
    pub fn of(hierarchy: &'a Hierarchy, job: JobId) -> Self {
        Self { hierarchy, name: format!("job-{job}") }
    }

    /// The groups of all jobs together.
    pub(super) fn all(hierarchy: &'a Hierarchy) -> Self {
        Self { hierarchy, name: String::new() }
    }

    fn v2(&self) -> PathBuf {
        self.hierarchy.base.join("jobs").join(&self.name)
    }

    fn v1(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchy.v1.iter().map(|(_, jobs)| jobs.join(&self.name))
    }

    // The group that has a controller, and whether it is one of v1.
    fn with(&self, controller: &str) -> (PathBuf, bool) {
        let v1 = self.hierarchy.v1.iter().find(|(name, _)| *name == controller);
        v1.map_or_else(|| (self.v2(), false), |(_, jobs)| (jobs.join(&self.name), true))
    }

    /// Makes them, in every hierarchy that limits something. On failure some may be there.
    pub fn make(&self) -> Result<(), Errno> {
        let made = [self.v2()].into_iter().chain(self.v1()).try_for_each(|group| {
            fs::create_dir(group)?;
            kill_point!(GroupMade);
            Ok(())
        });
        made.map_err(errno)
    }

    /// Removes them; EBUSY while something lives in them.
    pub fn remove(&self) -> Result<(), Errno> {
        let gone = |errno| if errno == Errno::NOENT { Ok(()) } else { Err(errno) };
        for group in self.v1().chain([self.v2()]) {
            rustix::fs::rmdir(&group).or_else(gone)?;
            kill_point!(GroupRemoved);
        }
        Ok(())
    }

    /// Whether no process ever was in them, as when an executor was killed before the birth; also when they are not there in every
    /// hierarchy.
    pub fn is_unborn(&self) -> bool {
        let there = self.v1().chain([self.v2()]).all(|group| group.is_dir());
        !there || (self.is_empty() && self.facts().cpu_ns == 0)
    }

    /// Where the command is born, and `tasks` of the v1 groups, for it to join. A newborn process has one thread, and moving a thread by
    /// itself spares it the wait of `cgroup.procs` for all other processes of the host to leave a lock (8 to 17 ms, measured).
    pub fn birthplace(&self) -> Result<(OwnedFd, Vec<OwnedFd>), Errno> {
        let tasks =
            |group: PathBuf| rustix::fs::open(group.join("tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        Ok((open(&self.v2())?, self.v1().map(tasks).collect::<Result<_, _>>()?))
    }

    /// Writes every limit and reads it back. What the host cannot hold is an error, never left out.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), StartError> {
        for (limit, controller, v2, v1, key) in FILES {
            let Some(amount) = limits.get(limit) else { continue };
            let (group, is_v1) = self.with(controller);
            let name = if is_v1 { v1 } else { v2 };
            let (file, value) = (group.join(name), self.value(limit, amount, limits, key, is_v1));
            // Without an errno the value just did not hold.
            let error = |errno: Option<Errno>| {
                let why = errno.map_or("it does not read back so".into(), |errno| errno.to_string());
                let detail = format!("{name} cannot be set to '{value}': {why}");
                StartError { detail, ..StartError::new(Step::Limits, errno.map_or(0, Errno::raw_os_error)) }
            };
            if self.hierarchy.missing.contains(&controller) {
                return Err(error(Some(Errno::OPNOTSUPP)));
            }
            // Every word of the value stands on one line of what is read.
            let holds = |line: &str| value.split(' ').all(|word| line.split(' ').any(|w| w == word));
            match write(&file, &value).and_then(|()| read(&file)) {
                // A kernel that does not account swap, on a host that has none.
                Err(Errno::NOENT) if limit == Limit::Swap && rustix::system::sysinfo().totalswap == 0 => {}
                Err(errno) => return Err(error(Some(errno))),
                Ok(text) if !text.lines().any(holds) => return Err(error(None)),
                Ok(_) => {}
            }
            kill_point!(LimitSet);
        }
        Ok(())
    }

    // memory.oom.group stays 0: a job that survives the death of one of its processes is not killed for it, as in v1. A v1 group's
    // cfs_period_us is 100000 at birth, and the group is fresh.
    fn value(&self, limit: Limit, amount: u64, limits: &Limits, key: &str, v1: bool) -> String {
        let device = self.hierarchy.io_device.as_deref().unwrap_or("no-block-device");
        let quota = amount.saturating_mul(100).max(1000);
        match (limit, v1) {
            (Limit::Cpu, false) => format!("{quota} 100000"),
            (Limit::Cpu, true) => quota.to_string(),
            // The v1 scale has 1024 where v2 has 100.
            (Limit::CpuWeight, true) => (amount.saturating_mul(1024) / 100).max(2).to_string(),
            (Limit::Swap, true) => limits.get(Limit::Memory).unwrap_or(0).saturating_add(amount).to_string(),
            _ if key.is_empty() => amount.to_string(),
            (_, false) => format!("{device} {key}={amount}"),
            (_, true) => format!("{device} {amount}"),
        }
    }

    /// Ends everything in the job's group.
    pub fn kill(&self) -> Result<(), Errno> {
        write(&self.v2().join("cgroup.kill"), "1")
    }

    /// Whether nothing lives in it.
    pub fn is_empty(&self) -> bool {
        read(&self.v2().join("cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "populated 0"))
    }

    /// What the kernel counted. Complete when the job has ended.
    pub fn facts(&self) -> Facts {
        let text = |controller: &str, v2: &str, v1: &str| {
            let (group, is_v1) = self.with(controller);
            read(&group.join(if is_v1 { v1 } else { v2 })).ok()
        };
        let number = |text: Option<String>| text?.trim().parse().ok();
        let (cpu, io) = (text("cpu", "cpu.stat", "cpu.stat"), text("io", "io.stat", "blkio.throttle.io_service_bytes"));
        let us = |text: &Option<String>, name: &str| field(text, name).map(|us| us.saturating_mul(1000));
        Facts {
            oom_kills: field(&text("memory", "memory.events", "memory.oom_control"), "oom_kill").unwrap_or(0),
            memory_peak: number(text("memory", "memory.peak", "memory.max_usage_in_bytes")),
            pids_peak: number(text("pids", "pids.peak", "pids.peak")),
            // The v2 tree counts processor time everywhere, also where the controller is elsewhere.
            cpu_ns: us(&read(&self.v2().join("cpu.stat")).ok(), "usage_usec").unwrap_or(0),
            throttled_ns: us(&cpu, "throttled_usec").or(field(&cpu, "throttled_time")),
            io_read: io.as_ref().map(|text| sum(text, "rbytes=", "Read")),
            io_written: io.as_ref().map(|text| sum(text, "wbytes=", "Write")),
            ..Facts::default()
        }
    }
}

// "oom_kill 1".
fn field(text: &Option<String>, name: &str) -> Option<u64> {
    text.as_ref()?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

// Bytes over all devices: "8:0 rbytes=1 wbytes=2" in v2, "8:0 Read 1" in v1.
fn sum(text: &str, v2: &str, v1: &str) -> u64 {
    let bytes = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, kind, bytes] if kind == v1 => bytes.parse().ok(),
        ref words => words.iter().find_map(|word| word.strip_prefix(v2)?.parse::<u64>().ok()),
    };
    text.lines().filter_map(bytes).fold(0, u64::saturating_add)
}
