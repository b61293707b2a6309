//! Commands about this side: contexts, completions, manual.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `airlock context`
#[derive(Args, Debug)]
pub struct ContextArgs {
    /// List when nothing is said.
    #[command(subcommand)]
    pub command: Option<ContextCommand>,
}

/// What to do with contexts.
#[derive(Subcommand, Debug)]
pub enum ContextCommand {
    /// Make a context the current one
    Use {
        /// Which
        name: String,
    },
    /// Add a context and make it the current one
    Add {
        /// What to call it
        name: String,
        /// Server to speak to
        #[arg(long, value_name = "HOST[:PORT]")]
        server: String,
        /// Name that the server's certificate must carry, when it is not the host
        #[arg(long, value_name = "NAME")]
        server_name: Option<String>,
        /// Identity to be
        #[arg(long, value_name = "NAME")]
        identity: Option<String>,
        /// Folder with certificates and keys
        #[arg(long, value_name = "DIR")]
        certs: Option<PathBuf>,
    },
    /// Remove a context
    Remove {
        /// Which
        name: String,
    },
    /// List the contexts, * marks the current one
    List,
}

/// `airlock completions`
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell to complete in
    pub shell: clap_complete::Shell,
}

/// `airlock man`
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Folder to write airlock.1 and its siblings into
    pub folder: PathBuf,
}

/// `airlock help`
#[derive(Args, Debug)]
pub struct HelpArgs {
    /// A command, or: files, json
    pub topic: Vec<String>,
}
