//! Admission: what the frontend asks for becomes what will be done, or is refused. Pure; the one way to a [`JobPlan`].

use std::{collections::BTreeMap, ffi::CString, ops::Deref};

use ipc_protocol::{
    ARGUMENT_BYTES_MAX, Claimed, JobEntry, Limit, Limits, NAME_MAX, Phase, Refusal, Request, Spawn, encode_request,
};
use sha2::{Digest, Sha256};

use crate::{
    config::{Config, FRESH, Profile, RunAs, Seccomp},
    filters,
    plan::Plan,
};

/// A job as it will be: every value comes from the configuration or was checked against it. Only [`admit`] makes one.
#[derive(Debug)]
pub struct JobPlan(Plan);

impl Deref for JobPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
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
    pub fn new(refusal: Refusal, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { refusal, field: field.into(), message: message.into() }
    }

    /// The host has no room for it, now.
    pub fn host(message: impl Into<String>) -> Self {
        Self::new(Refusal::Host, "", message)
    }
}

fn invalid(field: impl Into<String>, message: impl Into<String>) -> Refused {
    Refused::new(Refusal::Invalid, field, message)
}

// Variables through which a program can be made to load or read what its caller chose. With no_new_privs this is hygiene, not a
// boundary; the names are those that the C library drops for setuid programs.
const NEVER: [&str; 14] = [
    "LD_*", "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH", "MALLOC_*",
    "NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TZDIR", "AIRLOCK_JOB_ID",
];
const PAGE: u64 = 4096;
const ARGV_SHOWN: usize = 4096;

/// Identifies what a `Spawn` asks for, whoever repeats it: the claim is left out.
pub fn fingerprint(spawn: &Spawn) -> [u8; 32] {
    let plain = Spawn { claimed: Claimed::default(), ..spawn.clone() };
    // Encoding can only fail for a message that did not come through a frame.
    Sha256::digest(encode_request(&Request::Spawn(Box::new(plain))).unwrap_or_default()).into()
}

/// Turns a request into a plan. `uid` is the pool's next uid; it is used only by profiles that run as the pool. `epoch` is that of
/// the frontend's database.
pub fn admit(spawn: &Spawn, config: &Config, uid: u32, epoch: u64) -> Result<JobPlan, Refused> {
    let Claimed { owner, serial, peer, request } = &spawn.claimed;
    if [owner, serial, peer, request, &spawn.profile].into_iter().any(|name| name.len() > NAME_MAX) {
        return Err(invalid("claimed", format!("a name is longer than {NAME_MAX} bytes")));
    }
    let profile = config.profiles.get(&spawn.profile).ok_or_else(|| {
        let message = format!("there is no profile '{}' on this host", printable(spawn.profile.as_bytes()));
        Refused::new(Refusal::Profile, "profile", message)
    })?;
    let name = &profile.name;
    let (argv, candidates) = command(spawn, profile)?;
    let limits = limits(&spawn.limits, profile)?;
    let (input, most) = (spawn.input.map_or(0, |i| i.bytes), profile.limits.max.get(Limit::Input).unwrap_or(0));
    if input > most {
        let message = format!("{input} bytes of input are above the most that profile {name} allows, {most}");
        return Err(invalid("input_id", message));
    }
    let (uid, gid, groups, user, home) = match &profile.user {
        RunAs::Pool => (uid, uid, Vec::new(), format!("airlock-{uid}"), "/".into()),
        RunAs::Named(user, groups) => (user.uid, user.gid, groups.clone(), user.name.clone(), user.home.clone()),
    };
    // Whatever led here: root, the frontend and nobody's uid of -1 run nothing.
    if [uid, gid].contains(&0) || uid == config.frontend.0 || [uid, gid].contains(&u32::MAX) || groups.contains(&0) {
        return Err(Refused::host(format!("uid {uid} gid {gid} can never run a job")));
    }
    let wanted = directory_asked(spawn, profile)?;
    let fresh = config.work_dir.join(spawn.job.to_string()).to_string_lossy().into_owned();
    let directory = (profile.user == RunAs::Pool || wanted == FRESH).then_some(&fresh);
    let cwd = if wanted == FRESH { &fresh } else { wanted };
    let home = directory.unwrap_or(&home);
    let tmpdir = directory.map_or("/tmp", String::as_str);
    let base =
        [("PATH", profile.path.as_str()), ("HOME", home), ("USER", &user), ("LOGNAME", &user), ("TMPDIR", tmpdir)];
    let env = environment(spawn, profile, base.into_iter().chain([("SHELL", "/bin/sh"), ("LANG", "C.UTF-8")]))?;
    let text = |what: &str| CString::new(what).map_err(|_| invalid("cwd", "a path has a NUL byte"));
    let entry = JobEntry {
        job: spawn.job,
        claimed: spawn.claimed.clone(),
        profile: name.clone(),
        argv: shown(argv.iter().map(|word| word.as_bytes())),
        phase: Phase::Starting,
        uid,
        limits,
        input: spawn.input,
        merge: spawn.merge,
        acked: [0, 0],
    };
    Ok(JobPlan(Plan {
        entry,
        fingerprint: fingerprint(spawn),
        epoch,
        gid,
        groups,
        pooled: profile.user == RunAs::Pool,
        umask: profile.umask,
        oom_score: profile.oom_score.min(1000),
        namespaces: profile.namespaces,
        rlimits: profile.rlimits.clone(),
        candidates,
        argv,
        env,
        folder: text(&config.work_dir.to_string_lossy())?,
        directory: directory.map(|path| text(path)).transpose()?,
        cwd: text(cwd)?,
        filters: if profile.seccomp == Seccomp::Default { vec![filters::JOB.clone()] } else { Vec::new() },
        keeper_filter: filters::CONFINED.clone(),
    }))
}

fn directory_asked<'a>(spawn: &'a Spawn, profile: &'a Profile) -> Result<&'a str, Refused> {
    match &spawn.cwd {
        None => Ok(profile.cwd.first().map_or(FRESH, String::as_str)),
        Some(dir) if dir != FRESH && profile.cwd.contains(dir) => Ok(dir),
        Some(dir) => {
            let (dir, name, allowed) = (printable(dir.as_bytes()), &profile.name, profile.cwd.join(", "));
            Err(invalid("cwd", format!("directory '{dir}' is not among those of profile {name}: {allowed}")))
        }
    }
}

// The words, and the paths to try. A profile with a fixed command takes no words; any other needs them.
fn command(spawn: &Spawn, profile: &Profile) -> Result<(Vec<CString>, Vec<CString>), Refused> {
    let invalid = |message: String| invalid("command", message);
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
    if first.as_bytes().contains(&b'/') {
        return Ok((argv.clone(), vec![first.clone()]));
    }
    let join = |dir: &str| CString::new([dir.as_bytes(), b"/", first.as_bytes()].concat()).ok();
    let candidates = profile.path.split(':').filter_map(join).collect();
    Ok((argv, candidates))
}

fn environment<'a>(
    spawn: &'a Spawn,
    profile: &'a Profile,
    base: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<CString>, Refused> {
    let id = spawn.job.to_string();
    let given = profile.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    // By name, each once: a request may bring tens of thousands.
    let mut variables: BTreeMap<&str, &[u8]> =
        base.chain(given).map(|(name, value)| (name, value.as_bytes())).collect();
    for (name, value) in &spawn.env {
        let shown = printable(name.as_bytes());
        let plain = !name.is_empty() && !name.contains(['=', '\0']);
        let matches = |p: &str| p.strip_suffix('*').map_or(p == name, |start| name.starts_with(start));
        if !plain || NEVER.into_iter().any(matches) || !profile.env_allow.iter().any(|p| matches(p)) {
            let message = format!("environment variable {shown} may not be set in profile {}", profile.name);
            return Err(invalid("env", message));
        }
        if value.contains(&0) {
            return Err(invalid("env", format!("the value of environment variable {shown} has a NUL byte")));
        }
        variables.insert(name, value);
    }
    variables.insert("AIRLOCK_JOB_ID", id.as_bytes());
    let join = |(name, value): (&str, &[u8])| CString::new([name.as_bytes(), b"=", value].concat());
    let joined: Result<Vec<_>, _> = variables.into_iter().map(join).collect();
    joined.map_err(|_| invalid("env", "an environment variable has a NUL byte"))
}

/// What is asked for, else the profile's default; never above its maximum, never nothing where something must hold.
fn limits(ask: &Limits, profile: &Profile) -> Result<Limits, Refused> {
    let mut limits = Limits::default();
    for limit in Limit::ALL.into_iter().filter(|limit| *limit != Limit::Input) {
        let (name, default, max) = (limit.name(), profile.limits.default.get(limit), profile.limits.max.get(limit));
        // Where nothing is said; what lacks here is always bounded, or is the operator's to leave open.
        let (default, min, max) = match limit {
            Limit::CpuWeight => (default.or(Some(100)), 1, Some(max.unwrap_or(10_000).min(10_000))),
            Limit::Swap => (default.or(Some(0)), 0, max),
            Limit::Timeout => (default.or(max), 1, max),
            Limit::Cpu => (default, 10, max),
            Limit::Memory => (default, 1024 * 1024, max),
            _ => (default, 1, max),
        };
        let Some(value) = ask.get(limit).or(default) else { continue };
        let refuse = |relation: &str, bound: u64| {
            let message = format!("{name} {value} is {relation} profile {} allows, {bound}", profile.name);
            Err(invalid(format!("limits.{name}"), message))
        };
        match max {
            Some(max) if value > max => return refuse("above the most that", max),
            _ if value < min => return refuse("below the least that", min),
            // As the kernel rounds; up, it could pass the maximum.
            _ if matches!(limit, Limit::Memory | Limit::Swap) => limits.set(limit, Some(value & !(PAGE - 1))),
            _ => limits.set(limit, Some(value)),
        }
    }
    Ok(limits)
}

/// Words cut to what is kept of them in memory and in the audit trail: 256 words and 4 KiB.
pub fn shown<'a>(words: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut left = ARGV_SHOWN;
    let cut = |word: &[u8]| {
        let bytes = word.get(..word.len().min(left)).unwrap_or_default().to_vec();
        left = left.saturating_sub(bytes.len().saturating_add(1));
        bytes
    };
    words.take(256).map(cut).collect()
}

/// Bytes of a peer as they may stand in a message or a log line.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(128).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
pub(crate) mod tests;
