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
    fs,
    path::{Path, PathBuf},
};

use ipc_protocol::JobId;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, mkdirat, openat},
    io::Errno,
};

pub use job::{JobGroup, LimitError};

use crate::config::Ceilings;

/// What limits a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Quota and weight.
    Cpu,
    /// Memory and swap.
    Memory,
    /// Processes and threads.
    Pids,
    /// Bytes and operations on a block device.
    Io,
}

/// Where a controller is.
#[derive(Debug)]
pub enum Place {
    /// In the v2 tree.
    V2,
    /// In a v1 hierarchy: the folder of all jobs there.
    V1(OwnedFd),
    /// Nowhere.
    Missing,
}

const CONTROLLERS: [(Controller, &str, &str); 4] = [
    (Controller::Cpu, "cpu", "cpu"),
    (Controller::Memory, "memory", "memory"),
    (Controller::Pids, "pids", "pids"),
    (Controller::Io, "io", "blkio"),
];

/// The groups below which everything happens.
#[derive(Debug)]
pub struct Hierarchy {
    holder: Option<OwnedFd>,
    keepers: OwnedFd,
    sweepers: OwnedFd,
    jobs: OwnedFd,
    places: [(Controller, Place); 4],
    io_device: Option<String>,
}

/// Why the host's cgroups cannot be used: a sentence with what to do.
pub type HostError = String;

impl Hierarchy {
    /// Finds the hierarchies, makes the groups that are missing, moves the unit's holder aside and sets the ceilings.
    pub fn open(cgroup: &str, ceilings: &Ceilings, io_device: Option<String>) -> Result<Self, HostError> {
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
        let holder = hold(&base)?;
        let available = read_words(&base.join("cgroup.controllers"))?;
        let mut places = Vec::new();
        for (controller, v2, v1) in CONTROLLERS {
            places.push((controller, place(&base, &available, v2, v1, &mounts, cgroup)?));
        }
        for leaf in ["keepers", "sweepers", "jobs"] {
            make(&base.join(leaf))?;
        }
        enable(&base.join("jobs"), &places)?;
        let places: [_; 4] = places.try_into().map_err(|_| "controllers")?;
        let hierarchy = Self {
            holder,
            keepers: open(&base.join("keepers"))?,
            sweepers: open(&base.join("sweepers"))?,
            jobs: open(&base.join("jobs"))?,
            places,
            io_device,
        };
        hierarchy.set_ceilings(ceilings)?;
        Ok(hierarchy)
    }

    /// Sets the bounds over all jobs; done again when the configuration changes.
    pub fn set_ceilings(&self, ceilings: &Ceilings) -> Result<(), HostError> {
        let all = JobGroup::all(self).map_err(|e| format!("the cgroup of all jobs: {e}"))?;
        all.set_ceilings(ceilings).map_err(|e| format!("ceilings: {e}"))
    }

    /// Where keepers are born.
    pub fn keepers(&self) -> &OwnedFd {
        &self.keepers
    }

    /// Where sweepers are born.
    pub fn sweepers(&self) -> &OwnedFd {
        &self.sweepers
    }

    /// "v2", or "hybrid" when a limit lies in a v1 hierarchy.
    pub fn kind(&self) -> &'static str {
        if self.places.iter().any(|(_, place)| matches!(place, Place::V1(_))) { "hybrid" } else { "v2" }
    }

    /// The controllers that this host lacks.
    pub fn missing(&self) -> impl Iterator<Item = Controller> {
        self.places.iter().filter(|(_, place)| matches!(place, Place::Missing)).map(|(controller, _)| *controller)
    }

    /// Pids of all keepers that live.
    pub fn keeper_pids(&self) -> Result<Vec<i32>, Errno> {
        let file = openat(&self.keepers, "cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let text = read_all(file)?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Whether the groups are still there, and the unit's holder with them; both go when airlock-jobs.service is stopped.
    pub fn is_alive(&self) -> bool {
        let members = |group| openat(group, "cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let held = |group| members(group).and_then(read_all).is_ok_and(|pids| !pids.is_empty());
        members(&self.keepers).is_ok() && self.holder.as_ref().is_none_or(held)
    }

    /// Begins anew in the groups of a unit that was stopped and started again.
    pub fn reopen(&mut self, cgroup: &str, ceilings: &Ceilings) -> Result<(), HostError> {
        *self = Self::open(cgroup, ceilings, self.io_device.clone())?;
        Ok(())
    }

    /// Ids of all jobs that have a group.
    pub fn job_ids(&self) -> Result<BTreeSet<JobId>, Errno> {
        let mut ids = BTreeSet::new();
        let jobs = openat(&self.jobs, ".", DIRECTORY, Mode::empty())?;
        for entry in rustix::fs::Dir::new(jobs)? {
            let entry = entry?;
            let name = entry.file_name().to_str().unwrap_or_default();
            ids.extend(name.strip_prefix("job-").and_then(|id| id.parse::<JobId>().ok()));
        }
        Ok(ids)
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

fn place(base: &Path, v2: &str, name: &str, v1: &str, mounts: &str, cgroup: &str) -> Result<Place, HostError> {
    if v2.split_whitespace().any(|c| c == name) {
        return Ok(Place::V2);
    }
    let Some(root) = mount_points(mounts, "cgroup", Some(v1)).next() else { return Ok(Place::Missing) };
    debug_assert!(base.is_absolute());
    let jobs = root.join(cgroup).join("jobs");
    make(&jobs)?;
    Ok(Place::V1(open(&jobs)?))
}

// Mount points of a file system type whose super options name `option`.
fn mount_points<'a>(mounts: &'a str, kind: &'a str, option: Option<&'a str>) -> impl Iterator<Item = PathBuf> + 'a {
    mounts.lines().filter_map(move |line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let is_kind = right.next()? == kind;
        let options = right.nth(1).unwrap_or_default();
        let named = option.is_none_or(|option| options.split(',').any(|o| o == option));
        (is_kind && named).then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn make(path: &Path) -> Result<(), HostError> {
    fs::create_dir_all(path).map_err(|e| {
        format!(
            "cannot make the cgroup {}: {e}; is airlock-jobs.service running and delegated (Delegate=yes)?",
            path.display()
        )
    })
}

fn open(path: &Path) -> Result<OwnedFd, HostError> {
    rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|e| format!("cgroup {}: {e}", path.display()))
}

fn read_words(path: &Path) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

// A group with controllers for its children may hold no process: the unit's holder goes into a leaf of its own.
fn hold(base: &Path) -> Result<Option<OwnedFd>, HostError> {
    let held = read_words(&base.join("cgroup.procs"))?;
    let leaf = base.join("hold");
    if held.is_empty() {
        return leaf.is_dir().then(|| open(&leaf)).transpose();
    }
    make(&leaf)?;
    for pid in held.lines() {
        match fs::write(leaf.join("cgroup.procs"), pid) {
            Err(e) if e.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => {
                return Err(format!("cannot move process {pid} into {}/hold: {e}", base.display()));
            }
            _ => {}
        }
    }
    open(&leaf).map(Some)
}

// Turns the controllers of the v2 tree on, in the base for `jobs` and in `jobs` for each job.
fn enable(jobs: &Path, places: &[(Controller, Place)]) -> Result<(), HostError> {
    for (controller, place) in places {
        if !matches!(place, Place::V2) {
            continue;
        }
        let name = CONTROLLERS.iter().find(|(c, ..)| c == controller).map(|(_, name, _)| *name).unwrap_or_default();
        for group in [jobs.parent().unwrap_or(jobs), jobs] {
            fs::write(group.join("cgroup.subtree_control"), format!("+{name}"))
                .map_err(|e| format!("cannot turn on the {name} controller in {}: {e}", group.display()))?;
        }
    }
    Ok(())
}

/// The whole of a small kernel file.
pub(crate) fn read_all(fd: impl AsFd) -> Result<String, Errno> {
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(&fd, &mut buffer)? {
            0 => return String::from_utf8(bytes).map_err(|_| Errno::ILSEQ),
            n => bytes.extend_from_slice(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// Makes a group and opens it; it must not have existed.
pub(crate) fn make_fresh(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    openat(parent, name, DIRECTORY, Mode::empty())
}

#[cfg(test)]
mod tests;
