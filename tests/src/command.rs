//! The `airlock` command, and other programs, with arguments, environment, input and a deadline.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Outcome, Running, scale};

/// A program to be run, with an empty environment but for PATH and what is set here.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    stdin: Input,
    limit: Duration,
}

/// The `airlock` command as one identity.
pub type Airlock = Tool;

#[derive(Debug)]
enum Input {
    None,
    Bytes(Vec<u8>),
    Open,
    From(File),
}

impl Tool {
    /// A program by path or name; a minute is its deadline.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        Self { command, stdin: Input::None, limit: scale::seconds(60) }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// A command for the shell of a job: `-- sh -c SCRIPT`.
    pub fn sh(self, script: &str) -> Self {
        self.args(["--", "sh", "-c", script])
    }

    /// Sets one variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in this folder.
    pub fn within_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// These bytes, then the end, are its standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Input::Bytes(bytes.into());
        self
    }

    /// This file is its standard input.
    pub fn stdin_from(mut self, file: File) -> Self {
        self.stdin = Input::From(file);
        self
    }

    /// Its standard input stays open for [`Running::types`].
    pub fn with_open_stdin(mut self) -> Self {
        self.stdin = Input::Open;
        self
    }

    /// So many seconds on an ordinary host until it counts as hanging.
    pub fn limit_seconds(mut self, seconds: u64) -> Self {
        self.limit = scale::seconds(seconds);
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.start().finish()
    }

    /// Starts it, collecting its output.
    #[track_caller]
    pub fn start(mut self) -> Running {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let told = self.told();
        let limit = self.limit;
        let (child, input) = self.spawn();
        Running::new(told, child, input, limit)
    }

    /// Starts it with standard output left to the caller, who reads it as slowly as wanted; standard error is shown.
    #[track_caller]
    pub fn start_unread(mut self) -> Child {
        self.command.stdout(Stdio::piped());
        self.spawn().0
    }

    /// Runs it in a terminal of its own, 100 columns wide, whose keys are [`Running::types`] and whose screen is standard output.
    pub fn on_a_terminal(self) -> Self {
        let words: Vec<String> = std::iter::once(self.command.get_program())
            .chain(self.command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")))
            .collect();
        let mut script = Self::new("script").args(["--quiet", "--flush", "--return", "--command"]);
        script =
            script.arg(format!("stty cols 100 rows 30; exec {}", words.join(" "))).arg("/dev/null").with_open_stdin();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                script.command.env(name, value);
            }
        }
        script.limit = self.limit;
        script.env("TERM", "xterm").env("SHELL", "/bin/sh")
    }

    #[track_caller]
    fn spawn(&mut self) -> (Child, Option<Vec<u8>>) {
        let (stdio, input) = match std::mem::replace(&mut self.stdin, Input::None) {
            Input::None => (Stdio::null(), None),
            Input::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
            Input::Open => (Stdio::piped(), None),
            Input::From(file) => (Stdio::from(file), None),
        };
        match self.command.stdin(stdio).spawn() {
            Ok(child) => (child, input),
            Err(error) => panic!("starting {}: {error}", self.told()),
        }
    }

    fn told(&self) -> String {
        let words: Vec<_> = std::iter::once(self.command.get_program())
            .chain(self.command.get_args())
            .map(|word| word.to_string_lossy().chars().take(400).collect::<String>())
            .collect();
        words.join(" ")
    }
}
