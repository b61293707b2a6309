//! The numbered steps from an admitted request to a running command.

use bincode::{Decode, Encode};

/// A step on the way to a running command, in order; executor-helper/AUDIT.md says what each does. Never renumber: records keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Step {
    Directory = 1,
    Cgroup,
    Limits,
    Descriptors,
    Keeper,
    Plan,
    Mounts,
    Birth,
    JoinV1,
    Signals,
    Session,
    CloseDescriptors,
    OomScore,
    Rlimits,
    BoundingSet,
    Ids,
    VerifyIds,
    Chdir,
    NoNewPrivs,
    Seccomp,
    Exec,
}

impl Step {
    const NAMES: [&'static str; 21] = [
        "directory", "cgroup", "limits", "descriptors", "keeper", "plan", "mounts", "birth", "join-v1", "signals",
        "session", "close-descriptors", "oom-score", "rlimits", "bounding-set", "ids", "verify-ids", "chdir",
        "no-new-privs", "seccomp", "exec",
    ];

    /// From 1.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its name in errors and audit lines.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.number().saturating_sub(1))).copied().unwrap_or_default()
    }
}
