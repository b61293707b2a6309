//! From an admitted plan to a keeper that brings the command to life. Steps 1 to 5 of AUDIT.md; whatever fails is undone.

use std::{ffi::CString, fs::File, io::Write, path::Path};

use ipc_protocol::{StartError, Step};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{Gid, MemfdFlags, Mode, OFlags, SealFlags, Uid, fchmod, fcntl_add_seals, ftruncate, memfd_create, rmdir},
    io::{Errno, dup2},
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
    process::{Resource, getrlimit},
};

use crate::{
    admission::JobPlan,
    body::{Body, SEALS},
    cgroup::{Hierarchy, JobGroup},
    plan::{Plan, RECORDS_SIZE, Sealed, Sweep, at, encode, fd},
    spool::Spool,
    sys,
};

/// What every birth needs: the descriptor numbers from 3 on, which are kept taken so that a birth only has to lay its own over them,
/// and behind them the keeper's program. It is opened once: during an upgrade another version lies at its path before this executor
/// goes, and plans are written for the one that came with it.
#[derive(Debug)]
pub struct Midwife {
    slots: Vec<OwnedFd>,
    _keeper: OwnedFd,
    null: OwnedFd,
}

const STDIO: u16 = fd::END as u16;

impl Midwife {
    /// Takes the descriptor numbers; call while everything from 3 on is free.
    pub fn new(keeper: &Path) -> Result<Self, String> {
        let open = |path: &Path, flags| {
            let opened = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
            opened.map_err(|e| format!("{}: {e}", path.display()))
        };
        let null = Path::new("/dev/null");
        let numbers = fd::PLAN..fd::END.saturating_add(3);
        let slots = numbers.clone().map(|_| open(null, OFlags::RDWR)).collect::<Result<Vec<_>, _>>()?;
        let program = open(keeper, OFlags::PATH)?;
        rustix::fs::access(keeper, rustix::fs::Access::EXEC_OK).map_err(|e| format!("{}: {e}", keeper.display()))?;
        if !slots.iter().map(AsRawFd::as_raw_fd).eq(numbers.clone()) || program.as_raw_fd() != numbers.end {
            return Err("a descriptor number above 2 is taken at the start".into());
        }
        Ok(Self { slots, _keeper: program, null: open(null, OFlags::RDWR)? })
    }

    /// Makes directory, groups, limits and descriptors, and starts the keeper. On failure nothing of it remains.
    pub fn bear(&mut self, hierarchy: &Hierarchy, plan: &JobPlan, input: Option<OwnedFd>) -> Result<Body, StartError> {
        make_directory(plan).map_err(at(Step::Directory))?;
        let group = JobGroup::of(hierarchy, plan.entry.job);
        let made = group.make().map_err(|errno| {
            let gone = "there is no place for jobs; on the server: systemctl start airlock-jobs";
            let detail = if hierarchy.is_alive() { String::new() } else { gone.into() };
            StartError { detail, ..at(Step::Cgroup)(errno) }
        });
        let limited = made.and_then(|()| group.set_limits(&plan.entry.limits));
        let place = limited.and_then(|()| group.birthplace().map_err(at(Step::Cgroup)));
        let start = |place| self.start(&hierarchy.keepers, place, plan, input).map_err(at(Step::Descriptors));
        place.and_then(start).inspect_err(|_| {
            // Nothing ran: the directory is empty and the groups are.
            let _ = (plan.directory.as_deref().map(rmdir), group.remove());
        })
    }

    fn start(
        &mut self,
        keepers: &OwnedFd,
        (group, v1): (OwnedFd, Vec<OwnedFd>),
        plan: &JobPlan,
        input: Option<OwnedFd>,
    ) -> Result<Body, Errno> {
        let sealed = seal(&encode(&Sealed::V1(bounded(plan)))?)?;
        let records = memfd("airlock-records")?;
        ftruncate(&records, RECORDS_SIZE)?;
        fcntl_add_seals(&records, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let (event, event_writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = fcntl_setpipe_size(&event, 4096); // counts against the user's pipe pages
        let (out, out_writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // One that is merged has one pipe for both streams.
        let second = if plan.entry.merge { None } else { Some(pipe_with(PipeFlags::CLOEXEC)?) };
        let (err, err_writer) = second.unzip();
        let err_writer = err_writer.as_ref().unwrap_or(&out_writer);
        // A program that opens /dev/stderr opens this pipe anew, as the job's user, who may write to it and nothing else.
        fchmod(&out_writer, Mode::from_raw_mode(0o622))?;
        fchmod(err_writer, Mode::from_raw_mode(0o622))?;
        let [out_spool, err_spool] = [memfd("airlock-stdout")?, memfd("airlock-stderr")?];
        // In the order of the numbers in plan::fd, then 0, 1 and 2.
        let own = [Some(&sealed), Some(&records), Some(&event_writer), Some(&out), err.as_ref(), Some(&out_spool)];
        let own = own.into_iter().chain([Some(&err_spool), Some(&group)]);
        let v1 = [v1.first(), v1.get(1), v1.get(2), v1.get(3)];
        let stdio = [input.as_ref(), Some(&out_writer), Some(err_writer)];
        let name = CString::new(plan.entry.job.to_string()).map_err(|_| Errno::INVAL)?;
        let made = self.start_program(keepers, plan.namespaces, name, own.chain(v1).chain(stdio));
        kill_point!(KeeperBorn);
        let spools = [Spool::new(Some(out), out_spool), Spool::new(err, err_spool)];
        Ok(Body { keeper: made?.pid, event, spools })
    }

    /// Starts the program that empties a directory as its user, in the sweepers' group.
    pub fn sweep(&mut self, hierarchy: &Hierarchy, sweep: &Sweep) -> Result<sys::Child, Errno> {
        let sealed = seal(&encode(sweep)?)?;
        self.start_program(&hierarchy.sweepers, 0, c"sweep".to_owned(), [Some(&sealed)].into_iter())
    }

    // Starts the keeper's program, which finds these descriptors at the numbers from 3 on.
    fn start_program<'a>(
        &mut self,
        group: &OwnedFd,
        namespaces: u64,
        word: CString,
        handed: impl Iterator<Item = Option<&'a OwnedFd>>,
    ) -> Result<sys::Child, Errno> {
        let Self { slots, null, .. } = self;
        let laid = slots.iter_mut().zip(handed).try_for_each(|(slot, fd)| dup2(fd.unwrap_or(null), slot));
        let argv = [c"airlock-keeper".to_owned(), word];
        let made = laid.and_then(|()| sys::spawn_program(group.as_fd(), namespaces, &argv, STDIO));
        // A write end left in a slot would keep a pipe open for ever.
        for slot in slots {
            let _ = dup2(&*null, slot);
        }
        made
    }
}

// The job's own, 0700, before anything of the job exists. A left-over directory of this id is an error: ids are fresh.
fn make_directory(plan: &JobPlan) -> Result<(), Errno> {
    let Some(path) = plan.directory.as_deref() else { return Ok(()) };
    rustix::fs::mkdir(path, Mode::RWXU)?;
    kill_point!(DirectoryMade);
    let given = rustix::fs::chown(path, Some(Uid::from_raw(plan.entry.uid)), Some(Gid::from_raw(plan.gid)));
    given.inspect_err(|_| {
        let _ = rmdir(path);
    })?;
    kill_point!(DirectoryGiven);
    Ok(())
}

fn memfd(name: &str) -> Result<OwnedFd, Errno> {
    memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
}

// No CAP_SYS_RESOURCE: what the executor itself may not have of descriptors (7, RLIMIT_NOFILE), a job may not either.
fn bounded(plan: &Plan) -> Box<Plan> {
    let (mut plan, hard) = (Box::new(plan.clone()), getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
    for (_, soft, most) in plan.rlimits.iter_mut().filter(|(which, ..)| *which == 7) {
        (*soft, *most) = ((*soft).min(hard), (*most).min(hard));
    }
    plan
}

fn seal(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let mut file = File::from(memfd("airlock-plan")?);
    file.write_all(bytes).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests;
