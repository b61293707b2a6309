//! Commands about jobs that exist. A JOB is an id, a unique prefix of one (4 characters or more), a name, or `last`.

use clap::Args;
use std::path::PathBuf;

/// `airlock attach`
#[derive(Args, Debug)]
pub struct AttachArgs {
    /// Id, unique prefix, name or last
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Byte of the output to begin at, both streams counted together
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub from: u64,
    /// Time between being asked to stop and being killed
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub grace: String,
    /// Write the job as JSON to FILE, now and again at its end
    #[arg(long, value_name = "FILE")]
    pub result: Option<PathBuf>,
    /// How long to try to come back after a lost connection
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub reconnect: String,
}

/// `airlock logs`
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// Id, unique prefix, name or last
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Go on until the job has ended
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Byte of the output to begin at, both streams counted together
    #[arg(long, value_name = "OFFSET", conflicts_with_all = ["tail", "since"])]
    pub from: Option<u64>,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "LINES", conflicts_with = "since")]
    pub tail: Option<u64>,
    /// From this time on: RFC 3339, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only the job's standard output
    #[arg(long, conflicts_with = "stderr")]
    pub stdout: bool,
    /// Only the job's standard error (on our standard output)
    #[arg(long)]
    pub stderr: bool,
    /// Put time and stream (O or E) before each line
    #[arg(long)]
    pub timestamps: bool,
    /// How long to try to come back after a lost connection
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub reconnect: String,
}

/// `airlock status`
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Ids, unique prefixes, names or last
    #[arg(value_name = "JOB", required = true)]
    pub jobs: Vec<String>,
}

/// `airlock list`
#[derive(Args, Debug, Default)]
pub struct ListArgs {
    /// Archived jobs and those that ended more than 7 days ago, too
    #[arg(short = 'a', long)]
    pub all: bool,
    /// At most so many
    #[arg(short = 'n', value_name = "N")]
    pub number: Option<usize>,
    /// Only full ids
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Only these states, separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Only jobs that have not ended
    #[arg(long)]
    pub live: bool,
    /// Only jobs of this name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only jobs of this owner, for those who may see others'
    #[arg(long, value_name = "OWNER")]
    pub owner: Option<String>,
    /// Only jobs of this profile
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Created at or after this time: RFC 3339, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Created before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only jobs whose command line contains this text
    #[arg(long, value_name = "TEXT")]
    pub command: Option<String>,
    /// Do not cut cells to fit the terminal
    #[arg(long)]
    pub wide: bool,
}

impl ListArgs {
    /// Whether they leave out jobs for another reason than age and number.
    pub fn selects(&self) -> bool {
        let texts = [&self.name, &self.owner, &self.profile, &self.since, &self.until, &self.command];
        self.live || !self.state.is_empty() || texts.iter().any(|text| text.is_some())
    }
}

/// `airlock stop`
#[derive(Args, Debug)]
pub struct StopArgs {
    /// Ids, unique prefixes, names or last
    #[arg(value_name = "JOB", conflicts_with = "all")]
    pub jobs: Vec<String>,
    /// All your live jobs; everybody's for an admin
    #[arg(long)]
    pub all: bool,
    /// With --all: only jobs of this owner
    #[arg(long, value_name = "OWNER", conflicts_with = "jobs")]
    pub owner: Option<String>,
    /// Signal to ask with
    #[arg(short = 's', long, value_name = "SIGNAL", default_value = "TERM")]
    pub signal: String,
    /// Time until what is left is killed; 0 kills at once
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub grace: String,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// `airlock signal`
#[derive(Args, Debug)]
pub struct SignalArgs {
    /// Id, unique prefix, name or last
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Name or number: HUP, SIGUSR1, 12
    #[arg(value_name = "SIGNAL")]
    pub signal: String,
}

/// `airlock wait`
#[derive(Args, Debug)]
pub struct WaitArgs {
    /// Ids, unique prefixes, names or last; with --any and none: all your live jobs
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Wait for the first of them only
    #[arg(long)]
    pub any: bool,
    /// Wait no longer than this
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// How long to try to come back after a lost connection
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub reconnect: String,
}

/// `airlock delete`
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// Ids, unique prefixes, names or last
    #[arg(value_name = "JOB", conflicts_with = "ended")]
    pub jobs: Vec<String>,
    /// All your ended jobs (everybody's for an admin) that the following options select; archived ones stay
    #[arg(long)]
    pub ended: bool,
    /// With --ended: longer ago than this
    #[arg(long, value_name = "DURATION", conflicts_with = "jobs")]
    pub older_than: Option<String>,
    /// With --ended: in one of these states, separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', conflicts_with = "jobs")]
    pub state: Vec<String>,
    /// Say what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// `airlock archive`
#[derive(Args, Debug)]
pub struct ArchiveArgs {
    /// Ids, unique prefixes, names or last
    #[arg(value_name = "JOB", required = true)]
    pub jobs: Vec<String>,
}
