//! The C program that asks the kernel for the same, without Airlock around it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The built program and a folder for its jobs.
#[derive(Debug)]
pub struct Kernel {
    program: PathBuf,
    folder: PathBuf,
}

/// What it does for each job.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// mkdir of a cgroup, clone3 into it, exec, wait, rmdir.
    Plain,
    /// What Airlock asks of the kernel.
    Same,
}

impl Kernel {
    /// The program that `bench/run` built; the folder must be one that any user may pass through.
    pub fn new(program: &Path, folder: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        if !folder.exists() {
            std::fs::DirBuilder::new().mode(0o711).create(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(Self { program: program.to_owned(), folder: folder.to_owned() })
    }

    /// Brings so many jobs to their end and answers jobs a second.
    pub fn rate(&self, work: Work, jobs: usize, in_flight: usize) -> Result<f64> {
        let mut command = Command::new(&self.program);
        command.arg(match work {
            Work::Plain => "plain",
            Work::Same => "same",
        });
        command.args([jobs.to_string(), in_flight.to_string()]).arg("/usr/bin/true");
        if matches!(work, Work::Same) {
            command.arg(&self.folder);
        }
        let output = command.output().with_context(|| self.program.display().to_string())?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        let seconds: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(jobs as f64 / seconds)
    }
}
