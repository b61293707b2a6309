//! The sealed plan: everything the keeper does for one job, laid out so that it can be used in place, without allocation.
//!
//! ```text
//! 0    magic "ALKPLAN" and the layout's version, 8 bytes
//! 8    for each section: offset and length, u32 little endian
//! …    the sections
//! ```
//!
//! Strings are NUL-terminated and lie one behind the other; numbers are u64 little endian in the order of [`Number`]. The
//! executor writes a plan once into a memfd and seals it; whoever adopts the job later reads the same bytes.

use core::ffi::CStr;

/// Seven letters and the version of the layout.
pub const MAGIC: [u8; 8] = *b"ALKPLAN\x01";

/// Parts of a plan. Never reorder: a newer executor reads plans of an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Section {
    /// See [`Number`].
    Numbers,
    /// Supplementary groups, u64 each.
    Groups,
    /// Resource, soft and hard limit, u64 each.
    Rlimits,
    /// Paths to try for the command, in order.
    Candidates,
    /// The command's words.
    Argv,
    /// NAME=VALUE.
    Env,
    /// The folder that holds all jobs' directories, then the job's directory; empty without a fresh directory.
    Directories,
    /// Where the command starts.
    Cwd,
    /// Classic BPF of the command's system call filter; empty for none.
    JobFilter,
    /// A second filter over the command.
    JobFilter2,
    /// Classic BPF of the keeper's own filter.
    KeeperFilter,
    /// For the executor that adopts the job; the keeper never looks at it.
    Passport,
}

/// Number of sections.
pub const SECTIONS: usize = 12;

/// Numbers of a plan, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Number {
    /// The job's user.
    Uid,
    /// Its group.
    Gid,
    /// File mode creation mask.
    Umask,
    /// For /proc/self/oom_score_adj.
    OomScore,
    /// Milliseconds from start to deadline; 0 for none.
    TimeoutMs,
    /// Bits of [`namespace`].
    Namespaces,
    /// How many of the descriptors `fd::V1` are used.
    V1Groups,
}

/// Number of numbers.
pub const NUMBERS: usize = 7;

/// Namespaces that a job has for itself.
pub mod namespace {
    /// Processes, and a /proc that shows them alone.
    pub const PID: u64 = 1;
    /// Mounts: /tmp, /var/tmp, /dev/shm, and a work folder in which only the job's directory is.
    pub const MOUNT: u64 = 2;
    /// System V and POSIX message queues, shared memory.
    pub const IPC: u64 = 4;
    /// Host name.
    pub const UTS: u64 = 8;
    /// No network.
    pub const NET: u64 = 16;
}

/// Bytes of the header with the table of sections.
pub const HEADER: usize = 8 + SECTIONS * 8;

/// A plan as it lies in memory.
#[derive(Debug, Clone, Copy)]
pub struct PlanView<'a>(&'a [u8]);

impl<'a> PlanView<'a> {
    /// Takes the bytes of a plan; `None` when they do not begin as one.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() >= HEADER && bytes.starts_with(&MAGIC)).then_some(Self(bytes))
    }

    /// A section's bytes; empty when the plan does not have it.
    pub fn section(&self, section: Section) -> &'a [u8] {
        let entry = 8usize.saturating_add((section as usize).saturating_mul(8));
        let part = |at: usize| -> Option<usize> {
            let bytes = self.0.get(at..at.checked_add(4)?)?;
            usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
        };
        let slice = || {
            let start = part(entry)?;
            self.0.get(start..start.checked_add(part(entry.checked_add(4)?)?)?)
        };
        slice().unwrap_or_default()
    }

    /// One of the numbers; 0 when the plan does not have it.
    pub fn number(&self, number: Number) -> u64 {
        self.words(Section::Numbers).nth(number as usize).unwrap_or(0)
    }

    /// A section as u64s.
    pub fn words(&self, section: Section) -> impl Iterator<Item = u64> + use<'a> {
        self.section(section).chunks_exact(8).map(|c| c.try_into().map(u64::from_le_bytes).unwrap_or(0))
    }

    /// A section as strings.
    pub fn strings(&self, section: Section) -> impl Iterator<Item = &'a CStr> + use<'a> {
        self.section(section).split_inclusive(|b| *b == 0).filter_map(|s| CStr::from_bytes_with_nul(s).ok())
    }
}
