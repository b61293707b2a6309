//! One job's groups: made, limited, read, killed, removed. Held open only while something is done with them.

use std::fmt;

use ipc_protocol::{Facts, JobId, Limits};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, OFlags, openat, unlinkat},
    io::Errno,
};

use super::{Controller, DIRECTORY, Hierarchy, Place, make_fresh, read_all};
use crate::config::Ceilings;

/// The groups of a job, open.
#[derive(Debug)]
pub struct JobGroup<'a> {
    hierarchy: &'a Hierarchy,
    v2: OwnedFd,
    v1: Vec<(Controller, OwnedFd)>,
}

/// A limit that could not be written, or that does not read back as written.
#[derive(Debug)]
pub struct LimitError {
    file: &'static str,
    value: String,
    /// What the kernel said; 0 when the value just did not hold.
    pub errno: i32,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, value, errno } = self;
        match errno {
            0 => write!(f, "{file} does not read back as '{value}'"),
            n => write!(f, "{file} cannot be set to '{value}': {}", Errno::from_raw_os_error(*n)),
        }
    }
}

impl<'a> JobGroup<'a> {
    /// Makes fresh groups for a job, in every hierarchy that limits something. What was made is removed again on failure.
    pub fn make(hierarchy: &'a Hierarchy, job: JobId) -> Result<Self, Errno> {
        let name = name(job);
        let made = || {
            let v2 = make_fresh(&hierarchy.jobs, &name)?;
            let mut v1 = Vec::new();
            for (controller, place) in &hierarchy.places {
                if let Place::V1(jobs) = place {
                    v1.push((*controller, make_fresh(jobs, &name)?));
                }
            }
            Ok(Self { hierarchy, v2, v1 })
        };
        made().inspect_err(|_| {
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
        let mut v1 = Vec::new();
        for (controller, place) in &hierarchy.places {
            if let Place::V1(jobs) = place {
                v1.push((*controller, open(jobs)?));
            }
        }
        Ok(Self { hierarchy, v2: open(&hierarchy.jobs)?, v1 })
    }

    /// Removes a job's groups; EBUSY while something lives in them.
    pub fn remove(hierarchy: &Hierarchy, job: JobId) -> Result<(), Errno> {
        let name = name(job);
        let v1 = hierarchy.places.iter().filter_map(|(_, place)| match place {
            Place::V1(jobs) => Some(jobs),
            _ => None,
        });
        for jobs in v1.chain([&hierarchy.jobs]) {
            match unlinkat(jobs, name.as_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Where the command is born.
    pub fn v2(&self) -> &OwnedFd {
        &self.v2
    }

    /// `tasks` of the v1 groups, for the command to join. A newborn process has one thread, and moving a thread by itself spares it the
    /// wait of `cgroup.procs` for all other processes of the host to leave a lock (8 to 17 ms, measured).
    pub fn v1_tasks(&self) -> Result<Vec<OwnedFd>, Errno> {
        let open = |(_, group): &(_, OwnedFd)| openat(group, "tasks", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        self.v1.iter().map(open).collect()
    }

    /// Writes every limit and reads it back. What the host cannot hold is an error, never left out.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), LimitError> {
        let Limits {
            cpu_milli,
            cpu_weight,
            memory,
            swap,
            pids,
            io_read,
            io_write,
            io_read_ops,
            io_write_ops,
            timeout_ms: _,
        } = *limits;
        self.set_cpu(Some(cpu_milli), Some(cpu_weight))?;
        self.set_memory(memory, Some(swap))?;
        self.set(Controller::Pids, "pids.max", "pids.max", &pids.to_string())?;
        let io = [(io_read, 0usize), (io_write, 1), (io_read_ops, 2), (io_write_ops, 3)];
        io.into_iter().try_for_each(|(value, which)| value.map_or(Ok(()), |value| self.set_io(which, value)))
    }

    /// The same for the bounds of all jobs together.
    pub(super) fn set_ceilings(&self, ceilings: &Ceilings) -> Result<(), LimitError> {
        if let Some(milli) = ceilings.cpu_milli {
            self.set_cpu(Some(milli), None)?;
        }
        self.set_memory(ceilings.memory, None)?;
        self.set(Controller::Pids, "pids.max", "pids.max", &ceilings.pids.to_string())
    }

    fn set_cpu(&self, milli: Option<u64>, weight: Option<u64>) -> Result<(), LimitError> {
        const PERIOD_US: u64 = 100_000;
        if let Some(milli) = milli {
            let quota = milli.saturating_mul(PERIOD_US / 1000).max(1000).to_string();
            match self.place(Controller::Cpu) {
                Some(_) => {
                    self.set(Controller::Cpu, "", "cpu.cfs_period_us", &PERIOD_US.to_string())?;
                    self.set(Controller::Cpu, "", "cpu.cfs_quota_us", &quota)?;
                }
                None => self.set(Controller::Cpu, "cpu.max", "", &format!("{quota} {PERIOD_US}"))?,
            }
        }
        // The v1 scale has 1024 where v2 has 100.
        weight.map_or(Ok(()), |weight| match self.place(Controller::Cpu) {
            Some(_) => {
                self.set(Controller::Cpu, "", "cpu.shares", &(weight.saturating_mul(1024) / 100).max(2).to_string())
            }
            None => self.set(Controller::Cpu, "cpu.weight", "", &weight.to_string()),
        })
    }

    fn set_memory(&self, memory: u64, swap: Option<u64>) -> Result<(), LimitError> {
        self.set(Controller::Memory, "memory.max", "memory.limit_in_bytes", &memory.to_string())?;
        let Some(swap) = swap else { return Ok(()) };
        let bound = match self.place(Controller::Memory).is_some() {
            true => self.set(
                Controller::Memory,
                "",
                "memory.memsw.limit_in_bytes",
                &memory.saturating_add(swap).to_string(),
            ),
            false => self.set(Controller::Memory, "memory.swap.max", "", &swap.to_string()),
        };
        // memory.oom.group stays 0: a job that survives the death of one of its processes is not killed for it, as in v1.
        match bound {
            // A kernel that does not account swap, on a host that has none.
            Err(error) if error.errno == Errno::NOENT.raw_os_error() && rustix::system::sysinfo().totalswap == 0 => {
                Ok(())
            }
            other => other,
        }
    }

    fn set_io(&self, which: usize, value: u64) -> Result<(), LimitError> {
        const V2: [&str; 4] = ["rbps", "wbps", "riops", "wiops"];
        const V1: [&str; 4] = [
            "blkio.throttle.read_bps_device",
            "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device",
            "blkio.throttle.write_iops_device",
        ];
        let missing =
            || LimitError { file: "io.max", value: "no block device".into(), errno: Errno::NODEV.raw_os_error() };
        let device = self.hierarchy.io_device.as_deref().ok_or_else(missing)?;
        let (v2, v1) = (V2.get(which).copied().unwrap_or_default(), V1.get(which).copied().unwrap_or_default());
        match self.place(Controller::Io) {
            Some(_) => self.set(Controller::Io, "", v1, &format!("{device} {value}")),
            None => self.set(Controller::Io, "io.max", "", &format!("{device} {v2}={value}")),
        }
    }

    fn place(&self, controller: Controller) -> Option<&OwnedFd> {
        self.v1.iter().find(|(c, _)| *c == controller).map(|(_, group)| group)
    }

    // Writes, reads back, and wants every word of the value on one line of what it reads.
    fn set(&self, controller: Controller, v2: &'static str, v1: &'static str, value: &str) -> Result<(), LimitError> {
        let v1_group = self.place(controller);
        let (group, file) = v1_group.map_or((&self.v2, v2), |group| (group, v1));
        let error = |errno: Errno| LimitError { file, value: value.into(), errno: errno.raw_os_error() };
        let there =
            v1_group.is_some() || self.hierarchy.places.iter().any(|(c, p)| *c == controller && matches!(p, Place::V2));
        if !there {
            return Err(error(Errno::OPNOTSUPP));
        }
        write(group, file, value).map_err(error)?;
        let read = read(group, file).map_err(error)?;
        let holds = |line: &str| value.split(' ').all(|word| line.split(' ').any(|w| w == word));
        if read.lines().any(holds) { Ok(()) } else { Err(LimitError { file, value: value.into(), errno: 0 }) }
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
        let number = |controller, v2: &str, v1: &str| {
            let (group, file) = self.place(controller).map_or((&self.v2, v2), |group| (group, v1));
            read(group, file).ok()?.trim().parse::<u64>().ok()
        };
        let field = |group: &OwnedFd, file: &str, name: &str| {
            let text = read(group, file).ok()?;
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok())
        };
        let memory = self.place(Controller::Memory);
        let oom = memory.map_or_else(
            || field(&self.v2, "memory.events", "oom_kill"),
            |v1| field(v1, "memory.oom_control", "oom_kill"),
        );
        let throttled_us = || field(&self.v2, "cpu.stat", "throttled_usec").map(|us| us.saturating_mul(1000));
        let io = self.io();
        Facts {
            oom_kills: oom.unwrap_or(0),
            memory_peak: number(Controller::Memory, "memory.peak", "memory.max_usage_in_bytes"),
            pids_peak: number(Controller::Pids, "pids.peak", "pids.peak"),
            // The v2 tree counts processor time everywhere, also where the controller is elsewhere.
            cpu_ns: field(&self.v2, "cpu.stat", "usage_usec").unwrap_or(0).saturating_mul(1000),
            throttled_ns: self
                .place(Controller::Cpu)
                .map_or_else(throttled_us, |v1| field(v1, "cpu.stat", "throttled_time")),
            io_read: io.map(|(read, _)| read),
            io_written: io.map(|(_, written)| written),
            ..Facts::default()
        }
    }

    // Bytes read and written, over all devices.
    fn io(&self) -> Option<(u64, u64)> {
        let (group, file) =
            self.place(Controller::Io).map_or((&self.v2, "io.stat"), |g| (g, "blkio.throttle.io_service_bytes"));
        let text = read(group, file).ok()?;
        let sum = |v2: &str, v1: &str| {
            let of = |line: &str| {
                let words: Vec<_> = line.split(' ').collect();
                match words[..] {
                    [_, kind, bytes] if kind == v1 => bytes.parse().ok(),
                    _ => words.iter().find_map(|word| word.strip_prefix(v2)?.parse::<u64>().ok()),
                }
            };
            text.lines().filter_map(of).fold(0u64, u64::saturating_add)
        };
        Some((sum("rbytes=", "Read"), sum("wbytes=", "Write")))
    }
}

fn name(job: JobId) -> String {
    format!("job-{job}")
}

fn write(group: &OwnedFd, file: &str, value: &str) -> Result<(), Errno> {
    let file = openat(group, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

fn read(group: &OwnedFd, file: &str) -> Result<String, Errno> {
    read_all(openat(group, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
