//! From an admitted plan to a keeper that brings the command to life. Steps 1 to 5 of AUDIT.md; whatever fails is undone.

use std::{ffi::CString, path::Path};

use ipc_protocol::{Answer, Spawn, encode_answer};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Gid, MemfdFlags, Mode, OFlags, SealFlags, Uid, fcntl_add_seals, memfd_create},
    io::{Errno, dup2},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Resource, getrlimit},
};
use sha2::{Digest, Sha256};

use crate::{
    admission::{JobPlan, PlanParts},
    cgroup::{Hierarchy, JobGroup},
    filters::Filters,
    shared::{
        fd,
        plan::{self, HEADER, MAGIC, Section},
        status::{self, kernel_error},
        steps::Step,
    },
    sys::process,
};

/// What the executor keeps of a newborn job: five descriptors.
#[derive(Debug)]
pub struct Newborn {
    /// A child of this process; its pid is not reused before it is waited for.
    pub keeper: Pid,
    /// Read end of the event pipe.
    pub event: OwnedFd,
    /// Read ends of the output pipes, by stream.
    pub pipes: [Option<OwnedFd>; 2],
    /// Spools, by stream.
    pub spools: [OwnedFd; 2],
}

/// A step that failed before there was a keeper.
#[derive(Debug)]
pub struct BirthError {
    /// Where.
    pub step: Step,
    /// The kernel's word; 0 when it was not the kernel.
    pub errno: i32,
    /// More about it, such as the limit that did not hold; may be empty.
    pub detail: String,
}

impl BirthError {
    /// The reason in words.
    pub fn why(&self) -> String {
        match kernel_error(self.errno.unsigned_abs().into()) {
            Some(errno) if self.detail.is_empty() => errno.to_string(),
            _ => self.detail.clone(),
        }
    }
}

/// A step that failed, in short.
fn at(step: Step) -> impl Fn(Errno) -> BirthError {
    move |errno| BirthError { step, errno: errno.raw_os_error(), detail: String::new() }
}

/// What every birth needs: the program, the filters, and the descriptor numbers from 3 on, which are kept taken so that a birth
/// only has to lay its own over them.
#[derive(Debug)]
pub struct Midwife {
    keeper: CString,
    filters: Filters,
    slots: Vec<OwnedFd>,
    null: OwnedFd,
}

const STDIO: i32 = fd::END;

impl Midwife {
    /// Takes the descriptor numbers; call while everything from 3 on is free.
    pub fn new(keeper: &Path, filters: Filters) -> Result<Self, String> {
        let open = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let mut slots = Vec::new();
        for number in fd::PLAN..STDIO.saturating_add(3) {
            let slot = open().map_err(|e| format!("/dev/null: {e}"))?;
            if rustix::fd::AsRawFd::as_raw_fd(&slot) != number {
                return Err(format!("descriptor {number} is taken at the start"));
            }
            slots.push(slot);
        }
        let null = open().map_err(|e| format!("/dev/null: {e}"))?;
        rustix::fs::access(keeper, rustix::fs::Access::EXEC_OK).map_err(|e| format!("{}: {e}", keeper.display()))?;
        let keeper = keeper.to_str().and_then(|path| CString::new(path).ok()).ok_or("keeper: not a path")?;
        Ok(Self { keeper, filters, slots, null })
    }

    /// Makes directory, groups, limits and descriptors, and starts the keeper. On failure nothing of it remains.
    pub fn bear(
        &mut self,
        hierarchy: &Hierarchy,
        plan: &JobPlan,
        passport: &Passport,
        input: Option<OwnedFd>,
    ) -> Result<Newborn, BirthError> {
        make_directory(plan).map_err(at(Step::Directory))?;
        let born = self.bear_in_groups(hierarchy, plan, passport, input);
        if born.is_err() {
            // Nothing ran: the directory is empty and the groups are.
            let _ = plan.directory().map(|path| rustix::fs::rmdir(path.as_c_str()));
            let _ = JobGroup::remove(hierarchy, plan.job());
        }
        born
    }

    fn bear_in_groups(
        &mut self,
        hierarchy: &Hierarchy,
        plan: &JobPlan,
        passport: &Passport,
        input: Option<OwnedFd>,
    ) -> Result<Newborn, BirthError> {
        let group = JobGroup::make(hierarchy, plan.job()).map_err(|errno| {
            let gone = "there is no place for jobs; on the server: systemctl start airlock-jobs";
            let detail = if hierarchy.is_alive() { String::new() } else { gone.into() };
            BirthError { step: Step::Cgroup, errno: errno.raw_os_error(), detail }
        })?;
        let limits = plan.entry().limits;
        group.set_limits(&limits).map_err(|e| BirthError {
            step: Step::Limits,
            errno: e.errno,
            detail: e.to_string(),
        })?;
        let v1 = group.v1_tasks().map_err(at(Step::Cgroup))?;
        self.start(hierarchy, plan, passport, input, &group, &v1).map_err(at(Step::Descriptors))
    }

    fn start(
        &mut self,
        hierarchy: &Hierarchy,
        plan: &JobPlan,
        passport: &Passport,
        input: Option<OwnedFd>,
        group: &JobGroup<'_>,
        v1: &[OwnedFd],
    ) -> Result<Newborn, Errno> {
        let merge = plan.entry().merge;
        let sealed = seal(&self.encode(plan, passport, v1.len()))?;
        let record = memfd("airlock-status")?;
        rustix::fs::ftruncate(&record, status::SIZE)?;
        fcntl_add_seals(&record, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let (event, event_writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = rustix::pipe::fcntl_setpipe_size(&event, 4096); // counts against the user's pipe pages
        let (out, out_writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err, err_writer) =
            if merge { (None, None) } else { pipe_with(PipeFlags::CLOEXEC).map(|(r, w)| (Some(r), Some(w)))? };
        // A program that opens /dev/stderr opens this pipe anew, as the job's user, who may write to it and nothing else.
        for writer in [Some(&out_writer), err_writer.as_ref()].into_iter().flatten() {
            rustix::fs::fchmod(writer, Mode::from_raw_mode(0o622))?;
        }
        let spools = [memfd("airlock-stdout")?, memfd("airlock-stderr")?];
        let null = self.null.as_fd();
        let mut lay = vec![
            sealed.as_fd(),
            record.as_fd(),
            event_writer.as_fd(),
            out.as_fd(),
            err.as_ref().map_or(null, AsFd::as_fd),
        ];
        lay.extend(spools.iter().map(AsFd::as_fd));
        lay.push(group.v2().as_fd());
        lay.extend((0..fd::V1.len()).map(|i| v1.get(i).map_or(null, AsFd::as_fd)));
        lay.push(input.as_ref().map_or(null, AsFd::as_fd));
        lay.push(out_writer.as_fd());
        lay.push(err_writer.as_ref().unwrap_or(&out_writer).as_fd());
        for (slot, from) in self.slots.iter_mut().zip(lay) {
            dup2(from, slot)?;
        }
        let name = CString::new(plan.job().to_string()).map_err(|_| Errno::INVAL)?;
        let made = process::spawn_program(
            hierarchy.keepers().as_fd(),
            clone_flags(plan.namespaces()),
            &self.keeper,
            &[c"airlock-keeper", &name],
            STDIO,
        );
        self.clear();
        Ok(Newborn { keeper: made?.pid, event, pipes: [Some(out), err], spools })
    }

    /// Starts the program that empties a directory as its user, in the sweepers' group.
    pub fn sweep(
        &mut self,
        hierarchy: &Hierarchy,
        uid: u32,
        gid: u32,
        folder: &Path,
        directory: &Path,
    ) -> Result<process::Child, Errno> {
        let path = |p: &Path| CString::new(p.as_os_str().as_encoded_bytes()).map_err(|_| Errno::INVAL);
        let mut sections = empty_sections();
        *sections.section(Section::Numbers) = words([u64::from(uid), u64::from(gid)]);
        *sections.section(Section::Directories) = strings([&path(folder)?, &path(directory)?]);
        let sealed = seal(&sections.layout())?;
        if let Some(slot) = self.slots.first_mut() {
            dup2(&sealed, slot)?;
        }
        let made = process::spawn_program(
            hierarchy.sweepers().as_fd(),
            0,
            &self.keeper,
            &[c"airlock-keeper", c"sweep"],
            STDIO,
        );
        self.clear();
        made
    }

    // A write end left in a slot would keep a pipe open for ever.
    fn clear(&mut self) {
        for slot in &mut self.slots {
            let _ = dup2(&self.null, slot);
        }
    }

    fn encode(&self, plan: &JobPlan, passport: &Passport, v1: usize) -> Vec<u8> {
        let PlanParts { entry, gid, groups, candidates, argv, env, directory, cwd, profile } = plan.parts();
        let folder =
            directory.and_then(|d| Path::new(d.to_str().ok()?).parent()?.to_str().and_then(|f| CString::new(f).ok()));
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let cap = |n: u64| n.min(hard); // no CAP_SYS_RESOURCE: what the executor itself may not have, a job may not either
        let rlimits = profile
            .rlimits
            .iter()
            .flat_map(|[which, s, h]| if *which == 7 { [*which, cap(*s), cap(*h)] } else { [*which, *s, *h] });
        let mut sections = empty_sections();
        *sections.section(Section::Numbers) = words([
            entry.uid.into(),
            gid.into(),
            profile.umask.into(),
            profile.oom_score.into(),
            entry.limits.timeout_ms.unwrap_or(0),
            profile.namespaces,
            v1 as u64,
        ]);
        *sections.section(Section::Groups) = words(groups.iter().map(|g| u64::from(*g)));
        *sections.section(Section::Rlimits) = words(rlimits);
        *sections.section(Section::Candidates) = strings(candidates);
        *sections.section(Section::Argv) = strings(argv);
        *sections.section(Section::Env) = strings(env);
        *sections.section(Section::Directories) = strings(folder.iter().chain(directory));
        *sections.section(Section::Cwd) = strings([cwd]);
        if profile.seccomp {
            sections.section(Section::JobFilter).clone_from(&self.filters.job);
            sections.section(Section::JobFilter2).clone_from(&self.filters.job_clone3);
        }
        sections.section(Section::KeeperFilter).clone_from(&self.filters.keeper);
        *sections.section(Section::Passport) = passport.0.clone();
        sections.layout()
    }
}

/// What a later executor must know of a job that it did not start: fingerprint of the request, epoch, and the job's entry.
#[derive(Debug, Clone)]
pub struct Passport(Vec<u8>);

/// Identifies what a `Spawn` asks for, whoever repeats it: the claim is left out.
pub fn fingerprint(spawn: &Spawn) -> [u8; 32] {
    let mut plain = spawn.clone();
    plain.claimed = Default::default();
    // Encoding can only fail for a message that did not come through a frame.
    let bytes = ipc_protocol::encode_request(&ipc_protocol::Request::Spawn(Box::new(plain))).unwrap_or_default();
    Sha256::digest(bytes).into()
}

impl Passport {
    /// Bytes before the entry.
    pub const PREFIX: usize = 40;

    /// For the plan.
    pub fn new(fingerprint: &[u8; 32], epoch: u64, plan: &JobPlan) -> Self {
        let entry = encode_answer(&Answer::Job(Box::new(plan.entry().clone()))).unwrap_or_default();
        Self([&fingerprint[..], &epoch.to_le_bytes(), &entry].concat())
    }
}

// The job's own, 0700, before anything of the job exists. rmdir of a left-over directory of this id is never done here: ids are fresh.
fn make_directory(plan: &JobPlan) -> Result<(), Errno> {
    let Some(path) = plan.directory() else { return Ok(()) };
    let (uid, gid) = plan.ids();
    rustix::fs::mkdir(path.as_c_str(), Mode::RWXU)?;
    let given = rustix::fs::chown(path.as_c_str(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    given.inspect_err(|_| {
        let _ = rustix::fs::rmdir(path.as_c_str());
    })
}

fn clone_flags(namespaces: u64) -> u64 {
    let pairs = [
        (plan::namespace::PID, process::namespaces::PID),
        (plan::namespace::MOUNT, process::namespaces::MOUNT),
        (plan::namespace::IPC, process::namespaces::IPC),
        (plan::namespace::UTS, process::namespaces::UTS),
        (plan::namespace::NET, process::namespaces::NET),
    ];
    pairs.into_iter().filter(|(bit, _)| namespaces & bit != 0).fold(0, |flags, (_, flag)| flags | flag)
}

fn memfd(name: &str) -> Result<OwnedFd, Errno> {
    memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
}

fn seal(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let file = memfd("airlock-plan")?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    fcntl_add_seals(&file, SEALS)?;
    Ok(file)
}

/// Seals of a plan; one without them is nobody's plan.
pub const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

struct Sections([Vec<u8>; plan::SECTIONS]);

fn empty_sections() -> Sections {
    Sections(Default::default())
}

impl Sections {
    fn section(&mut self, section: Section) -> &mut Vec<u8> {
        #[allow(clippy::indexing_slicing)] // a Section is below SECTIONS
        &mut self.0[section as usize]
    }

    fn layout(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut start = HEADER;
        for section in &self.0 {
            bytes.extend_from_slice(&u32::try_from(start).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(section.len()).unwrap_or(u32::MAX).to_le_bytes());
            start = start.saturating_add(section.len());
        }
        self.0.iter().for_each(|section| bytes.extend_from_slice(section));
        bytes
    }
}

fn words(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn strings<'a>(strings: impl IntoIterator<Item = &'a CString>) -> Vec<u8> {
    strings.into_iter().flat_map(|s| s.as_bytes_with_nul().iter().copied()).collect()
}

#[cfg(test)]
mod tests;
