//! What a job gets when nothing, or something, is said.

use std::ffi::CString;

use ipc_protocol::{JobId, Limit, Limits, Phase, Spawn};

use super::{EPOCH, JOB, POOL_UID, plan, spawn};
use crate::{
    admission::{JobPlan, fingerprint, printable},
    filters,
    plan::namespace,
};

fn environment(plan: &JobPlan) -> Vec<String> {
    plan.env.iter().map(|variable| variable.to_str().unwrap().to_owned()).collect()
}

fn ids(plan: &JobPlan) -> (u32, u32) {
    (plan.entry.uid, plan.gid)
}

fn texts(strings: &[CString]) -> Vec<&str> {
    strings.iter().map(|string| string.to_str().unwrap()).collect()
}

#[test]
fn a_pooled_job_has_a_user_a_group_and_a_directory_of_its_own() {
    let plan = plan(&spawn("standard", &["make", "test"]));
    let directory = format!("/work/{JOB}");
    assert_eq!(ids(&plan), (POOL_UID, POOL_UID));
    assert!(plan.groups.is_empty());
    assert_eq!(plan.directory.as_ref().unwrap().to_str().unwrap(), directory);
    assert_eq!(plan.cwd.to_str().unwrap(), directory);
    assert_eq!(texts(&plan.argv), ["make", "test"]);
    assert_eq!(plan.entry.phase, Phase::Starting);
}

#[test]
fn a_bare_command_is_looked_up_in_the_profiles_path_and_nowhere_else() {
    let found = plan(&spawn("standard", &["make"]));
    assert_eq!(texts(&found.candidates), ["/usr/local/bin/make", "/usr/bin/make", "/bin/make"]);
    let with_path = plan(&Spawn { env: vec![("PATH".into(), b"/evil".to_vec())], ..spawn("open", &["make"]) });
    assert_eq!(texts(&with_path.candidates), ["/usr/local/bin/make", "/usr/bin/make", "/bin/make"]);
    for path in ["/bin/make", "./make", "a/b"] {
        assert_eq!(texts(&plan(&spawn("standard", &[path])).candidates), [path]);
    }
}

#[test]
fn the_environment_is_the_executors_then_the_profiles_then_the_requests() {
    let asked =
        Spawn { env: vec![("HOME".into(), b"/x".to_vec()), ("CI".into(), vec![0xff])], ..spawn("standard", &["env"]) };
    let plan = plan(&asked);
    let raw: Vec<_> = plan.env.iter().map(|v| v.as_bytes().to_vec()).collect();
    assert!(raw.contains(&b"CI=\xff".to_vec()));
    let home = format!("TMPDIR=/work/{JOB}");
    for variable in [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "USER=airlock-1900000042",
        "LOGNAME=airlock-1900000042",
        "SHELL=/bin/sh",
        "LANG=de_DE.UTF-8",
        "TOOL=x",
        "HOME=/x",
        &home,
        &format!("AIRLOCK_JOB_ID={JOB}"),
    ] {
        assert!(raw.contains(&variable.as_bytes().to_vec()), "{variable}");
    }
    assert_eq!(raw.iter().filter(|v| v.starts_with(b"HOME=")).count(), 1);
    // The operator may set what a request may not.
    assert!(raw.contains(&b"LD_LIBRARY_PATH=/opt/lib".to_vec()));
}

#[test]
fn a_variable_said_twice_is_there_once_with_its_last_value() {
    let env = vec![("CI".into(), b"1".to_vec()), ("CI".into(), b"2".to_vec())];
    let plan = plan(&Spawn { env, ..spawn("standard", &["env"]) });
    assert_eq!(environment(&plan).iter().filter(|v| v.starts_with("CI=")).collect::<Vec<_>>(), ["CI=2"]);
}

#[test]
fn a_fixed_command_runs_as_its_user_with_its_words() {
    let plan = plan(&spawn("deploy-web", &[]));
    assert_eq!(ids(&plan), (1000, 1000));
    assert_eq!(texts(&plan.argv), ["/usr/local/bin/deploy-web", "--now"]);
    assert_eq!(plan.directory.as_ref(), None);
    assert_eq!(plan.cwd.to_str().unwrap(), "/srv/www");
    assert!(environment(&plan).contains(&"HOME=/home/deploy".to_owned()));
    assert!(environment(&plan).contains(&"USER=deploy".to_owned()));
    assert!(environment(&plan).contains(&"TMPDIR=/tmp".to_owned()));
}

#[test]
fn a_named_user_has_the_listed_groups() {
    let plan = plan(&spawn("ops", &["id"]));
    assert_eq!((ids(&plan), &plan.groups[..]), ((1002, 1002), &[998][..]));
}

#[test]
fn a_listed_directory_is_entered_and_a_pooled_job_still_has_its_own() {
    let plan = plan(&Spawn { cwd: Some("/srv/src".into()), ..spawn("standard", &["pwd"]) });
    assert_eq!(plan.cwd.to_str().unwrap(), "/srv/src");
    assert!(plan.directory.as_ref().is_some());
}

#[test]
fn what_is_left_out_gets_the_default() {
    let given = plan(&spawn("standard", &["true"])).entry.limits;
    let expected = Limits::default()
        .with(Limit::Cpu, 2000)
        .with(Limit::CpuWeight, 100)
        .with(Limit::Memory, 1 << 30)
        .with(Limit::Swap, 0)
        .with(Limit::Pids, 512)
        .with(Limit::Timeout, 86_400_000);
    assert_eq!(given, expected);
}

#[test]
fn what_is_asked_for_within_the_maximum_is_given() {
    let asked = Limits::default()
        .with(Limit::Cpu, 10)
        .with(Limit::CpuWeight, 10_000)
        .with(Limit::Memory, 16 << 30)
        .with(Limit::Swap, 0)
        .with(Limit::Pids, 4096)
        .with(Limit::IoRead, 1)
        .with(Limit::IoWrite, 100 << 20)
        .with(Limit::IoReadOps, u64::MAX)
        .with(Limit::IoWriteOps, 1)
        .with(Limit::Timeout, 604_800_000);
    assert_eq!(plan(&Spawn { limits: asked, ..spawn("standard", &["true"]) }).entry.limits, asked);
}

#[test]
fn a_deadline_that_only_has_a_maximum_is_the_maximum() {
    assert_eq!(plan(&spawn("open", &["true"])).entry.limits.get(Limit::Timeout), Some(600_000));
}

// The bound of the standard input is no limit of what runs.
#[test]
fn a_bound_of_the_input_is_not_among_the_limits_in_force() {
    let limits = Limits::default().with(Limit::Input, 1);
    assert_eq!(plan(&Spawn { limits, ..spawn("standard", &["true"]) }).entry.limits.get(Limit::Input), None);
}

// The kernel counts pages; the limit that reads back must be the one that was written, and never more than was allowed.
#[test]
fn memory_is_whole_pages_and_never_more_than_asked_for() {
    for (asked, given) in
        [(1 << 20, 1 << 20), ((1 << 20) + 1, 1 << 20), (5_000_000, 4_997_120), ((16 << 30) + 1, 16 << 30)]
    {
        let limits = Limits::default().with(Limit::Memory, asked);
        let given_to = plan(&Spawn { limits, ..spawn("standard", &["true"]) }).entry.limits;
        assert_eq!(given_to.get(Limit::Memory), Some(given), "{asked}");
    }
}

#[test]
fn everything_else_of_a_plan_is_the_profiles_and_the_filters_are_this_machines() {
    let asked = spawn("standard", &["true"]);
    let standard = plan(&asked);
    assert_eq!((standard.epoch, standard.fingerprint), (EPOCH, fingerprint(&asked)));
    assert_eq!((standard.umask, standard.oom_score), (0o022, 500));
    assert_eq!(standard.namespaces, namespace::PID | namespace::MOUNT);
    assert_eq!(standard.filters, std::slice::from_ref(&*filters::JOB));
    assert_eq!(standard.keeper_filter, *filters::CONFINED);
    assert_eq!(standard.folder.as_c_str(), c"/work");
    let ops = plan(&spawn("ops", &["id"]));
    assert_eq!((ops.umask, ops.oom_score, &ops.rlimits[..]), (0o077, 1000, &[(7, 1024, 4096)][..]));
    assert_eq!((ops.namespaces, ops.filters.len()), (0, 0));
    assert_eq!(ops.keeper_filter, *filters::CONFINED, "a keeper is confined whatever its job is");
}

#[test]
fn long_arguments_are_cut_in_what_is_told_and_whole_in_what_is_run() {
    let words = ["x".repeat(3000), "y".repeat(3000), "z".to_owned()];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let plan = plan(&spawn("standard", &words));
    assert_eq!(texts(&plan.argv), words);
    let told = &plan.entry.argv;
    assert!(told.iter().map(|word| word.len() + 1).sum::<usize>() <= 4096 + told.len());
    assert_eq!(told[0].len(), 3000);
    let many: Vec<&str> = std::iter::repeat_n("w", 5000).collect();
    assert!(super::plan(&spawn("standard", &many)).entry.argv.len() <= 256);
}

#[test]
fn bytes_of_a_peer_are_shown_without_control_characters_and_cut() {
    assert_eq!(printable(b"a\x1b[0m\n\xff"), "a\u{fffd}[0m\u{fffd}\u{fffd}");
    assert_eq!(printable(&[b'x'; 1000]).len(), 128);
}

#[test]
fn the_jobs_directory_is_named_by_its_id_alone() {
    let job = JobId::from_bytes(*b"/../../etc/passw");
    let plan = plan(&Spawn { job, ..spawn("standard", &["true"]) });
    let directory = plan.directory.as_ref().unwrap().to_str().unwrap().to_owned();
    assert_eq!(directory, format!("/work/{job}"));
    assert!(!directory.contains(".."));
}
