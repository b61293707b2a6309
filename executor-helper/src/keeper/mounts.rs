//! What a job with a mount namespace sees: the host's files, but a /tmp, /var/tmp, /dev/shm and /proc of its own, and of the folder
//! with all jobs' directories only its own.

use core::ffi::CStr;

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount, open_tree,
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
    for path in [c"/tmp", c"/var/tmp", c"/dev/shm"] {
        match mount(c"airlock", path, c"tmpfs", PLAIN, c"mode=1777") {
            Ok(()) | Err(Errno::NOENT) => {} // a host without the folder has nothing to hide there
            Err(errno) => return Err(errno),
        }
    }
    if let (Some(folder), Some(directory), Some(own)) = (folder, directory, own) {
        make_path(folder)?; // may lie below one of the above
        mount(c"airlock", folder, c"tmpfs", PLAIN | MountFlags::NOEXEC, c"mode=0711,size=4k")?;
        rustix::fs::mkdir(directory, Mode::from_raw_mode(0o711))?;
        move_mount(own, c"", CWD, directory, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    if plan.number(Number::Namespaces) & namespace::PID != 0 {
        mount(c"proc", c"/proc", c"proc", PLAIN | MountFlags::NOEXEC, None)?;
    }
    Ok(())
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
