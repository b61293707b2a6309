//! No request that can be made becomes a plan outside its profile and the ceilings.

use std::ffi::CString;

use ipc_protocol::{ARGUMENT_BYTES_MAX, Claimed, InputDigest, JobId, Limit, Limits, Spawn};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{EPOCH, POOL_UID};
use crate::{
    admission::{JobPlan, admit},
    config::{Config, FRESH, Profile, RunAs},
};

const NEVER: [&str; 5] = ["GCONV_PATH", "GLIBC_TUNABLES", "TZDIR", "RES_OPTIONS", "HOSTALIASES"];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![vec(any::<char>(), 0..8).prop_map(String::from_iter), "[a-zA-Z_/.]{0,8}", Just("x".repeat(257))]
}

fn profile() -> impl Strategy<Value = String> {
    prop_oneof![9 => select(&["standard", "open", "deploy-web", "ops"][..]).prop_map(str::to_owned), 1 => text()]
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    let bomb = (1usize..140_000).prop_map(|length| vec![b'x'; length]);
    prop_oneof![30 => vec(1u8.., 0..20), 1 => vec(any::<u8>(), 0..20), 1 => bomb]
}

fn name() -> impl Strategy<Value = String> {
    const LISTED: [&str; 11] =
        ["CI", "CI_JOB", "LANG", "HOME", "VERSION", "PATH", "LD_PRELOAD", "MALLOC_X", "AIRLOCK_JOB_ID", "TZDIR", ""];
    prop_oneof![8 => Just("CI".to_owned()), 8 => select(&LISTED[..]).prop_map(str::to_owned), 1 => text()]
}

fn directory() -> impl Strategy<Value = Option<String>> {
    const LISTED: [&str; 8] =
        ["fresh", "/srv/src", "/srv/www", "/home/ops", "/", "/srv/src/..", "/etc", "/srv/src/../../root"];
    prop_oneof![6 => Just(None), 2 => select(&LISTED[..]).prop_map(|d| Some(d.to_owned())), 1 => option::of(text())]
}

fn amount() -> impl Strategy<Value = Option<u64>> {
    let borders =
        select(&[0, 1, 9, 10, 100, 512, 4096, 8000, 1 << 20, (1 << 20) + 1, 1 << 30, 17_179_869_185, u64::MAX][..]);
    option::of(prop_oneof![3 => borders, 2 => 0u64..10_000, 1 => any::<u64>()])
}

fn ask() -> impl Strategy<Value = Limits> {
    vec(prop_oneof![12 => Just(None), 1 => amount()], Limit::ALL.len()).prop_map(|amounts| {
        let mut limits = Limits::default();
        Limit::ALL.into_iter().zip(amounts).for_each(|(limit, amount)| limits.set(limit, amount));
        limits
    })
}

fn any_spawn() -> impl Strategy<Value = Spawn> {
    let input = (prop_oneof![0u64..1000, any::<u64>()], any::<[u8; 32]>());
    let input = option::of(input.prop_map(|(bytes, sha256)| InputDigest { bytes, sha256 }));
    let words = prop_oneof![2 => Just(Vec::new()), 8 => vec(word(), 1..5), 1 => (0usize..140_000).prop_map(|n| vec![Vec::new(); n])];
    let owner = prop_oneof![12 => Just("alice".to_owned()), 1 => text()];
    let what = (words, vec((name(), word()), 0..3), directory(), ask(), input);
    (any::<[u8; 16]>(), owner, profile(), what, any::<bool>()).prop_map(
        |(job, owner, profile, (argv, env, cwd, limits, input), merge)| Spawn {
            job: JobId::from_bytes(job),
            claimed: Claimed { owner, ..Claimed::default() },
            profile,
            argv,
            env,
            cwd,
            limits,
            input,
            merge,
        },
    )
}

fn variable(variable: &CString) -> (String, Vec<u8>) {
    let at = variable.as_bytes().iter().position(|b| *b == b'=').unwrap();
    let (name, value) = variable.as_bytes().split_at(at);
    (String::from_utf8(name.to_vec()).unwrap(), value[1..].to_vec())
}

fn within_ids(plan: &JobPlan, profile: &Profile) {
    let (uid, gid) = (plan.entry.uid, plan.gid);
    assert!(uid != 0 && gid != 0 && uid != 900);
    match &profile.user {
        RunAs::Pool => assert!((uid, gid) == (POOL_UID, POOL_UID) && plan.groups.is_empty()),
        RunAs::Named(user, groups) => {
            assert_eq!((uid, gid), (user.uid, user.gid));
            assert_eq!(&plan.groups, groups);
        }
    }
}

fn within_limits(plan: &JobPlan, profile: &Profile) {
    let limits = plan.entry.limits;
    assert_eq!(limits.get(Limit::Input), None);
    for limit in Limit::ALL.into_iter().filter(|limit| *limit != Limit::Input) {
        let (name, given, max) = (limit.name(), limits.get(limit), profile.limits.max.get(limit));
        if let (Some(given), Some(max)) = (given, max) {
            assert!(given <= max, "{name} {given} above {max}");
        }
        if limit != Limit::Swap {
            assert!(given != Some(0), "{name} is 0");
        }
        assert!(max.is_none() || given.is_some() || name.starts_with("io_"), "{name} is not bounded");
    }
    let given = |limit| limits.get(limit).unwrap();
    assert!((1..=10_000).contains(&given(Limit::CpuWeight)));
    assert!(given(Limit::Cpu) >= 10 && given(Limit::Pids) > 0);
    let (memory, swap) = (given(Limit::Memory), given(Limit::Swap));
    assert!(memory >= 1 << 20 && memory.is_multiple_of(4096) && swap.is_multiple_of(4096));
}

fn within_words(plan: &JobPlan, spawn: &Spawn, profile: &Profile) {
    let words = &plan.argv;
    let bytes: usize = words.iter().map(|word| word.as_bytes_with_nul().len()).sum();
    let asked: usize = spawn.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    assert!(bytes + asked <= ARGUMENT_BYTES_MAX);
    match &profile.command {
        Some(fixed) => assert!(words.iter().map(|word| word.to_str().unwrap()).eq(fixed.iter())),
        None => assert!(words.iter().map(|word| word.to_bytes()).eq(spawn.argv.iter().map(Vec::as_slice))),
    }
    let first = words[0].to_bytes();
    for candidate in &plan.candidates {
        let folder = candidate.to_bytes().strip_suffix(first).unwrap();
        let listed = || profile.path.split(':').any(|dir| folder.strip_suffix(b"/") == Some(dir.as_bytes()));
        assert!(folder.is_empty() && first.contains(&b'/') || listed());
    }
}

fn within_environment(plan: &JobPlan, spawn: &Spawn, profile: &Profile) {
    let variables: Vec<_> = plan.env.iter().map(variable).collect();
    for (name, value) in &variables {
        let of_profile = profile.env.iter().any(|(n, v)| n == name && v.as_bytes() == value);
        let of_request = spawn.env.iter().any(|(n, v)| n == name && v == value);
        let of_executor =
            ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TMPDIR", "AIRLOCK_JOB_ID"].contains(&name.as_str());
        assert!(of_profile || of_request || of_executor, "{name}");
        assert_eq!(variables.iter().filter(|(n, _)| n == name).count(), 1, "{name} twice");
    }
    for (name, _) in &spawn.env {
        let allowed =
            |pattern: &String| pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start));
        assert!(profile.env_allow.iter().any(allowed), "{name} was let through");
        assert!(!name.starts_with("LD_") && !name.starts_with("MALLOC_") && !NEVER.contains(&name.as_str()), "{name}");
    }
    let id = variables.iter().find(|(name, _)| name == "AIRLOCK_JOB_ID").unwrap();
    assert_eq!(id.1, spawn.job.to_string().as_bytes());
}

fn within_directory(plan: &JobPlan, config: &Config, profile: &Profile) {
    let own = config.work_dir.join(plan.entry.job.to_string());
    let own = own.to_str().unwrap();
    if let Some(directory) = plan.directory.as_ref() {
        assert_eq!(directory.to_str().unwrap(), own);
    }
    let cwd = plan.cwd.to_str().unwrap();
    let fresh = cwd == own && plan.directory.as_ref().is_some() && profile.cwd.iter().any(|dir| dir == FRESH);
    assert!(fresh || profile.cwd.iter().any(|dir| dir == cwd), "{cwd}");
    assert!(profile.user != RunAs::Pool || plan.directory.as_ref().is_some(), "a pooled job without a directory");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_becomes_a_plan_outside_its_profile(spawn in any_spawn()) {
        let config = super::config();
        if let Ok(plan) = admit(&spawn, config, POOL_UID, EPOCH) {
            let profile = &config.profiles[&spawn.profile];
            within_ids(&plan, profile);
            within_limits(&plan, profile);
            within_words(&plan, &spawn, profile);
            within_environment(&plan, &spawn, profile);
            within_directory(&plan, config, profile);
            assert!(plan.entry.input.is_none_or(|input| input.bytes <= profile.limits.max.get(Limit::Input).unwrap_or(0)));
            assert_eq!(plan.namespaces, profile.namespaces);
        }
    }
}

// The property above would hold of an admission that refuses everything.
#[test]
fn many_of_these_requests_are_admitted() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let (config, mut runner) = (super::config(), TestRunner::deterministic());
    let admitted = (0..500)
        .filter(|_| admit(&any_spawn().new_tree(&mut runner).unwrap().current(), config, POOL_UID, EPOCH).is_ok());
    let admitted = admitted.count();
    assert!(admitted > 50, "{admitted} of 500");
}
