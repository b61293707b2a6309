//! From the words of `run` and `start` to a request, with a sentence for everything that cannot be meant.

use crate::{
    args::JobArgs,
    failure::Failure,
    sentences::plain,
    session::bad_value,
    units::{self, UnitError},
};
use airlock_client::api::{self, EnvironmentVariable};
use bytes::Bytes;
use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

/// The request that `args` describe, without its input.
///
/// # Errors
/// A value that is no quantity, a missing variable.
pub fn build(args: &JobArgs) -> Result<api::StartJobRequest, Failure> {
    let (command, command_bytes) = words(&args.command);
    Ok(api::StartJobRequest {
        request_id: args.request_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        name: args.name.clone().unwrap_or_default(),
        profile: args.profile.clone().unwrap_or_default(),
        command,
        command_bytes,
        env: environment(args)?,
        cwd: args.cwd.clone().unwrap_or_default(),
        limits: limits(args)?,
        input_id: String::new(),
        merge: args.merge,
        output_limit_bytes: args
            .output_limit
            .as_deref()
            .map(|text| size("output limit", "output_limit_bytes", text))
            .transpose()?,
        output_full: output_full(args.output_full.as_deref())?.into(),
    })
}

/// Options of other tools, which people write out of habit; asked before anything else, for they say what was meant. `after` is the
/// command's name.
///
/// # Errors
/// Each of them, with what to write instead.
pub fn refuse_options_of_other_tools(after: &str, args: &JobArgs) -> Result<(), Failure> {
    let given = match (args.interactive > 0, args.terminal > 0) {
        (true, true) => "-it",
        (true, false) => "-i",
        (false, true) => "-t",
        (false, false) => return Ok(()),
    };
    let failure = Failure::usage(format!("{given} after '{after}' is not an option here"));
    Err(if args.interactive > 0 {
        failure.hint("for standard input use --stdin, for an identity write airlock -i NAME run …")
    } else {
        failure.hint("a job has no terminal; many programs show colours with --env FORCE_COLOR=1")
    })
}

// Words travel as text when all of them are, else all as bytes.
fn words(command: &[OsString]) -> (Vec<String>, Vec<Bytes>) {
    let text: Option<Vec<String>> = command.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    match text {
        Some(text) => (text, Vec::new()),
        None => (Vec::new(), command.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()),
    }
}

fn limits(args: &JobArgs) -> Result<Option<api::Limits>, Failure> {
    let sized = |what: &str, field: &str, text: &Option<String>| {
        text.as_deref().map(|text| size(what, field, text)).transpose()
    };
    let counted = |what: &str, field: &str, text: &Option<String>| {
        text.as_deref().map(|text| count(what, field, text)).transpose()
    };
    let limits = api::Limits {
        cpu_cores: args
            .cpu
            .as_deref()
            .map(|text| units::cores(text).map_err(|error| bad_value("cpu", "limits.cpu_cores", text, error)))
            .transpose()?,
        cpu_weight: counted("cpu weight", "limits.cpu_weight", &args.cpu_weight)?
            .map(|weight| match u32::try_from(weight) {
                Ok(weight @ 1..=10_000) => Ok(weight),
                _ => Err(Failure::usage(format!("cpu weight {weight} is not from 1 to 10000"))
                    .hint("100 is ordinary")
                    .field("limits.cpu_weight")),
            })
            .transpose()?,
        memory_bytes: sized("memory", "limits.memory", &args.memory)?,
        swap_bytes: sized("swap", "limits.swap", &args.swap)?,
        pids: counted("pids", "limits.pids", &args.pids)?,
        io_read_bytes: sized("io-read", "limits.io_read_bytes", &args.io_read)?,
        io_write_bytes: sized("io-write", "limits.io_write_bytes", &args.io_write)?,
        io_read_operations: counted("io-read-ops", "limits.io_read_operations", &args.io_read_ops)?,
        io_write_operations: counted("io-write-ops", "limits.io_write_operations", &args.io_write_ops)?,
        timeout_seconds: args
            .timeout
            .as_deref()
            .map(|text| units::duration(text).map_err(|error| bad_value("timeout", "limits.timeout", text, error)))
            .transpose()?
            .map(|timeout| timeout.as_secs_f64()),
    };
    Ok((limits != api::Limits::default()).then_some(limits))
}

fn size(what: &str, field: &str, text: &str) -> Result<u64, Failure> {
    units::size(text).map_err(|error| bad_value(what, field, text, error))
}

fn count(what: &str, field: &str, text: &str) -> Result<u64, Failure> {
    let error = UnitError { fault: "is not a whole number", hint: "use digits alone, such as 512" };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad_value(what, field, text, error));
    }
    let too_large = UnitError { fault: "is too large", hint: "the most is 18446744073709551615" };
    text.parse().map_err(|_| bad_value(what, field, text, too_large))
}

fn output_full(text: Option<&str>) -> Result<api::OutputFull, Failure> {
    match text {
        None => Ok(api::OutputFull::Unspecified),
        Some("drop-oldest") => Ok(api::OutputFull::DropOldest),
        Some("wait") => Ok(api::OutputFull::Wait),
        Some("stop") => Ok(api::OutputFull::Stop),
        Some(other) => Err(Failure::usage(format!("output-full '{other}' is not an action"))
            .hint("use drop-oldest, wait or stop")
            .field("output_full")),
    }
}

// Files first, then options in their order; a later value of one name replaces an earlier one.
fn environment(args: &JobArgs) -> Result<Vec<EnvironmentVariable>, Failure> {
    let mut variables: Vec<EnvironmentVariable> = Vec::new();
    let mut set = |variable: EnvironmentVariable| match variables.iter_mut().find(|known| known.name == variable.name) {
        Some(known) => known.value = variable.value,
        None => variables.push(variable),
    };
    for file in &args.env_file {
        for variable in variables_of_file(file)? {
            set(variable);
        }
    }
    for text in &args.env {
        set(variable(text)?);
    }
    Ok(variables)
}

fn variables_of_file(file: &Path) -> Result<Vec<EnvironmentVariable>, Failure> {
    let text = fs::read(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {}", file.display(), plain(&error))).field("env"))?;
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines
        .filter(|line| !line.trim_ascii().is_empty() && !line.trim_ascii_start().starts_with(b"#"))
        .map(|line| variable(OsStr::from_bytes(line)))
        .collect()
}

// `NAME=value`, or `NAME` for the value it has here.
fn variable(text: &OsStr) -> Result<EnvironmentVariable, Failure> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (bytes.get(..at).unwrap_or(bytes), bytes.get(at + 1..).map(<[u8]>::to_vec)),
        None => (bytes, None),
    };
    let name = match std::str::from_utf8(name) {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => {
            let shown = text.to_string_lossy();
            return Err(Failure::usage(format!("'{shown}' names no environment variable"))
                .hint("write NAME=VALUE or NAME")
                .field("env"));
        }
    };
    let value = match value.or_else(|| env::var_os(&name).map(OsString::into_vec)) {
        Some(value) => value,
        None => {
            return Err(Failure::usage(format!("environment variable {name} is not set here"))
                .hint(format!("write --env {name}=VALUE"))
                .field("env"));
        }
    };
    // Options cannot hold one, files can.
    if value.contains(&0) {
        return Err(Failure::usage(format!("environment variable {name} holds a NUL byte"))
            .hint("variables end at it; leave it out")
            .field("env"));
    }
    Ok(EnvironmentVariable { name, value: value.into() })
}

#[cfg(test)]
mod tests;
