//! The operator's policy: who may ask for what, whose jobs users see, and what is kept of output.
//!
//! This is convenience and order. What can run at all is the executor's configuration, which the frontend cannot change.

mod file;
mod group;
mod rule;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{FileError, Size, parse_toml, read_text};
use crate::identity::Identity;

pub use group::{Bounds, Charge, Group, GroupFull, Sums};
pub use rule::{DecidedBy, NoRole, Standing, Terms};

use file::PolicyFile;
use rule::Rule;

/// Whose jobs a user sees. Admins and readers see all in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// Their own.
    #[default]
    Own,
    /// Everybody's; they manage their own.
    All,
}

impl Visibility {
    /// The word in the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::All => "all",
        }
    }
}

/// A place in a certificate that may carry a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleSource {
    /// Airlock's own extension.
    Extension,
    /// An organisational unit called admin, user or reader.
    Ou,
}

/// What happens when a job's log has reached its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The oldest part goes; the first MiB stays.
    #[default]
    DropOldest,
    /// The job waits in its write.
    Wait,
    /// The job is stopped.
    Stop,
}

/// The policy in force. Cheap to share; replaced whole on reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    visibility: Visibility,
    roles_from: Vec<RoleSource>,
    rules: Vec<Rule>,
    groups: usize,
    output: OutputPolicy,
}

/// What is kept of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputPolicy {
    per_job: Size,
    when_full: WhenFull,
    keep: Duration,
    keep_total: Size,
    reserve: Size,
}

impl Policy {
    /// Reads a policy file; a path of `None` means the defaults. Blocks. The error names file and line.
    pub fn load(path: Option<&Path>) -> Result<Self, FileError> {
        match path {
            None => Ok(Self::default()),
            Some(path) => Self::parse(path, &read_text(path)?),
        }
    }

    /// Parses the text of a policy file that stands in `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        parse_toml::<PolicyFile>(path, text)?.into_policy(path, text)
    }

    /// What the holder of a certificate is here: by the first rule that fits or, where the policy has no rules, by the role
    /// that the certificate carries.
    pub fn judge(&self, identity: &Identity) -> Result<Standing, NoRole> {
        rule::judge(&self.rules, &self.roles_from, identity)
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// The profiles that rules name, each with its rule as the journal shows it.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules.iter().flat_map(Rule::profiles)
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Whose jobs users see.
    pub fn visibility(&self) -> Visibility {
        self.visibility
    }

    /// Where a role may come from, in order of precedence.
    pub fn roles_from(&self) -> &[RoleSource] {
        &self.roles_from
    }

    /// What is kept of output.
    pub fn output(&self) -> &OutputPolicy {
        &self.output
    }
}

impl OutputPolicy {
    /// The cap of one job's log in bytes, where its request names none.
    pub fn per_job(&self) -> Size {
        self.per_job
    }

    /// What happens at the cap, where the request does not say.
    pub fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// How long ended jobs are kept.
    pub fn keep(&self) -> Duration {
        self.keep
    }

    /// Most bytes of all records and logs together; the oldest ended jobs go first.
    pub fn keep_total(&self) -> Size {
        self.keep_total
    }

    /// Free disk below which nothing new is started.
    pub fn reserve(&self) -> Size {
        self.reserve
    }
}
