//! What a spawn asks for: bombs, paths, names, limits.

use ipc_protocol::{ARGUMENT_BYTES_MAX, Answer, End, Limit, Limits, Refusal, Request, Spawn};

use super::{
    attack,
    peer::{Peer, spawn},
};

#[track_caller]
fn refused(peer: &mut Peer, asked: &Spawn, class: Refusal, field: &str) {
    let (refusal, at, message) = peer.is_refused(asked);
    assert_eq!((refusal, at.as_str()), (class, field), "{message}");
}

#[track_caller]
fn does_not_start(peer: &mut Peer, asked: &Spawn) {
    peer.say(&Request::Spawn(Box::new(asked.clone())));
    peer.waits_for("a failed start", |answer| match answer {
        Answer::NotStarted { job, .. } if *job == asked.job => Some(()),
        Answer::Exited { job, end: End::StartFailed(_), .. } if *job == asked.job => Some(()),
        Answer::Spawned { .. } => panic!("this was started: {asked:?}"),
        _ => None,
    });
    peer.say(&Request::Release { job: asked.job });
}

#[test]
fn arguments_above_the_bound_are_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        let one = Spawn { argv: vec![b"echo".to_vec(), vec![b'x'; ARGUMENT_BYTES_MAX]], ..spawn(&[]) };
        refused(&mut peer, &one, Refusal::Invalid, "command");
        let many = Spawn { argv: vec![b"x".to_vec(); ARGUMENT_BYTES_MAX / 2 + 1], ..spawn(&[]) };
        refused(&mut peer, &many, Refusal::Invalid, "command");
    });
}

#[test]
fn as_many_arguments_as_the_bound_allows_arrive_at_the_command() {
    attack(|executor| {
        let mut peer = executor.live();
        let mut argv = vec![b"sh".to_vec(), b"-c".to_vec(), b"echo $#".to_vec(), b"sh".to_vec()];
        argv.resize(50_000, b"x".to_vec());
        let job = Spawn { argv, ..spawn(&[]) };
        peer.starts(&job);
        assert_eq!(peer.output_until_end(job.job), (b"49996\n".to_vec(), End::Exited(0)));
    });
}

#[test]
fn an_environment_above_the_bound_is_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        let one = Spawn { env: vec![("A".into(), vec![b'x'; ARGUMENT_BYTES_MAX])], ..spawn(&["true"]) };
        refused(&mut peer, &one, Refusal::Invalid, "command");
        let many = Spawn { env: vec![("A".into(), b"1".to_vec()); ARGUMENT_BYTES_MAX / 4], ..spawn(&["true"]) };
        refused(&mut peer, &many, Refusal::Invalid, "command");
    });
}

#[test]
fn as_many_variables_as_the_bound_allows_do_not_hold_the_executor_up() {
    attack(|executor| {
        let mut peer = executor.live();
        let mut left = ARGUMENT_BYTES_MAX - 100;
        let names = (0..).map(|n| format!("A{n}")).take_while(|name| {
            left = left.saturating_sub(name.len() + 2);
            left > 0
        });
        let job = Spawn { env: names.map(|name| (name, Vec::new())).collect(), ..spawn(&["true"]) };
        assert!(job.env.len() > 15_000);
        let before = executor.processor_time();
        peer.starts(&job);
        // Not what a clock says: other work on this machine is nothing that the executor was busy with.
        let busy = executor.processor_time() - before;
        assert!(busy < airlock_e2e::scale::seconds(1), "the executor was busy for {busy:?}");
        assert_eq!(peer.ends(job.job), End::Exited(0));
    });
}

#[test]
fn a_nul_byte_anywhere_is_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        refused(&mut peer, &spawn(&["tr\0ue"]), Refusal::Invalid, "command");
        let value = Spawn { env: vec![("A".into(), vec![0])], ..spawn(&["true"]) };
        refused(&mut peer, &value, Refusal::Invalid, "env");
        let name = Spawn { env: vec![("A\0B".into(), vec![])], ..spawn(&["true"]) };
        refused(&mut peer, &name, Refusal::Invalid, "env");
        let cwd = Spawn { cwd: Some("/\0".into()), ..spawn(&["true"]) };
        refused(&mut peer, &cwd, Refusal::Invalid, "cwd");
        let profile = Spawn { profile: "standard\0".into(), ..spawn(&["true"]) };
        refused(&mut peer, &profile, Refusal::Profile, "profile");
    });
}

#[test]
fn an_empty_command_is_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        refused(&mut peer, &spawn(&[]), Refusal::Invalid, "command");
        refused(&mut peer, &spawn(&[""]), Refusal::Invalid, "command");
    });
}

#[test]
fn variables_that_change_what_is_loaded_are_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        for name in ["LD_PRELOAD", "LD_AUDIT", "GCONV_PATH", "GLIBC_TUNABLES", "AIRLOCK_JOB_ID", "", "A=B"] {
            let asked = Spawn { env: vec![(name.into(), b"/tmp/evil.so".to_vec())], ..spawn(&["true"]) };
            refused(&mut peer, &asked, Refusal::Invalid, "env");
        }
    });
}

#[test]
fn a_directory_that_the_profile_does_not_list_is_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        for dir in ["/", "/root", "/etc", "..", "../..", "/var/../root", "/proc/self/fd/3", "fresh/../..", "", "fresh"]
        {
            refused(&mut peer, &Spawn { cwd: Some(dir.into()), ..spawn(&["true"]) }, Refusal::Invalid, "cwd");
        }
    });
}

#[test]
fn a_command_by_a_path_with_dots_is_run_as_the_jobs_user_or_not_at_all() {
    attack(|executor| {
        let mut peer = executor.live();
        does_not_start(&mut peer, &spawn(&["../../../../../../root/.bashrc"]));
        does_not_start(&mut peer, &spawn(&["/proc/1/exe"]));
        does_not_start(&mut peer, &spawn(&["/etc/shadow"]));
        let id = spawn(&["/usr/bin/../bin/id", "-u"]);
        let (_, uid) = peer.starts(&id);
        assert_eq!(peer.output_until_end(id.job), (format!("{uid}\n").into_bytes(), End::Exited(0)));
        assert!(uid >= 1_900_000_000, "uid {uid} is not of the pool");
    });
}

#[test]
fn the_keepers_own_program_is_not_a_way_around_it() {
    attack(|executor| {
        let mut peer = executor.live();
        // In its process the link leads to the keeper; the command has the job's user and no descriptors.
        for words in [&["/proc/self/exe", "sweep"][..], &["/proc/self/exe", "x"], &["/proc/self/exe"]] {
            let job = spawn(words);
            peer.say(&Request::Spawn(Box::new(job.clone())));
            let ended = peer.waits_for("an end", |answer| match answer {
                Answer::NotStarted { job: id, .. } if *id == job.job => Some(None),
                Answer::Exited { job: id, end, .. } if *id == job.job => Some(Some(end.clone())),
                _ => None,
            });
            assert_ne!(ended, Some(End::Exited(0)), "{words:?}");
        }
    });
}

#[test]
fn a_profile_is_a_name_and_no_path() {
    attack(|executor| {
        let mut peer = executor.live();
        for name in [
            "",
            "/",
            "../standard",
            "standard/",
            "standard/../offline",
            "/etc/airlock/executor.toml",
            "root",
            "Standard",
        ] {
            refused(&mut peer, &Spawn { profile: name.into(), ..spawn(&["true"]) }, Refusal::Profile, "profile");
        }
        refused(&mut peer, &Spawn { profile: "airlock-probe".into(), ..spawn(&["true"]) }, Refusal::Profile, "profile");
        refused(&mut peer, &Spawn { profile: "x".repeat(10_000), ..spawn(&["true"]) }, Refusal::Invalid, "claimed");
    });
}

#[test]
fn limits_of_nothing_and_of_everything_are_refused() {
    attack(|executor| {
        let mut peer = executor.live();
        for limit in Limit::ALL.into_iter().filter(|limit| *limit != Limit::Input) {
            let name = limit.name();
            for value in [0, u64::MAX] {
                // No swap is a limit; and the shipped profiles leave rates of i/o to the request.
                if (name == "swap" && value == 0) || (name.starts_with("io_") && value > 0) {
                    continue;
                }
                let asked = Spawn { limits: Limits::default().with(limit, value), ..spawn(&["true"]) };
                refused(&mut peer, &asked, Refusal::Invalid, &format!("limits.{name}"));
            }
        }
    });
}

#[test]
fn a_job_has_the_limits_that_were_told() {
    attack(|executor| {
        let mut peer = executor.live();
        let limits = Limits::default().with(Limit::Pids, 20).with(Limit::Memory, 64 << 20);
        let job = Spawn { limits, ..spawn(&["sleep", "1000"]) };
        peer.say(&Request::Spawn(Box::new(job.clone())));
        let told = peer.waits_for("the start", |answer| match answer {
            Answer::Spawned { limits, .. } => Some(*limits),
            _ => None,
        });
        let told = [Limit::Pids, Limit::Memory, Limit::Swap].map(|limit| told.get(limit));
        assert_eq!(told, [Some(20), Some(64 << 20), Some(0)]);
        let group = executor.stack().job_groups();
        assert!(!group.is_empty());
    });
}
