//! The only unsafe code of the root side: system calls that rustix does not wrap, and what happens between a clone and an exec.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_long},
    ptr,
};

use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    io::Errno,
    process::Pid,
};

type Result<T> = core::result::Result<T, Errno>;

// linux/sched.h. The libc crate's are of type c_int, in which these two are 0.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const SIGNALS: usize = 64;

/// A new process: its pid as this process sees it, and its pidfd.
#[derive(Debug)]
pub struct Child {
    /// Not reused before this process waits for it.
    pub pid: Pid,
    /// Close-on-exec.
    pub pidfd: OwnedFd,
}

// # Safety
// As for the system call itself: pointers must be valid for what the kernel does with them.
unsafe fn syscall(number: c_long, [a, b, c, d, e]: [usize; 5]) -> Result<usize> {
    // SAFETY: the caller answers for the call; the C library passes on the words and keeps the error in this thread's errno.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    usize::try_from(result).map_err(|_| last_error())
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

// Returns None in the child.
//
// # Safety
// The child is a copy of a process in which other threads must not exist.
unsafe fn clone3(cgroup: BorrowedFd<'_>, flags: u64) -> Result<Option<Child>> {
    let mut pidfd: i32 = -1;
    // SAFETY: zeros are a valid clone_args, a plain structure of numbers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64 | CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = cgroup.as_raw_fd() as u64;
    // SAFETY: args is a valid clone_args of the size given, pidfd outlives the call; no CLONE_VM, so the child has its own memory.
    let pid = unsafe { syscall(libc::SYS_clone3, [&raw const args as usize, size_of_val(&args), 0, 0, 0]) }?;
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    // SAFETY: the kernel stored a descriptor that nobody else owns.
    Ok(Some(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
}

/// Clones this process into `cgroup` (with namespaces) and executes a program there, which finds exactly the descriptors below
/// `stdio` open: 0, 1 and 2 are those that lie at `stdio` here, the rest as in this process. The program lies at `stdio + 3`.
///
/// The descriptor table is shared until the child has cut it off at `stdio + 4`: a copy of thousands of descriptors would cost
/// more than all the rest (1.8 ms at 18,000, measured). For that long this process must not change it, so it sleeps until the
/// exec (CLONE_VFORK without CLONE_VM: the memory is the child's own).
///
/// A failed exec shows as exit status 127.
pub fn spawn_program(cgroup: BorrowedFd<'_>, namespaces: u64, argv: &[CString], stdio: u16) -> Result<Child> {
    // SAFETY: the executor has one thread.
    if let Some(child) = unsafe { clone3(cgroup, (libc::CLONE_FILES | libc::CLONE_VFORK) as u64 | namespaces) }? {
        return Ok(child);
    }
    let [first, last, program] = [0, 2, 3].map(|n| usize::from(stdio).saturating_add(n));
    let close = |from: usize, to: usize, flags| {
        // SAFETY: takes no pointers; the numbers from there on are used no more on this side of the clone.
        unsafe { syscall(libc::SYS_close_range, [from, to, flags, 0, 0]) }
    };
    // First of all, and before any descriptor is changed: the table becomes the child's own.
    if close(program.saturating_add(1), u32::MAX as usize, libc::CLOSE_RANGE_UNSHARE as usize).is_err() {
        exit(126);
    }
    for (target, from) in (0i32..3).zip(i32::from(stdio)..) {
        // SAFETY: takes no pointers, and nothing of this process is kept at 0 to 2.
        if unsafe { libc::dup2(from, target) } < 0 {
            exit(126);
        }
    }
    let _ = close(first, last, 0);
    let (argv, envp) = (pointers(argv), pointers(&[]));
    let (argv, envp) = (argv.as_ptr() as usize, envp.as_ptr() as usize);
    // The program by its descriptor, which ends with the exec: what lies at its path may have been replaced by another version.
    // SAFETY: an empty path, and two arrays that end with null and whose strings outlive the call.
    let _ = unsafe {
        syscall(libc::SYS_execveat, [program, c"".as_ptr() as usize, argv, envp, libc::AT_EMPTY_PATH as usize])
    };
    exit(127)
}

/// Clones this process into `cgroup` and runs `child` there, which must not return.
///
/// Only for the keeper: it has one thread, so that its copy may go on as it is.
pub fn fork_into(cgroup: BorrowedFd<'_>, child: impl FnOnce()) -> Result<Child> {
    // SAFETY: the keeper has one thread; a copy of it has no lock that somebody else could hold.
    let Some(made) = (unsafe { clone3(cgroup, 0) })? else {
        child();
        exit(127)
    };
    Ok(made)
}

/// Replaces this process. Returns only on failure.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> Errno {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both arrays end with null, and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    last_error()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Ends this process without running anything of it.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: no owned descriptor of this process lies there: the callers have handed everything over or own nothing yet.
    unsafe { syscall(libc::SYS_close_range, [first as usize, u32::MAX as usize, 0, 0, 0]) }.map(drop)
}

/// Gives every signal its default action and empties the mask. CLONE_CLEAR_SIGHAND resets handlers only: what is ignored or
/// blocked would stay so in the job (measured: SIGPIPE, which the Rust runtime ignores).
pub fn reset_signals() -> Result<()> {
    // struct kernel_sigaction: handler SIG_DFL, flags, restorer, mask; all zeros. By number, for the C library hides two signals.
    let default = [0usize; 4];
    for signal in (1..=SIGNALS).filter(|n| ![libc::SIGKILL as usize, libc::SIGSTOP as usize].contains(n)) {
        // SAFETY: default is at least as large as the kernel's sigaction, and no old one is asked for.
        unsafe { syscall(libc::SYS_rt_sigaction, [signal, default.as_ptr() as usize, 0, 8, 0]) }?;
    }
    set_mask(0)
}

fn set_mask(mask: u64) -> Result<()> {
    // SAFETY: mask is a valid sigset of 8 bytes, and no old one is asked for.
    unsafe { syscall(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, &raw const mask as usize, 0, 8, 0]) }
        .map(drop)
}

/// Lays a system call filter over this process for good.
pub fn set_filter(filter: &[libc::sock_filter]) -> Result<()> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let mode = libc::SECCOMP_SET_MODE_FILTER as usize;
    // SAFETY: program and its instructions outlive the call, which only reads them.
    unsafe { syscall(libc::SYS_seccomp, [mode, 0, &raw const program as usize, 0, 0]) }.map(drop)
}

/// Blocks these signals for good and makes them readable.
pub fn signal_descriptor(signals: &[i32]) -> Result<OwnedFd> {
    let mask = signals.iter().fold(0u64, |mask, n| mask | 1u64.wrapping_shl(n.wrapping_sub(1).unsigned_abs()));
    set_mask(mask)?;
    let flags = (libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as usize;
    // SAFETY: mask is a valid sigset of 8 bytes; -1 asks for a new descriptor.
    let fd = unsafe { syscall(libc::SYS_signalfd4, [usize::MAX, &raw const mask as usize, 8, flags, 0]) }?;
    // SAFETY: the kernel has just made it and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::BADF)?) })
}

/// Signals a process group by number; rustix has no names for the real-time signals.
pub fn signal_group(leader: Pid, signal: u8) -> Result<()> {
    // SAFETY: takes no pointers.
    let sent = unsafe { libc::kill(leader.as_raw_nonzero().get().wrapping_neg(), signal.into()) };
    if sent == 0 { Ok(()) } else { Err(last_error()) }
}

/// A descriptor that this program was started with, such as those of systemd or of the executor.
///
/// The caller takes it once: the number must not be owned by anything else.
pub fn inherited(number: i32) -> OwnedFd {
    // SAFETY: called once per number at the start of a program, before anything else could own it; a number that is not open
    // shows as EBADF at its first use.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Overwrites the environment that this program was started with, but for the address of the service manager.
pub fn wipe_environment() {
    unsafe extern "C" {
        static mut environ: *const *mut c_char;
    }
    // SAFETY: what exec laid down: an array that ends with null, of strings that end with zero and are this process' own to write. One
    // thread runs, and no reference to a string outlives the question whether it stays.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let length = CStr::from_ptr(*entry).count_bytes();
            if !CStr::from_ptr(*entry).to_bytes().starts_with(b"NOTIFY_SOCKET=") {
                ptr::write_bytes(*entry, 0, length);
            }
            entry = entry.add(1);
        }
    }
}

/// A child of this process that has ended and was not waited for, if there is one; it stays so.
///
/// rustix's waitid does not tell which child it found, and this question is asked of any.
pub fn ended_child() -> Result<Option<Pid>> {
    // SAFETY: zeros are a valid siginfo, which is writable and as large as the kernel's.
    let (mut info, flags) =
        (unsafe { std::mem::zeroed::<libc::siginfo_t>() }, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
    // SAFETY: as above.
    if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } < 0 {
        return Err(last_error());
    }
    // SAFETY: waitid filled it, or left the zeros.
    Ok(Pid::from_raw(unsafe { info.si_pid() }))
}
