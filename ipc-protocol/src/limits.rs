//! Limits of one job, as asked for and as in force.

use bincode::{Decode, Encode};

/// What a request asks for; `None` means the profile's default, never "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct LimitsAsk {
    /// Thousandths of a core.
    pub cpu_milli: Option<u64>,
    /// 1 to 10000; 100 is ordinary.
    pub cpu_weight: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of swap beyond `memory`.
    pub swap: Option<u64>,
    /// Processes and threads together.
    pub pids: Option<u64>,
    /// Bytes per second.
    pub io_read: Option<u64>,
    /// Bytes per second.
    pub io_write: Option<u64>,
    /// Operations per second.
    pub io_read_ops: Option<u64>,
    /// Operations per second.
    pub io_write_ops: Option<u64>,
    /// Milliseconds from the start to the deadline.
    pub timeout_ms: Option<u64>,
}

/// What is in force. The first five always are; io and the deadline only where profile or request say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// 1 to 10000; 100 is ordinary.
    pub cpu_weight: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes of swap beyond `memory`.
    pub swap: u64,
    /// Processes and threads together.
    pub pids: u64,
    /// Bytes per second.
    pub io_read: Option<u64>,
    /// Bytes per second.
    pub io_write: Option<u64>,
    /// Operations per second.
    pub io_read_ops: Option<u64>,
    /// Operations per second.
    pub io_write_ops: Option<u64>,
    /// Milliseconds from the start to the deadline.
    pub timeout_ms: Option<u64>,
}
