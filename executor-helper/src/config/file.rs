//! executor.toml as it is written. Nothing here is trusted to make sense; see `profile` and `mod`.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub frontend_user: User,
    #[serde(default = "default_socket")]
    pub socket: String,
    #[serde(default = "default_work_dir")]
    pub work_dir: String,
    #[serde(default = "default_audit")]
    pub audit: String,
    #[serde(default = "default_cgroup")]
    pub cgroup: String,
    pub keeper: Option<String>,
    pub io_device: Option<String>,
    pub uid_pool: UidPool,
    #[serde(default)]
    pub ceilings: Ceilings,
    #[serde(default)]
    pub profile: BTreeMap<String, Profile>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum User {
    Uid(u32),
    Name(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UidPool {
    pub first: u32,
    pub count: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceilings {
    pub jobs: u64,
    pub memory: String,
    pub cpu: Option<String>,
    pub pids: u64,
    pub starts_per_second: u64,
    pub output_in_flight: String,
    pub input_in_flight: String,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            jobs: 1000,
            memory: "80%".into(),
            cpu: None,
            pids: 50_000,
            starts_per_second: 200,
            output_in_flight: "256M".into(),
            input_in_flight: "1G".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub run_as: String,
    #[serde(default)]
    pub groups: Vec<String>,
    pub command: Option<Vec<String>>,
    #[serde(default = "default_path")]
    pub path: String,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub env_allow: Vec<String>,
    #[serde(default = "default_cwd")]
    pub cwd: Vec<String>,
    #[serde(default = "default_umask")]
    pub umask: String,
    #[serde(default)]
    pub namespaces: Vec<String>,
    #[serde(default = "default_seccomp")]
    pub seccomp: String,
    #[serde(default = "default_oom_score")]
    pub oom_score: u16,
    #[serde(default)]
    pub rlimits: BTreeMap<String, Rlimit>,
    #[serde(default)]
    pub limits: Limits,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Rlimit {
    Both(u64),
    SoftHard(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub cpu: Range,
    pub cpu_weight: Range,
    pub memory: Range,
    pub swap: Range,
    pub pids: Range,
    pub io_read: Range,
    pub io_write: Range,
    pub io_read_ops: Range,
    pub io_write_ops: Range,
    pub timeout: Range,
    pub input: Range,
}

// What a profile does not mention is bounded all the same.
impl Default for Limits {
    fn default() -> Self {
        let both = |amount: &str| {
            let amount = || Some(Amount::Text(amount.into()));
            Range { default: amount(), max: amount() }
        };
        Self {
            cpu: both("2"),
            cpu_weight: Range::default(),
            memory: both("1G"),
            swap: both("0"),
            pids: both("512"),
            io_read: Range::default(),
            io_write: Range::default(),
            io_read_ops: Range::default(),
            io_write_ops: Range::default(),
            timeout: Range::default(),
            input: Range::default(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Range {
    pub default: Option<Amount>,
    pub max: Option<Amount>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Amount {
    Number(u64),
    Text(String),
}

fn default_socket() -> String {
    "/run/airlock/executor.sock".into()
}
fn default_work_dir() -> String {
    "/var/lib/airlock/work".into()
}
fn default_audit() -> String {
    "/var/log/airlock/audit.jsonl".into()
}
fn default_cgroup() -> String {
    "system.slice/airlock-jobs.service".into()
}
fn default_path() -> String {
    "/usr/local/bin:/usr/bin:/bin".into()
}
fn default_cwd() -> Vec<String> {
    vec!["fresh".into()]
}
fn default_umask() -> String {
    "0022".into()
}
fn default_seccomp() -> String {
    "default".into()
}
fn default_oom_score() -> u16 {
    500
}
