//! airlock-keeper: stays with one job, from its birth until the executor has recorded its end.
//!
//! It is executed by airlock-executor inside the job's namespaces (as their process 1, if there is a process namespace) and in the
//! keepers' cgroup. What it shall do lies in the sealed plan on descriptor 3; what it did, in the status record on 4. It holds the
//! job's pipes and spools, so that no byte and no exit status depends on an executor being alive.
//!
//! `airlock-keeper sweep` empties a job's directory as the job's user; `airlock-keeper probe` waits to be killed.

// The standard library is linked for its panic handler alone: nothing here allocates, and its runtime is not started.
#![no_std]
#![no_main]
extern crate std;

#[path = "../shared/mod.rs"]
#[allow(dead_code, missing_docs)]
mod shared;
#[path = "../sys"]
#[allow(dead_code)]
mod sys {
    pub mod process;
    pub mod raw;
    pub mod start;
}

mod child;
mod mounts;
mod status;
mod sweep;
mod watch;

use core::{convert::Infallible, ffi::CStr};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use shared::{
    fd,
    plan::{Number, PlanView, Section, namespace},
    steps::Step,
};
use status::Record;
use sys::process;

/// A step that failed, and with which errno.
type StepResult<T> = Result<T, (Step, Errno)>;

/// Does what the word says; a job's keeper never returns.
fn run(word: &CStr) -> i32 {
    match word.to_bytes() {
        b"probe" => loop {
            let _ = rustix::event::poll(&mut [], None);
        },
        b"sweep" => sweep::run(),
        _ => match keep(&mut Record::inherited()) {
            Ok(never) => match never {},
            Err(_) => 1,
        },
    }
}

fn keep(record: &mut Record) -> Result<Infallible, Errno> {
    let begun = begin();
    let (plan, made) = match begun {
        Ok(begun) => begun,
        Err((step, errno)) => {
            record.failed(step, errno.raw_os_error().unsigned_abs(), 0, 0)?;
            watch::until_released()
        }
    };
    watch::run(plan, made, record)
}

/// The command's process, and where its report comes in.
struct Made {
    child: process::Child,
    report: OwnedFd,
    cgroup: watch::Cgroup,
    orphans: Option<OwnedFd>,
}

fn begin() -> StepResult<(PlanView<'static>, Made)> {
    let plan = load().ok_or((Step::Plan, Errno::INVAL))?;
    let group = process::inherited(fd::CGROUP);
    let open = |name: &CStr, flags| rustix::fs::openat(&group, name, flags | OFlags::CLOEXEC, Mode::empty());
    let cgroup = watch::Cgroup {
        kill: open(c"cgroup.kill", OFlags::WRONLY).map_err(|e| (Step::Cgroup, e))?,
        events: open(c"cgroup.events", OFlags::RDONLY).map_err(|e| (Step::Cgroup, e))?,
    };
    if plan.number(Number::Namespaces) & namespace::MOUNT != 0 {
        mounts::make(&plan).map_err(|e| (Step::Mounts, e))?;
    }
    // As process 1 the keeper inherits the job's orphans. They count against the job's pids until they are waited for.
    let orphans = if plan.number(Number::Namespaces) & namespace::PID != 0 {
        const SIGCHLD: u32 = 17;
        Some(process::signal_descriptor(&[SIGCHLD]).map_err(|e| (Step::Signals, e))?)
    } else {
        None
    };
    let (report, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| (Step::Descriptors, e))?;
    let child = process::fork_into(rustix::fd::AsFd::as_fd(&group), || child::run(&plan, &writer))
        .map_err(|e| (Step::Birth, e))?;
    drop(writer);
    // The pipes' write ends are the command's alone from here on, or their end would never be seen.
    for number in [0, 1, 2, fd::CGROUP].into_iter().chain(fd::V1) {
        drop(process::inherited(number));
    }
    core::mem::forget(group); // closed with the rest just now
    // The first reading of a clock finds the vDSO with calls that the filter does not allow.
    let _ = (status::now_ns(), status::boot_ns());
    confine(&plan).map_err(|e| (Step::Keeper, e))?;
    Ok((plan, Made { child, report, cgroup, orphans }))
}

fn load() -> Option<PlanView<'static>> {
    let file = process::inherited(fd::PLAN);
    let length = usize::try_from(rustix::fs::fstat(&file).ok()?.st_size).ok()?;
    let bytes = process::map_sealed(&file, length).ok()?;
    core::mem::forget(file); // stays open: an executor that adopts the job reads it
    PlanView::new(bytes)
}

/// Gives up everything that was only needed to bring the command to life. From here on the keeper can read its job's state, kill
/// the job's cgroup and write its record; a seccomp filter holds it to that.
fn confine(plan: &PlanView<'_>) -> Result<(), Errno> {
    child::empty_bounding_set()?;
    let nothing = rustix::thread::CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        rustix::thread::CapabilitySets { effective: nothing, permitted: nothing, inheritable: nothing },
    )?;
    rustix::thread::set_no_new_privs(true)?;
    match plan.section(Section::KeeperFilter) {
        [] => Ok(()),
        filter => process::set_filter(filter),
    }
}
