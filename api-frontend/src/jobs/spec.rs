//! A request to start a job, checked as far as the frontend can: what is wrong here is refused before anything is recorded.

use std::collections::BTreeMap;

use ipc_protocol::{ARGUMENT_BYTES_MAX, InputDigest, Limit, Limits, ProfileInfo};
use sha2::{Digest, Sha256};

use super::JobsError;
use crate::config::{Size, duration_words};
use crate::echo::shown as echoed;
use crate::output::OUTPUT_LIMIT_MIN;
use crate::policy::{Charge, WhenFull};

/// What a caller asks for, as it came over the wire.
#[derive(Debug, Clone, Default)]
pub struct StartAsk {
    /// Chosen by the client.
    pub request_id: String,
    /// Empty for none.
    pub name: String,
    /// Empty for the default.
    pub profile: String,
    /// The command's words.
    pub command: Vec<Vec<u8>>,
    /// Names and values.
    pub env: Vec<(String, Vec<u8>)>,
    /// Empty for the profile's default.
    pub cwd: String,
    /// Limits.
    pub limits: Limits,
    /// From an upload; empty for none.
    pub input_id: String,
    /// One pipe for both streams.
    pub merge: bool,
    /// Cap of the log in bytes.
    pub output_limit: Option<u64>,
    /// What happens at the cap.
    pub output_full: Option<WhenFull>,
}

impl StartAsk {
    /// Bytes of its words, and of its environment, as a program gets them.
    pub fn lengths(&self) -> (usize, usize) {
        let words: usize = self.command.iter().map(|word| word.len() + 1).sum();
        let env: usize = self.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        (words, env)
    }

    /// What a repeated request id is compared by. The values of environment variables are not part of it: nothing that could
    /// be guessed back to them is kept. As written: a default that changes later does not
    /// make another request of it. `input` is what `input_id` stands for.
    pub fn fingerprint(&self, input: Option<&InputDigest>) -> [u8; 32] {
        let ask = self;
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for text in [&ask.name, &ask.profile, &ask.cwd] {
            field(text.as_bytes());
        }
        field(&(ask.command.len() as u64).to_le_bytes());
        ask.command.iter().for_each(|word| field(word));
        field(&(ask.env.len() as u64).to_le_bytes());
        ask.env.iter().for_each(|(name, _)| field(name.as_bytes()));
        for (_, _, _, limit) in LIMITS {
            let value = ask.limits.get(limit);
            field(&value.map_or(Vec::new(), |v| v.to_le_bytes().to_vec()));
        }
        field(input.map_or(&[][..], |digest| &digest.sha256));
        field(&[u8::from(ask.merge)]);
        field(&ask.output_limit.map_or(Vec::new(), |v| v.to_le_bytes().to_vec()));
        field(format!("{:?}", ask.output_full).as_bytes());
        hash.finalize().into()
    }
}

/// A request that has the right form and fits its profile.
#[derive(Debug, Clone)]
pub struct StartSpec {
    ask: StartAsk,
    command: Vec<Vec<u8>>,
    input_max: u64,
    charge: Charge,
}

impl StartSpec {
    /// Checks a request against the profiles that the executor last told of. The executor decides in any case.
    pub fn check(mut ask: StartAsk, profiles: &[ProfileInfo]) -> Result<Self, JobsError> {
        check_request_id(&ask.request_id)?;
        check_name(&ask.name)?;
        check_command(&ask)?;
        check_env(&ask.env)?;
        check_cwd(&ask.cwd)?;
        check_output_limit(ask.output_limit)?;
        let Some(first) = profiles.first() else {
            let message = "this host has no profiles, so nothing can be started; ask your operator";
            return Err(JobsError::invalid("profile", message));
        };
        if ask.profile.is_empty() {
            ask.profile.clone_from(&first.name);
        }
        let Some(profile) = profiles.iter().find(|p| p.name == ask.profile) else {
            let names: Vec<&str> = profiles.iter().map(|p| p.name.as_str()).collect();
            let message = format!("profile '{}' is not among yours: {}", echoed(&ask.profile), names.join(", "));
            return Err(JobsError::invalid("profile", message));
        };
        check_command_of(&ask, profile)?;
        ask.cwd = cwd_in(&ask.cwd, profile)?;
        check_limits(&ask.limits, profile)?;
        let taken = |limit| ask.limits.get(limit).or(profile.default.get(limit)).unwrap_or(0);
        let charge = Charge { memory: taken(Limit::Memory), cpu_milli: taken(Limit::Cpu) };
        let command = match ask.command.is_empty() {
            true => profile.command.iter().map(|word| word.clone().into_bytes()).collect(),
            false => ask.command.clone(),
        };
        Ok(Self { input_max: profile.max.get(Limit::Input).unwrap_or(0), command, charge, ask })
    }

    /// What will run: the words of the request, or those that the profile fixes.
    pub fn command(&self) -> &[Vec<u8>] {
        &self.command
    }

    /// The request, as the executor is asked.
    pub fn ask(&self) -> &StartAsk {
        &self.ask
    }

    /// What the job counts for in a group: what is asked for, else what the profile gives.
    pub fn charge(&self) -> Charge {
        self.charge
    }

    /// Most bytes of input that the profile allows.
    pub fn input_max(&self) -> u64 {
        self.input_max
    }
}

/// Most characters of a request id and of a name.
const WORD_MAX: usize = 64;

/// Whether a text has the form of a request id.
pub fn is_request_id(text: &str) -> bool {
    (1..=WORD_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn check_request_id(id: &str) -> Result<(), JobsError> {
    match is_request_id(id) {
        true => Ok(()),
        false if id.is_empty() => {
            Err(JobsError::invalid("request_id", "a start needs a request id; a random UUID is fine"))
        }
        false => Err(JobsError::invalid(
            "request_id",
            format!("request id '{}' is not 1 to 64 letters, digits and dashes; a random UUID is fine", echoed(id)),
        )),
    }
}

fn check_name(name: &str) -> Result<(), JobsError> {
    let shown = echoed(name);
    let wrong = |why: String| Err(JobsError::invalid("name", why));
    if name.is_empty() {
        return Ok(());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() > WORD_MAX || !name.chars().all(allowed) {
        return wrong(format!(
            "name '{shown}' is not 1 to 64 letters, digits, dashes, underscores and dots; choose another"
        ));
    }
    // Such a name could be taken for a job id or for the word that means the newest job.
    let hex = name.len() >= 4 && name.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f' | '-'));
    if name == "last" || hex {
        return wrong(format!("name '{shown}' looks like a job id or means the newest job; choose another"));
    }
    Ok(())
}

fn check_command(ask: &StartAsk) -> Result<(), JobsError> {
    if ask.command.first().is_some_and(Vec::is_empty) {
        let message = "the command's first word is empty; write the program's name or path there";
        return Err(JobsError::invalid("command", message));
    }
    if let Some(n) = ask.command.iter().position(|word| word.contains(&0)) {
        let message = format!(
            "word {} of the command has a NUL byte in it, which no program can be given; send such data as input",
            n + 1
        );
        return Err(JobsError::invalid("command", message));
    }
    let (words, env) = ask.lengths();
    if words + env > ARGUMENT_BYTES_MAX {
        let message = format!(
            "arguments and environment are {} bytes, above the most, {}; send large data as input",
            words + env,
            Size::from_bytes(ARGUMENT_BYTES_MAX as u64)
        );
        return Err(JobsError::invalid(if words > env { "command" } else { "env" }, message));
    }
    Ok(())
}

fn check_env(env: &[(String, Vec<u8>)]) -> Result<(), JobsError> {
    let mut seen = BTreeMap::new();
    for (name, value) in env {
        let shown = echoed(name);
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!(
                "'{shown}' is not a name for an environment variable; use letters, digits and underscores, no digit first"
            );
            return Err(JobsError::invalid("env", message));
        }
        if value.contains(&0) {
            let message =
                format!("the value of environment variable {shown} has a NUL byte in it; send such data as input");
            return Err(JobsError::invalid("env", message));
        }
        if seen.insert(name, ()).is_some() {
            return Err(JobsError::invalid(
                "env",
                format!("environment variable {shown} is given twice; give it once"),
            ));
        }
    }
    Ok(())
}

fn check_cwd(cwd: &str) -> Result<(), JobsError> {
    if cwd.is_empty() || cwd == FRESH || (cwd.starts_with('/') && !cwd.contains('\0')) {
        return Ok(());
    }
    let message = format!(
        "working directory '{}' is not an absolute path; write one from /, or leave it out for the profile's default",
        echoed(cwd)
    );
    Err(JobsError::invalid("cwd", message))
}

/// How a fresh directory is called where directories are named.
const FRESH: &str = "fresh";

/// The directory that is asked for in the profile; empty for its default.
fn cwd_in(asked: &str, profile: &ProfileInfo) -> Result<String, JobsError> {
    let ProfileInfo { name, cwd, fresh_cwd, .. } = profile;
    // Of the executor a fresh directory is had as the default alone, and where there is no other it is the default.
    if asked == FRESH && *fresh_cwd && cwd.is_empty() {
        return Ok(String::new());
    }
    if asked.is_empty() || cwd.iter().any(|dir| dir == asked) {
        return Ok(asked.to_owned());
    }
    let others = cwd.join(", ");
    let message = match (asked == FRESH && *fresh_cwd, cwd.is_empty()) {
        (true, _) => format!(
            "working directory 'fresh' cannot be named in profile {name}, which has others; name one of them, {others}, or \
             leave it out for the profile's default"
        ),
        (false, true) => format!(
            "working directory '{}' is not allowed in profile {name}, which has fresh directories alone; leave it out",
            echoed(asked)
        ),
        (false, false) => format!(
            "working directory '{}' is not allowed in profile {name}; name one of {others}, or leave it out for the \
             profile's default",
            echoed(asked)
        ),
    };
    Err(JobsError::invalid("cwd", message))
}

fn check_output_limit(asked: Option<u64>) -> Result<(), JobsError> {
    let Some(bytes) = asked.filter(|bytes| *bytes < OUTPUT_LIMIT_MIN) else { return Ok(()) };
    let (bytes, least) = (Size::from_bytes(bytes), Size::from_bytes(OUTPUT_LIMIT_MIN));
    let message =
        format!("output limit {bytes} is below the least that a log keeps, {least}; leave it out for the default");
    Err(JobsError::invalid("output_limit_bytes", message))
}

fn check_command_of(ask: &StartAsk, profile: &ProfileInfo) -> Result<(), JobsError> {
    let name = &profile.name;
    match (ask.command.is_empty(), profile.command.is_empty()) {
        (true, true) => Err(JobsError::invalid("command", "there is no command; write one after --")),
        (false, false) => {
            let message = format!(
                "profile {name} runs exactly '{}' and takes no words of its own; leave the command out",
                profile.command.join(" ")
            );
            Err(JobsError::invalid("command", message))
        }
        _ => Ok(()),
    }
}

/// How the value of a limit is written for people.
#[derive(Clone, Copy)]
enum Unit {
    Milli,
    Bytes,
    Number,
    Time,
}

const LIMITS: [(&str, &str, Unit, Limit); 10] = [
    ("cpu_cores", "cpu", Unit::Milli, Limit::Cpu),
    ("cpu_weight", "cpu weight", Unit::Number, Limit::CpuWeight),
    ("memory_bytes", "memory", Unit::Bytes, Limit::Memory),
    ("swap_bytes", "swap", Unit::Bytes, Limit::Swap),
    ("pids", "pids", Unit::Number, Limit::Pids),
    ("io_read_bytes", "io-read", Unit::Bytes, Limit::IoRead),
    ("io_write_bytes", "io-write", Unit::Bytes, Limit::IoWrite),
    ("io_read_operations", "io-read-ops", Unit::Number, Limit::IoReadOps),
    ("io_write_operations", "io-write-ops", Unit::Number, Limit::IoWriteOps),
    ("timeout_seconds", "timeout", Unit::Time, Limit::Timeout),
];

/// The largest number that the records hold.
const LIMIT_MAX: u64 = i64::MAX as u64;

fn check_limits(ask: &Limits, profile: &ProfileInfo) -> Result<(), JobsError> {
    for (field, word, unit, limit) in LIMITS {
        let Some(asked) = ask.get(limit) else { continue };
        let field = format!("limits.{field}");
        if asked == 0 && field != "limits.swap_bytes" {
            return Err(JobsError::invalid(
                field,
                format!("{word} 0 leaves nothing to run with; leave it out for the default"),
            ));
        }
        // No host has as much, and the records could not hold it.
        if asked > LIMIT_MAX {
            let message =
                format!("{word} {} is more than any host has; leave it out for the default", shown(asked, unit));
            return Err(JobsError::invalid(field, message));
        }
        if word == "cpu weight" && asked > 10_000 {
            let message = format!("cpu weight {asked} is not between 1 and 10000; leave it out for the default");
            return Err(JobsError::invalid(field, message));
        }
        if let Some(least) = least(limit).filter(|&least| asked < least) {
            let message = format!(
                "{word} {} is below the least that a job runs with, {}; leave it out for the default",
                shown(asked, unit),
                shown(least, unit)
            );
            return Err(JobsError::invalid(field, message));
        }
        if let Some(max) = profile.max.get(limit).filter(|&max| asked > max) {
            let message = format!(
                "{word} {} is above the most that profile {} allows, {}; airlock whoami shows all limits",
                shown(asked, unit),
                profile.name,
                shown(max, unit)
            );
            return Err(JobsError::invalid(field, message));
        }
    }
    Ok(())
}

/// The least that the executor gives a job, where that is more than one of its unit. It decides in any case, and its sentence
/// has numbers without units.
fn least(limit: Limit) -> Option<u64> {
    match limit {
        Limit::Cpu => Some(10),
        Limit::Memory => Some(1 << 20),
        _ => None,
    }
}

fn shown(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Milli => format!("{}", value as f64 / 1000.0),
        Unit::Bytes => Size::from_bytes(value).to_string(),
        Unit::Number => value.to_string(),
        Unit::Time => duration_words(value),
    }
}
