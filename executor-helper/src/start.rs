//! From `main` to the loop: what is given up, what is taken over, what is refused.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities},
};

use crate::{
    BUILD,
    birth::Midwife,
    check,
    config::Config,
    executor::{Executor, log},
    keeper::child,
    listener, sys, verify,
};

const USAGE: &str = "usage: airlock-executor [--config FILE] [--check [--adopt-dry-run]]
       airlock-executor verify-audit [--head HASH] FILE...
       airlock-executor --version | --help";
const CONFIG: &str = "/etc/airlock/executor.toml";

/// What the executor keeps, each with the line that needs it.
const KEPT: [CapabilitySet; 6] = [
    CapabilitySet::SETUID,    // step 16: the change of user
    CapabilitySet::SETGID,    // step 16: the change of group
    CapabilitySet::SETPCAP,   // step 15: emptying the bounding set
    CapabilitySet::KILL,      // executor/requests.rs send: signals to another uid's processes
    CapabilitySet::CHOWN,     // birth.rs make_directory: the fresh directory's owner
    CapabilitySet::SYS_ADMIN, // keeper/mounts.rs and the namespaces of a clone; dropped where no profile has any
];

/// The program. Exit status 0 after a stop that was asked for, 1 when something failed, 2 for wrong usage.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut config = Path::new(CONFIG);
    if let Some(at) = words.iter().position(|word| *word == "--config").filter(|at| words.len() > at.saturating_add(1))
    {
        config = Path::new(words.remove(at.saturating_add(1)));
        words.remove(at);
    }
    let nothing = |()| String::new();
    let result = match words[..] {
        [] => serve(config).map(nothing),
        ["--check"] => return check::run(config),
        ["--check", "--adopt-dry-run"] => check::adopt_dry_run(config).map(nothing),
        ["verify-audit", "--head", head, ref files @ ..] if !files.is_empty() => verify(files, Some(head)),
        ["verify-audit", ref files @ ..] if !files.is_empty() && !files.contains(&"--head") => verify(files, None),
        ["--version"] => Ok(format!("airlock-executor {BUILD}\n")),
        ["--help"] => Ok(format!("{USAGE}\n")),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("airlock-executor: {why}");
            ExitCode::FAILURE
        }
    }
}

fn verify(files: &[&str], head: Option<&str>) -> Result<String, String> {
    let (seq, hash) = verify::verify(files.iter().map(Path::new), head)?;
    Ok(format!("ok: the trail is whole up to line {seq}, hash {hash}\n"))
}

fn serve(path: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("must be started as root; it gives up what it does not need".into());
    }
    let socket = listener::from_systemd()?;
    clean_descriptors(socket.is_some())?;
    let config = Config::load(path)?;
    let midwife = Midwife::new(&config.keeper)?;
    // A job takes five descriptors; the soft limit, often 1024, is there for programs that use select.
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    let listener = socket.map_or_else(|| listener::make(&config.socket, config.frontend.1), Ok)?;
    confine(config.profiles.values().any(|profile| profile.namespaces != 0))?;
    let mut executor = Executor::open(PathBuf::from(path), config, listener, midwife)?;
    // Behind the probe: a build with kill points has read there where it is to die.
    sys::wipe_environment();
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    log(5, &format!("airlock-executor {BUILD} serves"));
    executor.run()
}

// 0 to 2 must be open, or a pipe of a job could get such a number; nothing else may be, or a job could inherit it.
fn clean_descriptors(keep_socket: bool) -> Result<(), String> {
    use rustix::fs::{Mode, OFlags, open};
    loop {
        let null = open("/dev/null", OFlags::RDWR, Mode::empty()).map_err(|e| format!("/dev/null: {e}"))?;
        if rustix::fd::AsRawFd::as_raw_fd(&null) > 2 {
            break;
        }
        std::mem::forget(null);
    }
    if keep_socket { Ok(()) } else { sys::close_from(3).map_err(|e| format!("close_range: {e}")) }
}

/// Gives up every capability but [`KEPT`] and hides this process's memory from others of uid 0.
fn confine(namespaces: bool) -> Result<(), String> {
    let fail = |what: &'static str| move |errno: rustix::io::Errno| format!("{what}: {errno}");
    let mut kept: CapabilitySet = KEPT.into_iter().collect();
    kept.set(CapabilitySet::SYS_ADMIN, namespaces);
    let have = capabilities(None).map_err(fail("capabilities"))?;
    let lacking = kept.difference(have.permitted);
    if !lacking.is_empty() {
        let what = "are missing; the unit's CapabilityBoundingSet must have them";
        return Err(format!("the capabilities {lacking:?} {what}"));
    }
    child::limit_bounding_set(kept).map_err(fail("dropping capabilities from the bounding set"))?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(fail("dropping capabilities"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(fail("PR_SET_DUMPABLE"))
}
