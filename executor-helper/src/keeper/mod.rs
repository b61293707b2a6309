//! airlock-keeper: stays with one job, from its birth until the executor has recorded its end.
//!
//! It is executed by airlock-executor inside the job's namespaces (as their process 1, if there is a process namespace) and in the
//! keepers' cgroup. What it shall do lies in the sealed plan on descriptor 3; what it did, in the record on 4. It holds the job's
//! pipes and spools, so that no byte and no exit status depends on an executor being alive.
//!
//! `airlock-keeper sweep` empties a job's directory as the job's user; `airlock-keeper probe` waits to be killed.

pub(crate) mod child;
mod mounts;
mod sweep;
mod watch;

use std::{convert::Infallible, mem::forget, process::ExitCode};

use bincode::Decode;
use ipc_protocol::{End, Limit, StartError, Step};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, openat},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs},
};

use crate::{
    filters,
    plan::{Plan, Record, Sealed, at, boot_ns, decode, fd, namespace, now_ns, write_record},
    sys,
};

/// Does what the word says; a job's keeper never returns but for an error.
pub fn main() -> ExitCode {
    // Executed by descriptor, it would be called by its number.
    let _ = rustix::thread::set_name(c"airlock-keeper");
    let done = match std::env::args().nth(1).as_deref() {
        Some("probe") => watch::until_released(),
        Some("sweep") => sweep::run(),
        _ => keep().map(|never| match never {}),
    };
    done.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// The record, and the pipe that tells the executor of each change.
struct Records {
    file: OwnedFd,
    event: OwnedFd,
    record: Record,
}

impl Records {
    // The record first, the event after: whoever sees the event finds the record.
    fn publish(&self) -> Result<(), Errno> {
        write_record(&self.file, &self.record, 0)?;
        // With no executor alive nobody may be reading: the event is then lost, the record is not.
        let _ = rustix::io::write(&self.event, &[1]);
        Ok(())
    }

    fn end(&mut self, end: End, at_ns: u64) -> Result<Infallible, Errno> {
        self.record.end = Some((end, at_ns));
        self.publish()?;
        watch::until_released()
    }
}

/// The command's process, where its report comes in, and its cgroup: `kill` ends everything in it, `events` tells whether something lives.
struct Made {
    child: sys::Child,
    report: OwnedFd,
    kill: OwnedFd,
    events: OwnedFd,
    orphans: Option<OwnedFd>,
}

fn keep() -> Result<Infallible, Errno> {
    let (file, event) = (sys::inherited(fd::RECORDS), sys::inherited(fd::EVENT));
    let mut records = Records { file, event, record: Record::default() };
    match begin() {
        Ok((timeout_ms, made)) => watch::run(timeout_ms, &made, &mut records),
        Err(error) => records.end(End::StartFailed(error), now_ns()),
    }
}

fn begin() -> Result<(Option<u64>, Made), StartError> {
    // Leaked: giving memory back would need calls that the keeper's filter does not have.
    let Sealed::V1(plan) = load().map_err(at(Step::Plan))?;
    let plan: &Plan = Box::leak(plan);
    let group = sys::inherited(fd::CGROUP);
    let open = |name, flags| openat(&group, name, flags | OFlags::CLOEXEC, Mode::empty()).map_err(at(Step::Cgroup));
    let (kill, events) = (open("cgroup.kill", OFlags::WRONLY)?, open("cgroup.events", OFlags::RDONLY)?);
    if plan.namespaces & namespace::MOUNT != 0 {
        mounts::make(plan).map_err(at(Step::Mounts))?;
    }
    // As process 1 the keeper inherits the job's orphans. They count against the job's pids until they are waited for.
    let first = plan.namespaces & namespace::PID != 0;
    let orphans = first.then(|| sys::signal_descriptor(&[libc::SIGCHLD])).transpose().map_err(at(Step::Signals))?;
    let (report, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(at(Step::Descriptors))?;
    let child = sys::fork_into(group.as_fd(), || child::run(plan, &writer)).map_err(at(Step::Birth))?;
    drop(writer);
    // The pipes' write ends are the command's alone from here on, or their end would never be seen.
    for number in [0, 1, 2, fd::CGROUP].into_iter().chain(fd::V1) {
        drop(sys::inherited(number));
    }
    forget(group); // closed with the rest just now
    // The first reading of a clock finds the vDSO with calls that the filter does not allow.
    let _ = (now_ns(), boot_ns());
    confine(plan).map_err(at(Step::Keeper))?;
    Ok((plan.entry.limits.get(Limit::Timeout), Made { child, report, kill, events, orphans }))
}

fn load<T: Decode<()>>() -> Result<T, Errno> {
    let file = sys::inherited(fd::PLAN);
    let mut bytes = vec![0; usize::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0)];
    let read = rustix::io::pread(&file, &mut bytes, 0);
    forget(file); // stays open: an executor that adopts the job reads it
    decode(bytes.get(..read?).unwrap_or_default()).ok_or(Errno::INVAL)
}

/// Gives up everything that was only needed to bring the command to life. From here on the keeper can read its job's state, kill
/// the job's cgroup and write its record; a seccomp filter holds it to that.
fn confine(plan: &Plan) -> Result<(), Errno> {
    let nothing = CapabilitySet::empty();
    child::limit_bounding_set(nothing)?;
    set_capabilities(None, CapabilitySets { effective: nothing, permitted: nothing, inheritable: nothing })?;
    set_no_new_privs(true)?;
    filters::install(&plan.keeper_filter)
}
