//! cgroups of this host: one v2 tree, for birth, kill and events everywhere, and for the limits where it has the controllers; on a
//! hybrid host the limits are set in v1 hierarchies beside it.
//!
//! ```text
//! <v2>/<cgroup>/keepers/            all keepers; never killed as a whole
//!              /sweepers/           emptying directories of ended jobs
//!              /jobs/               the ceilings of all jobs together
//!                   /job-<uuid>/    one job; made fresh, used once, removed
//! <v1 controller>/<cgroup>/jobs/job-<uuid>/
//! ```

mod job;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use ipc_protocol::{JobId, Limit, Limits};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
};

pub use job::JobGroup;

use crate::config::Ceilings;

/// What limits a resource: its name in the v2 tree and in a v1 hierarchy.
const CONTROLLERS: [(&str, &str); 4] = [("cpu", "cpu"), ("memory", "memory"), ("pids", "pids"), ("io", "blkio")];

/// The groups below which everything happens.
#[derive(Debug)]
pub struct Hierarchy {
    base: PathBuf,
    has_holder: bool,
    /// Where keepers are born.
    pub keepers: OwnedFd,
    /// Where sweepers are born.
    pub sweepers: OwnedFd,
    /// The controllers that are in v1 hierarchies, and the folders of all jobs there.
    v1: Vec<(&'static str, PathBuf)>,
    /// The controllers that this host lacks.
    pub missing: Vec<&'static str>,
    /// "major:minor" of the device for io limits.
    pub io_device: Option<String>,
}

impl Hierarchy {
    /// Finds the hierarchies, makes the groups that are missing, and moves the unit's holder aside. The error says why the host's cgroups cannot be used and what to do, in a sentence.
    pub fn open(cgroup: &str, io_device: Option<String>) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
        let root = mount_points(&mounts, "cgroup2", None).next().ok_or(
            "this host has no cgroup v2 mount; boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 at /sys/fs/cgroup/unified",
        )?;
        let base = root.join(cgroup);
        if let Some(unit) = cgroup.rsplit('/').next().filter(|name| name.ends_with(".service"))
            && !base.is_dir()
        {
            // One made here would be without controllers, and systemd would remove it.
            return Err(format!("{unit} is not running, so there is no place for jobs; systemctl start {unit}"));
        }
        make(&base)?;
        let has_holder = hold(&base)?;
        let [keepers, sweepers, jobs] = ["keepers", "sweepers", "jobs"].map(|leaf| make(&base.join(leaf)));
        jobs?;
        let available = read(&base.join("cgroup.controllers")).map_err(|e| format!("{}: {e}", base.display()))?;
        let (mut v1, mut missing) = (Vec::new(), Vec::new());
        for (name, former) in CONTROLLERS {
            if available.split_whitespace().any(|c| c == name) {
                enable(&base, name)?;
            } else if let Some(root) = mount_points(&mounts, "cgroup", Some(former)).next() {
                let jobs = root.join(cgroup).join("jobs");
                make(&jobs)?;
                v1.push((name, jobs));
            } else {
                missing.push(name);
            }
        }
        Ok(Self { base, has_holder, keepers: keepers?, sweepers: sweepers?, v1, missing, io_device })
    }

    /// Sets the bounds over all jobs; done at the start, and again when the configuration changes.
    pub fn set_ceilings(&self, ceilings: &Ceilings) -> Result<(), String> {
        let mut limits =
            Limits::default().with(Limit::Memory, ceilings.memory & !4095).with(Limit::Pids, ceilings.pids);
        limits.set(Limit::Cpu, ceilings.cpu);
        JobGroup::all(self).set_limits(&limits).map_err(|e| format!("ceilings: {}", e.detail))
    }

    /// "v2", or "hybrid" when a limit lies in a v1 hierarchy.
    pub fn kind(&self) -> &'static str {
        if self.v1.is_empty() { "v2" } else { "hybrid" }
    }

    /// Pids of all keepers that live.
    pub fn keeper_pids(&self) -> Result<Vec<i32>, Errno> {
        Ok(self.processes("keepers")?.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Whether the groups are still there, and the unit's holder with them; both go when airlock-jobs.service is stopped.
    pub fn is_alive(&self) -> bool {
        let held = || self.processes("hold").is_ok_and(|pids| !pids.is_empty());
        self.processes("keepers").is_ok() && (!self.has_holder || held())
    }

    /// Ids of all jobs that have a group.
    pub fn job_ids(&self) -> Result<BTreeSet<JobId>, std::io::Error> {
        let id = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("job-")?.parse().ok();
        let entries = fs::read_dir(self.base.join("jobs"))?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().filter_map(id).collect())
    }

    fn processes(&self, leaf: &str) -> Result<String, Errno> {
        read(&self.base.join(leaf).join("cgroup.procs"))
    }
}

/// Mount points of a file system type whose super options name `option`, in the text of a mountinfo.
pub fn mount_points<'a>(mounts: &'a str, kind: &'a str, option: Option<&'a str>) -> impl Iterator<Item = PathBuf> + 'a {
    mounts.lines().filter_map(move |line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let is_kind = right.next()? == kind;
        let options = right.nth(1).unwrap_or_default();
        let named = option.is_none_or(|option| options.split(',').any(|o| o == option));
        (is_kind && named).then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn make(path: &Path) -> Result<OwnedFd, String> {
    let what = path.display();
    fs::create_dir_all(path).map_err(|e| {
        format!("cannot make the cgroup {what}: {e}; is airlock-jobs.service running and delegated (Delegate=yes)?")
    })?;
    open(path).map_err(|e| format!("cgroup {what}: {e}"))
}

fn open(group: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(group, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

// A group with controllers for its children may hold no process: the unit's holder goes into a leaf of its own.
fn hold(base: &Path) -> Result<bool, String> {
    let held = read(&base.join("cgroup.procs")).map_err(|e| format!("{}: {e}", base.display()))?;
    let leaf = base.join("hold");
    if held.is_empty() && !leaf.is_dir() {
        return Ok(false);
    }
    make(&leaf)?;
    for pid in held.lines() {
        match write(&leaf.join("cgroup.procs"), pid) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(e) => return Err(format!("cannot move process {pid} into {}: {e}", leaf.display())),
        }
    }
    Ok(true)
}

// Turns a controller of the v2 tree on, in the base for `jobs` and in `jobs` for each job.
fn enable(base: &Path, controller: &str) -> Result<(), String> {
    [base, &base.join("jobs")].into_iter().try_for_each(|group| {
        write(&group.join("cgroup.subtree_control"), &format!("+{controller}"))
            .map_err(|e| format!("cannot turn on the {controller} controller in {}: {e}", group.display()))
    })
}

fn read(file: &Path) -> Result<String, Errno> {
    fs::read_to_string(file).map_err(errno)
}

// Never makes the file: a kernel that lacks it says so.
fn write(file: &Path, value: &str) -> Result<(), Errno> {
    File::options().write(true).open(file).and_then(|mut file| file.write_all(value.as_bytes())).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests;
