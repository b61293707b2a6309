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
    io::Read,
    path::{Path, PathBuf},
};

use ipc_protocol::{JobId, Limit, Limits};
use rustix::{
    fd::OwnedFd,
    fs::{Dir, Mode, OFlags, openat},
    io::Errno,
};

pub use job::JobGroup;

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
enum Place {
    V2,
    /// In a v1 hierarchy: the folder of all jobs there.
    V1(OwnedFd),
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
    /// Where keepers are born.
    pub keepers: OwnedFd,
    /// Where sweepers are born.
    pub sweepers: OwnedFd,
    jobs: OwnedFd,
    places: [Place; 4],
    /// "major:minor" of the device for io limits.
    pub io_device: Option<String>,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

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
        let holder = hold(&base)?;
        let [keepers, sweepers, jobs] = ["keepers", "sweepers", "jobs"].map(|leaf| make(&base.join(leaf)));
        let available = read_file(&base.join("cgroup.controllers"))?;
        let place = |name: &str, v1: &str| {
            if available.split_whitespace().any(|c| c == name) {
                return enable(&base, name).map(|()| Place::V2);
            }
            let Some(root) = mount_points(&mounts, "cgroup", Some(v1)).next() else { return Ok(Place::Missing) };
            make(&root.join(cgroup).join("jobs")).map(Place::V1)
        };
        let [cpu, memory, pids, io] = CONTROLLERS.map(|(_, v2, v1)| place(v2, v1));
        let places = [cpu?, memory?, pids?, io?];
        Ok(Self { holder, keepers: keepers?, sweepers: sweepers?, jobs: jobs?, places, io_device })
    }

    /// Sets the bounds over all jobs; done at the start, and again when the configuration changes.
    pub fn set_ceilings(&self, ceilings: &Ceilings) -> Result<(), String> {
        let mut limits =
            Limits::default().with(Limit::Memory, ceilings.memory & !4095).with(Limit::Pids, ceilings.pids);
        limits.set(Limit::Cpu, ceilings.cpu);
        let all = JobGroup::all(self).map_err(|e| format!("the cgroup of all jobs: {e}"))?;
        all.set_limits(&limits).map_err(|e| format!("ceilings: {}", e.detail))
    }

    /// "v2", or "hybrid" when a limit lies in a v1 hierarchy.
    pub fn kind(&self) -> &'static str {
        if self.v1().next().is_some() { "hybrid" } else { "v2" }
    }

    // The folders of all jobs in v1 hierarchies.
    fn v1(&self) -> impl Iterator<Item = (Controller, &OwnedFd)> {
        let places = CONTROLLERS.iter().zip(&self.places);
        places.filter_map(|((controller, ..), place)| match place {
            Place::V1(jobs) => Some((*controller, jobs)),
            Place::V2 | Place::Missing => None,
        })
    }

    /// The controllers that this host lacks.
    pub fn missing(&self) -> impl Iterator<Item = Controller> {
        let missing = |(_, place): &(_, &Place)| matches!(place, Place::Missing);
        CONTROLLERS.iter().zip(&self.places).filter(missing).map(|((controller, ..), _)| *controller)
    }

    /// Pids of all keepers that live.
    pub fn keeper_pids(&self) -> Result<Vec<i32>, Errno> {
        Ok(read(&self.keepers, "cgroup.procs")?.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Whether the groups are still there, and the unit's holder with them; both go when airlock-jobs.service is stopped.
    pub fn is_alive(&self) -> bool {
        let held = |group| read(group, "cgroup.procs").is_ok_and(|pids| !pids.is_empty());
        read(&self.keepers, "cgroup.procs").is_ok() && self.holder.as_ref().is_none_or(held)
    }

    /// Ids of all jobs that have a group.
    pub fn job_ids(&self) -> Result<BTreeSet<JobId>, Errno> {
        let id = |entry: rustix::fs::DirEntry| entry.file_name().to_str().ok()?.strip_prefix("job-")?.parse().ok();
        let entries = Dir::read_from(&self.jobs)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().filter_map(id).collect())
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
    rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|e| format!("cgroup {what}: {e}"))
}

fn read_file(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

// A group with controllers for its children may hold no process: the unit's holder goes into a leaf of its own.
fn hold(base: &Path) -> Result<Option<OwnedFd>, String> {
    let held = read_file(&base.join("cgroup.procs"))?;
    let leaf = base.join("hold");
    if held.is_empty() && !leaf.is_dir() {
        return Ok(None);
    }
    let group = make(&leaf)?;
    for pid in held.lines() {
        match fs::write(leaf.join("cgroup.procs"), pid) {
            Err(e) if e.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => {
                return Err(format!("cannot move process {pid} into {}/hold: {e}", base.display()));
            }
            _ => {}
        }
    }
    Ok(Some(group))
}

// Turns a controller of the v2 tree on, in the base for `jobs` and in `jobs` for each job.
fn enable(base: &Path, controller: &str) -> Result<(), String> {
    [base, &base.join("jobs")].into_iter().try_for_each(|group| {
        fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))
            .map_err(|e| format!("cannot turn on the {controller} controller in {}: {e}", group.display()))
    })
}

// The whole of a small kernel file. Their size is not known beforehand, so nobody is asked for it.
fn read(group: &OwnedFd, file: &str) -> Result<String, Errno> {
    let file = openat(group, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(4096);
    let read = fs::File::from(file).take(u64::MAX).read_to_end(&mut text);
    read.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}

fn write(group: &OwnedFd, file: &str, value: &str) -> Result<(), Errno> {
    let file = openat(group, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests;
