//! executor.toml: read from a file that only root can have written, and parsed into what cannot be wrong.

mod file;
mod profile;
mod units;
mod users;

use std::{
    fmt,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

pub use profile::{FRESH, Profile, RunAs, fields, is_plain_absolute};
pub use users::{User, Users};

/// The configuration in force.
#[derive(Debug)]
pub struct Config {
    /// The one uid that may connect, and the group of the socket.
    pub frontend: (u32, u32),
    /// Where the executor listens when systemd did not make the socket.
    pub socket: PathBuf,
    /// Holds the jobs' directories.
    pub work_dir: PathBuf,
    /// The audit trail.
    pub audit: PathBuf,
    /// Below the mount point of each cgroup hierarchy.
    pub cgroup: String,
    /// airlock-keeper.
    pub keeper: PathBuf,
    /// "major:minor" for io limits; found from `work_dir` when absent.
    pub io_device: Option<String>,
    /// First uid and number of uids.
    pub pool: (u32, u32),
    /// Of all jobs together.
    pub ceilings: Ceilings,
    /// "standard" first, then by name.
    pub profiles: Vec<Profile>,
}

/// Bounds over all jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceilings {
    /// Jobs that the executor holds, ended ones included.
    pub jobs: u64,
    /// Bytes.
    pub memory: u64,
    /// Thousandths of a core; `None` for all of the host.
    pub cpu_milli: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Starts per second, over any two seconds.
    pub starts_per_second: u64,
    /// Bytes of output that wait for acknowledgement.
    pub output_in_flight: u64,
    /// Bytes of standard input on the way.
    pub input_in_flight: u64,
}

/// Why a configuration is not one: where, and what to do.
#[derive(Debug)]
pub struct ConfigError(String);

impl From<String> for ConfigError {
    fn from(why: String) -> Self {
        Self(why)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Config {
    /// Reads and parses the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let fail = |what: String| ConfigError(format!("{}{what}", path.display()));
        let text = read_trusted(path).map_err(&fail)?;
        let file: file::File = toml::from_str(&text).map_err(|e| fail(explain(&text, &e)))?;
        let users = Users::read(Path::new("/etc")).map_err(|e| fail(format!(": /etc/passwd and /etc/group: {e}")))?;
        Self::parse(file, &users).map_err(|why| fail(format!(": {why}")))
    }

    fn parse(file: file::File, users: &Users) -> Result<Self, String> {
        let frontend = match &file.frontend_user {
            file::User::Uid(uid) => (*uid, *uid),
            file::User::Name(name) => {
                let user = users
                    .user(name)
                    .ok_or_else(|| format!("frontend_user: there is no user '{name}' in /etc/passwd"))?;
                (user.uid, user.gid)
            }
        };
        if frontend.0 == 0 {
            return Err("frontend_user is root; the frontend must be an unprivileged user".into());
        }
        let (first, count) = (file.uid_pool.first, file.uid_pool.count);
        let last = first.checked_add(count).filter(|_| first >= 1000 && count > 0);
        if last.is_none() || (first..last.unwrap_or(0)).contains(&frontend.0) {
            return Err(format!(
                "uid_pool {first}+{count} must lie above 1000, below 2^32, and without the frontend's uid"
            ));
        }
        if let Some(who) = users.conflict(first, count) {
            return Err(format!("uid_pool {first}+{count} meets {who}; choose a free range"));
        }
        let absolute = |name: &str, text: &str| {
            if is_plain_absolute(text) {
                Ok(PathBuf::from(text))
            } else {
                Err(format!("{name} '{text}' is not an absolute path"))
            }
        };
        let profiles = file.profile.into_iter().map(|(name, profile)| {
            Profile::parse(&name, profile, users, frontend.0).map_err(|why| format!("[profile.{name}]: {why}"))
        });
        let mut profiles = profiles.collect::<Result<Vec<_>, _>>()?;
        // The first is everybody's default where the frontend's policy names none.
        profiles.sort_by_key(|profile| profile.name != "standard");
        if file.cgroup.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("cgroup '{}' is not a path below the cgroup mount point", file.cgroup));
        }
        Ok(Self {
            frontend,
            socket: absolute("socket", &file.socket)?,
            work_dir: absolute("work_dir", &file.work_dir)?,
            audit: absolute("audit", &file.audit)?,
            cgroup: file.cgroup,
            keeper: match file.keeper {
                Some(path) => absolute("keeper", &path)?,
                None => beside_this_program()?,
            },
            io_device: file.io_device,
            pool: (first, count),
            ceilings: Ceilings::parse(&file.ceilings)?,
            profiles,
        })
    }

    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}

impl Ceilings {
    fn parse(file: &file::Ceilings) -> Result<Self, String> {
        let size = |name: &str, text: &str| {
            let host = rustix::system::sysinfo().totalram;
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<u64>().ok()).filter(|p| (1..=100).contains(p));
            let of_host = percent.map(|p| (host / 100).saturating_mul(p));
            of_host.or_else(|| units::size(text)).ok_or_else(|| format!("ceilings.{name} '{text}' is not a size"))
        };
        let cpu = |text: &String| {
            units::cpu_milli(text).ok_or_else(|| format!("ceilings.cpu '{text}' is not a number of cores"))
        };
        Ok(Self {
            jobs: file.jobs.max(1),
            memory: size("memory", &file.memory)? & !4095,
            cpu_milli: file.cpu.as_ref().map(cpu).transpose()?,
            pids: file.pids,
            starts_per_second: file.starts_per_second.max(1),
            output_in_flight: size("output_in_flight", &file.output_in_flight)?,
            input_in_flight: size("input_in_flight", &file.input_in_flight)?,
        })
    }
}

fn beside_this_program() -> Result<PathBuf, String> {
    let own = std::env::current_exe()
        .map_err(|e| format!("keeper is not given, and this program's own place is unknown: {e}"))?;
    Ok(own.with_file_name("airlock-keeper"))
}

// Whoever can write this file can be any user of the host: nobody but root may.
fn read_trusted(path: &Path) -> Result<String, String> {
    // NONBLOCK: a pipe in its place is refused below instead of waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = rustix::fs::open(path, flags, Mode::empty());
    let mut file = match open {
        Ok(fd) => std::fs::File::from(fd),
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
    let Some((key, expected)) = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) else {
        return format!(":{line}: {message}");
    };
    let table = before.lines().rev().find(|l| l.trim_start().starts_with('[')).map(str::trim).unwrap_or("the file");
    let table = table.split_inclusive(']').next().unwrap_or(table);
    let nearest = expected.split('`').skip(1).step_by(2).min_by_key(|name| distance(key, name));
    match nearest.filter(|name| distance(key, name) <= 3) {
        Some(name) => format!(":{line}: unknown key '{key}' in {table}; did you mean '{name}'?"),
        None => format!(":{line}: unknown key '{key}' in {table}"),
    }
}

fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), i.saturating_add(1));
        let mut left = i.saturating_add(1);
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best =
                diagonal.saturating_add(usize::from(x != y)).min(left.saturating_add(1)).min(cell.saturating_add(1));
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests;
