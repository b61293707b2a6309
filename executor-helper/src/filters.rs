//! System call filters, compiled once at start and handed to each keeper in its plan.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Filters as bytes of classic BPF.
#[derive(Debug, Clone)]
pub struct Filters {
    /// What no job needs is refused with EPERM.
    pub job: Vec<u8>,
    /// clone3 hides its flags from a filter: ENOSYS makes the C library use clone, whose flags the other filter sees.
    pub job_clone3: Vec<u8>,
    /// A dozen calls; anything else kills the keeper.
    pub keeper: Vec<u8>,
}

/// Calls that no job needs: they reach for the host, for other processes, or for parts of the kernel with a history of holes.
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

/// What the keeper does after the command was born, and where.
const KEEPER: &[libc::c_long] = &[
    libc::SYS_read,          // watch: the report, the orphans' signals
    libc::SYS_write,         // status: the event; watch: cgroup.kill
    libc::SYS_pread64,       // watch: cgroup.events
    libc::SYS_pwrite64,      // status: the record
    libc::SYS_ppoll,         // watch: every wait
    libc::SYS_waitid,        // watch: the command's end, orphans
    libc::SYS_clock_gettime, // status: times, where the vDSO does not serve
    libc::SYS_close,         // main: what was only needed for the birth
    libc::SYS_exit_group,
    libc::SYS_restart_syscall, // after a stop and continue
    libc::SYS_rt_sigreturn,
];

const NAMESPACE_FLAGS: u64 = 0x7E02_0080; // CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}

impl Filters {
    /// Compiles them for this machine.
    pub fn compile() -> Result<Self, BackendError> {
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let eperm = SeccompAction::Errno(libc::EPERM as u32);
        let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
        // clone is how threads and processes are made; only the flags that make namespaces are refused. One rule per flag: a rule
        // matches when the masked value equals the flag.
        let flags = (0..64).map(|bit| 1u64 << bit).filter(|flag| NAMESPACE_FLAGS & flag != 0);
        let rules = flags.map(|flag| {
            let masked = SeccompCmpOp::MaskedEq(flag);
            SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, masked, flag)?])
        });
        refused.insert(libc::SYS_clone, rules.collect::<Result<_, _>>()?);
        let enosys = SeccompAction::Errno(libc::ENOSYS as u32);
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let keeper = KEEPER.iter().map(|call| (*call, Vec::new())).collect();
        let build = |rules, otherwise, matched| -> Result<Vec<u8>, BackendError> {
            Ok(bytes(&SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()?))
        };
        Ok(Self {
            job: build(refused, SeccompAction::Allow, eperm)?,
            job_clone3: build(clone3, SeccompAction::Allow, enosys)?,
            keeper: build(keeper, SeccompAction::KillProcess, SeccompAction::Allow)?,
        })
    }
}

// struct sock_filter, as the kernel has it.
fn bytes(program: &BpfProgram) -> Vec<u8> {
    let mut bytes = Vec::new();
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    bytes
}
