//! The numbered steps from an admitted request to a running command. The numbers travel in errors and are those of AUDIT.md.

/// A step on the way to a running command, in order. Never renumber: records keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Executor: a fresh directory, given to the job's user.
    Directory = 1,
    /// Executor: fresh cgroups.
    Cgroup = 2,
    /// Executor: every limit written and read back.
    Limits = 3,
    /// Executor: pipes, spools, plan.
    Descriptors = 4,
    /// Executor: the keeper is cloned into its cgroup and its namespaces.
    Keeper = 5,
    /// Keeper: the plan is read.
    Plan = 6,
    /// Keeper: mounts of the job's own.
    Mounts = 7,
    /// Keeper: the command's process is cloned into the job's cgroup.
    Birth = 8,
    /// Child: joins the v1 groups that hold its limits.
    JoinV1 = 9,
    /// Child: signal dispositions and mask.
    Signals = 10,
    /// Child: a session and process group of its own.
    Session = 11,
    /// Child: nothing open but 0, 1, 2 and the report.
    CloseDescriptors = 12,
    /// Child: first to be killed when the host has no memory.
    OomScore = 13,
    /// Child: resource limits and umask.
    Rlimits = 14,
    /// Child: the capability bounding set is emptied.
    BoundingSet = 15,
    /// Child: groups, gid, uid.
    Ids = 16,
    /// Child: the way back must fail.
    VerifyIds = 17,
    /// Child: the working directory, entered as the job's user.
    Chdir = 18,
    /// Child: no new privileges.
    NoNewPrivs = 19,
    /// Child: the system call filter.
    Seccomp = 20,
    /// Child: the command.
    Exec = 21,
}

impl Step {
    /// All steps in order.
    pub const ALL: [Step; 21] = [
        Step::Directory,
        Step::Cgroup,
        Step::Limits,
        Step::Descriptors,
        Step::Keeper,
        Step::Plan,
        Step::Mounts,
        Step::Birth,
        Step::JoinV1,
        Step::Signals,
        Step::Session,
        Step::CloseDescriptors,
        Step::OomScore,
        Step::Rlimits,
        Step::BoundingSet,
        Step::Ids,
        Step::VerifyIds,
        Step::Chdir,
        Step::NoNewPrivs,
        Step::Seccomp,
        Step::Exec,
    ];

    /// The step with this number.
    pub fn from_number(number: u8) -> Option<Step> {
        Self::ALL.into_iter().find(|step| *step as u8 == number)
    }

    /// Its name in errors and audit lines.
    pub fn name(self) -> &'static str {
        match self {
            Step::Directory => "directory",
            Step::Cgroup => "cgroup",
            Step::Limits => "limits",
            Step::Descriptors => "descriptors",
            Step::Keeper => "keeper",
            Step::Plan => "plan",
            Step::Mounts => "mounts",
            Step::Birth => "birth",
            Step::JoinV1 => "join-v1",
            Step::Signals => "signals",
            Step::Session => "session",
            Step::CloseDescriptors => "close-descriptors",
            Step::OomScore => "oom-score",
            Step::Rlimits => "rlimits",
            Step::BoundingSet => "bounding-set",
            Step::Ids => "ids",
            Step::VerifyIds => "verify-ids",
            Step::Chdir => "chdir",
            Step::NoNewPrivs => "no-new-privs",
            Step::Seccomp => "seccomp",
            Step::Exec => "exec",
        }
    }
}
