//! Empties a job's directory after its end, as the job's user and by descriptor: no symlink is followed, and nothing is reached
//! that the job itself could not have removed. The executor ends it at its deadline.

use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd},
    fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, chmod, chmodat, open, openat, renameat_with, unlinkat},
    io::Errno,
};

use super::child;
use crate::plan::Sweep;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Fails when the directory is not empty afterwards.
pub fn run() -> Result<(), Errno> {
    let Sweep { uid, gid, directory } = super::load()?;
    child::limit_bounding_set(rustix::thread::CapabilitySet::empty())?;
    child::set_ids(uid, gid, &[])?;
    child::verify_ids(uid, gid, &[])?;
    rustix::thread::set_no_new_privs(true)?;
    chmod(directory.as_c_str(), Mode::RWXU)?;
    let top = open(directory.as_c_str(), DIRECTORY, Mode::empty())?;
    let mut moved = 0u64;
    while empty(top.as_fd(), top.as_fd(), &mut moved)? {}
    Ok(())
}

// Removes what can be removed in one reading of `at`, the top or a directory in it; whether anything was met. A directory that is
// not empty is moved up into the top, so the depth that a job may have built costs neither stack nor descriptors.
fn empty(at: BorrowedFd<'_>, top: BorrowedFd<'_>, moved: &mut u64) -> Result<bool, Errno> {
    let mut met = false;
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        met = true;
        if [AtFlags::empty(), AtFlags::REMOVEDIR].into_iter().any(|flags| unlinkat(at, name, flags).is_ok()) {
            continue;
        }
        // The job may have taken its own rights away; moving a directory rewrites its "..", for which its owner must be able to write to it.
        chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
        if at.as_raw_fd() == top.as_raw_fd() {
            empty(openat(at, name, DIRECTORY, Mode::empty())?.as_fd(), top, moved)?;
            continue;
        }
        loop {
            *moved = moved.wrapping_add(1);
            match renameat_with(at, name, top, moved.to_string(), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                done => break done?,
            }
        }
    }
    Ok(met)
}
