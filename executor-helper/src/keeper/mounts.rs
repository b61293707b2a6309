//! What a job with a mount namespace sees: the host's files, but a /tmp, /var/tmp, /dev/shm and /proc of its own, and of the folder
//! with all jobs' directories only its own.

use core::ffi::CStr;

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_change, move_mount,
        open_tree,
    },
};

use crate::shared::plan::{Number, PlanView, Section, namespace};

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Makes the mounts; the namespace itself came with the clone.
pub fn make(plan: &PlanView<'_>) -> Result<(), Errno> {
    // Slave: an unmount on the host reaches the job, so that no job pins a file system; nothing of the job reaches the host.
    mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let mut directories = plan.strings(Section::Directories);
    let (folder, directory) = (directories.next(), directories.next());
    // Held before anything is mounted over it.
    let own = match directory {
        Some(path) => Some(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?),
        None => None,
    };
    let work = own_temporary()?;
    if let (Some(folder), Some(directory), Some(own)) = (folder, directory, own) {
        make_path(folder)?; // may lie below one of the above
        move_mount(work, c"", CWD, folder, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        rustix::fs::mkdir(directory, Mode::from_raw_mode(0o711))?;
        move_mount(own, c"", CWD, directory, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    if plan.number(Number::Namespaces) & namespace::PID != 0 {
        mount(c"proc", c"/proc", c"proc", PLAIN | MountFlags::NOEXEC, None)?;
    }
    Ok(())
}

// One file system in memory, of which each place sees a folder of its own. Four would cost more than memory: the kernel keeps, for
// every memory cgroup, a map over all file systems of the host (273 KiB per job at 3,000 jobs with six of them each, measured).
// Gives the folder that is to cover the one with all jobs' directories.
fn own_temporary() -> Result<OwnedFd, Errno> {
    mount(c"airlock", c"/tmp", c"tmpfs", PLAIN, c"mode=0711")?;
    for (path, mode) in [(c"/tmp/tmp", 0o1777), (c"/tmp/var", 0o1777), (c"/tmp/shm", 0o1777), (c"/tmp/work", 0o711)] {
        rustix::fs::mkdir(path, Mode::RWXU)?;
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    }
    let work = open_tree(CWD, c"/tmp/work", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    for (from, to) in [(c"/tmp/var", c"/var/tmp"), (c"/tmp/shm", c"/dev/shm")] {
        match mount_bind(from, to) {
            Ok(()) | Err(Errno::NOENT) => {} // a host without the folder has nothing to hide there
            Err(errno) => return Err(errno),
        }
    }
    // Last, for it covers the others' way in.
    mount_bind(c"/tmp/tmp", c"/tmp")?;
    Ok(work)
}

// mkdir -p, for a path that was there before something was mounted over it.
fn make_path(path: &CStr) -> Result<(), Errno> {
    if rustix::fs::accessat(CWD, path, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok() {
        return Ok(());
    }
    let mut at = rustix::fs::open(c"/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in path.to_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty()) {
        match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o711)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        at = rustix::fs::openat(&at, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    }
    Ok(())
}
