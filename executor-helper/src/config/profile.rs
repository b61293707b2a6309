//! Profiles: what a job can be at all. Built only from the root-owned file; the one place where a user is chosen.

use std::collections::BTreeMap;

use ipc_protocol::{Limit, Limits, NAME_MAX, ProfileInfo};
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    units::{Amount, is_plain_absolute, octal, size},
    users::{User, Users},
};
use crate::plan::{RLIMITS, namespace};

/// The word among the directories of a profile that stands for a fresh one.
pub const FRESH: &str = "fresh";
const GROUPS_MAX: usize = 64;

/// Whom a job runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RunAs {
    /// A uid of the pool, for this job alone.
    #[default]
    Pool,
    /// This user, with these supplementary groups.
    Named(User, Vec<u32>),
}

/// The filter of system calls over a profile's jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// That of filters.rs.
    Default,
    /// None.
    None,
}

/// A profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// Whom its jobs run as; from the next two, by the host's users.
    #[serde(skip)]
    pub user: RunAs,
    run_as: String,
    groups: Vec<String>,
    /// The fixed command; a request then brings no words.
    pub command: Option<Vec<String>>,
    /// Where a bare command is looked up, folders separated by `:`.
    pub path: String,
    /// Base environment.
    pub env: BTreeMap<String, String>,
    /// Names that a request may set; a final `*` stands for any rest.
    pub env_allow: Vec<String>,
    /// Directories; the first is the default.
    pub cwd: Vec<String>,
    /// File mode creation mask.
    #[serde(deserialize_with = "octal")]
    pub umask: u32,
    /// Bits of [`namespace`].
    #[serde(deserialize_with = "namespaces")]
    pub namespaces: u64,
    /// Filter.
    pub seccomp: Seccomp,
    /// For /proc/self/oom_score_adj, 0 to 1000.
    pub oom_score: u16,
    /// Resource (asm-generic/resource.h), soft and hard limit.
    #[serde(deserialize_with = "rlimits")]
    pub rlimits: Vec<(u32, u64, u64)>,
    /// What a request gets and may ask for.
    #[serde(deserialize_with = "bounds")]
    pub limits: Bounds,
}

/// Limits of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// What a request gets that says nothing.
    pub default: Limits,
    /// The most a request may ask for.
    pub max: Limits,
}

impl Default for Bounds {
    // What a profile does not mention is bounded all the same.
    fn default() -> Self {
        let always = [(Limit::Cpu, 2000), (Limit::Memory, 1 << 30), (Limit::Swap, 0), (Limit::Pids, 512)];
        let limits = always.into_iter().fold(Limits::default(), |all, (limit, value)| all.with(limit, value));
        Self { default: limits, max: limits }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: String::new(),
            user: RunAs::Pool,
            run_as: String::new(),
            groups: Vec::new(),
            command: None,
            path: "/usr/local/bin:/usr/bin:/bin".into(),
            env: BTreeMap::new(),
            env_allow: Vec::new(),
            cwd: vec![FRESH.into()],
            umask: 0o022,
            namespaces: 0,
            seccomp: Seccomp::Default,
            oom_score: 500,
            rlimits: Vec::new(),
            limits: Bounds::default(),
        }
    }
}

impl Profile {
    /// What proves at the start that jobs can run: the keeper program itself, which is there and needs nothing.
    pub fn probe(name: &str, namespaces: u64) -> Self {
        let command = Some(vec!["/proc/self/exe".into(), "probe".into()]);
        Self { name: name.into(), command, namespaces, ..Self::default() }
    }

    /// Finds its user and refuses what makes no sense; the error is the rest of a sentence that begins with where it stands.
    pub fn check(&mut self, name: &str, users: &Users, frontend_uid: u32) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
            return Err("its name may have letters, digits, '-', '_' and '.' only".into());
        }
        if self.command.as_ref().is_some_and(|c| c.first().is_none_or(|first| !first.starts_with('/'))) {
            return Err("command must begin with an absolute path".into());
        }
        if self.cwd.is_empty() || self.cwd.iter().any(|d| d != FRESH && !is_plain_absolute(d)) {
            return Err("cwd must list \"fresh\" or absolute paths without '..'".into());
        }
        if self.path.split(':').any(|d| !is_plain_absolute(d)) {
            return Err("path must be absolute folders separated by ':'".into());
        }
        // A process namespace without its own /proc would show the host's processes under the wrong numbers.
        if self.namespaces & namespace::PID != 0 && self.namespaces & namespace::MOUNT == 0 {
            return Err("namespace pid needs mount".into());
        }
        self.limits.check()?;
        self.name = name.into();
        self.user = run_as(&self.run_as, &self.groups, users, frontend_uid)?;
        Ok(())
    }

    /// As the frontend tells it to people.
    pub fn info(&self) -> ProfileInfo {
        ProfileInfo {
            name: self.name.clone(),
            default: self.limits.default,
            max: self.limits.max,
            command: self.command.clone().unwrap_or_default(),
            network: self.namespaces & namespace::NET == 0,
            fresh_cwd: self.cwd.iter().any(|d| d == FRESH),
            cwd: self.cwd.iter().filter(|d| *d != FRESH).cloned().collect(),
            path: self.path.clone(),
        }
    }
}

impl Bounds {
    fn check(&self) -> Result<(), String> {
        for limit in Limit::ALL {
            let (default, max, name) = (self.default.get(limit), self.max.get(limit), limit.name());
            if let (Some(default), Some(max)) = (default, max)
                && default > max
            {
                return Err(format!("limits.{name}: the default {default} is above the maximum {max}"));
            }
            // What must always be bounded has no meaning of "unlimited".
            if matches!(limit, Limit::Cpu | Limit::Memory | Limit::Pids) && (default.is_none() || max.is_none()) {
                return Err(format!("limits.{name} needs a default and a max"));
            }
            if limit == Limit::Swap && max.is_none() {
                return Err("limits.swap needs a max".into());
            }
        }
        Ok(())
    }
}

// uid 0, the frontend and members of groups that the profile does not list are refused whatever the file says.
fn run_as(name: &str, groups: &[String], users: &Users, frontend_uid: u32) -> Result<RunAs, String> {
    if name == "pool" {
        return if groups.is_empty() { Ok(RunAs::Pool) } else { Err("a pooled user has no groups".into()) };
    }
    let user = users.user(name).ok_or_else(|| format!("run_as: there is no user '{name}' in /etc/passwd"))?;
    if user.uid == 0 || user.gid == 0 {
        return Err(format!("run_as '{name}' is root: no profile can run as uid or gid 0"));
    }
    if user.uid == frontend_uid {
        return Err(format!("run_as '{name}' is the frontend's own user"));
    }
    if let Some(group) = users.groups_of(user).find(|group| !groups.iter().any(|g| g == group)) {
        return Err(format!("user '{name}' is in group '{group}', which groups = [...] does not list"));
    }
    let gid = |name: &String| match users.group(name) {
        Some(0) => Err("no profile can have group 0".to_owned()),
        Some(gid) => Ok(gid),
        None => Err(format!("there is no group '{name}' in /etc/group")),
    };
    let groups = groups.iter().map(gid).collect::<Result<Vec<_>, _>>()?;
    if groups.len() > GROUPS_MAX { Err("at most 64 groups".into()) } else { Ok(RunAs::Named(user.clone(), groups)) }
}

fn namespaces<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    Vec::<String>::deserialize(value)?.iter().try_fold(0, |bits, name| match name.as_str() {
        "pid" => Ok(bits | namespace::PID),
        "mount" => Ok(bits | namespace::MOUNT),
        "ipc" => Ok(bits | namespace::IPC),
        "uts" => Ok(bits | namespace::UTS),
        "net" => Ok(bits | namespace::NET),
        other => Err(D::Error::custom(format!("namespace '{other}' is none of pid, mount, ipc, uts, net"))),
    })
}

fn rlimits<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<(u32, u64, u64)>, D::Error> {
    let parse = |(name, value): (String, Amount)| {
        let known = RLIMITS.iter().find(|(known, ..)| *known == name).map(|(_, resource, _)| *resource);
        let none = || format!("rlimit '{name}' is none of {}", RLIMITS.map(|(known, ..)| known).join(", "));
        let resource = known.ok_or_else(none)?;
        let pair = match value {
            Amount::Number(n) => Some((n, n)),
            Amount::Text(text) => text.split_once(':').and_then(|(soft, hard)| Some((size(soft)?, size(hard)?))),
        };
        let pair = pair.filter(|(soft, hard)| soft <= hard);
        pair.map(|(s, h)| (resource, s, h)).ok_or_else(|| format!("rlimit {name} is not a number or \"soft:hard\""))
    };
    BTreeMap::deserialize(value)?.into_iter().map(parse).collect::<Result<_, _>>().map_err(D::Error::custom)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Range {
    default: Option<Amount>,
    max: Option<Amount>,
}

fn bounds<'de, D: Deserializer<'de>>(value: D) -> Result<Bounds, D::Error> {
    let mut bounds = Bounds::default();
    for (limit, range) in BTreeMap::<Limit, Range>::deserialize(value)? {
        let amount = |amount: Amount| match amount.of(limit) {
            Some(value) => Ok(value),
            None => Err(D::Error::custom(format!("limits.{} '{}' is not such an amount", limit.name(), amount.text()))),
        };
        bounds.default.set(limit, range.default.map(amount).transpose()?);
        bounds.max.set(limit, range.max.map(amount).transpose()?);
    }
    Ok(bounds)
}
