//! What executor and keeper both know. Compiled into both programs, hence without std.

pub mod plan;
pub mod status;
pub mod steps;

/// Descriptors that the keeper finds open: the whole of what it gets beside the sealed plan.
pub mod fd {
    /// The sealed plan.
    pub const PLAN: i32 = 3;
    /// The status record, which outlives the executor.
    pub const STATUS: i32 = 4;
    /// Write end of the event pipe: a byte for each change of the status; its end is the keeper's end.
    pub const EVENT: i32 = 5;
    /// Read ends of the job's output, by stream: they keep the pipes alive while no executor lives.
    pub const PIPES: [i32; 2] = [6, 7];
    /// Spools of the job's output, by stream.
    pub const SPOOLS: [i32; 2] = [8, 9];
    /// The job's cgroup (v2).
    pub const CGROUP: i32 = 10;
    /// `tasks` of the job's groups in v1 hierarchies, where the host has them.
    pub const V1: [i32; 4] = [11, 12, 13, 14];
    /// The first number that is not handed over.
    pub const END: i32 = 15;
}

/// How long a job may go on after its deadline, in milliseconds. The executor asks it to stop at the deadline; the keeper, which
/// cannot signal another user's process, kills its cgroup so much later, whether or not an executor lives.
pub const DEADLINE_GRACE_MS: u64 = 5_000;

#[cfg(test)]
mod tests;
