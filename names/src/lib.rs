//! libnss_airlock.so.2: uids of the pool have a name for whoever asks the C library, and a group of the same name and number.
//!
//! `ssh`, `git`, `initdb` and `whoami` ask for the name of their user, and some end when there is none. Sixty-five thousand lines in
//! /etc/passwd would slow down everybody's look-ups; a service could be kept busy by a job, and logins wait for it. This is a function
//! of the number alone: it reads nothing, remembers nothing, and answers only for [`POOLS`]. It is loaded into any process of the
//! host that asks for an unknown user, so it is as small as that.
//!
//! It grants nothing: no password, no membership of any group, and no other name for a user that /etc/passwd has.

// The functions below are called by the C library, with its pointers.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_int},
    ops::Range,
    ptr,
    sync::atomic::AtomicPtr,
};

/// Uids that have names: room for many pools, the shipped one at its beginning. `airlock-executor --check` says when a pool lies
/// elsewhere.
pub const POOLS: Range<u32> = 1_900_000_000..2_100_000_000;
// The executor sets USER and LOGNAME to the same.
const PREFIX: &str = "airlock-";

/// What the C library is told (enum nss_status).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The buffer is too small, and errno ERANGE: it comes back with a larger one.
    TryAgain = -2,
    /// Not one of ours; it goes on with the next module.
    NotFound = 0,
    /// The entry is filled in.
    Success = 1,
}

static NO_MEMBERS: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

/// getpwuid(3).
///
/// # Safety
/// As the C library calls it: `entry` and `errno` can be written, and `length` bytes of `buffer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_airlock_getpwuid_r(
    uid: libc::uid_t,
    entry: *mut libc::passwd,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
) -> Status {
    // SAFETY: the caller's.
    unsafe { user(name_of(uid).map(|name| (uid, name)), entry, buffer, length, errno) }
}

/// getpwnam(3).
///
/// # Safety
/// As [`_nss_airlock_getpwuid_r`]; `name` ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_airlock_getpwnam_r(
    name: *const c_char,
    entry: *mut libc::passwd,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
) -> Status {
    // SAFETY: the caller's.
    unsafe { user(id_of(CStr::from_ptr(name)), entry, buffer, length, errno) }
}

/// getgrgid(3).
///
/// # Safety
/// As [`_nss_airlock_getpwuid_r`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_airlock_getgrgid_r(
    gid: libc::gid_t,
    entry: *mut libc::group,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
) -> Status {
    // SAFETY: the caller's.
    unsafe { group(name_of(gid).map(|name| (gid, name)), entry, buffer, length, errno) }
}

/// getgrnam(3).
///
/// # Safety
/// As [`_nss_airlock_getpwnam_r`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_airlock_getgrnam_r(
    name: *const c_char,
    entry: *mut libc::group,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
) -> Status {
    // SAFETY: the caller's.
    unsafe { group(id_of(CStr::from_ptr(name)), entry, buffer, length, errno) }
}

fn name_of(id: u32) -> Option<String> {
    POOLS.contains(&id).then(|| format!("{PREFIX}{id}"))
}

// A number has one name: no leading zeros, no sign.
fn id_of(name: &CStr) -> Option<(u32, String)> {
    let name = name.to_str().ok()?;
    let id = name.strip_prefix(PREFIX)?.parse().ok()?;
    name_of(id).filter(|own| own == name).map(|own| (id, own))
}

// # Safety
// As the exported functions.
unsafe fn user(
    found: Option<(u32, String)>,
    entry: *mut libc::passwd,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
) -> Status {
    // A job's own directory is in its HOME; "/" makes programs look there. "*" is the password of nobody.
    let lay = |(id, name): (u32, String)| {
        // SAFETY: the caller's.
        let texts = unsafe { laid(buffer, length, [&name, "*", "Airlock job", "/", "/bin/sh"]) };
        texts.map(|[name, password, gecos, home, shell]| libc::passwd {
            pw_name: name,
            pw_passwd: password,
            pw_uid: id,
            pw_gid: id,
            pw_gecos: gecos,
            pw_dir: home,
            pw_shell: shell,
        })
    };
    // SAFETY: the caller's.
    unsafe { answered(found.map(lay), entry, errno) }
}

// # Safety
// As the exported functions.
unsafe fn group(
    found: Option<(u32, String)>,
    entry: *mut libc::group,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
) -> Status {
    let lay = |(id, name): (u32, String)| {
        // SAFETY: the caller's.
        let texts = unsafe { laid(buffer, length, [&name, "*"]) };
        texts.map(|[name, password]| libc::group {
            gr_name: name,
            gr_passwd: password,
            gr_gid: id,
            // A list that ends at once; nobody writes to it.
            gr_mem: NO_MEMBERS.as_ptr(),
        })
    };
    // SAFETY: the caller's.
    unsafe { answered(found.map(lay), entry, errno) }
}

// # Safety
// `entry` and `errno` can be written.
unsafe fn answered<T>(laid: Option<Option<T>>, entry: *mut T, errno: *mut c_int) -> Status {
    let (status, error) = match laid {
        Some(Some(filled)) => {
            // SAFETY: the caller's.
            unsafe { entry.write(filled) };
            return Status::Success;
        }
        Some(None) => (Status::TryAgain, libc::ERANGE),
        None => (Status::NotFound, libc::ENOENT),
    };
    // SAFETY: the caller's.
    unsafe { errno.write(error) };
    status
}

// Lays the texts one behind the other, each with its NUL; nothing when the buffer is too small.
//
// # Safety
// `length` bytes of `buffer` can be written.
unsafe fn laid<const N: usize>(buffer: *mut c_char, length: usize, texts: [&str; N]) -> Option<[*mut c_char; N]> {
    let needed: usize = texts.iter().map(|text| text.len() + 1).sum();
    if needed > length {
        return None;
    }
    let mut at = buffer;
    Some(texts.map(|text| {
        let begin = at;
        // SAFETY: all texts together fit, as was looked at above; a text and the caller's buffer do not overlap.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr().cast(), begin, text.len());
            begin.add(text.len()).write(0);
            at = begin.add(text.len() + 1);
        }
        begin
    }))
}

#[cfg(test)]
mod tests;
