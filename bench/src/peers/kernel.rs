//! The C program that asks the kernel for the same, without Airlock around it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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

    /// Starts so many jobs that sleep, all at once, and holds them.
    pub fn hold(&self, jobs: usize) -> Result<Held> {
        let mut command = Command::new(&self.program);
        command.arg("hold").arg(jobs.to_string()).args(["/usr/bin/sleep", "infinity"]).arg(&self.folder);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        BufReader::new(process.stdout.take().context("no standard output")?).read_line(&mut said)?;
        let (first, last) = said.trim().split_once(' ').with_context(|| format!("{command:?} said '{said}'"))?;
        Ok(Held { first: first.parse()?, last: last.parse()?, process })
    }
}

/// Jobs that the C program holds.
#[derive(Debug)]
pub struct Held {
    process: Child,
    /// Starts per second of the first hundred, 16 at a time.
    pub first: f64,
    /// Starts per second of the last two thirds.
    pub last: f64,
}

impl Held {
    /// Ends them, and waits until nothing of them is left.
    pub fn end(mut self) -> Result<()> {
        let ended = self.process.wait()?; // closes its standard input first
        ensure!(ended.success(), "the held jobs ended with {ended}");
        Ok(())
    }
}
