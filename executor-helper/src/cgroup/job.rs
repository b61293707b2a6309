//! One job's groups: made, limited, read, killed, removed. Held open only while something is done with them.

use ipc_protocol::{Facts, JobId, Limit, Limits, StartError, Step};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat},
    io::Errno,
};

use super::{Controller, DIRECTORY, Hierarchy, read, write};

/// The groups of a job, open.
#[derive(Debug)]
pub struct JobGroup<'a> {
    hierarchy: &'a Hierarchy,
    /// Where the command is born.
    pub v2: OwnedFd,
    v1: Vec<(Controller, OwnedFd)>,
}

// Where each limit is set: in the v2 tree, and in a v1 hierarchy.
const FILES: [(Limit, Controller, &str, &str); 9] = [
    (Limit::Cpu, Controller::Cpu, "cpu.max", "cpu.cfs_quota_us"),
    (Limit::CpuWeight, Controller::Cpu, "cpu.weight", "cpu.shares"),
    (Limit::Memory, Controller::Memory, "memory.max", "memory.limit_in_bytes"),
    (Limit::Swap, Controller::Memory, "memory.swap.max", "memory.memsw.limit_in_bytes"),
    (Limit::Pids, Controller::Pids, "pids.max", "pids.max"),
    (Limit::IoRead, Controller::Io, "io.max", "blkio.throttle.read_bps_device"),
    (Limit::IoWrite, Controller::Io, "io.max", "blkio.throttle.write_bps_device"),
    (Limit::IoReadOps, Controller::Io, "io.max", "blkio.throttle.read_iops_device"),
    (Limit::IoWriteOps, Controller::Io, "io.max", "blkio.throttle.write_iops_device"),
];

impl<'a> JobGroup<'a> {
    /// Makes fresh groups for a job, in every hierarchy that limits something. What was made is removed again on failure.
    pub fn make(hierarchy: &'a Hierarchy, job: JobId) -> Result<Self, Errno> {
        let name = name(job);
        let made = Self::at(hierarchy, |jobs| {
            mkdirat(jobs, name.as_str(), Mode::from_raw_mode(0o755))?;
            kill_point!(GroupMade);
            openat(jobs, name.as_str(), DIRECTORY, Mode::empty())
        });
        made.inspect_err(|_| {
            let _ = Self::remove(hierarchy, job);
        })
    }

    /// Opens the groups of a job that has them.
    pub fn open(hierarchy: &'a Hierarchy, job: JobId) -> Result<Self, Errno> {
        let name = name(job);
        Self::at(hierarchy, |jobs| openat(jobs, name.as_str(), DIRECTORY, Mode::empty()))
    }

    /// The groups of all jobs together.
    pub(super) fn all(hierarchy: &'a Hierarchy) -> Result<Self, Errno> {
        Self::at(hierarchy, |jobs| openat(jobs, ".", DIRECTORY, Mode::empty()))
    }

    fn at(hierarchy: &'a Hierarchy, open: impl Fn(&OwnedFd) -> Result<OwnedFd, Errno>) -> Result<Self, Errno> {
        let v2 = open(&hierarchy.jobs)?;
        let v1 = hierarchy.v1().map(|(controller, jobs)| Ok((controller, open(jobs)?)));
        Ok(Self { hierarchy, v2, v1: v1.collect::<Result<_, _>>()? })
    }

    /// Removes a job's groups; EBUSY while something lives in them.
    pub fn remove(hierarchy: &Hierarchy, job: JobId) -> Result<(), Errno> {
        for jobs in hierarchy.v1().map(|(_, jobs)| jobs).chain([&hierarchy.jobs]) {
            match unlinkat(jobs, name(job), AtFlags::REMOVEDIR) {
                Err(Errno::NOENT) => {}
                removed => removed?,
            }
            kill_point!(GroupRemoved);
        }
        Ok(())
    }

    /// `tasks` of the v1 groups, for the command to join. A newborn process has one thread, and moving a thread by itself spares it the
    /// wait of `cgroup.procs` for all other processes of the host to leave a lock (8 to 17 ms, measured).
    pub fn v1_tasks(&self) -> Result<Vec<OwnedFd>, Errno> {
        let open = |(_, group): &(_, OwnedFd)| openat(group, "tasks", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        self.v1.iter().map(open).collect()
    }

    /// Writes every limit and reads it back. What the host cannot hold is an error, never left out.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), StartError> {
        for (limit, controller, v2, v1) in FILES {
            let Some(amount) = limits.get(limit) else { continue };
            let v1_group = self.place(controller);
            let (group, file) = v1_group.map_or((&self.v2, v2), |group| (group, v1));
            let value = self.value(limit, amount, limits, v1_group.is_some());
            // Without an errno the value just did not hold.
            let error = |errno: Option<Errno>| {
                let why = errno.map_or("it does not read back so".into(), |errno| errno.to_string());
                let detail = format!("{file} cannot be set to '{value}': {why}");
                StartError { detail, ..StartError::new(Step::Limits, errno.map_or(0, Errno::raw_os_error)) }
            };
            if v1_group.is_none() && self.hierarchy.missing().any(|missing| missing == controller) {
                return Err(error(Some(Errno::OPNOTSUPP)));
            }
            let held = write(group, file, &value).and_then(|()| read(group, file));
            // Every word of the value stands on one line of what is read.
            let holds = |line: &str| value.split(' ').all(|word| line.split(' ').any(|w| w == word));
            match held {
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
    fn value(&self, limit: Limit, amount: u64, limits: &Limits, v1: bool) -> String {
        let device = self.hierarchy.io_device.as_deref().unwrap_or("no-block-device");
        let quota = amount.saturating_mul(100).max(1000);
        match (limit, v1) {
            (Limit::Cpu, false) => format!("{quota} 100000"),
            (Limit::Cpu, true) => quota.to_string(),
            // The v1 scale has 1024 where v2 has 100.
            (Limit::CpuWeight, true) => (amount.saturating_mul(1024) / 100).max(2).to_string(),
            (Limit::Swap, true) => limits.get(Limit::Memory).unwrap_or(0).saturating_add(amount).to_string(),
            (Limit::IoRead, false) => format!("{device} rbps={amount}"),
            (Limit::IoWrite, false) => format!("{device} wbps={amount}"),
            (Limit::IoReadOps, false) => format!("{device} riops={amount}"),
            (Limit::IoWriteOps, false) => format!("{device} wiops={amount}"),
            (Limit::IoRead | Limit::IoWrite | Limit::IoReadOps | Limit::IoWriteOps, true) => {
                format!("{device} {amount}")
            }
            _ => amount.to_string(),
        }
    }

    fn place(&self, controller: Controller) -> Option<&OwnedFd> {
        self.v1.iter().find(|(c, _)| *c == controller).map(|(_, group)| group)
    }

    /// Ends everything in the job's group.
    pub fn kill(&self) -> Result<(), Errno> {
        write(&self.v2, "cgroup.kill", "1")
    }

    /// Whether nothing lives in it.
    pub fn is_empty(&self) -> bool {
        read(&self.v2, "cgroup.events").is_ok_and(|text| text.lines().any(|line| line == "populated 0"))
    }

    /// What the kernel counted. Complete when the job has ended.
    pub fn facts(&self) -> Facts {
        // The text of a file, of the v2 group or of the v1 group that has the controller.
        let text = |controller, v2: &str, v1: &str| {
            let (group, file) = self.place(controller).map_or((&self.v2, v2), |group| (group, v1));
            read(group, file).ok()
        };
        let number = |text: Option<String>| text?.trim().parse::<u64>().ok();
        let field = |text: Option<String>, v2: &str, v1: &str| {
            let value = |line: &str| match line.split_once(' ') {
                Some((name, value)) if name == v2 => value.parse().ok(),
                Some((name, value)) if name == v1 => value.parse().ok(),
                _ => None,
            };
            text?.lines().find_map(value)
        };
        let us = |us: u64| us.saturating_mul(1000);
        let throttled = field(text(Controller::Cpu, "cpu.stat", "cpu.stat"), "throttled_usec", "").map(us);
        let io = text(Controller::Io, "io.stat", "blkio.throttle.io_service_bytes");
        Facts {
            oom_kills: field(text(Controller::Memory, "memory.events", "memory.oom_control"), "oom_kill", "")
                .unwrap_or(0),
            memory_peak: number(text(Controller::Memory, "memory.peak", "memory.max_usage_in_bytes")),
            pids_peak: number(text(Controller::Pids, "pids.peak", "pids.peak")),
            // The v2 tree counts processor time everywhere, also where the controller is elsewhere.
            cpu_ns: field(read(&self.v2, "cpu.stat").ok(), "usage_usec", "").map_or(0, us),
            throttled_ns: throttled.or(field(text(Controller::Cpu, "cpu.stat", "cpu.stat"), "", "throttled_time")),
            io_read: io.as_ref().map(|text| sum(text, "rbytes=", "Read")),
            io_written: io.as_ref().map(|text| sum(text, "wbytes=", "Write")),
            ..Facts::default()
        }
    }
}

// Bytes over all devices: "8:0 rbytes=1 wbytes=2" in v2, "8:0 Read 1" in v1.
fn sum(text: &str, v2: &str, v1: &str) -> u64 {
    let bytes = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, kind, bytes] if kind == v1 => bytes.parse().ok(),
        ref words => words.iter().find_map(|word| word.strip_prefix(v2)?.parse::<u64>().ok()),
    };
    text.lines().filter_map(bytes).fold(0, u64::saturating_add)
}

fn name(job: JobId) -> String {
    format!("job-{job}")
}
