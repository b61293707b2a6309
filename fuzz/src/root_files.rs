//! The texts and bytes that the root side reads: its configuration, files of the kernel and of /etc, the audit trail, the plans and
//! records of keepers, and requests to start.
//!
//! Claims: nothing panics, memory is bounded; no configuration that is taken lets a job be root or the frontend; a trail with any
//! one byte changed is found out; what is admitted is within its profile.

use std::{fs, path::Path, sync::OnceLock};

use executor_helper::{
    admission::admit,
    cgroup::mount_points,
    config::{Config, RunAs, Users},
    plan::{self, Record, Sealed, Stopping, Sweep},
    verify::verify,
};
use ipc_protocol::{ARGUMENT_BYTES_MAX, Limit, Request, Spawn, decode_request};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{MEMORY, input::Input, tally};

/// A plan's limit (4 MiB) several times over: the value, its encoding, and what reads it back.
const MEMORY_MAX: usize = 24 * 1024 * 1024;
/// A uid of the shipped pool.
const POOL_UID: u32 = 1_900_000_007;

/// Reads one input as one of them.
pub fn run(data: &[u8]) {
    MEMORY.set_limit(MEMORY.allocated() + MEMORY_MAX).expect("a limit above what is in use");
    let mut input = Input::new(data);
    match input.below(7) {
        0 => configuration(&text(input.take_rest())),
        1 => users(&mut input),
        2 => {
            let named = input.coin();
            let mounts = text(input.take_rest());
            let found = mount_points(&mounts, "cgroup2", None).count();
            assert!(found <= mounts.lines().count());
            mount_points(&mounts, "cgroup", named.then_some("memory")).for_each(drop);
        }
        3 => trail_of_anything(input.take_rest()),
        4 => altered_trail(&mut input),
        5 => records(input.take_rest()),
        _ => {
            if let Ok(Request::Spawn(spawn)) = decode_request(input.take_rest()) {
                admitted(&spawn);
            }
        }
    }
    tally::add("texts of the root side", 1);
}

/// The configuration that is shipped, on a host with its users.
pub fn shipped() -> &'static Config {
    static SHIPPED: OnceLock<Config> = OnceLock::new();
    SHIPPED.get_or_init(|| {
        let shipped = include_str!("../../deploy/deb/etc/executor.toml");
        let more = "\n[profile.fixed]\nrun_as = \"deploy\"\ncommand = [\"/bin/true\", \"word\"]\nenv_allow = [\"VERSION\"]\n\
                    cwd = [\"/srv/www\"]\n";
        Config::parse(&format!("{shipped}{more}"), &host_users()).expect("what is shipped is a configuration")
    })
}

fn host_users() -> Users {
    let passwd = "root:x:0:0::/root:/bin/sh\nairlock:x:990:990::/:/bin/false\ndeploy:x:1001:1001::/srv:/bin/sh\n";
    Users::parse(passwd, "root:x:0:\nairlock:x:990:\ndeploy:x:1001:\nwww:x:33:deploy2\n", "deploy:100000:65536\n")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn configuration(text: &str) {
    match Config::parse(text, &host_users()) {
        Ok(config) => is_safe(&config),
        Err(why) => assert!(!why.is_empty()),
    }
}

fn is_safe(config: &Config) {
    assert!(config.frontend.0 != 0, "the frontend is root");
    for profile in config.profiles.values() {
        if let RunAs::Named(user, groups) = &profile.user {
            assert!(user.uid != 0 && user.gid != 0 && !groups.contains(&0), "a job is root");
            assert!(user.uid != config.frontend.0, "a job is the frontend");
        }
        for (limit, default) in profile.limits.default.iter() {
            assert!(profile.limits.max.get(limit).is_none_or(|max| default <= max), "{limit:?} above its maximum");
        }
    }
    tally::add("configurations taken", 1);
}

fn users(input: &mut Input<'_>) {
    let (first, count) = (u32::from_le_bytes(input.array()), u32::from_le_bytes(input.array()));
    let all = text(input.take_rest());
    let mut parts = all.splitn(3, '\u{1}');
    let mut part = || parts.next().unwrap_or_default();
    let users = Users::parse(part(), part(), part());
    users.conflict(first, count);
    for name in all.split([':', '\n', ',']) {
        if let Some(user) = users.user(name) {
            users.groups_of(user).for_each(drop);
        }
        users.group(name).map(|gid| users.group_name(gid).map(str::len));
    }
}

fn trail_of_anything(bytes: &[u8]) {
    let path = trail();
    fs::write(&path, bytes).expect("a file");
    let _ = verify([path.as_path()], None);
}

// Whole at first, then one byte is another: no line is taken for what it was, and none is missed.
fn altered_trail(input: &mut Input<'_>) {
    let lines = 1 + input.below(6);
    let (mut whole, mut prev) = (String::new(), "0".repeat(64));
    for seq in 0..lines {
        let length = usize::from(input.byte()) % 40;
        let word = text(input.take(length));
        let event = serde_json::to_string(&word).expect("text");
        let body = format!("{{\"seq\":{seq},\"event\":{event},\"prev\":\"{prev}\"");
        prev = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        whole += &format!("{body},\"hash\":\"{prev}\"}}\n");
    }
    let path = trail();
    fs::write(&path, &whole).expect("a file");
    assert_eq!(verify([path.as_path()], Some(&prev)), Ok((lines - 1, prev.clone())));
    let mut bytes = whole.into_bytes();
    let at = input.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 + (input.byte() % 255);
    fs::write(&path, &bytes).expect("a file");
    assert!(verify([path.as_path()], Some(&prev)).is_err(), "byte {at} of a trail was altered and nobody noticed");
    tally::add("altered trails", 1);
}

fn trail() -> std::path::PathBuf {
    thread_local! {
        static FOLDER: TempDir =
            tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    }
    FOLDER.with(|folder| Path::new(folder.path()).join("trail"))
}

fn records(bytes: &[u8]) {
    if let Some(record) = plan::decode::<Record>(bytes) {
        let again = plan::encode(&record).expect("memory");
        assert_eq!(plan::decode::<Record>(&again), Some(record), "a record does not come back as it was");
        tally::add("records", 1);
    }
    if let Some(stopping) = plan::decode::<Stopping>(bytes) {
        let again = plan::encode(&stopping).expect("memory");
        assert_eq!(plan::decode::<Stopping>(&again), Some(stopping), "a stop does not come back as it was");
    }
    if let Some(sealed) = plan::decode::<Sealed>(bytes) {
        let again = plan::encode(&sealed).expect("memory");
        let twice = plan::encode(&plan::decode::<Sealed>(&again).expect("what was encoded")).expect("memory");
        assert!(again == twice, "a plan does not come back as it was");
        tally::add("plans", 1);
    }
    let _ = plan::decode::<Sweep>(bytes);
}

/// What is admitted of a request lies within its profile.
pub fn admitted(spawn: &Spawn) -> Option<ipc_protocol::JobEntry> {
    let config = shipped();
    let plan = admit(spawn, config, POOL_UID, 1).ok()?;
    let profile = &config.profiles[&spawn.profile];
    assert!(plan.entry.uid != 0 && plan.gid != 0 && plan.entry.uid != config.frontend.0, "a job is root");
    match &profile.user {
        RunAs::Pool => assert_eq!((plan.entry.uid, plan.gid), (POOL_UID, POOL_UID)),
        RunAs::Named(user, _) => assert_eq!((plan.entry.uid, plan.gid), (user.uid, user.gid)),
    }
    for limit in Limit::ALL.into_iter().filter(|limit| *limit != Limit::Input) {
        let (value, max) = (plan.entry.limits.get(limit), profile.limits.max.get(limit));
        assert!(max.is_none_or(|max| value.is_none_or(|value| value <= max)), "{limit:?} above its maximum");
    }
    for limit in [Limit::Cpu, Limit::Memory, Limit::Pids] {
        assert!(plan.entry.limits.get(limit).is_some(), "{limit:?} is not bounded");
    }
    assert!(plan.argv.iter().map(|word| word.as_bytes().len() + 1).sum::<usize>() <= ARGUMENT_BYTES_MAX);
    assert!(profile.command.as_ref().is_none_or(|fixed| fixed.len() == plan.argv.len()));
    assert!(!plan.env.iter().any(|variable| variable.as_bytes().starts_with(b"LD_")), "the linker is steered");
    tally::add("jobs admitted", 1);
    Some(plan.entry.clone())
}
