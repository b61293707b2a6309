//! What a job gets when nothing is said, as it sees it itself, and what it cannot reach.

use std::collections::{BTreeMap, BTreeSet};

use airlock_e2e::{Process, Stack, scale, wait_until};

/// `NAME: value` lines of /proc/self/status as the job reads it.
fn own_status(stack: &Stack) -> BTreeMap<String, String> {
    let run = stack.airlock("alice").args(["run", "--", "cat", "/proc/self/status"]).run().ends_with(0);
    let split = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    run.out().lines().filter_map(split).collect()
}

#[test]
fn a_job_is_a_user_of_its_own_without_groups_capabilities_or_new_privileges() {
    let stack = Stack::shared();
    let status = own_status(&stack);
    let ids: Vec<&str> = status["Uid"].split_whitespace().collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "real, effective, saved and file system uid are one: {ids:?}");
    let groups: Vec<&str> = status["Gid"].split_whitespace().collect();
    assert!(groups.iter().all(|id| *id == ids[0]), "its group has its number: {groups:?}");
    assert_eq!(status["Groups"], "", "no supplementary groups");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(status["Seccomp"], "2", "a filter is in force");
    assert_eq!(status["Umask"], "0022");
    assert_eq!(status["SigBlk"], "0000000000000000", "no signal is blocked");
    assert_eq!(status["SigIgn"], "0000000000000000", "no signal is ignored");
    assert_eq!(status["TracerPid"], "0");
}

#[test]
fn the_kernel_shows_the_same_user_from_outside() {
    let stack = Stack::shared();
    let job = stack.job_sh("id -u; sleep 1000");
    wait_until("its uid", scale::seconds(30), || (!job.stdout().is_empty()).then_some(()));
    let shown = job.status();
    let pid = i32::try_from(shown["pid"].as_i64().expect("a pid")).expect("32 bits");
    let uid = shown["uid"].as_u64().expect("a uid").to_string();
    let ids = Process::new(pid).field("Uid").expect("the process lives");
    assert!(ids.split_whitespace().all(|id| id == uid), "{ids} for {uid}");
    assert_eq!(String::from_utf8(job.stdout()).expect("a number").trim(), uid);
    assert!(job.group().processes().contains(&pid), "it is in the job's group");
    job.kill();
}

#[test]
fn two_jobs_at_a_time_never_share_a_user() {
    let stack = Stack::shared();
    let jobs: Vec<_> = (0..8).map(|_| stack.job_sh("sleep 1000")).collect();
    let uids: BTreeSet<u64> = jobs.iter().map(|job| job.status()["uid"].as_u64().expect("a uid")).collect();
    assert_eq!(uids.len(), jobs.len(), "{uids:?}");
    for job in &jobs {
        job.kill();
    }
}

#[test]
fn the_environment_holds_the_promised_names_and_nothing_of_the_client_or_the_host() {
    let stack = Stack::shared();
    let run = stack.airlock("alice").env("SECRET_OF_THE_CLIENT", "x").args(["run", "--", "env"]).run().ends_with(0);
    let environment: BTreeMap<String, String> =
        run.out().lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let names: BTreeSet<&str> = environment.keys().map(String::as_str).collect();
    let promised = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TMPDIR", "AIRLOCK_JOB_ID"];
    assert_eq!(names, BTreeSet::from(promised), "{run}");
    assert_eq!(environment["PATH"], "/usr/local/bin:/usr/bin:/bin");
    assert_eq!(environment["SHELL"], "/bin/sh");
    assert_eq!(environment["LANG"], "C.UTF-8");
    assert_eq!(environment["HOME"], environment["TMPDIR"]);
    assert_eq!(environment["USER"], environment["LOGNAME"]);
    assert_eq!(environment["AIRLOCK_JOB_ID"].len(), 36, "{run}");
}

#[test]
fn variables_that_are_asked_for_arrive_and_dangerous_ones_are_refused() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("env");
    std::fs::write(&file, "# a comment\nFROM_FILE=three words here\n").expect("a file");
    let run = stack
        .airlock("alice")
        .env("FROM_HERE", "two")
        .args(["run", "-e", "ONE=1=1", "--env", "FROM_HERE", "--env-file"]);
    let run = run.arg(&file).args(["--", "sh", "-c", "echo \"$ONE|$FROM_HERE|$FROM_FILE\""]).run().ends_with(0);
    assert_eq!(run.out(), "1=1|two|three words here");
    for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "GCONV_PATH"] {
        let run = stack.airlock("alice").args(["run", "--env", &format!("{name}=/tmp/x.so"), "--", "true"]).run();
        run.says(125, &[name]);
    }
}

#[test]
fn the_directory_is_fresh_private_and_home() {
    let stack = Stack::shared();
    let run = stack.run_sh(
        "ls -A | wc -l; stat -c '%a %u' .; id -u; [ \"$PWD\" = \"$HOME\" ] && echo home; touch mine && echo writable",
    );
    let run = run.ends_with(0);
    let lines: Vec<String> = run.out().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "0", "empty\n{run}");
    assert_eq!(lines[1], format!("700 {}", lines[2]), "{run}");
    assert_eq!(lines[3..], ["home", "writable"], "{run}");
}

#[test]
fn temporary_folders_are_empty_and_in_memory() {
    let stack = Stack::shared();
    let script = "for d in /tmp /var/tmp /dev/shm; do echo $d $(ls -A $d | wc -l) $(stat -c %a $d) \
                  $(awk -v d=$d '$2 == d { source = $1 } END { print source }' /proc/mounts); done";
    let run = stack.run_sh(script).ends_with(0);
    assert_eq!(run.out(), "/tmp 0 1777 airlock\n/var/tmp 0 1777 airlock\n/dev/shm 0 1777 airlock");
}

#[test]
fn temporary_folders_are_the_jobs_own() {
    let stack = Stack::shared();
    let script =
        "for d in /tmp /var/tmp /dev/shm; do ls -A $d | wc -l; echo mark > $d/mark && cat $d/mark; done; sleep 1000";
    let first = stack.job_sh(script);
    wait_until("three marks", scale::seconds(30), || (first.stdout() == b"0\nmark\n0\nmark\n0\nmark\n").then_some(()));
    for folder in ["/tmp", "/var/tmp", "/dev/shm"] {
        assert!(!std::path::Path::new(folder).join("mark").exists(), "{folder}/mark is visible on the host");
    }
    let second = stack.run_sh("ls -A /tmp /var/tmp /dev/shm | grep -c mark").ends_with(1);
    assert_eq!(second.out(), "0");
    first.kill();
}

#[test]
fn standard_input_is_the_null_device_and_no_other_descriptor_is_open() {
    let stack = Stack::shared();
    let run = stack.airlock("alice").args(["run", "--", "ls", "-l", "/proc/self/fd"]).run().ends_with(0);
    let links: BTreeMap<String, String> = run
        .out()
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|(left, to)| (left.split_whitespace().last().unwrap_or_default().to_owned(), to.to_owned()))
        .collect();
    assert_eq!(links["0"], "/dev/null", "{run}");
    assert!(links["1"].starts_with("pipe:") && links["2"].starts_with("pipe:") && links["1"] != links["2"], "{run}");
    // ls has the folder itself open.
    assert_eq!(links.keys().map(String::as_str).collect::<Vec<_>>(), ["0", "1", "2", "3"], "{run}");
    assert_eq!(stack.run_sh("cat; tty").ends_with(1).out(), "not a tty");
}

#[test]
fn other_processes_of_the_host_are_not_visible() {
    let stack = Stack::shared();
    let neighbour = stack.job_sh("exec sleep 987654");
    let run = stack.run_sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; ls -d /proc/[0-9]* | wc -l").ends_with(0);
    assert!(!run.out().contains("987654"), "{run}");
    assert!(!run.out().contains("airlock-executor") && !run.out().contains("airlock-frontend"), "{run}");
    assert!(run.out().matches("airlock-keeper").count() <= 1, "its own keeper alone\n{run}");
    let count: u32 = run.out().lines().last().and_then(|line| line.trim().parse().ok()).expect("a count");
    assert!(count <= 5, "{run}");
    neighbour.kill();
}

#[test]
fn secrets_and_sockets_of_airlock_are_out_of_reach() {
    let stack = Stack::shared();
    for file in
        ["ca/ca.key", "certs/alice.key", "tls/server.key", "executor.toml", "frontend.toml", "audit/audit.jsonl"]
    {
        let path = stack.path(file);
        assert!(path.exists(), "{}", path.display());
        let run = stack.airlock("alice").args(["run", "--", "cat"]).arg(&path).run();
        assert_eq!((run.code(), run.stdout().len()), (Some(1), 0), "{run}");
    }
    for folder in ["state", "work", "audit", "certs"] {
        let run = stack.airlock("alice").args(["run", "--", "ls"]).arg(stack.path(folder)).run();
        assert!(run.code() != Some(0) && run.stdout().is_empty(), "{run}");
    }
    let socket = stack.path("run/executor.sock");
    let run = stack.airlock("alice").args(["run", "--", "test", "-w"]).arg(&socket).run();
    assert_eq!(run.code(), Some(1), "the executor's socket is writable\n{run}");
}

#[test]
fn programs_with_the_setuid_bit_gain_nothing() {
    let stack = Stack::shared();
    let script = "cp /usr/bin/id mine && chmod u+s mine && ./mine -u && id -u; su -c id root < /dev/null 2>/dev/null && echo root; true";
    let run = stack.run_sh(script).ends_with(0);
    let lines: Vec<String> = run.out().lines().map(str::to_owned).collect();
    assert!(lines.len() == 2 && lines[0] == lines[1] && lines[0] != "0", "{run}");
}

#[test]
fn the_offline_profile_has_no_network_and_the_standard_one_the_hosts() {
    let stack = Stack::shared();
    let port = stack.address().rsplit(':').next().expect("a port").to_owned();
    let script = format!("grep -c : /proc/net/dev; echo > /dev/tcp/127.0.0.1/{port}");
    let offline = stack.airlock("alice").args(["run", "--profile", "offline", "--", "bash", "-c", &script]).run();
    assert_eq!((offline.code(), offline.out().as_str()), (Some(1), "1"), "only the loopback\n{offline}");
    stack.airlock("alice").args(["run", "--", "bash", "-c", &script]).run().ends_with(0);
}

#[test]
fn a_directory_that_the_profile_does_not_list_is_refused() {
    let stack = Stack::shared();
    stack.airlock("alice").args(["run", "--cwd", "/etc", "--", "pwd"]).run().says(125, &["/etc"]);
    stack.airlock("alice").args(["run", "--cwd", "relative", "--", "pwd"]).run().says(125, &["relative"]);
}

#[test]
fn jobs_cannot_reach_each_other_by_signals_or_directories() {
    let stack = Stack::shared();
    let victim = stack.job_sh("pwd; sleep 1000");
    wait_until("its directory", scale::seconds(30), || (!victim.stdout().is_empty()).then_some(()));
    let folder = String::from_utf8(victim.stdout()).expect("a path").trim().to_owned();
    let pid = victim.status()["pid"].as_i64().expect("a pid");
    let run = stack.run_sh(&format!("kill -9 {pid} 2>/dev/null && echo killed; test -e {folder} && echo there; true"));
    assert_eq!(run.ends_with(0).out(), "");
    assert_eq!(victim.state(), "running");
    victim.kill();
}
