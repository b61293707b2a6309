//! Birth, signals and filters: thin wrappers with their reasons.

#![allow(unsafe_code)]

use core::{ffi::CStr, ptr};

use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    io::Errno,
    process::Pid,
};

use super::raw::{Result, number, syscall};

// linux/sched.h. The libc crate's CLONE_INTO_CGROUP is a c_int and therefore 0, so the numbers stand here.
const CLONE_FILES: u64 = 0x400;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Namespaces that a clone may make.
pub mod namespaces {
    /// Mounts.
    pub const MOUNT: u64 = 0x0002_0000;
    /// Host name.
    pub const UTS: u64 = 0x0400_0000;
    /// IPC.
    pub const IPC: u64 = 0x0800_0000;
    /// Processes.
    pub const PID: u64 = 0x2000_0000;
    /// Network.
    pub const NET: u64 = 0x4000_0000;
}

const SIGCHLD: u64 = 17;
const CLOSE_RANGE_UNSHARE: usize = 2;

#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A new process: its pid as this process sees it, and its pidfd.
#[derive(Debug)]
pub struct Child {
    /// Not reused before this process waits for it.
    pub pid: Pid,
    /// Close-on-exec.
    pub pidfd: OwnedFd,
}

// Returns None in the child.
//
// # Safety
// The child is a copy of a process in which other threads must not exist; it may only make system calls until it execs or exits.
unsafe fn clone3(cgroup: BorrowedFd<'_>, flags: u64) -> Result<Option<Child>> {
    let mut pidfd: i32 = -1;
    let args = CloneArgs {
        flags: flags | CLONE_PIDFD | CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND,
        pidfd: &raw mut pidfd as u64,
        exit_signal: SIGCHLD,
        cgroup: cgroup.as_raw_fd() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: args is a valid clone_args of the size given, pidfd outlives the call; no CLONE_VM, so the child has its own memory.
    let pid = unsafe { syscall(number::CLONE3, [&raw const args as usize, size_of::<CloneArgs>(), 0, 0, 0]) }?;
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    // SAFETY: the kernel stored a descriptor that nobody else owns.
    Ok(Some(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
}

/// Clones this process into `cgroup` (with namespaces) and executes a program there, which finds exactly the descriptors below
/// `end` open: 0, 1 and 2 are those that lie at `stdio` here, the rest as in this process.
///
/// The descriptor table is shared until the child has cut it off at `stdio + 3`: a copy of thousands of descriptors would cost
/// more than all the rest (1.8 ms at 18,000, measured). For that long this process must not change it, so it sleeps until the
/// exec (CLONE_VFORK without CLONE_VM: the memory is the child's own).
///
/// A failed exec shows as exit status 127.
pub fn spawn_program(
    cgroup: BorrowedFd<'_>,
    namespaces: u64,
    program: &CStr,
    argv: &[&CStr; 2],
    stdio: i32,
) -> Result<Child> {
    let argv = [argv[0].as_ptr(), argv[1].as_ptr(), ptr::null()];
    let envp = [ptr::null::<core::ffi::c_char>()];
    let first = stdio as usize;
    // SAFETY: the executor has one thread. The child makes only the system calls below, over memory prepared above. dup2 onto 0-2
    // happens after the table became its own.
    unsafe {
        if let Some(child) = clone3(cgroup, CLONE_FILES | CLONE_VFORK | namespaces)? {
            return Ok(child);
        }
        let exit = |code: usize| -> ! {
            loop {
                let _ = syscall(number::EXIT_GROUP, [code, 0, 0, 0, 0]);
            }
        };
        let (Some(second), Some(third), Some(rest)) =
            (first.checked_add(1), first.checked_add(2), first.checked_add(3))
        else {
            exit(126)
        };
        if syscall(number::CLOSE_RANGE, [rest, u32::MAX as usize, CLOSE_RANGE_UNSHARE, 0, 0]).is_err() {
            exit(126);
        }
        for (target, from) in [first, second, third].into_iter().enumerate() {
            let (from, target) = (BorrowedFd::borrow_raw(from as i32), target as i32);
            // Forgotten, not dropped: 0-2 must stay open.
            let mut to = core::mem::ManuallyDrop::new(OwnedFd::from_raw_fd(target));
            if rustix::io::dup2(from, &mut to).is_err() {
                exit(126);
            }
        }
        let _ = syscall(number::CLOSE_RANGE, [first, u32::MAX as usize, 0, 0, 0]);
        let _ =
            syscall(number::EXECVE, [program.as_ptr() as usize, argv.as_ptr() as usize, envp.as_ptr() as usize, 0, 0]);
        exit(127)
    }
}

/// Clones this process into `cgroup` and runs `child` there, which must not return.
///
/// Only for the keeper: single-threaded, without a heap, so that its copy may go on as it is.
pub fn fork_into(cgroup: BorrowedFd<'_>, child: impl FnOnce()) -> Result<Child> {
    // SAFETY: the keeper has one thread and no allocator; a copy of it has no lock that somebody else could hold.
    let Some(made) = (unsafe { clone3(cgroup, 0) })? else {
        child();
        exit(127)
    };
    Ok(made)
}

/// Replaces this process. Returns only on failure.
///
/// `argv` and `envp` are arrays of pointers, each ending with null.
pub fn execve(path: &CStr, argv: &[*const core::ffi::c_char], envp: &[*const core::ffi::c_char]) -> Errno {
    if argv.last().is_none_or(|p| !p.is_null()) || envp.last().is_none_or(|p| !p.is_null()) {
        return Errno::INVAL;
    }
    // SAFETY: both arrays end with null (checked) and their strings lie in the mapped plan, which is never unmapped before.
    match unsafe {
        syscall(number::EXECVE, [path.as_ptr() as usize, argv.as_ptr() as usize, envp.as_ptr() as usize, 0, 0])
    } {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}

/// Ends this process without running anything of it.
pub fn exit(code: usize) -> ! {
    loop {
        // SAFETY: takes no pointers and does not return.
        let _ = unsafe { syscall(number::EXIT_GROUP, [code, 0, 0, 0, 0]) };
    }
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: no owned descriptor of this process lies there: the callers have handed everything over or own nothing yet.
    unsafe { syscall(number::CLOSE_RANGE, [first as usize, u32::MAX as usize, 0, 0, 0]) }.map(drop)
}

/// Gives every signal its default action and empties the mask. CLONE_CLEAR_SIGHAND resets handlers only: what is ignored or
/// blocked would stay so in the job (measured: SIGPIPE, which the Rust runtime ignores).
pub fn reset_signals() -> Result<()> {
    // struct kernel_sigaction: handler SIG_DFL, flags, restorer, mask; all zeros.
    let default = [0usize; 4];
    for signal in 1..=64usize {
        if signal == 9 || signal == 19 {
            continue; // SIGKILL and SIGSTOP cannot be set
        }
        // SAFETY: default is at least as large as the kernel's sigaction, and no old one is asked for.
        unsafe { syscall(number::RT_SIGACTION, [signal, default.as_ptr() as usize, 0, 8, 0]) }?;
    }
    set_mask(0)
}

/// Signals a process group by number; rustix has no names for the real-time signals.
pub fn signal_group(leader: Pid, signal: u8) -> Result<()> {
    let group = (leader.as_raw_nonzero().get() as isize).wrapping_neg();
    // SAFETY: takes no pointers.
    unsafe { syscall(number::KILL, [group as usize, signal.into(), 0, 0, 0]) }.map(drop)
}

/// Blocks these signals for good and makes them readable.
pub fn signal_descriptor(signals: &[u32]) -> Result<OwnedFd> {
    let mask = signals.iter().fold(0u64, |mask, n| mask | 1u64.wrapping_shl(n.wrapping_sub(1)));
    set_mask(mask)?;
    const SFD_CLOEXEC_NONBLOCK: usize = 0o2_004_000;
    // SAFETY: mask is a valid sigset of 8 bytes; -1 asks for a new descriptor.
    let fd = unsafe { syscall(number::SIGNALFD4, [usize::MAX, &raw const mask as usize, 8, SFD_CLOEXEC_NONBLOCK, 0]) }?;
    // SAFETY: the kernel has just made it and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::BADF)?) })
}

fn set_mask(mask: u64) -> Result<()> {
    const SIG_SETMASK: usize = 2;
    // SAFETY: mask is a valid sigset of 8 bytes, and no old one is asked for.
    unsafe { syscall(number::RT_SIGPROCMASK, [SIG_SETMASK, &raw const mask as usize, 0, 8, 0]) }.map(drop)
}

/// Installs a classic BPF filter (an array of 8-byte instructions) over this process. Needs no_new_privs.
pub fn set_filter(bpf: &[u8]) -> Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const u8,
    }
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let length = u16::try_from(bpf.len() / 8).map_err(|_| Errno::INVAL)?;
    let program = Program { length, filter: bpf.as_ptr() };
    // SAFETY: program describes exactly the bytes of bpf, which the kernel copies and checks.
    unsafe { syscall(number::SECCOMP, [SECCOMP_SET_MODE_FILTER, 0, &raw const program as usize, 0, 0]) }.map(drop)
}

/// A descriptor that this program was started with, such as those of systemd or of the executor.
///
/// The caller takes it once: the number must not be owned by anything else.
pub fn inherited(number: i32) -> OwnedFd {
    // SAFETY: called once per number at the start of a program, before anything else could own it; a number that is not open
    // shows as EBADF at its first use.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The plan's memfd in memory: private, writable by nobody else since it is sealed.
pub fn map_sealed(fd: impl AsFd, length: usize) -> Result<&'static [u8]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    // SAFETY: a new mapping at an address of the kernel's choice, never unmapped; the file is sealed against writing and shrinking.
    unsafe {
        let address = mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, fd, 0)?;
        Ok(core::slice::from_raw_parts(address.cast::<u8>(), length))
    }
}

/// Zeroed memory for `count` pointers; stays until the process ends.
pub fn pointers(count: usize) -> Result<&'static mut [*const core::ffi::c_char]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let bytes = count.checked_mul(size_of::<usize>()).ok_or(Errno::NOMEM)?;
    // SAFETY: a new private mapping of exactly this size, page aligned, zeroed; null is a valid pointer value.
    unsafe {
        let address = mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?;
        Ok(core::slice::from_raw_parts_mut(address.cast(), count))
    }
}

/// A child of this process that has ended and was not waited for, if there is one; it stays so.
///
/// rustix's waitid does not tell which child it found, and this question is asked of any.
pub fn ended_child() -> Result<Option<Pid>> {
    const P_ALL: usize = 0;
    const WNOHANG_WEXITED_WNOWAIT: usize = 1 | 4 | 0x0100_0000;
    // struct siginfo is 128 bytes; on 64-bit systems si_pid lies at 16.
    let mut info = [0u64; 16];
    // SAFETY: info is writable and as large as the kernel's siginfo; no rusage is asked for.
    unsafe { syscall(number::WAITID, [P_ALL, 0, info.as_mut_ptr() as usize, WNOHANG_WEXITED_WNOWAIT, 0]) }?;
    let pid = info.get(2).copied().unwrap_or(0) as u32;
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
}
