//! What the executor gets from outside at its start: the socket, the host's block devices.

use std::{os::unix::fs::MetadataExt, path::Path};

use rustix::{
    fd::OwnedFd,
    fs::{Gid, Mode, Uid},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    thread::{NanosleepRelativeResult, Timespec},
};

use crate::sys;

/// The listening socket: systemd's, if it passed exactly one, else one made here.
///
/// Call first: a passed descriptor has the number 3, which a birth needs.
pub fn from_systemd() -> Result<Option<OwnedFd>, String> {
    let variable = |name| std::env::var(name).ok();
    let (pid, count) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
    if pid.and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(None);
    }
    if count.as_deref() != Some("1") {
        return Err(format!("LISTEN_FDS is {count:?}, but the executor takes one socket"));
    }
    let passed = sys::inherited(3);
    let moved = rustix::io::fcntl_dupfd_cloexec(&passed, 64).map_err(|e| format!("the socket of systemd: {e}"))?;
    rustix::io::ioctl_fionbio(&moved, true).map_err(|e| format!("the socket of systemd: {e}"))?;
    Ok(Some(moved))
}

/// Makes the socket, for root and the frontend's group alone. A left-over socket of a dead executor is replaced, a live one is not.
pub fn make(path: &Path, group: u32) -> Result<OwnedFd, String> {
    let fail = |what: &str, errno: rustix::io::Errno| format!("{}: {what}: {errno}", path.display());
    let address = SocketAddrUnix::new(path).map_err(|e| fail("socket name", e))?;
    let unix =
        || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    // A birth that was under way when an executor was killed holds its socket until the exec: a moment, not for good.
    let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let listens = || unix().and_then(|socket| rustix::net::connect(&socket, &address)).is_ok();
    if (0..50).all(|_| listens() && matches!(rustix::thread::nanosleep(&pause), NanosleepRelativeResult::Ok)) {
        return Err(format!("{}: another executor listens there", path.display()));
    }
    let gone = |errno| if errno == rustix::io::Errno::NOENT { Ok(()) } else { Err(fail("unlink", errno)) };
    rustix::fs::unlink(path).or_else(gone)?;
    let socket = unix().map_err(|e| fail("socket", e))?;
    // Nobody can connect before it listens, and by then it has its group and mode.
    bind(&socket, &address).map_err(|e| fail("bind", e))?;
    rustix::fs::chown(path, Some(Uid::ROOT), Some(Gid::from_raw(group))).map_err(|e| fail("chown", e))?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o660)).map_err(|e| fail("chmod", e))?;
    listen(&socket, 64).map_err(|e| fail("listen", e))?;
    Ok(socket)
}

/// "major:minor" of the disk that holds a folder, for io limits; `None` where the file system has no device of its own.
pub fn block_device_of(folder: &Path) -> Option<String> {
    let device = std::fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let sys = format!("/sys/dev/block/{major}:{minor}");
    let sys = Path::new(&sys);
    // Limits are set on whole disks; a partition's parent is its disk.
    if sys.join("partition").exists() {
        let disk = std::fs::read_to_string(sys.canonicalize().ok()?.parent()?.join("dev")).ok()?;
        return Some(disk.trim().to_owned());
    }
    sys.exists().then(|| format!("{major}:{minor}"))
}
