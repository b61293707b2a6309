//! executor.toml: read from a file that only root can have written, and parsed into what cannot be wrong.

mod profile;
mod units;
mod users;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

pub use profile::{FRESH, Profile, RunAs, Seccomp};
pub use users::{User, Users};

use units::Amount;

/// The configuration in force.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    frontend_user: Amount,
    /// When it was read, for people.
    #[serde(skip)]
    pub read_at: String,
    /// The one uid that may connect, and the group of the socket.
    #[serde(skip)]
    pub frontend: (u32, u32),
    /// Where the executor listens when systemd did not make the socket.
    #[serde(deserialize_with = "units::path")]
    pub socket: PathBuf,
    /// Holds the jobs' directories.
    #[serde(deserialize_with = "units::path")]
    pub work_dir: PathBuf,
    /// The audit trail.
    #[serde(deserialize_with = "units::path")]
    pub audit: PathBuf,
    /// Below the mount point of each cgroup hierarchy.
    pub cgroup: String,
    /// airlock-keeper; beside this program when it is not given.
    #[serde(deserialize_with = "units::path")]
    pub keeper: PathBuf,
    /// "major:minor" for io limits; found from `work_dir` when absent.
    pub io_device: Option<String>,
    /// First uid and number of uids.
    pub uid_pool: UidRange,
    /// Of all jobs together.
    pub ceilings: Ceilings,
    /// By name. "standard" is everybody's default where the frontend's policy names none.
    #[serde(rename = "profile")]
    pub profiles: BTreeMap<String, Profile>,
}

/// Uids that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UidRange {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Bounds over all jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ceilings {
    /// Jobs that the executor holds, ended ones included.
    pub jobs: u64,
    /// Bytes.
    #[serde(deserialize_with = "units::size_or_share")]
    pub memory: u64,
    /// Thousandths of a core; `None` for all of the host.
    #[serde(deserialize_with = "units::cores")]
    pub cpu: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Starts per second, over any two seconds.
    pub starts_per_second: u64,
    /// Bytes of output that wait for acknowledgement.
    #[serde(deserialize_with = "units::size_or_share")]
    pub output_in_flight: u64,
    /// Bytes of standard input on the way.
    #[serde(deserialize_with = "units::size_or_share")]
    pub input_in_flight: u64,
}

impl Default for Config {
    fn default() -> Self {
        let beside = std::env::current_exe().map(|own| own.with_file_name("airlock-keeper"));
        Self {
            frontend_user: Amount::Text(String::new()),
            read_at: String::new(),
            frontend: (0, 0),
            socket: "/run/airlock/executor.sock".into(),
            work_dir: "/var/lib/airlock/work".into(),
            audit: "/var/log/airlock/audit.jsonl".into(),
            cgroup: "system.slice/airlock-jobs.service".into(),
            keeper: beside.unwrap_or_else(|_| "/usr/libexec/airlock/airlock-keeper".into()),
            io_device: None,
            uid_pool: UidRange::default(),
            ceilings: Ceilings::default(),
            profiles: BTreeMap::new(),
        }
    }
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            jobs: 1000,
            memory: units::of_host(80),
            cpu: None,
            pids: 50_000,
            starts_per_second: 200,
            output_in_flight: 256 << 20,
            input_in_flight: 1 << 30,
        }
    }
}

impl Config {
    /// Reads and parses the file. The error is a sentence: where, what, and what to do.
    pub fn load(path: &Path) -> Result<Self, String> {
        let fail = |what: String| format!("{}{what}", path.display());
        let text = read_trusted(path).map_err(&fail)?;
        let users = Users::read(Path::new("/etc")).map_err(|e| fail(format!(": /etc/passwd and /etc/group: {e}")))?;
        let read_at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self::parse(&text, &users).map(|config| Self { read_at, ..config }).map_err(fail)
    }

    /// Parses the text of a file on a host with these users. The error begins with the line, where it has one.
    pub fn parse(text: &str, users: &Users) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| explain(text, &e))?;
        config.check(users).map_err(|why| format!(": {why}"))?;
        Ok(config)
    }

    fn check(&mut self, users: &Users) -> Result<(), String> {
        let name = self.frontend_user.text();
        let number = name.parse().ok().map(|uid| (uid, uid));
        let found = users.user(&name).map(|user| (user.uid, user.gid)).or(number);
        self.frontend = found.ok_or_else(|| format!("frontend_user: there is no user '{name}' in /etc/passwd"))?;
        if self.frontend.0 == 0 {
            return Err("frontend_user is root; the frontend must be an unprivileged user".into());
        }
        let UidRange { first, count } = self.uid_pool;
        let end = first.checked_add(count).filter(|_| first >= 1000 && count > 0);
        if end.is_none_or(|end| (first..end).contains(&self.frontend.0)) {
            return Err(format!(
                "uid_pool {first}+{count} must lie above 1000, below 2^32, and without the frontend's uid"
            ));
        }
        if let Some(who) = users.conflict(first, count) {
            return Err(format!("uid_pool {first}+{count} meets {who}; choose a free range"));
        }
        if self.cgroup.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("cgroup '{}' is not a path below the cgroup mount point", self.cgroup));
        }
        let (frontend, cpu, all) = (self.frontend.0, ipc_protocol::Limit::Cpu, self.ceilings.cpu.unwrap_or(u64::MAX));
        self.profiles.iter_mut().try_for_each(|(name, profile)| {
            profile.check(name, users, frontend).map_err(|why| format!("[profile.{name}]: {why}"))?;
            // A v1 group takes no more than the group of all jobs has, and nobody can get more.
            for limits in [&mut profile.limits.default, &mut profile.limits.max] {
                limits.set(cpu, limits.get(cpu).map(|cores| cores.min(all)));
            }
            Ok(())
        })
    }

    /// All profiles, as the frontend tells them to people; the default first.
    pub fn infos(&self) -> Vec<ipc_protocol::ProfileInfo> {
        let mut infos: Vec<_> = self.profiles.values().map(Profile::info).collect();
        infos.sort_by_key(|profile| profile.name != "standard");
        infos
    }
}

// Whoever can write this file can be any user of the host: nobody but root may.
fn read_trusted(path: &Path) -> Result<String, String> {
    // NONBLOCK: a pipe in its place is refused below instead of waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::LOOP) => return Err(" is a symbolic link; name the file itself".into()),
        Err(errno) => return Err(format!(": {errno}")),
    };
    let meta = file.metadata().map_err(|e| format!(": {e}"))?;
    let mode = meta.mode() & 0o7777;
    if !meta.is_file() {
        return Err(" is not a file".into());
    }
    if meta.uid() != 0 {
        return Err(format!(" belongs to uid {}, not to root; chown root it", meta.uid()));
    }
    if mode & 0o022 != 0 {
        let users = Users::read(Path::new("/etc")).unwrap_or_default();
        let group = users.group_name(meta.gid()).map_or_else(|| meta.gid().to_string(), str::to_owned);
        let whom = if mode & 0o002 != 0 { "everybody".to_owned() } else { format!("group {group}") };
        return Err(format!(" may be written by {whom} (mode {mode:04o}); chmod 0600 it"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|e| format!(": {e}"))?;
    Ok(text)
}

// ":14: unknown key 'memroy' in [profile.standard.limits]; did you mean 'memory'?"
fn explain(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let message = error.message();
    let unknown = message.strip_prefix("unknown field `").or(message.strip_prefix("unknown variant `"));
    let Some((key, expected)) = unknown.and_then(|rest| rest.split_once('`')) else {
        // serde tells the value, and only the line its key.
        let written = text.lines().nth(line.saturating_sub(1)).and_then(|written| written.split_once('='));
        let key = written.map(|(key, _)| key.trim()).filter(|key| !message.contains(key));
        return format!(":{line}: {}{message}", key.map_or(String::new(), |key| format!("{key}: ")));
    };
    let what = if text.get(before.len()..).is_some_and(|rest| rest.starts_with('"')) { "value" } else { "key" };
    let table = before.lines().rev().find(|l| l.trim_start().starts_with('[')).map(str::trim).unwrap_or("the file");
    let table = table.split_inclusive(']').next().unwrap_or(table);
    // Most letters in common: enough for a slip of the finger.
    let common =
        |name: &&str| key.chars().filter(|c| name.contains(*c)).count().saturating_sub(name.len().abs_diff(key.len()));
    let nearest = expected.split('`').skip(1).step_by(2).max_by_key(common);
    match nearest.filter(|name| common(name).saturating_mul(4) >= name.len().saturating_mul(3)) {
        Some(name) => format!(":{line}: unknown {what} '{key}' in {table}; did you mean '{name}'?"),
        None => format!(":{line}: unknown {what} '{key}' in {table}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
