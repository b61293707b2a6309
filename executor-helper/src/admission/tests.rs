//! Admission: each refusal with its class and field, and that nothing can be asked for which the file does not allow.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod fingerprints;
mod plans;
mod properties;
mod refusals;

use std::sync::LazyLock;

use ipc_protocol::{Claimed, JobId, Limits, Spawn};

use super::{JobPlan, Refused, admit};
use crate::config::{Config, tests::parsed};

pub(crate) const JOB: JobId = JobId::from_bytes([7; 16]);
const POOL_UID: u32 = 1_900_000_042;
const EPOCH: u64 = 12;

/// Profiles of every kind on one host.
pub(crate) fn config() -> &'static Config {
    static CONFIG: LazyLock<Config> = LazyLock::new(|| parsed(TEXT).unwrap());
    &CONFIG
}

const TEXT: &str = r#"
frontend_user = "airlock"
work_dir = "/work"
uid_pool = { first = 1900000000, count = 65536 }

[profile.standard]
run_as = "pool"
env = { LANG = "de_DE.UTF-8", TOOL = "x", LD_LIBRARY_PATH = "/opt/lib" }
env_allow = ["CI*", "LANG", "HOME", "LD_PRELOAD", "AIRLOCK_JOB_ID"]
cwd = ["fresh", "/srv/src"]
namespaces = ["pid", "mount"]
limits.cpu = { default = "2", max = "8" }
limits.memory = { default = "1G", max = 17179869185 }
limits.pids = { default = 512, max = 4096 }
limits.timeout = { default = "24h", max = "7d" }
limits.io_write = { max = "100M" }
limits.input = { max = "256M" }

[profile.open]
run_as = "pool"
env_allow = ["*"]
limits.timeout = { max = "10m" }

[profile.deploy-web]
run_as = "deploy"
command = ["/usr/local/bin/deploy-web", "--now"]
env_allow = ["VERSION"]
cwd = ["/srv/www"]

[profile.ops]
run_as = "ops"
groups = ["docker"]
seccomp = "none"
umask = "0077"
oom_score = 2000
rlimits = { nofile = "1024:4096" }
cwd = ["/home/ops", "fresh"]
"#;

/// The least that is a request.
pub(crate) fn spawn(profile: &str, words: &[&str]) -> Spawn {
    Spawn {
        job: JOB,
        claimed: Claimed { owner: "alice".into(), ..Claimed::default() },
        profile: profile.into(),
        argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        env: Vec::new(),
        cwd: None,
        limits: Limits::default(),
        input: None,
        merge: false,
    }
}

fn plan(spawn: &Spawn) -> JobPlan {
    admit(spawn, config(), POOL_UID, EPOCH).unwrap()
}

fn refusal(spawn: &Spawn) -> Refused {
    admit(spawn, config(), POOL_UID, EPOCH).unwrap_err()
}
