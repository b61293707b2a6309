//! The parts of the bench, each for some rows of the table.

pub mod cold;
pub mod followers;
pub mod idle;
pub mod latency;
pub mod lines;
pub mod list;
pub mod rate;
pub mod stream;

use std::{fs::File, io::Write, path::PathBuf};

use anyhow::Result;
use tokio::runtime::Runtime;

use crate::{
    measure::Findings,
    peers::{kernel::Kernel, ssh::Ssh},
    stack::Stack,
};

/// Everything that a part needs.
#[derive(Debug)]
pub struct Bench {
    /// Airlock.
    pub stack: Stack,
    /// ssh with its own choice of cipher.
    pub ssh: Ssh,
    /// ssh with the fastest cipher that it has here.
    pub fast_ssh: Ssh,
    /// The bare kernel.
    pub kernel: Kernel,
    /// For clients in this process.
    pub runtime: Runtime,
    /// Small sizes and few rounds: to see that it works, not how fast.
    pub short: bool,
}

/// One part: its name for `--only`, and what it does.
pub type Part = (&'static str, fn(&Bench) -> Result<Findings>);

/// All of them, in the order of the table.
pub const PARTS: &[Part] = &[
    ("cold", cold::run),
    ("rate", rate::run),
    ("stream", stream::run),
    ("followers", followers::run),
    ("latency", latency::run),
    ("idle", idle::run),
    ("list", list::run),
];

impl Bench {
    /// One of two sizes.
    pub fn size<T>(&self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }

    /// A file of this many random bytes that any user may read.
    pub fn random_file(&self, bytes: u64) -> Result<PathBuf> {
        let path = self.stack.path(&format!("random-{bytes}"));
        if !path.exists() {
            let mut random = File::open("/dev/urandom")?;
            let mut seed = vec![0u8; 1 << 20];
            std::io::Read::read_exact(&mut random, &mut seed)?;
            let mut file = File::create(&path)?;
            let mut left = bytes;
            // Random enough: each MiB differs from the others in its first bytes, and nothing on the way compresses.
            for number in 0u64.. {
                if left == 0 {
                    break;
                }
                seed[..8].copy_from_slice(&number.to_le_bytes());
                let length = left.min(seed.len() as u64);
                file.write_all(&seed[..usize::try_from(length)?])?;
                left -= length;
            }
        }
        Ok(path)
    }
}
