//! The command's process, from its birth in the job's cgroup to its exec. The steps have the numbers of AUDIT.md; each failure
//! travels to the keeper with its number and errno.

use std::{collections::BTreeSet, convert::Infallible};

use ipc_protocol::{StartError, Step};
use rustix::{
    fd::OwnedFd,
    fs::{Gid, Mode, OFlags, Uid},
    io::Errno,
    process::{Rlimit, chdir, getegid, geteuid, getgid, getgroups, getuid, setrlimit, setsid, umask},
    thread::{
        CapabilitySet, remove_capability_from_bounding_set, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

use crate::{
    filters,
    plan::{Plan, RLIMITS, at, encode, fd},
    sys,
};

/// Written when nothing is left but the exec itself. A report without it is a failure or a death before the exec.
pub const HOT: u8 = 0xA5;

/// Runs the steps and the command. Comes back only to report why not, and ends.
pub fn run(plan: &Plan, report: &OwnedFd) {
    // The report takes number 3, above which everything is closed; it closes itself when the exec succeeds.
    let mut three = sys::inherited(fd::PLAN);
    if rustix::io::dup3(report, &mut three, rustix::io::DupFlags::CLOEXEC).is_ok() {
        let Err(error) = steps(plan, &three);
        let _ = rustix::io::write(&three, &encode(&error).unwrap_or_default());
    }
    sys::exit(127)
}

fn steps(plan: &Plan, report: &OwnedFd) -> Result<Infallible, StartError> {
    // 9. While still root: the files belong to it. Limits of v1 controllers hold from here on, before the command's first instruction.
    for group in fd::V1.map(sys::inherited) {
        rustix::io::write(&group, b"0").map_err(at(Step::JoinV1))?;
    }
    // 10.
    sys::reset_signals().map_err(at(Step::Signals))?;
    // 11. No controlling terminal, and a group that a stop can reach.
    setsid().map_err(at(Step::Session))?;
    // 12. Beside close-on-exec on each of them: two nets.
    sys::close_from(4).map_err(at(Step::CloseDescriptors))?;
    // 13. Before the change of user, after which /proc/self belongs to root. An executor with a negative score would hand it down.
    rustix::fs::open("/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::write(&file, plan.oom_score.to_string().as_bytes()))
        .map_err(at(Step::OomScore))?;
    // 14.
    rlimits(plan).map_err(at(Step::Rlimits))?;
    umask(Mode::from_raw_mode(plan.umask));
    // 15. Needs CAP_SETPCAP, which the change of user takes away.
    limit_bounding_set(CapabilitySet::empty()).map_err(at(Step::BoundingSet))?;
    // 16. This order: each needs what the next gives up.
    set_ids(plan.entry.uid, plan.gid, &plan.groups).map_err(at(Step::Ids))?;
    // 17. A drop that can be undone is none.
    verify_ids(plan.entry.uid, plan.gid, &plan.groups).map_err(at(Step::VerifyIds))?;
    // 18. As the job's user: what it may not enter, it does not.
    chdir(plan.cwd.as_c_str()).map_err(at(Step::Chdir))?;
    // 19.
    set_no_new_privs(true).map_err(at(Step::NoNewPrivs))?;
    // 20. Last, so that it need not allow the calls above; after no_new_privs, so that it needs no capability.
    plan.filters.iter().try_for_each(filters::install).map_err(at(Step::Seccomp))?;
    // 21.
    rustix::io::write(report, &[HOT]).map_err(at(Step::Exec))?;
    Err(exec(plan))
}

fn rlimits(plan: &Plan) -> Result<(), Errno> {
    plan.rlimits.iter().try_for_each(|(which, soft, hard)| {
        let (.., which) = *RLIMITS.iter().find(|(_, number, _)| number == which).ok_or(Errno::INVAL)?;
        setrlimit(which, Rlimit { current: Some(*soft), maximum: Some(*hard) })
    })
}

/// Drops every capability but these from the bounding set, so that no exec can bring another back.
pub fn limit_bounding_set(kept: CapabilitySet) -> Result<(), Errno> {
    let all = (0..64u32).map(|bit| CapabilitySet::from_bits_retain(1u64.wrapping_shl(bit)));
    for one in all.filter(|one| !kept.contains(*one)) {
        match remove_capability_from_bounding_set(one) {
            Err(Errno::INVAL) if one.bits() > 1 => break, // past the last one of this kernel
            dropped => dropped?,
        }
    }
    Ok(())
}

/// Becomes this user with these groups and no others; never root, whatever the plan says.
pub fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    if uid == 0 || gid == 0 || groups.contains(&0) {
        return Err(Errno::PERM);
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&groups.iter().map(|gid| Gid::from_raw(*gid)).collect::<Vec<_>>())?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Tries to come back, which must fail, and looks at what was reached.
pub fn verify_ids(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    let back = set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok()
        || set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).is_ok();
    let ids = [getuid().as_raw(), geteuid().as_raw(), getgid().as_raw(), getegid().as_raw()];
    let held: BTreeSet<u32> = getgroups()?.iter().map(|gid| gid.as_raw()).collect();
    let reached = ids == [uid, uid, gid, gid] && held == groups.iter().copied().collect();
    if back || !reached { Err(Errno::PERM) } else { Ok(()) }
}

// Tries the candidates in order, as the job's user: which programs exist is not for root to tell.
fn exec(plan: &Plan) -> StartError {
    let mut worst = at(Step::Exec)(Errno::NOENT);
    for path in &plan.candidates {
        let errno = sys::execve(path, &plan.argv, &plan.env);
        let stat = rustix::fs::stat(path.as_c_str());
        if let (Err(_), Errno::NOENT | Errno::NOTDIR) = (&stat, errno) {
            continue;
        }
        let (mode, owner) = stat.map_or((0, 0), |stat| (stat.st_mode, stat.st_uid));
        worst = StartError { mode, owner, ..at(Step::Exec)(errno) };
        // A file that is there and cannot be executed hides nothing further on in PATH but for lack of permission.
        if errno != Errno::ACCESS {
            break;
        }
    }
    worst
}

#[cfg(test)]
mod tests;
