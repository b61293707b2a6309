//! What stands beside Airlock.

pub mod kernel;
pub mod ssh;
pub mod tls;

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest, Sha256};

/// Runs a command to its good end and answers the milliseconds it took. Its output goes nowhere.
pub fn milliseconds(command: &mut Command) -> Result<f64> {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(took)
}

/// Where commands pour output that is to be timed: memory whose pages exist already, so that nobody pays for them.
#[derive(Debug)]
pub struct Basin {
    memory: File,
    bytes: u64,
    sha256: [u8; 32],
}

impl Basin {
    /// For the content of a file.
    pub fn of(file: &std::path::Path) -> Result<Self> {
        let content = std::fs::read(file)?;
        let mut memory = File::from(memfd_create("bench", MemfdFlags::CLOEXEC)?);
        memory.write_all(&content)?;
        Ok(Self { memory, bytes: content.len() as u64, sha256: Sha256::digest(&content).into() })
    }

    /// How many bytes a command must pour.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Runs a command with this as its output, checks that every byte came, and answers MiB/s. Looking for the end and hashing
    /// are not timed.
    pub fn fill(&mut self, command: &mut Command) -> Result<f64> {
        let mut marks = [0u8; 4096];
        self.memory.seek(SeekFrom::Start(0))?;
        // Bytes of the last round must not pass for those of this one.
        self.memory.read_exact(&mut marks[..usize::try_from(self.bytes.min(4096))?])?;
        marks.iter_mut().for_each(|byte| *byte = !*byte);
        for page in (0..self.bytes).step_by(1 << 16) {
            self.memory.seek(SeekFrom::Start(page))?;
            self.memory.write_all(&marks[..usize::try_from((self.bytes - page).min(64))?])?;
        }
        self.memory.seek(SeekFrom::Start(0))?;
        let begun = Instant::now();
        let status = command.stdin(Stdio::null()).stdout(Stdio::from(self.memory.try_clone()?)).status()?;
        let took = begun.elapsed().as_secs_f64();
        ensure!(status.success(), "{command:?} ended with {status}");
        let came = self.memory.stream_position()?;
        ensure!(came == self.bytes, "{command:?} gave {came} bytes of {}", self.bytes);
        self.memory.seek(SeekFrom::Start(0))?;
        let hash = sha256(&mut self.memory)?;
        ensure!(hash == self.sha256, "{command:?} gave other bytes: the SHA-256 differs");
        Ok(mib(self.bytes) / took)
    }
}

fn sha256(source: &mut impl Read) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match source.read(&mut piece)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&piece[..length]),
        }
    }
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
