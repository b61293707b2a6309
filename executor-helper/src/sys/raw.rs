//! System calls by number. rustix 1.1 lacks clone3, close_range, execve, seccomp, sigaction and signalfd; the C library is not
//! used for them because the keeper has none and because its wrappers take locks and touch errno.

#![allow(unsafe_code)]

use core::arch::asm;

/// A negative errno from the kernel.
pub type Result<T> = core::result::Result<T, rustix::io::Errno>;

/// Makes a system call and returns what the kernel returned.
///
/// # Safety
/// As for the system call itself: pointers must be valid for what the kernel does with them.
pub unsafe fn syscall(number: usize, args: [usize; 5]) -> Result<usize> {
    let [a, b, c, d, e] = args;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the x86-64 system call convention; rcx and r11 are overwritten by the instruction. The caller answers for the call.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the AArch64 system call convention. The caller answers for the call.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
             options(nostack));
    }
    if (-4095..0).contains(&result) {
        Err(rustix::io::Errno::from_raw_os_error(result.unsigned_abs() as i32))
    } else {
        Ok(result as usize)
    }
}

/// Numbers of the system calls used here.
#[cfg(target_arch = "x86_64")]
pub mod number {
    #![allow(missing_docs)]
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const EXECVE: usize = 59;
    pub const KILL: usize = 62;
    pub const WAITID: usize = 247;
    pub const EXIT_GROUP: usize = 231;
    pub const SIGNALFD4: usize = 289;
    pub const SECCOMP: usize = 317;
    pub const CLONE3: usize = 435;
    pub const CLOSE_RANGE: usize = 436;
}

/// Numbers of the system calls used here.
#[cfg(target_arch = "aarch64")]
pub mod number {
    #![allow(missing_docs)]
    pub const SIGNALFD4: usize = 74;
    pub const EXIT_GROUP: usize = 94;
    pub const WAITID: usize = 95;
    pub const KILL: usize = 129;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const EXECVE: usize = 221;
    pub const SECCOMP: usize = 277;
    pub const CLONE3: usize = 435;
    pub const CLOSE_RANGE: usize = 436;
}
