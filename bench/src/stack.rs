//! An Airlock of the bench's own, made by `deploy/local`, and what is asked of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use airlock_client::{Client, Identity, Target, api, is_live};
use anyhow::{Context, Result, bail, ensure};

/// Both processes with their folder. Stopped and removed when dropped.
#[derive(Debug)]
pub struct Stack {
    script: PathBuf,
    folder: PathBuf,
}

impl Stack {
    /// Starts one in `folder`, with room for what is measured. `tree` holds `deploy/local`.
    pub fn start(tree: &Path, folder: &Path) -> Result<Self> {
        let stack = Self { script: tree.join("deploy/local"), folder: folder.to_owned() };
        stack.deploy(&["up", "--prepare", "--port", "0"])?;
        stack.edit("executor.toml", "starts_per_second = 200", "starts_per_second = 100000")?;
        stack.edit("executor.toml", "jobs = 1000", "jobs = 20000")?;
        stack.edit("frontend.toml", "[tls]", "[limits]\nconnections = 4096\n\n[tls]")?;
        stack.up()?;
        Ok(stack)
    }

    /// Starts what does not run, and waits until all of it answers.
    pub fn up(&self) -> Result<()> {
        self.deploy(&["up"])
    }

    /// Stops everything and keeps the files.
    pub fn down(&self) -> Result<()> {
        self.deploy(&["down"])
    }

    /// A file or folder of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The pid of `executor` or `frontend`.
    pub fn pid(&self, process: &str) -> Result<i32> {
        let file = self.path(&format!("run/{process}.pid"));
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        text.trim().parse().with_context(|| file.display().to_string())
    }

    /// The `airlock` command as alice, ready for its words.
    pub fn airlock(&self) -> Result<Command> {
        let mut command = Command::new(self.path("bin/airlock"));
        command.env("AIRLOCK_SERVER", self.address()?).env("AIRLOCK_CERTS", self.path("certs"));
        command.env("AIRLOCK_IDENTITY", "alice").env("HOME", "/nonexistent").stdin(Stdio::null());
        Ok(command)
    }

    /// A client with a connection of its own, as alice. Within a runtime.
    pub fn client(&self) -> Result<Client> {
        let identity = Identity::load(&self.path("certs"), "alice")?;
        Ok(Client::new(Target::new(self.address()?.parse()?, None, identity)?))
    }

    /// Refuses to go on unless every guarantee is active: figures of a server that keeps less are worth nothing.
    pub async fn require_guarantees(&self) -> Result<api::GetServerInfoResponse> {
        let info = self.client()?.server_info().await?;
        let held = info.guarantees.unwrap_or_default();
        let all = [
            ("durable records", held.durable_records),
            ("limits read back", held.limits_read_back),
            ("audit", held.audit),
            ("acknowledged output", held.output_acknowledged),
        ];
        for (name, active) in all {
            ensure!(active, "the server does not report '{name}' as active; nothing is measured without it");
        }
        Ok(info)
    }

    /// The executor's socket, the database and so on must not be touched while it runs: this is the folder of its state.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn address(&self) -> Result<String> {
        let env = fs::read_to_string(self.path("env"))?;
        let line = env.lines().find_map(|line| line.strip_prefix("export AIRLOCK_SERVER="));
        Ok(line.context("the stack's env names no server")?.trim_matches('"').to_owned())
    }

    fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.path(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(text.contains(from), "{} does not hold '{from}'", path.display());
        Ok(fs::write(&path, text.replacen(from, to, 1))?)
    }

    fn deploy(&self, words: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.script);
        command.args(words).arg("--dir").arg(&self.folder).stdin(Stdio::null()).env("AIRLOCK_UP_SECONDS", "60");
        let output = command.output().with_context(|| self.script.display().to_string())?;
        if !output.status.success() {
            bail!("deploy/local {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Err(error) = self.deploy(&["down", "--purge"]) {
            eprintln!("bench: {error:#}");
        }
    }
}

/// How long a lost connection may stay away: nothing is lost here unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a start of these words asks for, with everything else as the profile has it.
pub fn request(words: &[&str]) -> api::StartJobRequest {
    api::StartJobRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..Default::default()
    }
}

/// Starts a job, which must then run or have ended well.
pub async fn start(client: &Client, words: &[&str]) -> Result<String> {
    let started = client.start(&request(words), PATIENCE).await?;
    let state = started.job.state();
    ensure!(is_live(&started.job) || state == api::JobState::Finished, "the job {words:?} is {state:?}");
    Ok(started.job.job_id)
}

/// Waits for a job's end, which must be a good one.
pub async fn finished(client: &Client, job: &str) -> Result<api::Job> {
    let (job, _) = client.wait(job, None, PATIENCE).await?;
    ensure!(job.exit_status == Some(0), "job {} ended as {:?} {:?}", job.job_id, job.state(), job.exit_status);
    Ok(job)
}
