//! `run` and `start`.

use clap::{ArgAction, Args, value_parser};
use std::{ffi::OsString, path::PathBuf};

/// `airlock run`
#[derive(Args, Debug)]
#[command(override_usage = "airlock run [OPTIONS] [--] COMMAND [ARG]...")]
pub struct RunArgs {
    /// Print the job id and leave, as `start` does
    #[arg(short = 'd', long)]
    pub detach: bool,
    /// Time between asking the job to stop, when this command is interrupted, and killing it
    #[arg(long, value_name = "DURATION", default_value = "10s", conflicts_with = "detach")]
    pub grace: String,
    /// The job.
    #[command(flatten)]
    pub job: JobArgs,
}

/// `airlock start`
#[derive(Args, Debug)]
#[command(override_usage = "airlock start [OPTIONS] [--] COMMAND [ARG]...")]
pub struct StartArgs {
    /// The job.
    #[command(flatten)]
    pub job: JobArgs,
}

/// What to run, with what, how long.
#[derive(Args, Debug, Default)]
pub struct JobArgs {
    /// Name to call the job by; free again when it has ended
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Profile to run in; airlock whoami lists yours
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Directory to run in, if the profile lets it; else the profile's default, as a rule a fresh and empty one
    #[arg(short = 'w', long, visible_alias = "workdir", value_name = "DIR")]
    pub cwd: Option<String>,
    /// Set a variable, or take its value from here
    #[arg(short = 'e', long, value_name = "K[=V]", action = ArgAction::Append)]
    pub env: Vec<OsString>,
    /// Set variables from the lines of a file
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub env_file: Vec<PathBuf>,
    /// Read standard input to its end, then start the job with it
    #[arg(long)]
    pub stdin: bool,
    /// One pipe for both streams: exact order, all of it on stdout
    #[arg(long)]
    pub merge: bool,
    /// Processor time: 1.5 or 150% is one and a half cores
    #[arg(long, visible_alias = "cpus", value_name = "CORES")]
    pub cpu: Option<String>,
    /// Share under contention, 1 to 10000; 100 is ordinary
    #[arg(long, value_name = "WEIGHT")]
    pub cpu_weight: Option<String>,
    /// Memory: 512M, 1.5G (powers of 1024)
    #[arg(short = 'm', long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Swap beyond the memory
    #[arg(long, value_name = "SIZE")]
    pub swap: Option<String>,
    /// Processes and threads
    #[arg(long, visible_alias = "pids-limit", value_name = "N")]
    pub pids: Option<String>,
    /// Bytes read per second
    #[arg(long, value_name = "SIZE")]
    pub io_read: Option<String>,
    /// Bytes written per second
    #[arg(long, value_name = "SIZE")]
    pub io_write: Option<String>,
    /// Reads per second
    #[arg(long, value_name = "N")]
    pub io_read_ops: Option<String>,
    /// Writes per second
    #[arg(long, value_name = "N")]
    pub io_write_ops: Option<String>,
    /// Deadline from the start on: 30s, 5m, 1h30m, 7d
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Output to keep
    #[arg(long, value_name = "SIZE")]
    pub output_limit: Option<String>,
    /// What to do when that much is kept: drop-oldest, wait or stop
    #[arg(long, value_name = "ACTION")]
    pub output_full: Option<String>,
    /// Id of this start; repeating it starts nothing twice
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// Write the job as JSON to FILE, at its start and, while this command stays with it, again at its end
    #[arg(long, value_name = "FILE")]
    pub result: Option<PathBuf>,
    /// How long to try to come back after a lost connection
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub reconnect: String,
    /// Answered with what to write instead.
    #[arg(short = 'i', hide = true, action = ArgAction::Count)]
    pub interactive: u8,
    /// Answered with what to write instead.
    #[arg(short = 't', hide = true, action = ArgAction::Count)]
    pub terminal: u8,
    /// The command and its words; options end at the first word without a dash
    #[arg(trailing_var_arg = true, value_name = "COMMAND", value_parser = value_parser!(OsString))]
    pub command: Vec<OsString>,
}
