//! Starting and stopping: what must be right before anything runs, and that nothing is left afterwards.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use airlock_e2e::{Outcome, Process, Signal, Stack, StackOptions, Tool, deploy_local};

fn program(stack: &Stack, name: &str) -> Outcome {
    let config = stack.path(&format!("{name}.toml"));
    let binary = stack.path(&format!("bin/airlock-{name}"));
    if name == "frontend" {
        let as_frontend =
            ["--reuid", "64100", "--regid", "64100", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--"];
        return Tool::new("setpriv").args(as_frontend).arg(binary).arg("--config").arg(config).limit_seconds(15).run();
    }
    Tool::new(binary).arg("--config").arg(config).limit_seconds(15).run()
}

/// It ended by itself, not with 0, and its last words on standard error hold all of these.
#[track_caller]
fn refuses(outcome: Outcome, words: &[&str]) {
    assert!(!matches!(outcome.code(), Some(0) | None), "{outcome}");
    let last = outcome.err().lines().last().unwrap_or_default().to_owned();
    for word in words {
        assert!(last.contains(word), "expected '{word}' in the last line\n{outcome}");
    }
}

#[test]
fn the_stack_answers_as_the_instructions_say_and_leaves_nothing_behind() {
    let stack = Stack::start();
    let line = ". \"$D/env\"; airlock -i alice run -- sh -c 'echo out; echo err >&2; exit 3'";
    let shell =
        Tool::new("sh").args(["-c", line]).env("D", stack.path("")).env("HOME", "/nonexistent").run().ends_with(3);
    assert_eq!((shell.out().as_str(), shell.err().as_str()), ("out", "err"), "{shell}");
    for name in ["run/executor.sock", "run/executor.pid", "run/frontend.pid", "executor.toml", "frontend.toml", "env"] {
        assert!(stack.path(name).exists(), "{name}");
    }
    let job = stack.job_sh("setsid sleep 1000 & sleep 1000");
    let pids = [
        stack.pid("executor"),
        stack.pid("frontend"),
        i32::try_from(job.status()["pid"].as_i64().expect("a pid")).expect("fits"),
    ];
    assert!(!job.group().folders().is_empty());
    let cgroup = stack.cgroup();
    stack.down().ends_with(0);
    assert!(pids.iter().all(|pid| !Process::new(*pid).lives()), "{pids:?}");
    assert!(job.group().folders().is_empty() && stack.job_groups().is_empty());
    let roots = fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten().map(|entry| entry.path());
    let left: Vec<_> = roots
        .chain([Path::new("/sys/fs/cgroup").to_owned()])
        .map(|root| root.join(&cgroup))
        .filter(|path| path.exists())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&stack.path("").display().to_string()), "{mounts}");
    stack.up().ends_with(0);
    let lost = job.end();
    assert_eq!(lost["state"], "lost", "its keeper was ended with it: {lost}");
    assert!(lost["lost_reason"].is_string() && lost.get("exit_status").is_none(), "{lost}");
}

#[test]
fn up_starts_what_is_missing_and_leaves_the_rest_alone() {
    let stack = Stack::start();
    let (executor, frontend) = (stack.pid("executor"), stack.pid("frontend"));
    stack.up().ends_with(0);
    assert_eq!((stack.pid("executor"), stack.pid("frontend")), (executor, frontend));
    stack.end("frontend", Signal::KILL);
    stack.up().ends_with(0);
    assert_eq!(stack.pid("executor"), executor);
    assert_ne!(stack.pid("frontend"), frontend);
    stack.run_sh("exit 0").ends_with(0);
    stack.down().ends_with(0);
    stack.down().ends_with(0);
}

#[test]
fn a_folder_that_other_users_cannot_reach_is_kept_elsewhere_behind_a_link() {
    // Like a checkout in root's home: 0700, so that neither the frontend nor a job could enter it.
    let closed = tempfile::tempdir().expect("a folder");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("mode");
    let folder = closed.path().join("checkout/.airlock");
    deploy_local().args(["up", "--prepare", "--port", "0", "--dir"]).arg(&folder).run().ends_with(0);
    let real = fs::read_link(&folder).expect("a link");
    assert!(real.starts_with("/var/lib/airlock-local") && folder.join("env").exists(), "{}", real.display());
    let as_frontend = ["--reuid", "64100", "--regid", "64100", "--clear-groups", "--", "cat"];
    Tool::new("setpriv").args(as_frontend).arg(real.join("tls/server.key")).run().ends_with(0);
    deploy_local().args(["down", "--purge", "--dir"]).arg(&folder).run().ends_with(0);
    assert!(!real.exists() && fs::symlink_metadata(&folder).is_err());
}

#[test]
fn the_two_processes_have_the_privileges_they_are_meant_to_have() {
    let stack = Stack::shared();
    let frontend = Process::new(stack.pid("frontend"));
    assert_eq!(frontend.field("Uid").expect("it runs"), "64100\t64100\t64100\t64100");
    assert_eq!(frontend.field("Groups").expect("it runs"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(frontend.field(set).expect("it runs"), "0000000000000000", "{set}");
    }
    assert_eq!(frontend.field("NoNewPrivs").expect("it runs"), "1");
    let executor = Process::new(stack.pid("executor"));
    assert_eq!(executor.field("Uid").expect("it runs"), "0\t0\t0\t0");
    assert_eq!(executor.field("Threads").expect("it runs"), "1", "one thread, one loop");
    let socket = fs::metadata(stack.path("run/executor.sock")).expect("the socket");
    assert_eq!((socket.uid(), socket.gid(), socket.permissions().mode() & 0o777), (0, 64100, 0o660));
}

#[test]
fn a_wrong_key_in_a_configuration_is_named_with_its_line_and_what_was_meant() {
    let stack = StackOptions::new()
        .edit("executor.toml", "starts_per_second", "starts_per_secnd")
        .edit("frontend.toml", "executor_socket", "executor_sockt")
        .edit("policy.toml", "visibility", "visibilty")
        .prepare();
    let line = |file: &str, word: &str| {
        let text = fs::read_to_string(stack.path(file)).expect(file);
        format!("{file}:{}", 1 + text.lines().position(|line| line.contains(word)).expect(word))
    };
    refuses(
        program(&stack, "executor"),
        &[&line("executor.toml", "secnd"), "'starts_per_secnd' in [ceilings]", "'starts_per_second'"],
    );
    refuses(
        program(&stack, "frontend"),
        &[&line("frontend.toml", "executor_sockt"), "'executor_sockt'", "executor_socket"],
    );
    stack.edit("frontend.toml", "executor_sockt", "executor_socket");
    refuses(program(&stack, "frontend"), &[&line("policy.toml", "visibilty"), "'visibilty'", "visibility"]);
    refuses(stack.up(), &["starts_per_secnd"]);
}

#[test]
fn an_executor_configuration_that_others_may_write_or_own_is_refused() {
    let stack = StackOptions::new().prepare();
    let file = stack.path("executor.toml");
    for mode in [0o660, 0o602, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("mode");
        refuses(program(&stack, "executor"), &["executor.toml", &format!("{mode:04o}")]);
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("mode");
    chown(&file, Some(64100), Some(64100)).expect("owner");
    refuses(program(&stack, "executor"), &["executor.toml", "64100"]);
    chown(&file, Some(0), Some(0)).expect("owner");
    let real = stack.path("real.toml");
    fs::rename(&file, &real).expect("rename");
    std::os::unix::fs::symlink(&real, &file).expect("a link");
    refuses(program(&stack, "executor"), &["executor.toml"]);
}

#[test]
fn no_profile_can_mean_root_or_the_frontends_user() {
    for (from, to) in
        [("run_as = \"pool\"", "run_as = \"root\""), ("first = ", "first = 0 # "), ("first = ", "first = 64000 # ")]
    {
        let stack = StackOptions::new().edit("executor.toml", from, to).prepare();
        refuses(program(&stack, "executor"), &["executor.toml"]);
    }
}

#[test]
fn the_executor_without_rights_and_the_frontend_with_too_many_say_so() {
    let stack = StackOptions::new().prepare();
    let binary = stack.path("bin/airlock-executor");
    let plain =
        Tool::new("setpriv").args(["--reuid", "64100", "--regid", "64100", "--clear-groups", "--"]).arg(&binary);
    refuses(plain.arg("--config").arg(stack.path("executor.toml")).run(), &["root"]);
    let frontend = Tool::new(stack.path("bin/airlock-frontend")).arg("--config").arg(stack.path("frontend.toml"));
    refuses(frontend.limit_seconds(15).run(), &["root"]);
}

#[test]
fn a_port_in_use_is_named() {
    let stack = StackOptions::new().prepare();
    let port: u16 = stack.address().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let taken = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    refuses(program(&stack, "frontend"), &[&port.to_string(), "in use"]);
    refuses(stack.up(), &[&port.to_string()]);
    drop(taken);
    stack.up().ends_with(0);
}

#[test]
fn a_server_key_that_others_may_read_is_refused() {
    let stack = StackOptions::new().prepare();
    fs::set_permissions(stack.path("tls/server.key"), fs::Permissions::from_mode(0o444)).expect("mode");
    refuses(program(&stack, "frontend"), &["server.key", "0444"]);
}

#[test]
fn a_bad_configuration_on_reload_is_named_and_the_old_one_stays() {
    let stack = Stack::start();
    stack.edit("executor.toml", "umask", "umsak");
    stack.edit("policy.toml", "visibility", "visibilty");
    for (process, word) in [("executor", "umsak"), ("frontend", "visibilty")] {
        stack.signal(process, Signal::HUP);
        airlock_e2e::wait_until("the refusal in the log", airlock_e2e::scale::seconds(10), || {
            stack.log(process).contains(word).then_some(())
        });
    }
    // Which one stays: the executor had read it before this test changed the file.
    let log = stack.log("executor");
    let stays = log.lines().find_map(|line| line.split_once("; the configuration from ")).expect("what stays").1;
    let (read_at, words) = stays.split_once(' ').expect("a time");
    assert_eq!((read_at.len(), words), ("2026-11-20T08:11:04Z".len(), "stays in force"), "{log}");
    stack.run_sh("exit 4").ends_with(4);
}

#[test]
fn the_executor_checks_a_host_and_says_so() {
    let stack = StackOptions::new().prepare();
    let check = Tool::new(stack.path("bin/airlock-executor"))
        .arg("--config")
        .arg(stack.path("executor.toml"))
        .arg("--check")
        .run();
    let check = check.ends_with(0);
    assert!(check.out().contains("ok    cgroups"), "{check}");
    assert!(check.out().lines().all(|line| !line.starts_with("FAIL")), "{check}");
}

#[test]
fn both_programs_tell_how_they_are_used_and_refuse_words_that_they_do_not_know() {
    let stack = Stack::shared();
    for program in ["airlock-executor", "airlock-frontend"] {
        let asked = |word| Tool::new(stack.path("bin").join(program)).arg(word).run();
        let help = asked("--help").ends_with(0);
        assert!(help.out().to_lowercase().contains("usage:") && help.out().contains("--config"), "{help}");
        let wrong = asked("--chekc").ends_with(2);
        assert!(wrong.out().is_empty() && wrong.err().to_lowercase().contains("usage:"), "{wrong}");
    }
}

#[test]
fn only_the_frontends_user_is_heard_on_the_socket() {
    let stack = Stack::shared();
    let before = Process::new(stack.pid("executor"));
    for _ in 0..3 {
        let socket =
            std::os::unix::net::UnixStream::connect(stack.path("run/executor.sock")).expect("root may connect");
        socket.set_read_timeout(Some(airlock_e2e::scale::seconds(10))).expect("a deadline");
        let mut byte = [0];
        let read = std::io::Read::read(&mut &socket, &mut byte);
        assert!(
            matches!(read, Ok(0)) || read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
            "closed unheard"
        );
    }
    assert!(before.lives());
    stack.run_sh("exit 0").ends_with(0);
}
