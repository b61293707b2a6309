//! Limits of one job: as asked for, as a profile has them, and as in force.

use bincode::{Decode, Encode};
use serde::Deserialize;

/// What is limited, in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(usize)]
pub enum Limit {
    /// Thousandths of a core.
    Cpu,
    /// 1 to 10000; 100 is ordinary.
    CpuWeight,
    /// Bytes.
    Memory,
    /// Bytes of swap beyond the memory.
    Swap,
    /// Processes and threads together.
    Pids,
    /// Bytes per second.
    IoRead,
    /// Bytes per second.
    IoWrite,
    /// Operations per second.
    IoReadOps,
    /// Operations per second.
    IoWriteOps,
    /// Milliseconds from the start to the deadline.
    Timeout,
    /// Bytes of standard input. Only a profile's maximum has it.
    Input,
}

impl Limit {
    /// All of them, in their order.
    pub const ALL: [Limit; 11] = {
        use Limit::*;
        [Cpu, CpuWeight, Memory, Swap, Pids, IoRead, IoWrite, IoReadOps, IoWriteOps, Timeout, Input]
    };
    const NAMES: [&'static str; 11] = [
        "cpu", "cpu_weight", "memory", "swap", "pids", "io_read", "io_write", "io_read_ops", "io_write_ops", "timeout",
        "input",
    ];

    /// Its name in configuration, messages and audit lines.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

/// A value for some of the limits. In a request `None` means the profile's default, never "unlimited"; in a profile's maximum it
/// means that the profile sets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Limits([Option<u64>; 11]);

impl Limits {
    /// The value, if there is one.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0.get(limit as usize).copied().flatten()
    }

    /// Sets it, or takes it away.
    pub fn set(&mut self, limit: Limit, value: Option<u64>) {
        self.0.iter_mut().skip(limit as usize).take(1).for_each(|slot| *slot = value);
    }

    /// The same limits, and this one.
    pub fn with(mut self, limit: Limit, value: u64) -> Self {
        self.set(limit, Some(value));
        self
    }

    /// Those that have a value.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> + use<> {
        Limit::ALL.into_iter().zip(self.0).filter_map(|(limit, value)| value.map(|value| (limit, value)))
    }
}
