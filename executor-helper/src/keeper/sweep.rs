//! Empties a job's directory after its end, as the job's user and by descriptor: no symlink is followed, and nothing is reached
//! that the job itself could not have removed.
//!
//! A directory that is not empty is first moved up into the job's directory, so the depth that a job may have built costs neither
//! stack nor descriptors. Without a heap, in constant memory; the executor ends it at its deadline.

use core::{ffi::CStr, mem::MaybeUninit};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Gid, Mode, OFlags, RawDir, Uid},
    io::Errno,
};

use crate::{
    child,
    shared::plan::{Number, Section},
};

/// Exit status 0 when the directory is empty, else 1.
pub fn run() -> i32 {
    i32::from(sweep().is_err())
}

fn sweep() -> Result<(), Errno> {
    let plan = crate::load().ok_or(Errno::INVAL)?;
    child::empty_bounding_set()?;
    let id = |number| plan.number(number) as u32;
    let (uid, gid) = (Uid::from_raw(id(Number::Uid)), Gid::from_raw(id(Number::Gid)));
    child::set_ids(&plan, uid, gid)?;
    child::verify_ids(uid, gid)?;
    rustix::thread::set_no_new_privs(true)?;
    let path = plan.strings(Section::Directories).nth(1).ok_or(Errno::INVAL)?;
    rustix::fs::chmod(path, Mode::RWXU)?;
    let top = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
    let mut moved = 0u64;
    while empty_once(top.as_fd(), top.as_fd(), &mut moved)? > 0 {}
    Ok(())
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

// Removes what can be removed in one reading of `at` and moves fuller directories up; the number of entries met.
fn empty_once(at: BorrowedFd<'_>, top: BorrowedFd<'_>, moved: &mut u64) -> Result<u64, Errno> {
    rustix::fs::seek(at, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(at, &mut buffer);
    let mut met = 0u64;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        met = met.saturating_add(1);
        match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
            Ok(()) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR) {
            Ok(()) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => descend(at, name, top, moved)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(met)
}

// Empties one level of a directory into the top and leaves the rest, now at most one level deep, for the next reading.
fn descend(at: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    // The job may have taken its own rights away from it.
    rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
    let inner = rustix::fs::openat(at, name, DIRECTORY, Mode::empty())?;
    flatten(&inner, top, moved)
}

fn flatten(inner: &OwnedFd, top: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(inner, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if rustix::fs::unlinkat(inner, name, AtFlags::empty()).is_ok()
            || rustix::fs::unlinkat(inner, name, AtFlags::REMOVEDIR).is_ok()
        {
            continue;
        }
        // Moving a directory rewrites its "..", for which its owner must be able to write to it.
        rustix::fs::chmodat(inner, name, Mode::RWXU, AtFlags::empty())?;
        let mut free = [0u8; 24];
        loop {
            match rustix::fs::renameat_with(
                inner,
                name,
                top,
                next_name(&mut free, moved),
                rustix::fs::RenameFlags::NOREPLACE,
            ) {
                Ok(()) => break,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

fn next_name<'a>(buffer: &'a mut [u8; 24], moved: &mut u64) -> &'a [u8] {
    *moved = moved.wrapping_add(1);
    let mut rest = *moved;
    for digit in buffer.iter_mut().rev() {
        *digit = b'0'.saturating_add((rest % 10) as u8);
        rest /= 10;
    }
    buffer
}
