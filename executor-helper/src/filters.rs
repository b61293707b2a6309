//! System call filters, made once at start and handed to each keeper in its plan. What they answer stands in the lists below.
//!
//! One program for each who is filtered, which looks a number up by halving: at every installation the kernel runs it for each call
//! that there is, with interrupts off (kernel/seccomp.c, seccomp_cache_prepare). Lists that are gone through from their beginning took
//! a twelfth of what the whole machine does for a start (bench/README.md).

use std::sync::LazyLock;

use libc::*;

use crate::{plan::Filter, sys};

/// Refused to a job with EPERM, whoever asks: no job needs it.
#[rustfmt::skip]
const REFUSED: &[c_long] = &[
    // The host: modules, reboot, kexec, clock, swap, accounting, quotas, host name.
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_reboot, SYS_kexec_load, SYS_kexec_file_load, SYS_settimeofday,
    SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex, SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl, SYS_quotactl_fd,
    SYS_sethostname, SYS_setdomainname, SYS_syslog, SYS_vhangup, SYS_lookup_dcookie, SYS_nfsservctl,
    // Mounts and namespaces; for clone, see NAMESPACES.
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_move_mount, SYS_open_tree, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick,
    SYS_mount_setattr, SYS_unshare, SYS_setns,
    // Interfaces of the kernel.
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
    SYS_fanotify_init, SYS_open_by_handle_at, SYS_add_key, SYS_request_key, SYS_keyctl, SYS_move_pages, SYS_migrate_pages,
];
/// How the kernel calls this architecture (linux/audit.h), and what else is refused there: numbers of another mean other calls.
#[cfg(target_arch = "x86_64")]
const HERE: (u32, &[c_long]) =
    (0xc000_003e, &[SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib, SYS_ustat, SYS__sysctl]);
#[cfg(target_arch = "aarch64")]
const HERE: (u32, &[c_long]) = (0xc000_00b7, &[]);
/// Flags of clone that are refused: threads and processes are made by it. clone3 hides its flags from a filter, and is answered with
/// ENOSYS, so that the C library uses clone.
#[rustfmt::skip]
const NAMESPACES: c_int = CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER
    | CLONE_NEWPID | CLONE_NEWNET;
/// All that a keeper does: waiting, reading what happened, writing records, killing its job's group. Anything else kills it.
#[rustfmt::skip]
const KEEPER: [c_long; 11] = [
    SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_ppoll, SYS_waitid, SYS_clock_gettime, SYS_close, SYS_exit_group,
    SYS_restart_syscall, SYS_rt_sigreturn,
];

// Instructions of classic BPF (linux/bpf_common.h): load a word of struct seccomp_data; jump if equal, at least, any bit; answer.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const ANSWER: u16 = 0x06;

/// Over a job.
pub static JOB: LazyLock<Filter> = LazyLock::new(|| {
    let refuse = |errno: c_int| answer(SECCOMP_RET_ERRNO | errno.unsigned_abs());
    // Its flags are the low word of the first argument.
    let flags = vec![(LOAD, 0, 0, 16), (ANY_BIT, 0, 1, NAMESPACES.unsigned_abs())];
    let clone = [flags, refuse(EPERM), answer(SECCOMP_RET_ALLOW)].concat();
    let calls = REFUSED.iter().chain(HERE.1).map(|call| (*call, refuse(EPERM)));
    let calls = calls.chain([(SYS_clone, clone), (SYS_clone3, refuse(ENOSYS))]).collect();
    // x32 gives the calls of x86-64 other numbers, which the lists do not have: not there, as where a kernel has none.
    filter(calls, &answer(SECCOMP_RET_ALLOW), &refuse(ENOSYS))
});
/// Over a keeper.
pub static CONFINED: LazyLock<Filter> = LazyLock::new(|| {
    let kill = answer(SECCOMP_RET_KILL_PROCESS);
    filter(KEEPER.map(|call| (call, answer(SECCOMP_RET_ALLOW))).into(), &kill, &kill)
});

fn answer(answer: u32) -> Filter {
    vec![(ANSWER, 0, 0, answer)]
}

// Answers each of these calls with its instructions, the numbers of x32 with others, and any other call with `otherwise`.
fn filter(mut calls: Vec<(c_long, Filter)>, otherwise: &Filter, x32: &Filter) -> Filter {
    calls.sort();
    let here = vec![(LOAD, 0, 0, 4), (EQUAL, 1, 0, HERE.0), (ANSWER, 0, 0, SECCOMP_RET_KILL_PROCESS), (LOAD, 0, 0, 0)];
    [here, vec![(AT_LEAST, 0, 1, 0x4000_0000)], x32.clone(), look_up(&calls, otherwise)].concat()
}

// The jumps fit into their byte: each call takes three instructions of its half, and clone six. Tests look up every number.
fn look_up(calls: &[(c_long, Filter)], otherwise: &Filter) -> Filter {
    let jump = |over: &Filter| u8::try_from(over.len()).unwrap_or(u8::MAX);
    let number = |call: &c_long| u32::try_from(*call).unwrap_or(u32::MAX);
    match calls.split_at(calls.len() / 2) {
        (_, []) => otherwise.clone(),
        ([], [(call, then), ..]) => {
            [vec![(EQUAL, 0, jump(then), number(call))], then.clone(), otherwise.clone()].concat()
        }
        (below, above @ [(first, _), ..]) => {
            let below = look_up(below, otherwise);
            [vec![(AT_LEAST, jump(&below), 0, number(first))], below, look_up(above, otherwise)].concat()
        }
    }
}

/// Lays a filter over this process, which must have given up new privileges. One without instructions is refused by the kernel, not
/// taken for none.
pub fn install(filter: &Filter) -> Result<(), rustix::io::Errno> {
    sys::set_filter(&filter.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
