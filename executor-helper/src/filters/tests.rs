//! What the kernel would say to each system call, of the very instructions that it gets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{CONFINED, JOB};
use crate::plan::Filter;

// The lists written down a second time, so that a change of filters.rs is a decision.
const REFUSED: &[libc::c_long] = &[
    // the host: modules, reboot, kexec, clock, swap, accounting, quotas, host name
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // mounts and namespaces
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // kernel interfaces
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

const KEEPER: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_ppoll,
    libc::SYS_waitid,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
];

const NAMESPACES: [u64; 8] =
    [0x80, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const EPERM: u32 = 0x5_0001;
const ENOSYS: u32 = 0x5_0026;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

// The machine of classic BPF, as far as seccomp filters use it, over struct seccomp_data.
fn verdict(filter: &Filter, arch: u32, call: i64, arguments: [u64; 6]) -> u32 {
    let mut data = [call as u32, arch, 0, 0].map(u32::to_le_bytes).concat();
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let (mut at, mut a) = (0, 0u32);
    loop {
        let (code, jt, jf, k) = filter[at];
        at += 1;
        let compares = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => a = u32::from_le_bytes(data[k as usize..][..4].try_into().unwrap()),
            0x15 => at += compares(a == k),
            0x35 => at += compares(a >= k),
            0x45 => at += compares(a & k != 0),
            0x06 => return k,
            other => panic!("an instruction {other:#x}"),
        }
    }
}

fn of_a_job(call: i64, first: u64) -> u32 {
    verdict(&JOB, ARCH, call, [first, 0, 0, 0, 0, 0])
}

#[test]
fn a_job_is_refused_exactly_what_no_job_needs() {
    for call in 0..1000 {
        let expected = match call {
            libc::SYS_clone3 => ENOSYS,
            call if REFUSED.contains(&call) => EPERM,
            _ => ALLOW,
        };
        assert_eq!(of_a_job(call, 0), expected, "system call {call}");
    }
}

#[test]
fn threads_and_processes_can_be_made_and_namespaces_cannot() {
    let clone = |flags| of_a_job(libc::SYS_clone, flags);
    let thread = 0x003d_0f00; // what the C library's pthread_create asks for
    for flags in [libc::SIGCHLD as u64, thread, 0x0120_0011, 0x4111] {
        assert_eq!(clone(flags), ALLOW, "{flags:#x}");
        for namespace in NAMESPACES {
            assert_eq!(clone(flags | namespace), EPERM, "{flags:#x} with {namespace:#x}");
        }
    }
    assert_eq!(clone(NAMESPACES.iter().sum()), EPERM);
}

#[test]
fn a_keeper_may_do_what_it_does_and_dies_of_anything_else() {
    for call in 0..1000 {
        let expected = if KEEPER.contains(&call) { ALLOW } else { KILL };
        assert_eq!(verdict(&CONFINED, ARCH, call, [0; 6]), expected, "system call {call}");
    }
}

// The numbers of another architecture mean other calls.
#[test]
fn calls_of_another_architecture_are_not_let_through() {
    for filter in [&JOB, &CONFINED] {
        for call in [0, 1, 165] {
            assert_eq!(verdict(filter, 0x4000_0003, call, [0; 6]), KILL);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_by_their_x32_numbers_are_not_there_for_a_job_and_end_a_keeper() {
    for call in (0..1000).chain([0x3fff_ffff, 0xbfff_ffff]).map(|call| call | 0x4000_0000) {
        assert_eq!(of_a_job(call, 0), ENOSYS, "system call {call:#x}");
        assert_eq!(verdict(&CONFINED, ARCH, call, [0; 6]), KILL, "system call {call:#x}");
    }
}

#[test]
fn a_filter_without_instructions_is_no_filter_and_is_refused() {
    assert!(super::install(&Vec::new()).is_err());
}
