//! What the C library is told, through its own interface.

use std::ffi::CString;

use super::*;

// For the entries of the C library alone.
fn nothing<T>() -> T {
    // SAFETY: zeros are a valid entry of either kind: numbers, and pointers that are not followed.
    unsafe { std::mem::zeroed() }
}

fn text(at: *const c_char) -> String {
    // SAFETY: of an entry that was filled in, while its buffer lives.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}

// The five texts and two numbers of a user, or why there are none.
fn user_by(
    ask: impl Fn(*mut libc::passwd, *mut c_char, usize, *mut c_int) -> Status,
    length: usize,
) -> (Status, c_int, String) {
    let (mut entry, mut buffer, mut errno) = (nothing::<libc::passwd>(), vec![0x55 as c_char; length + 1], 0);
    let status = ask(&raw mut entry, buffer.as_mut_ptr(), length, &raw mut errno);
    assert_eq!(buffer[length], 0x55, "written behind the buffer's end");
    let line = if status == Status::Success {
        let texts = [entry.pw_name, entry.pw_passwd, entry.pw_gecos, entry.pw_dir, entry.pw_shell].map(|at| text(at));
        format!("{}:{}:{}", entry.pw_uid, entry.pw_gid, texts.join(":"))
    } else {
        String::new()
    };
    (status, errno, line)
}

fn user_of(uid: u32, length: usize) -> (Status, c_int, String) {
    // SAFETY: everything can be written.
    user_by(
        |entry, buffer, length, errno| unsafe { _nss_airlock_getpwuid_r(uid, entry, buffer, length, errno) },
        length,
    )
}

fn user_called(name: &[u8]) -> (Status, c_int, String) {
    let name = CString::new(name).unwrap_or_default();
    user_by(
        // SAFETY: everything can be written, and the name ends with NUL.
        |entry, buffer, length, errno| unsafe { _nss_airlock_getpwnam_r(name.as_ptr(), entry, buffer, length, errno) },
        1024,
    )
}

const UNKNOWN: (Status, c_int, String) = (Status::NotFound, libc::ENOENT, String::new());

#[test]
fn a_uid_of_a_pool_has_a_name_without_password_and_a_name_its_uid() {
    for uid in [POOLS.start, 1_900_000_412, 1_965_535_999, POOLS.end - 1] {
        let line = format!("{uid}:{uid}:airlock-{uid}:*:Airlock job:/:/bin/sh");
        assert_eq!(user_of(uid, 1024), (Status::Success, 0, line.clone()));
        assert_eq!(user_called(format!("airlock-{uid}").as_bytes()), (Status::Success, 0, line));
    }
}

#[test]
fn nobody_else_has_a_name_from_here() {
    for uid in [0, 1, 1000, 64_100, 65_534, POOLS.start - 1, POOLS.end, u32::MAX] {
        assert_eq!(user_of(uid, 1024), UNKNOWN, "{uid}");
        assert_eq!(user_called(format!("airlock-{uid}").as_bytes()), UNKNOWN, "{uid}");
    }
}

#[test]
fn a_number_has_one_name() {
    let names: [&[u8]; 10] = [
        b"", b"root", b"airlock", b"airlock-", b"airlock-+1900000000", b"airlock-01900000000", b"airlock-1900000000 ",
        b"Airlock-1900000000", b"airlock-6194967296", // 1900000000 and 2^32
        b"airlock-19000000\xff",
    ];
    for name in names {
        assert_eq!(user_called(name), UNKNOWN, "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn a_buffer_that_is_too_small_is_asked_for_again_and_never_left() {
    let uid = POOLS.start;
    let needed = "airlock-1900000000.*.Airlock job./././bin/sh.".len() - 2;
    for length in 0..needed {
        assert_eq!(user_of(uid, length), (Status::TryAgain, libc::ERANGE, String::new()), "{length} bytes");
    }
    assert_eq!(user_of(uid, needed).0, Status::Success);
}

#[test]
fn a_group_has_the_name_of_its_user_and_no_members() {
    let (mut entry, mut buffer, mut errno) = (nothing::<libc::group>(), [0; 64], 0);
    let (entry_at, buffer_at, errno_at) = (&raw mut entry, buffer.as_mut_ptr(), &raw mut errno);
    // SAFETY: everything can be written, and the names end with NUL.
    let by_id = |gid| unsafe { _nss_airlock_getgrgid_r(gid, entry_at, buffer_at, 64, errno_at) };
    // SAFETY: as above.
    let by_name = |name: &CStr| unsafe { _nss_airlock_getgrnam_r(name.as_ptr(), entry_at, buffer_at, 64, errno_at) };
    for ask in [&(|| by_id(1_900_000_007)) as &dyn Fn() -> Status, &|| by_name(c"airlock-1900000007")] {
        assert_eq!(ask(), Status::Success);
        // SAFETY: it was filled in.
        let filled = unsafe { entry_at.read() };
        assert_eq!(
            (filled.gr_gid, text(filled.gr_name), text(filled.gr_passwd)),
            (1_900_000_007, "airlock-1900000007".into(), "*".into())
        );
        // SAFETY: a list that ends with null.
        assert!(unsafe { filled.gr_mem.read() }.is_null(), "a member");
    }
    for status in [by_id(0), by_id(27), by_name(c"sudo"), by_name(c"airlock-27")] {
        assert_eq!(status, Status::NotFound);
    }
    assert_eq!(errno, libc::ENOENT);
}
