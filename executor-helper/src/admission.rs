//! Admission: what the frontend asks for becomes what will be done, or is refused. Pure; the one way to a [`JobPlan`].

use std::{collections::BTreeMap, ffi::CString};

use ipc_protocol::{
    ARGUMENT_BYTES_MAX, Claimed, InputDigest, JobEntry, JobId, Limits, LimitsAsk, NAME_MAX, Phase, Refusal, Spawn,
};

use crate::config::{Config, FRESH, Profile, RunAs, fields, is_plain_absolute};

/// A job as it will be: every value comes from the configuration or was checked against it. Only [`admit`] makes one.
#[derive(Debug, Clone)]
pub struct JobPlan {
    entry: JobEntry,
    gid: u32,
    groups: Vec<u32>,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    directory: Option<CString>,
    cwd: CString,
    profile: Profile,
}

/// Why not: the class, the field of the request, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Class.
    pub refusal: Refusal,
    /// Such as "limits.memory"; empty when no field is at fault.
    pub field: String,
    /// For people.
    pub message: String,
}

impl Refused {
    /// A refusal.
    pub fn new(refusal: Refusal, field: &str, message: impl Into<String>) -> Self {
        Self { refusal, field: field.into(), message: message.into() }
    }
}

// Variables through which a program can be made to load or read what its caller chose. With no_new_privs this is hygiene, not a
// boundary; the names are those that the C library drops for setuid programs.
const NEVER: [&str; 14] = [
    "LD_*",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "MALLOC_*",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TZDIR",
    "AIRLOCK_JOB_ID",
];
const MEMORY_MIN: u64 = 1024 * 1024;
const PAGE: u64 = 4096;
const ARGV_SHOWN: usize = 4096;

/// Turns a request into a plan. `uid` is the pool's next uid; it is used only by profiles that run as the pool.
pub fn admit(spawn: &Spawn, config: &Config, uid: u32) -> Result<JobPlan, Refused> {
    let invalid = |field: &str, message: String| Refused::new(Refusal::Invalid, field, message);
    let Claimed { owner, serial, peer, request } = &spawn.claimed;
    if [owner, serial, peer, request, &spawn.profile].into_iter().any(|name| name.len() > NAME_MAX) {
        return Err(invalid("claimed", format!("a name is longer than {NAME_MAX} bytes")));
    }
    let profile = config.profile(&spawn.profile).ok_or_else(|| {
        Refused::new(
            Refusal::Profile,
            "profile",
            format!("there is no profile '{}' on this host", printable(spawn.profile.as_bytes())),
        )
    })?;
    let (argv, candidates) = command(spawn, profile)?;
    let limits = limits(&spawn.limits, profile)?;
    if let Some(input) = spawn.input
        && input.bytes > profile.input_max
    {
        let message = format!(
            "{} bytes of input are above the most that profile {} allows, {}",
            input.bytes, profile.name, profile.input_max
        );
        return Err(invalid("input_id", message));
    }
    let (uid, gid, groups, name, home) = match &profile.run_as {
        RunAs::Pool => (uid, uid, Vec::new(), format!("airlock-{uid}"), None),
        RunAs::Named(user, groups) => (user.uid, user.gid, groups.clone(), user.name.clone(), Some(user.home.clone())),
    };
    // Whatever led here: root, the frontend and nobody's uid of -1 run nothing.
    if [uid, gid].contains(&0) || uid == config.frontend.0 || [uid, gid].contains(&u32::MAX) || groups.contains(&0) {
        return Err(Refused::new(Refusal::Host, "", format!("uid {uid} gid {gid} can never run a job")));
    }
    let wanted = match &spawn.cwd {
        None => profile.cwd.first().map_or(FRESH, String::as_str),
        Some(dir) if dir != FRESH && is_plain_absolute(dir) && profile.cwd.contains(dir) => dir,
        Some(dir) => {
            let allowed = profile.cwd.join(", ");
            let message = format!(
                "directory '{}' is not among those of profile {}: {allowed}",
                printable(dir.as_bytes()),
                profile.name
            );
            return Err(invalid("cwd", message));
        }
    };
    let fresh = profile.run_as == RunAs::Pool || wanted == FRESH;
    let directory = fresh.then(|| config.work_dir.join(spawn.job.to_string()).to_string_lossy().into_owned());
    let home = directory.clone().or(home).unwrap_or_else(|| "/".into());
    let cwd = if wanted == FRESH { directory.clone().unwrap_or_else(|| "/".into()) } else { wanted.to_owned() };
    let tmpdir = directory.clone().unwrap_or_else(|| "/tmp".into());
    let env = environment(
        spawn,
        profile,
        &[
            ("PATH", &profile.path),
            ("HOME", &home),
            ("USER", &name),
            ("LOGNAME", &name),
            ("SHELL", "/bin/sh"),
            ("LANG", "C.UTF-8"),
            ("TMPDIR", &tmpdir),
        ],
    )?;
    let text = |what: String| CString::new(what).map_err(|_| invalid("cwd", "a path has a NUL byte".into()));
    Ok(JobPlan {
        entry: JobEntry {
            job: spawn.job,
            claimed: spawn.claimed.clone(),
            profile: profile.name.clone(),
            argv: shown(&argv),
            phase: Phase::Starting,
            uid,
            limits,
            input: spawn.input,
            merge: spawn.merge,
            acked: [0, 0],
        },
        gid,
        groups,
        candidates,
        argv,
        env,
        directory: directory.map(text).transpose()?,
        cwd: text(cwd)?,
        profile: profile.clone(),
    })
}

// The words, and the paths to try. A profile with a fixed command takes no words; any other needs them.
fn command(spawn: &Spawn, profile: &Profile) -> Result<(Vec<CString>, Vec<CString>), Refused> {
    let invalid = |message: String| Refused::new(Refusal::Invalid, "command", message);
    let words: Vec<Vec<u8>> = match &profile.command {
        Some(_) if !spawn.argv.is_empty() => {
            return Err(invalid(format!("profile {} runs a fixed command and takes no words", profile.name)));
        }
        Some(fixed) => fixed.iter().map(|word| word.clone().into_bytes()).collect(),
        None => spawn.argv.clone(),
    };
    let environment = spawn.env.iter().map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(2));
    let bytes = words.iter().map(|w| w.len().saturating_add(1)).chain(environment).fold(0usize, usize::saturating_add);
    if bytes > ARGUMENT_BYTES_MAX {
        return Err(invalid(format!(
            "{bytes} bytes of arguments and environment are above {ARGUMENT_BYTES_MAX}; send data with --stdin"
        )));
    }
    let argv: Result<Vec<_>, _> = words.into_iter().map(CString::new).collect();
    let argv = argv.map_err(|_| invalid("an argument has a NUL byte".into()))?;
    let first = argv.first().filter(|first| !first.is_empty()).ok_or_else(|| invalid("the command is empty".into()))?;
    let candidates = if first.as_bytes().contains(&b'/') {
        vec![first.clone()]
    } else {
        let join = |dir: &str| CString::new([dir.as_bytes(), b"/", first.as_bytes()].concat()).ok();
        profile.path.split(':').filter_map(join).collect()
    };
    Ok((argv, candidates))
}

fn environment(spawn: &Spawn, profile: &Profile, base: &[(&str, &str)]) -> Result<Vec<CString>, Refused> {
    // By name: a request may bring tens of thousands.
    let mut variables: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut set = |name: &str, value: &[u8]| drop(variables.insert(name.to_owned(), value.to_owned()));
    base.iter().for_each(|(name, value)| set(name, value.as_bytes()));
    profile.env.iter().for_each(|(name, value)| set(name, value.as_bytes()));
    for (name, value) in &spawn.env {
        let shown = printable(name.as_bytes());
        let plain = !name.is_empty() && !name.contains(['=', '\0']);
        let matches =
            |pattern: &str| pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start));
        if !plain || NEVER.into_iter().any(matches) || !profile.env_allow.iter().any(|p| matches(p)) {
            let message = format!("environment variable {shown} may not be set in profile {}", profile.name);
            return Err(Refused::new(Refusal::Invalid, "env", message));
        }
        if value.contains(&0) {
            return Err(Refused::new(
                Refusal::Invalid,
                "env",
                format!("the value of environment variable {shown} has a NUL byte"),
            ));
        }
        set(name, value);
    }
    set("AIRLOCK_JOB_ID", spawn.job.to_string().as_bytes());
    let join = |(name, value): (String, Vec<u8>)| CString::new([name.as_bytes(), b"=", &value].concat());
    let joined: Result<Vec<_>, _> = variables.into_iter().map(join).collect();
    joined.map_err(|_| Refused::new(Refusal::Invalid, "env", "an environment variable has a NUL byte"))
}

/// What is asked for, else the profile's default; never above its maximum, never nothing where something must hold.
fn limits(ask: &LimitsAsk, profile: &Profile) -> Result<Limits, Refused> {
    let minimum = |name: &str| match name {
        "memory" => MEMORY_MIN,
        "swap" => 0,
        "cpu" => 10,
        _ => 1,
    };
    let mut chosen = fields(ask).into_iter().zip(fields(&profile.default)).zip(fields(&profile.max)).map(
        |(((name, ask), (_, default)), (_, max))| {
            let max = if name == "cpu_weight" { Some(max.unwrap_or(10_000).min(10_000)) } else { max };
            let Some(value) = ask.or(default).or(if name == "timeout" { max } else { None }) else { return Ok(None) };
            let refuse = |relation: &str, bound: u64| {
                let message = format!("{name} {value} is {relation} profile {} allows, {bound}", profile.name);
                Err(Refused::new(Refusal::Invalid, &format!("limits.{name}"), message))
            };
            match max {
                Some(max) if value > max => refuse("above the most that", max),
                _ if value < minimum(name) => refuse("below the least that", minimum(name)),
                _ => Ok(Some(value)),
            }
        },
    );
    let mut next = || chosen.next().unwrap_or(Ok(None));
    let missing = |name: &str| Refused::new(Refusal::Host, "", format!("profile {} has no {name} limit", profile.name));
    // As the kernel rounds; up, it could pass the maximum.
    let pages = |bytes: u64| bytes.saturating_sub(bytes % PAGE);
    // In the order of `fields`: struct expressions evaluate their fields as written.
    Ok(Limits {
        cpu_milli: next()?.ok_or_else(|| missing("cpu"))?,
        cpu_weight: next()?.unwrap_or(100),
        memory: pages(next()?.ok_or_else(|| missing("memory"))?),
        swap: pages(next()?.unwrap_or(0)),
        pids: next()?.ok_or_else(|| missing("pids"))?,
        io_read: next()?,
        io_write: next()?,
        io_read_ops: next()?,
        io_write_ops: next()?,
        timeout_ms: next()?,
    })
}

fn shown(argv: &[CString]) -> Vec<Vec<u8>> {
    let mut left = ARGV_SHOWN;
    let mut cut = |word: &CString| {
        let bytes = word.as_bytes().get(..word.as_bytes().len().min(left)).unwrap_or_default().to_vec();
        left = left.saturating_sub(bytes.len().saturating_add(1));
        bytes
    };
    argv.iter().take(256).map(&mut cut).collect()
}

/// Bytes of a peer as they may stand in a message or a log line.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(128).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl JobPlan {
    /// What is told about the job.
    pub fn entry(&self) -> &JobEntry {
        &self.entry
    }

    /// User and group.
    pub fn ids(&self) -> (u32, u32) {
        (self.entry.uid, self.gid)
    }

    /// Whether the uid is the pool's.
    pub fn is_pooled(&self) -> bool {
        self.profile.run_as == RunAs::Pool
    }

    /// The directory to make for it.
    pub fn directory(&self) -> Option<&CString> {
        self.directory.as_ref()
    }

    /// The standard input that must have arrived.
    pub fn input(&self) -> Option<InputDigest> {
        self.entry.input
    }

    /// Its id.
    pub fn job(&self) -> JobId {
        self.entry.job
    }

    /// Namespaces, as bits of the plan.
    pub fn namespaces(&self) -> u64 {
        self.profile.namespaces
    }

    pub(crate) fn parts(&self) -> PlanParts<'_> {
        let Self { entry, gid, groups, candidates, argv, env, directory, cwd, profile } = self;
        PlanParts { entry, gid: *gid, groups, candidates, argv, env, directory: directory.as_ref(), cwd, profile }
    }
}

/// The plan taken apart, for sealing it.
pub(crate) struct PlanParts<'a> {
    pub entry: &'a JobEntry,
    pub gid: u32,
    pub groups: &'a [u32],
    pub candidates: &'a [CString],
    pub argv: &'a [CString],
    pub env: &'a [CString],
    pub directory: Option<&'a CString>,
    pub cwd: &'a CString,
    pub profile: &'a Profile,
}

#[cfg(test)]
pub(crate) mod tests;
