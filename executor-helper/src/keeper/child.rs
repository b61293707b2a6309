//! The command's process, from its birth in the job's cgroup to its exec. The steps have the numbers of AUDIT.md; each failure
//! travels to the keeper with its number and errno.

use core::{convert::Infallible, ffi::CStr, ptr};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Gid, Mode, OFlags, Uid},
    io::Errno,
    process::{Resource, Rlimit},
};

use crate::{
    StepResult,
    shared::{
        fd,
        plan::{Number, PlanView, Section},
        steps::Step,
    },
    sys::process,
};

/// Written when nothing is left but the exec itself.
pub const HOT: u8 = 0xA5;
/// Written when a step failed; the number, errno, mode and owner follow, four bytes each.
pub const FAILED: u8 = 0x5A;

/// A file that could not be executed: what the job's user can see of it.
#[derive(Default)]
struct Found {
    mode: u32,
    owner: u32,
}

/// Runs the steps and the command. Comes back only to report why not, and ends.
pub fn run(plan: &PlanView<'_>, report: &OwnedFd) {
    let mut found = Found::default();
    let report = prepare_report(report);
    let Err((step, errno)) = steps(plan, report.as_fd(), &mut found);
    let mut message = [FAILED; 17];
    let fields = [step as u32, errno.raw_os_error().unsigned_abs(), found.mode, found.owner];
    for (to, field) in message.get_mut(1..).unwrap_or_default().chunks_exact_mut(4).zip(fields) {
        to.copy_from_slice(&field.to_le_bytes());
    }
    let _ = rustix::io::write(&report, &message);
    process::exit(127)
}

// The report takes number 3, above which everything is closed; it closes itself when the exec succeeds.
fn prepare_report(report: &OwnedFd) -> OwnedFd {
    let mut three = process::inherited(fd::PLAN);
    if rustix::io::dup3(report, &mut three, rustix::io::DupFlags::CLOEXEC).is_err() {
        process::exit(126);
    }
    three
}

fn steps(plan: &PlanView<'_>, report: BorrowedFd<'_>, found: &mut Found) -> StepResult<Infallible> {
    let at = |step: Step| move |errno: Errno| (step, errno);
    let number = |n: Number| plan.number(n) as u32;

    // 9. While still root: the files belong to it. Limits of v1 controllers hold from here on, before the command's first instruction.
    for group in fd::V1.into_iter().take(number(Number::V1Groups) as usize) {
        let group = process::inherited(group);
        rustix::io::write(&group, b"0").map_err(at(Step::JoinV1))?;
    }
    // 10.
    process::reset_signals().map_err(at(Step::Signals))?;
    // 11. No controlling terminal, and a group that a stop can reach.
    rustix::process::setsid().map_err(at(Step::Session))?;
    // 12. Beside close-on-exec on each of them: two nets.
    process::close_from(4).map_err(at(Step::CloseDescriptors))?;
    // 13. Before the change of user, after which /proc/self belongs to root. An executor with a negative score would hand it down.
    oom_score(number(Number::OomScore)).map_err(at(Step::OomScore))?;
    // 14.
    rlimits(plan).map_err(at(Step::Rlimits))?;
    rustix::process::umask(Mode::from_raw_mode(number(Number::Umask)));
    // 15. Needs CAP_SETPCAP, which the change of user takes away.
    empty_bounding_set().map_err(at(Step::BoundingSet))?;
    // 16. This order: each needs what the next gives up.
    let (uid, gid) = (Uid::from_raw(number(Number::Uid)), Gid::from_raw(number(Number::Gid)));
    set_ids(plan, uid, gid).map_err(at(Step::Ids))?;
    // 17. A drop that can be undone is none.
    verify_ids(uid, gid).map_err(at(Step::VerifyIds))?;
    // 18. As the job's user: what it may not enter, it does not.
    let cwd = plan.strings(Section::Cwd).next().ok_or((Step::Chdir, Errno::INVAL))?;
    rustix::process::chdir(cwd).map_err(at(Step::Chdir))?;
    // 19.
    rustix::thread::set_no_new_privs(true).map_err(at(Step::NoNewPrivs))?;
    // 20. Last, so that it need not allow the calls above; after no_new_privs, so that it needs no capability.
    for filter in [Section::JobFilter, Section::JobFilter2].map(|section| plan.section(section)) {
        if !filter.is_empty() {
            process::set_filter(filter).map_err(at(Step::Seccomp))?;
        }
    }
    // 21.
    rustix::io::write(report, &[HOT]).map_err(at(Step::Exec))?;
    Err((Step::Exec, exec(plan, found)))
}

fn oom_score(score: u32) -> Result<(), Errno> {
    let mut text = [0u8; 4];
    let mut rest = score.min(1000);
    for digit in text.iter_mut().rev() {
        *digit = b'0'.saturating_add((rest % 10) as u8);
        rest /= 10;
    }
    let file = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, &text).map(drop)
}

fn rlimits(plan: &PlanView<'_>) -> Result<(), Errno> {
    let mut words = plan.words(Section::Rlimits);
    while let (Some(which), Some(soft), Some(hard)) = (words.next(), words.next(), words.next()) {
        let which = match which {
            0 => Resource::Cpu,
            1 => Resource::Fsize,
            3 => Resource::Stack,
            4 => Resource::Core,
            7 => Resource::Nofile,
            8 => Resource::Memlock,
            _ => return Err(Errno::INVAL),
        };
        rustix::process::setrlimit(which, Rlimit { current: Some(soft), maximum: Some(hard) })?;
    }
    Ok(())
}

/// Drops every capability from the bounding set, so that no exec can bring one back.
pub fn empty_bounding_set() -> Result<(), Errno> {
    for bit in 0..64u32 {
        let one = rustix::thread::CapabilitySet::from_bits_retain(1u64.wrapping_shl(bit));
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(Errno::INVAL) => return if bit > 0 { Ok(()) } else { Err(Errno::INVAL) }, // past the last one of this kernel
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Becomes the plan's user with the plan's groups and no others.
pub fn set_ids(plan: &PlanView<'_>, uid: Uid, gid: Gid) -> Result<(), Errno> {
    if uid.is_root() || gid.is_root() {
        return Err(Errno::PERM); // whatever the plan says
    }
    let mut groups = [gid; 64];
    let mut count = 0usize;
    for (slot, word) in groups.iter_mut().zip(plan.words(Section::Groups)) {
        *slot = Gid::from_raw(u32::try_from(word).map_err(|_| Errno::INVAL)?);
        count = count.saturating_add(1);
    }
    rustix::thread::set_thread_groups(groups.get(..count).ok_or(Errno::INVAL)?)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Tries to come back, which must fail, and looks at what was reached.
pub fn verify_ids(uid: Uid, gid: Gid) -> Result<(), Errno> {
    let root = Uid::ROOT;
    if rustix::thread::set_thread_res_uid(root, root, root).is_ok()
        || rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).is_ok()
    {
        return Err(Errno::PERM);
    }
    let reached = [rustix::process::getuid(), rustix::process::geteuid()] == [uid, uid]
        && [rustix::process::getgid(), rustix::process::getegid()] == [gid, gid];
    if reached { Ok(()) } else { Err(Errno::PERM) }
}

// Tries the candidates in order, as the job's user: which programs exist is not for root to tell.
fn exec(plan: &PlanView<'_>, found: &mut Found) -> Errno {
    let strings = |section| plan.strings(section).count().saturating_add(1);
    let (Ok(argv), Ok(envp)) = (process::pointers(strings(Section::Argv)), process::pointers(strings(Section::Env)))
    else {
        return Errno::NOMEM;
    };
    fill(argv, plan.strings(Section::Argv));
    fill(envp, plan.strings(Section::Env));
    let mut worst = Errno::NOENT;
    for path in plan.strings(Section::Candidates) {
        match process::execve(path, argv, envp) {
            Errno::NOENT | Errno::NOTDIR => {}
            errno => {
                if let Ok(stat) = rustix::fs::stat(path) {
                    *found = Found { mode: stat.st_mode, owner: stat.st_uid };
                }
                worst = errno;
                // A file that is there and cannot be executed hides nothing further on in PATH but for lack of permission.
                if errno != Errno::ACCESS {
                    return errno;
                }
            }
        }
    }
    worst
}

fn fill<'a>(pointers: &mut [*const core::ffi::c_char], strings: impl Iterator<Item = &'a CStr>) {
    for (to, string) in pointers.iter_mut().zip(strings) {
        *to = string.as_ptr();
    }
    if let Some(last) = pointers.last_mut() {
        *last = ptr::null();
    }
}
