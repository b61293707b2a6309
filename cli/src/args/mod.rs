//! The command line's grammar. Values stay text here and are understood where they are used, so that every refusal is one
//! sentence of our own.

mod certs;
mod jobs;
mod setup;
mod start;

pub use certs::{
    AuthorityArgs, CertsArgs, CertsCommand, GrantArgs, InitArgs, IssueArgs, RenewArgs, RequestArgs, RevokeArgs,
    SignArgs,
};
pub use jobs::{ArchiveArgs, AttachArgs, DeleteArgs, ListArgs, LogsArgs, SignalArgs, StatusArgs, StopArgs, WaitArgs};
pub use setup::{CompletionsArgs, ContextArgs, ContextCommand, HelpArgs, ManArgs};
pub use start::{JobArgs, RunArgs, StartArgs};

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Runs commands on another host, safely, and brings back their output and exit status.
#[derive(Parser, Debug)]
#[command(
    name = "airlock",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = false,
    after_help = "Exit statuses: the job's own for run, attach and wait; 122 the job goes on without this client; 123 output is missing; \
                  124 deadline; 125 airlock's own trouble; 126/127 not executable/not found; 128+n ended by signal n.\n\
                  Variables: AIRLOCK_SERVER AIRLOCK_SERVER_NAME AIRLOCK_IDENTITY AIRLOCK_CERTS AIRLOCK_CONTEXT AIRLOCK_CONFIG \
                  AIRLOCK_FORMAT, and AIRLOCK_CA for certs; an option stands above its variable, a variable above the context.\n\
                  Input and results without a shared disk: airlock help files; what programs read: airlock help json"
)]
pub struct Cli {
    /// Where and who.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that stand before the command word; `--format` and `-v` may also stand after it.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct GlobalArgs {
    /// Identity to be: NAME.crt and NAME.key (or NAME.pem) in the folder of certificates
    #[arg(short = 'i', long, value_name = "NAME")]
    pub identity: Option<String>,
    /// Context of the configuration to use
    #[arg(short = 'c', long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Server to speak to
    #[arg(long, value_name = "HOST[:PORT]")]
    pub server: Option<String>,
    /// Name that the server's certificate must carry, when it is not the host
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Folder with certificates and keys
    #[arg(long, value_name = "DIR")]
    pub certs: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long to wait for a server that does not answer at first, as while it is upgraded; 0 tries once
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub patience: String,
    /// Text for people or JSON for programs
    #[arg(long, global = true, value_name = "FORMAT", display_order = 900)]
    pub format: Option<Format>,
    /// Say which server and identity are used, and why
    #[arg(short = 'v', long, global = true, display_order = 901)]
    pub verbose: bool,
}

/// How answers and errors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The command words.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a command and be it: its output, its exit status, Ctrl-C
    Run(RunArgs),
    /// Start a command and print its job id
    Start(StartArgs),
    /// Come back to a job: its output from any offset, then its exit status
    Attach(AttachArgs),
    /// Show a job's output
    #[command(visible_alias = "stream")]
    Logs(LogsArgs),
    /// Show one or more jobs
    #[command(visible_aliases = ["get-status", "query"])]
    Status(StatusArgs),
    /// List jobs, newest first
    List(ListArgs),
    /// Ask jobs to end, kill what is left after the grace period, and wait for it
    Stop(StopArgs),
    /// Send a signal to a job and nothing more
    Signal(SignalArgs),
    /// Wait for jobs to end
    Wait(WaitArgs),
    /// Remove ended jobs' records and output
    Delete(DeleteArgs),
    /// Take ended jobs out of the list and keep them
    Archive(ArchiveArgs),
    /// Show who you are to the server and what you may ask for
    Whoami,
    /// Look for what is wrong between here and there
    Doctor,
    /// List, choose, add and remove contexts
    Context(ContextArgs),
    /// Make, sign, list and revoke certificates
    Certs(CertsArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man(ManArgs),
    /// Explain a command or a topic (files, json)
    Help(HelpArgs),
}

#[cfg(test)]
mod tests;
