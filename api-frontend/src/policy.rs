//! The operator's policy: whose jobs users see, where roles come from, and what is kept of output.
//!
//! This is convenience and order. What can run at all is the executor's configuration, which the frontend cannot change.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{FileError, Size, Span, parse_toml, read_toml};

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

impl Default for Policy {
    fn default() -> Self {
        Self::from(PolicyFile::default())
    }
}

impl Policy {
    /// Reads a policy file; a path of `None` means the defaults. Blocks.
    pub fn load(path: Option<&Path>) -> Result<Self, FileError> {
        match path {
            None => Ok(Self::default()),
            Some(path) => Ok(read_toml::<PolicyFile>(path)?.into()),
        }
    }

    /// Parses the text of a policy file that stands in `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        Ok(parse_toml::<PolicyFile>(path, text)?.into())
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

    /// Most bytes of all logs together; the oldest ended jobs go first.
    pub fn keep_total(&self) -> Size {
        self.keep_total
    }

    /// Free disk below which nothing new is started.
    pub fn reserve(&self) -> Size {
        self.reserve
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyFile {
    visibility: Visibility,
    roles_from: Vec<RoleSource>,
    output: OutputTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OutputTable {
    per_job: Size,
    when_full: WhenFull,
    keep: Span,
    keep_total: Size,
    reserve: Size,
}

impl Default for PolicyFile {
    fn default() -> Self {
        Self {
            visibility: Visibility::Own,
            roles_from: vec![RoleSource::Extension, RoleSource::Ou],
            output: OutputTable::default(),
        }
    }
}

impl Default for OutputTable {
    fn default() -> Self {
        Self {
            per_job: Size::from_bytes(10 * GIB),
            when_full: WhenFull::DropOldest,
            keep: Span::new(Duration::from_secs(30 * 86_400)),
            keep_total: Size::from_bytes(200 * GIB),
            reserve: Size::from_bytes(2 * GIB),
        }
    }
}

impl From<PolicyFile> for Policy {
    fn from(file: PolicyFile) -> Self {
        let output = OutputPolicy {
            per_job: file.output.per_job,
            when_full: file.output.when_full,
            keep: file.output.keep.duration(),
            keep_total: file.output.keep_total,
            reserve: file.output.reserve,
        };
        Self { visibility: file.visibility, roles_from: file.roles_from, output }
    }
}

const GIB: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Policy, String> {
        Policy::parse(Path::new("/etc/airlock/policy.toml"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn an_absent_policy_and_an_empty_one_are_the_documented_defaults() {
        let policy = Policy::load(None).unwrap();
        assert_eq!(parse("").unwrap(), policy);
        assert_eq!(policy.visibility(), Visibility::Own);
        assert_eq!(policy.roles_from(), [RoleSource::Extension, RoleSource::Ou]);
        let output = policy.output();
        assert_eq!(output.per_job().to_string(), "10G");
        assert_eq!(output.when_full(), WhenFull::DropOldest);
        assert_eq!(output.keep(), Duration::from_secs(30 * 86_400));
        assert_eq!((output.keep_total().to_string(), output.reserve().to_string()), ("200G".into(), "2G".into()));
    }

    #[test]
    fn every_setting_is_heeded() {
        let text = "visibility = \"all\"\nroles_from = []\n[output]\nper_job = \"1M\"\nwhen_full = \"stop\"\nkeep = \"1h30m\"\n\
                    keep_total = \"5G\"\nreserve = 0\n";
        let policy = parse(text).unwrap();
        assert_eq!((policy.visibility(), policy.roles_from()), (Visibility::All, &[][..]));
        let output = policy.output();
        assert_eq!((output.per_job().bytes(), output.when_full()), (1 << 20, WhenFull::Stop));
        assert_eq!((output.keep(), output.keep_total().bytes()), (Duration::from_secs(5400), 5 << 30));
        assert_eq!(output.reserve().bytes(), 0);
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_said_with_its_line() {
        for (text, said) in [
            ("[output]\nper_jobs = 1\n", ":2: unknown key 'per_jobs' in [output]; did you mean 'per_job'?"),
            ("visibility = \"some\"\n", ":1: unknown variant `some`, expected `own` or `all`"),
            (
                "\n[output]\nkeep = \"soon\"\n",
                ":3: 'soon' is not a duration; use numbers with s, m, h or d, such as 1h30m",
            ),
            ("[output]\nkeep_total = \"5GB\"\n", ":2: '5GB' could mean powers of 1000 or 1024; write G (1024)"),
        ] {
            assert_eq!(parse(text).unwrap_err(), format!("/etc/airlock/policy.toml{said}"));
        }
    }
}
