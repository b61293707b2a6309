//! Profiles: what a job can be at all. Built only from the root-owned file; the one place where a user is chosen.

use ipc_protocol::{LimitsAsk, NAME_MAX, ProfileInfo};

use super::{
    file::{self, Amount, Range, Rlimit},
    units,
    users::{User, Users},
};
use crate::shared::plan::namespace;

/// Whom a job runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunAs {
    /// A uid of the pool, for this job alone.
    Pool,
    /// This user, with these supplementary groups.
    Named(User, Vec<u32>),
}

/// A profile that makes sense. Fields are private to this module's constructor by convention of reading: nothing writes them.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// User.
    pub run_as: RunAs,
    /// The fixed command; a request then brings no words.
    pub command: Option<Vec<String>>,
    /// Where a bare command is looked up.
    pub path: String,
    /// Base environment.
    pub env: Vec<(String, String)>,
    /// Names a request may set; `*` at the end only.
    pub env_allow: Vec<String>,
    /// "fresh" and absolute paths; the first is the default.
    pub cwd: Vec<String>,
    /// File mode creation mask.
    pub umask: u32,
    /// Bits of `namespace`.
    pub namespaces: u64,
    /// Whether the default system call filter binds the job.
    pub seccomp: bool,
    /// For oom_score_adj, 0 to 1000.
    pub oom_score: u16,
    /// Resource, soft, hard.
    pub rlimits: Vec<[u64; 3]>,
    /// What a request gets that says nothing.
    pub default: LimitsAsk,
    /// The most it may ask for.
    pub max: LimitsAsk,
    /// Most bytes of standard input.
    pub input_max: u64,
}

/// Directory entry of a profile that stands for a fresh one.
pub const FRESH: &str = "fresh";

impl Profile {
    /// Parses one profile; the error is the rest of a sentence that begins with where it stands.
    pub fn parse(name: &str, file: file::Profile, users: &Users, frontend_uid: u32) -> Result<Self, String> {
        if name.is_empty()
            || name.len() > NAME_MAX
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            return Err("its name may have letters, digits, '-', '_' and '.' only".into());
        }
        let run_as = run_as(&file, users, frontend_uid)?;
        if file.command.as_ref().is_some_and(|c| c.first().is_none_or(|first| !first.starts_with('/'))) {
            return Err("command must begin with an absolute path".into());
        }
        if file.cwd.is_empty() || file.cwd.iter().any(|d| d != FRESH && !is_plain_absolute(d)) {
            return Err("cwd must list \"fresh\" or absolute paths without '..'".into());
        }
        if file.path.split(':').any(|d| !is_plain_absolute(d)) {
            return Err("path must be absolute folders separated by ':'".into());
        }
        let umask = u32::from_str_radix(&file.umask, 8).ok().filter(|m| *m <= 0o777);
        let seccomp = match file.seccomp.as_str() {
            "default" => true,
            "none" => false,
            other => return Err(format!("seccomp '{other}' is neither \"default\" nor \"none\"")),
        };
        let limits = &file.limits;
        let (default, max) = (asks(limits, |r| r.default.as_ref())?, asks(limits, |r| r.max.as_ref())?);
        check_limits(&default, &max)?;
        let rlimits = file.rlimits.iter().map(|(name, value)| rlimit(name, value)).collect::<Result<_, _>>()?;
        Ok(Self {
            name: name.into(),
            run_as,
            command: file.command,
            path: file.path,
            env: file.env.into_iter().collect(),
            env_allow: file.env_allow,
            cwd: file.cwd,
            umask: umask.ok_or("umask is not an octal number such as \"0022\"")?,
            namespaces: namespaces(&file.namespaces)?,
            seccomp,
            oom_score: file.oom_score.min(1000),
            rlimits,
            default,
            max,
            input_max: amount(limits.input.max.as_ref(), "input", units::size)?.unwrap_or(0),
        })
    }

    /// As the frontend tells it to people.
    pub fn info(&self) -> ProfileInfo {
        ProfileInfo {
            name: self.name.clone(),
            default: self.default,
            max: self.max,
            input_max: self.input_max,
            command: self.command.clone().unwrap_or_default(),
            network: self.namespaces & namespace::NET == 0,
            fresh_cwd: self.cwd.iter().any(|d| d == FRESH),
            cwd: self.cwd.iter().filter(|d| *d != FRESH).cloned().collect(),
            path: self.path.clone(),
        }
    }
}

// uid 0, the frontend and members of groups that the profile does not list are refused whatever the file says.
fn run_as(file: &file::Profile, users: &Users, frontend_uid: u32) -> Result<RunAs, String> {
    if file.run_as == "pool" {
        return if file.groups.is_empty() { Ok(RunAs::Pool) } else { Err("a pooled user has no groups".into()) };
    }
    let user = users.user(&file.run_as).ok_or_else(|| format!("there is no user '{}' in /etc/passwd", file.run_as))?;
    if user.uid == 0 || user.gid == 0 {
        return Err(format!("run_as '{}' is root: no profile can run as uid or gid 0", user.name));
    }
    if user.uid == frontend_uid {
        return Err(format!("run_as '{}' is the frontend's own user", user.name));
    }
    if let Some(group) = users.groups_of(user).find(|group| !file.groups.iter().any(|g| g == group)) {
        return Err(format!("user '{}' is in group '{group}', which groups = [...] does not list", user.name));
    }
    let gid = |name: &String| match users.group(name) {
        Some(0) => Err("no profile can have group 0".to_owned()),
        Some(gid) => Ok(gid),
        None => Err(format!("there is no group '{name}' in /etc/group")),
    };
    let groups = file.groups.iter().map(gid).collect::<Result<Vec<_>, _>>()?;
    if groups.len() > 64 { Err("at most 64 groups".into()) } else { Ok(RunAs::Named(user.clone(), groups)) }
}

/// An absolute path without `.` and `..` and without an empty part.
pub fn is_plain_absolute(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0'))
}

fn namespaces(names: &[String]) -> Result<u64, String> {
    names
        .iter()
        .try_fold(0, |bits, name| {
            Ok(bits
                | match name.as_str() {
                    "pid" => namespace::PID,
                    "mount" => namespace::MOUNT,
                    "ipc" => namespace::IPC,
                    "uts" => namespace::UTS,
                    "net" => namespace::NET,
                    other => return Err(format!("namespace '{other}' is none of pid, mount, ipc, uts, net")),
                })
        })
        .and_then(|bits| {
            // A process namespace without its own /proc would show the host's processes under the wrong numbers.
            if bits & namespace::PID != 0 && bits & namespace::MOUNT == 0 {
                Err("namespace pid needs mount".into())
            } else {
                Ok(bits)
            }
        })
}

fn rlimit(name: &str, value: &Rlimit) -> Result<[u64; 3], String> {
    let resource = match name {
        "cpu" => 0,
        "fsize" => 1,
        "stack" => 3,
        "core" => 4,
        "nofile" => 7,
        "memlock" => 8,
        other => return Err(format!("rlimit '{other}' is none of cpu, fsize, stack, core, nofile, memlock")),
    };
    let pair = match value {
        Rlimit::Both(n) => Some((*n, *n)),
        Rlimit::SoftHard(text) => text.split_once(':').and_then(|(s, h)| Some((units::size(s)?, units::size(h)?))),
    };
    match pair {
        Some((soft, hard)) if soft <= hard => Ok([resource, soft, hard]),
        _ => Err(format!("rlimit {name} is not a number or \"soft:hard\"")),
    }
}

fn asks<'a>(limits: &'a file::Limits, pick: impl Fn(&'a Range) -> Option<&'a Amount>) -> Result<LimitsAsk, String> {
    let number = |text: &str| text.parse().ok();
    Ok(LimitsAsk {
        cpu_milli: match pick(&limits.cpu) {
            Some(Amount::Number(cores)) => cores.checked_mul(1000),
            other => amount(other, "cpu", units::cpu_milli)?,
        },
        cpu_weight: amount(pick(&limits.cpu_weight), "cpu_weight", number)?,
        memory: amount(pick(&limits.memory), "memory", units::size)?,
        swap: amount(pick(&limits.swap), "swap", units::size)?,
        pids: amount(pick(&limits.pids), "pids", number)?,
        io_read: amount(pick(&limits.io_read), "io_read", units::size)?,
        io_write: amount(pick(&limits.io_write), "io_write", units::size)?,
        io_read_ops: amount(pick(&limits.io_read_ops), "io_read_ops", number)?,
        io_write_ops: amount(pick(&limits.io_write_ops), "io_write_ops", number)?,
        timeout_ms: match pick(&limits.timeout) {
            Some(Amount::Number(seconds)) => seconds.checked_mul(1000),
            other => amount(other, "timeout", units::duration_ms)?,
        },
    })
}

fn amount(value: Option<&Amount>, name: &str, parse: impl Fn(&str) -> Option<u64>) -> Result<Option<u64>, String> {
    match value {
        None => Ok(None),
        Some(Amount::Number(n)) => Ok(Some(*n)),
        Some(Amount::Text(text)) => {
            parse(text).map(Some).ok_or_else(|| format!("limits.{name} '{text}' is not such an amount"))
        }
    }
}

// Every field of LimitsAsk with its name in messages, so that a check of all of them cannot forget one.
/// Name and value of each limit.
pub fn fields(ask: &LimitsAsk) -> [(&'static str, Option<u64>); 10] {
    [
        ("cpu", ask.cpu_milli),
        ("cpu_weight", ask.cpu_weight),
        ("memory", ask.memory),
        ("swap", ask.swap),
        ("pids", ask.pids),
        ("io_read", ask.io_read),
        ("io_write", ask.io_write),
        ("io_read_ops", ask.io_read_ops),
        ("io_write_ops", ask.io_write_ops),
        ("timeout", ask.timeout_ms),
    ]
}

fn check_limits(default: &LimitsAsk, max: &LimitsAsk) -> Result<(), String> {
    for ((name, default), (_, max)) in fields(default).into_iter().zip(fields(max)) {
        if let (Some(default), Some(max)) = (default, max)
            && default > max
        {
            return Err(format!("limits.{name}: the default {default} is above the maximum {max}"));
        }
        // What must always be bounded has no meaning of "unlimited".
        if matches!(name, "cpu" | "memory" | "pids") && (default.is_none() || max.is_none()) {
            return Err(format!("limits.{name} needs a default and a max"));
        }
        if name == "swap" && max.is_none() {
            return Err("limits.swap needs a max".into());
        }
    }
    Ok(())
}
