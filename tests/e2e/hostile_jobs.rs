//! What a job tries that means no good, in every profile: with namespaces, without a network, and with the host's namespaces.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use airlock_e2e::{Job, Outcome, Process, Signal, Stack, StackOptions, processes_of_uid, scale, wait_until};

/// Profiles whose jobs have a /tmp, a /dev/shm and queues of their own.
const APART: [&str; 2] = ["standard", "offline"];
const PROFILES: [&str; 3] = ["standard", "offline", "bare"];
/// With nothing but a user, groups of its own and the filter.
const BARE: &str = r#"[profile.bare]
run_as = "pool"
namespaces = []
rlimits = { core = 0 }

[profile.offline]"#;

#[cfg(target_arch = "x86_64")]
const SYS_PTRACE: u32 = 101;
#[cfg(target_arch = "x86_64")]
const SYS_MQ_OPEN: u32 = 240;
#[cfg(target_arch = "x86_64")]
const SYS_MQ_TIMEDSEND: u32 = 242;
#[cfg(not(target_arch = "x86_64"))]
const SYS_PTRACE: u32 = 117;
#[cfg(not(target_arch = "x86_64"))]
const SYS_MQ_OPEN: u32 = 180;
#[cfg(not(target_arch = "x86_64"))]
const SYS_MQ_TIMEDSEND: u32 = 182;

fn stack() -> Stack {
    StackOptions::new().edit("executor.toml", "[profile.offline]", BARE).start()
}

fn run(stack: &Stack, profile: &str, words: &[&str]) -> Outcome {
    stack.airlock("alice").args(["run", "--profile", profile]).args(words).run()
}

fn run_sh(stack: &Stack, profile: &str, script: &str) -> Outcome {
    run(stack, profile, &["--", "sh", "-c", script])
}

#[track_caller]
fn nothing_of_it_is_left(job: &Job<'_>) {
    let uid = u32::try_from(job.status()["uid"].as_u64().expect("a uid")).expect("32 bits");
    wait_until("its processes' end", scale::seconds(30), || processes_of_uid(uid).is_empty().then_some(()));
    wait_until("its groups' end", scale::seconds(30), || job.group().folders().is_empty().then_some(()));
}

fn shared_memory_kib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("Shmem:")).expect("a line Shmem");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn memory_of_every_kind_meets_the_limit() {
    let stack = stack();
    let anonymous = r#"exec perl -e '$x = "x" x (1 << 28); print "all of it"'"#;
    let system_v = r#"exec perl -e 'my $id = shmget(0, 1 << 28, 01600) // die;
        shmwrite($id, "x" x (1 << 20), $_ << 20, 1 << 20) || die for 0 .. 255; print "all of it"'"#;
    let file = |folder: &str| format!("head -c 256M /dev/zero > {folder}/file && echo all of it");
    let of_all = PROFILES.map(|profile| (profile, anonymous.to_owned()));
    let of_some = APART
        .into_iter()
        .flat_map(|profile| [file("/dev/shm"), file("/tmp"), system_v.to_owned()].map(|script| (profile, script)));
    for (profile, script) in of_all.into_iter().chain(of_some) {
        let job = stack.job(&["--profile", profile, "--memory", "48M", "--", "sh", "-c", &script]);
        let end = job.end();
        assert!(end["oom_kills"].as_u64().is_some_and(|kills| kills > 0), "{profile}: {script}: {end}");
        assert_eq!(String::from_utf8_lossy(&job.stdout()), "", "{profile}: {script}");
    }
}

#[test]
fn what_jobs_fill_again_and_again_is_free_for_the_next_one() {
    let stack = stack();
    let times = if scale::factor() > 1 { 20 } else { 100 };
    // 8 MiB in three folders and in a segment, a queue of each kind filled to its bound; and none of it removed.
    let script = format!(
        r#"for my $folder ("/tmp", "/var/tmp", "/dev/shm") {{
            open(my $file, ">", "$folder/full") || die;
            print($file "x" x (8 << 20)) || die;
        }}
        my $segment = shmget(77, 8 << 20, 01600) // die "segment";
        shmwrite($segment, "x" x (8 << 20), 0, 8 << 20) || die;
        my $queue = msgget(77, 01600) // die "queue";
        my $sent = 0;
        $sent++ while msgsnd($queue, pack("l! a1024", 1, ""), 04000);
        my $name = "full";
        my $posix = syscall({SYS_MQ_OPEN}, $name, 04102, 0600, 0);
        $posix >= 0 || die "posix queue";
        my $message = "x" x 1024;
        $sent++ while syscall({SYS_MQ_TIMEDSEND}, $posix, $message, 1024, 0, 0) == 0;
        print $sent > 10 ? "full" : "sent $sent";"#
    );
    let before = shared_memory_kib();
    for profile in APART {
        for _ in 0..times / 2 {
            assert_eq!(run(&stack, profile, &["--", "perl", "-e", &script]).ends_with(0).out(), "full", "{profile}");
        }
    }
    // 32 MiB each. Other tests use memory too, and a mount is freed a moment after its last process.
    wait_until("the memory back", scale::seconds(30), || {
        (shared_memory_kib() < before + times * 32 * 1024 / 4).then_some(())
    });
    let unrelated = r#"$x = "x" x (100 << 20); print length $x"#;
    let all = run(&stack, "standard", &["--memory", "256M", "--", "perl", "-e", unrelated]).ends_with(0);
    assert_eq!(all.out(), (100 << 20).to_string());
}

#[test]
fn no_job_is_spared_before_the_executor_when_memory_runs_out() {
    let stack = stack();
    let score = |pid: &str| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("a score");
    let executors: i32 = score(&stack.pid("executor").to_string()).trim().parse().expect("a number");
    for profile in PROFILES {
        let script = "for s in 400 0 -1 -500 -1000; do (echo $s > /proc/$$/oom_score_adj) 2>/dev/null; done; \
                      cat /proc/$$/oom_score_adj";
        let lowest: i32 = run_sh(&stack, profile, script).ends_with(0).out().parse().expect("a number");
        assert!(lowest >= executors, "{profile}: {lowest}, and the executor has {executors}");
    }
}

#[test]
fn ten_gibibytes_to_readers_that_stop_cost_neither_process_its_memory() {
    let stack = Stack::start();
    let (bytes, kept) = (scale::bytes(10 << 30), 64 << 20);
    let writes = format!("exec head -c {bytes} /dev/zero");
    let job = stack.job(&["--output-limit", &kept.to_string(), "--", "sh", "-c", &writes]);
    let mut unread = job.airlock("logs").args(["-f", job.id()]).start_unread();
    job.has_written(bytes / 100, scale::seconds(60));
    let pid = job.status()["pid"].as_i64().expect("a pid");
    let written = || {
        let io =
            fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_else(|error| panic!("the job has ended: {error}"));
        io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok()).expect("a line wchar")
    };
    // The executor's reader: the job waits, whatever it wants to write.
    stack.signal("frontend", Signal::STOP);
    let mut before = 0;
    wait_until("the job's waiting", scale::seconds(60), || {
        std::thread::sleep(Duration::from_secs(1));
        (std::mem::replace(&mut before, written()) == before).then_some(())
    });
    stack.signal("frontend", Signal::CONT);
    let end = job.end_within(300);
    assert_eq!((&end["exit_status"], &end["output"]["stdout_bytes"]), (&0.into(), &bytes.into()), "{end}");
    for (name, most) in [("executor", 32 << 10), ("frontend", 128 << 10)] {
        let peak = Process::new(stack.pid(name)).field("VmHWM").expect("its peak");
        let kib: u64 = peak.trim_end_matches(" kB").trim().parse().expect("a number");
        assert!(kib <= most, "{name}: {peak}");
    }
    let segments = fs::read_dir(stack.path("state/output").join(job.id())).expect("its log");
    let on_disk: u64 = segments.map(|entry| entry.and_then(|entry| entry.metadata()).expect("a segment").len()).sum();
    // The limit counts bytes of output; their records' headers come on top, at most an eighth of the whole.
    assert!(on_disk <= kept / 7 * 8, "{on_disk} bytes on disk");
    unread.kill().and_then(|()| unread.wait()).expect("the follower's end");
}

#[test]
fn neither_airlock_nor_other_jobs_can_be_traced_read_or_signalled() {
    let stack = stack();
    let sibling = stack.job(&["--profile", "bare", "--", "sleep", "1000"]);
    let pid = |job: &Job<'_>| job.status()["pid"].as_i64().expect("a pid").to_string();
    let script = format!(
        r#"for my $pid (@ARGV, $$) {{
            for my $file (qw(mem environ maps auxv)) {{
                print "$pid $file\n" if open(my $opened, "<", "/proc/$pid/$file");
            }}
            print "$pid fd\n" if opendir(my $folder, "/proc/$pid/fd");
            print "$pid exe\n" if defined readlink "/proc/$pid/exe";
            print "$pid signalled\n" if kill 0, $pid;
            print "$pid traced\n" if $pid != $$ && syscall({SYS_PTRACE}, 16, $pid, 0, 0) != -1;
        }}"#
    );
    let keepers = stack.processes_in("keepers");
    assert!(!keepers.is_empty());
    let all = [stack.pid("executor"), stack.pid("frontend")].into_iter().chain(keepers);
    let all: Vec<String> = all.map(|pid| pid.to_string()).chain([pid(&sibling)]).collect();
    // Where a job has its own process namespace, the first process is its keeper and nobody else is there.
    for (profile, pids) in [("bare", all), ("standard", vec!["1".to_owned()]), ("offline", vec!["1".to_owned()])] {
        let words = ["--", "perl", "-e", &script].into_iter().chain(pids.iter().map(String::as_str));
        let run = run(&stack, profile, &words.collect::<Vec<_>>()).ends_with(0);
        let reached = run.out();
        let (own, others): (Vec<&str>, Vec<&str>) =
            reached.lines().partition(|line| line.split(' ').next().is_some_and(|pid| !pids.iter().any(|p| p == pid)));
        assert!(others.is_empty(), "{profile}: {run}");
        assert_eq!(own.len(), 7, "its own it can reach, so the look is one: {run}");
    }
    assert_eq!(sibling.state(), "running");
    sibling.kill();
}

#[test]
fn no_job_makes_devices_mounts_or_core_files_or_types_for_others() {
    let stack = stack();
    let script = r#"mknod memory c 1 1 2>/dev/null && echo device
        mknod disk b 8 0 2>/dev/null && echo device
        mount -t tmpfs none . 2>/dev/null && echo mounted
        chroot / true 2>/dev/null && echo chroot
        (: < /dev/tty) 2>/dev/null && echo terminal
        perl -e 'my $key = "x"; print "typed\n" if ioctl(STDIN, 0x5412, $key) || ioctl(STDOUT, 0x5412, $key)'
        sh -c 'kill -SEGV $$' 2>/dev/null
        mkfifo pipe && ls"#;
    for profile in PROFILES {
        assert_eq!(run_sh(&stack, profile, script).ends_with(0).out(), "pipe", "{profile}");
    }
}

#[test]
fn no_job_can_write_to_its_own_groups() {
    let stack = stack();
    let script = r#"all=$(find /sys/fs/cgroup -path "*job-$AIRLOCK_JOB_ID*" -type f 2>/dev/null)
        for file in $all; do
            (echo max > $file) 2>/dev/null && echo $file
            (echo $$ > $file) 2>/dev/null && echo $file
        done
        for folder in $(find /sys/fs/cgroup -path "*job-$AIRLOCK_JOB_ID*" -type d 2>/dev/null); do
            mkdir $folder/sub 2>/dev/null && echo $folder/sub
        done
        echo $all | wc -w"#;
    for profile in PROFILES {
        let files: u32 = run_sh(&stack, profile, script).ends_with(0).out().parse().expect("nothing but a number");
        assert!(files > 10, "{profile}: it saw its groups' files: {files}");
    }
}

#[test]
fn a_job_that_ignores_everything_forks_away_and_stops_itself_is_ended_whole() {
    let stack = stack();
    let script = "trap '' HUP INT QUIT TERM USR1 USR2; \
                  (setsid sh -c 'trap \"\" HUP INT TERM; (sleep 1000 &); sleep 1000' &); \
                  setsid sh -c 'kill -STOP $$' & sleep 1000 & echo ready; kill -STOP $$; \
                  while :; do sleep 1; done";
    for profile in PROFILES {
        let job = stack.job(&["--profile", profile, "--", "sh", "-c", script]);
        job.has_said("ready");
        job.kill();
        assert_eq!(job.status()["exit"]["signal"], 9, "{profile}");
        nothing_of_it_is_left(&job);
    }
}

#[test]
fn who_holds_the_pipes_does_not_hold_the_end() {
    let stack = stack();
    for profile in PROFILES {
        let job = stack.job(&["--profile", profile, "--", "sh", "-c", "(setsid sleep 1000 &); echo said; exit 7"]);
        let end = job.end();
        assert_eq!((&end["state"], &end["exit_status"]), (&"failed".into(), &7.into()), "{profile}: {end}");
        assert_eq!(job.stdout(), b"said\n", "{profile}");
        nothing_of_it_is_left(&job);
    }
}

#[test]
fn emptying_a_jobs_directory_follows_no_link() {
    let stack = stack();
    let folder = stack.path("everybodys");
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
    let folder = folder.to_str().expect("a plain path");
    for profile in PROFILES {
        // All of it is this job's own, so that nothing but the emptying's care keeps it.
        let script = format!(
            "mkdir {folder}/{profile} && echo kept > {folder}/{profile}/file && ln -s {folder}/{profile} link && \
             mkdir -p deep/er && ln -s {folder}/{profile}/file deep/er/file && ln -s .. deep/up && ln -s / deep/root && pwd"
        );
        let directory = run_sh(&stack, profile, &script).ends_with(0).out();
        wait_until("the directory's end", scale::seconds(30), || (!Path::new(&directory).exists()).then_some(()));
        let kept = fs::read_to_string(format!("{folder}/{profile}/file")).unwrap_or_default();
        assert_eq!(kept, "kept\n", "{profile}");
    }
}
