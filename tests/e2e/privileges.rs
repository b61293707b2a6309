//! What each process of the root side has given up, and what a job gets of its profile, step by step of its birth.

use std::fs;

use airlock_e2e::{Process, Signal, Stack, StackOptions, Tool, catch, scale, wait_until};
use rustix::process::{Pid, kill_process};
use rustix::thread::{Gid, set_thread_groups};

/// SETUID, SETGID, SETPCAP, KILL and CHOWN.
const FIVE: u64 = 0x1e1;
const SYS_ADMIN: u64 = 1 << 21;

#[track_caller]
fn has_capabilities(process: Process, all: u64) {
    for (set, expected) in [("CapInh", 0), ("CapPrm", all), ("CapEff", all), ("CapBnd", all), ("CapAmb", 0)] {
        assert_eq!(process.field(set), Some(format!("{expected:016x}")), "{set}");
    }
}

/// Starts the stack from a thread that was made different before; what it starts inherits that.
#[track_caller]
fn up_from_a_thread(stack: &Stack, prepare: impl FnOnce() + Send) -> airlock_e2e::Outcome {
    let outcome = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            prepare();
            stack.up()
        });
        thread.join()
    });
    outcome.unwrap_or_else(|_| panic!("the thread died"))
}

/// It may have ended by itself a moment ago.
fn signal(pid: i32, signal: Signal) {
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
}

fn without_namespaces() -> Stack {
    StackOptions::new().edit("executor.toml", "namespaces = [", "namespaces = [] # ").start()
}

fn keeper_of(job: &str) -> Process {
    let told = format!("airlock-keeper\0{job}\0");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let keeper = pids.find(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == told.as_bytes()));
    Process::new(keeper.unwrap_or_else(|| panic!("job {job} has no keeper")))
}

#[test]
fn the_executor_has_six_capabilities_and_no_way_to_more() {
    let stack = Stack::shared();
    has_capabilities(Process::new(stack.pid("executor")), FIVE | SYS_ADMIN);
}

#[test]
fn an_executor_without_namespaces_has_five() {
    let stack = without_namespaces();
    has_capabilities(Process::new(stack.pid("executor")), FIVE);
    stack.run_sh("exit 0").ends_with(0);
}

#[test]
fn the_executors_memory_is_closed_to_a_process_with_its_own_user_and_capabilities() {
    // With SYS_ADMIN newer kernels let a process look into any other, whatever that has said of itself.
    let stack = without_namespaces();
    let its_own = "--bounding-set=-all,+setuid,+setgid,+setpcap,+kill,+chown";
    let looks_at = |pid: &str| {
        let script = format!("cat /proc/{pid}/environ /proc/{pid}/maps > /dev/null && echo seen");
        Tool::new("setpriv").args([its_own, "--", "sh", "-c", &script]).run()
    };
    let closed = looks_at(&stack.pid("executor").to_string());
    assert!(closed.out().is_empty() && closed.err().contains("Permission denied"), "{closed}");
    assert_eq!(looks_at("$$").ends_with(0).out(), "seen");
}

#[test]
fn a_keeper_has_given_up_everything_when_its_job_runs() {
    let stack = Stack::shared();
    let job = stack.job(&["sleep", "1000"]);
    assert_eq!(job.state(), "running");
    let keeper = keeper_of(job.id());
    // The command may be running while the keeper still gives things up; its filter is the last of them.
    wait_until("the keeper's filter", scale::seconds(10), || (keeper.field("Seccomp")? == "2").then_some(()));
    has_capabilities(keeper, 0);
    assert_eq!(keeper.field("NoNewPrivs").as_deref(), Some("1"));
    job.kill();
}

#[test]
fn nothing_of_its_environment_stays_with_the_executor_or_reaches_a_keeper() {
    let stack = Stack::shared();
    let environment = |pid: i32| fs::read(format!("/proc/{pid}/environ")).unwrap_or_else(|error| panic!("{error}"));
    let executors = environment(stack.pid("executor"));
    assert!(executors.len() > "PATH=".len(), "it was started with nothing that could stay");
    assert!(executors.iter().all(|byte| *byte == 0), "{}", String::from_utf8_lossy(&executors));
    let job = stack.job(&["sleep", "1000"]);
    assert_eq!(job.state(), "running");
    let keeper = keeper_of(job.id());
    assert_eq!(String::from_utf8_lossy(&environment(keeper.pid())), "");
    job.kill();
}

#[test]
fn a_job_has_the_resource_limits_the_mask_and_the_memory_score_of_its_profile() {
    let stack = StackOptions::new()
        .edit("executor.toml", "umask = \"0022\"", "umask = \"0027\"\noom_score = 321")
        .edit("executor.toml", "nofile = \"1024:65536\", core = 0", "nofile = \"77:88\", core = 0, stack = \"1M:2M\"")
        .start();
    let run = stack.run_sh("umask; ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -Ss; cat /proc/self/oom_score_adj");
    assert_eq!(run.ends_with(0).out(), "0027\n77\n88\n0\n1024\n321");
}

#[test]
fn a_job_has_none_of_the_executors_groups() {
    let stack = StackOptions::new().prepare();
    let groups = [27, 4242].map(Gid::from_raw);
    up_from_a_thread(&stack, || set_thread_groups(&groups).unwrap_or_else(|error| panic!("{error}"))).ends_with(0);
    assert_eq!(Process::new(stack.pid("executor")).field("Groups").as_deref(), Some("27 4242"));
    assert_eq!(stack.run_sh("grep Groups: /proc/self/status | tr -d '[:space:]'").ends_with(0).out(), "Groups:");
}

#[test]
fn a_job_does_not_begin_where_the_kernel_only_says_that_it_changed_the_user() {
    let stack = StackOptions::new().prepare();
    // To a uid of the pool; the frontend's is far below. The kernel then does nothing and says that it did.
    let liar = r#"{ "liar": { "mismatch_action": "allow", "match_action": { "errno": 0 }, "filter": [
        { "syscall": "setresuid", "args": [
            { "index": 0, "type": "dword", "op": "ge", "val": 1000000000 },
            { "index": 0, "type": "dword", "op": "ne", "val": 4294967295 } ] } ] } }"#;
    let arch = std::env::consts::ARCH.try_into().unwrap_or_else(|error| panic!("{error}"));
    let filters = seccompiler::compile_from_json(liar.as_bytes(), arch).unwrap_or_else(|error| panic!("{error}"));
    let outcome = up_from_a_thread(&stack, || {
        filters.values().for_each(|filter| seccompiler::apply_filter(filter).unwrap_or_else(|error| panic!("{error}")));
    });
    assert_eq!(outcome.code(), Some(1), "an executor serves that could start jobs as root\n{outcome}");
    let log = stack.log("executor");
    assert!(log.contains("step verify-ids"), "{log}");
}

#[test]
fn a_profile_without_a_filter_gains_no_privileges_either() {
    let stack = StackOptions::new().edit("executor.toml", "seccomp = \"default\"", "seccomp = \"none\"").start();
    let run = stack.run_sh("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'").ends_with(0);
    assert_eq!(run.out(), "NoNewPrivs:1\nSeccomp:0");
}

#[test]
fn system_calls_that_no_job_needs_are_refused() {
    let stack = Stack::shared();
    for namespace in ["--user", "--mount", "--pid"] {
        let run = stack.airlock("alice").args(["run", "--", "unshare", namespace, "true"]).run().ends_with(1);
        assert!(run.err().contains("Operation not permitted"), "{run}");
    }
}

#[test]
fn a_directory_is_emptied_by_its_jobs_user_without_privileges() {
    let stack = Stack::start();
    let job = stack.job_sh("seq 10000 | xargs touch; echo full; exec sleep 1000");
    job.has_said("full");
    let status = job.status();
    let id = |name: &str| status[name].as_u64().unwrap_or_else(|| panic!("no {name} in {status}"));
    let (uid, pid) = (id("uid"), i32::try_from(id("pid")).unwrap_or_else(|error| panic!("{error}")));
    signal(pid, Signal::KILL);
    // Looked at while it stands still; one that has not come to itself yet may go on for a moment.
    catch("a sweeper that is the job's user", scale::seconds(10), || {
        let sweeper = stack.processes_in("sweepers").into_iter().next()?;
        signal(sweeper, Signal::STOP);
        let process = Process::new(sweeper);
        let ready = (|| {
            let ids = format!("{uid}\t{uid}\t{uid}\t{uid}");
            let field = |name: &str, value: &str| (process.field(name)? == value).then_some(());
            field("Uid", &ids)?;
            field("Gid", &ids)?;
            field("Groups", "")?;
            field("NoNewPrivs", "1")?;
            fs::read(format!("/proc/{sweeper}/environ")).ok()?.is_empty().then_some(())?;
            ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].iter().try_for_each(|set| field(set, "0000000000000000"))
        })();
        signal(sweeper, Signal::CONT);
        ready
    });
    assert_eq!(job.end()["exit"]["signal"], 9);
    wait_until("an empty work folder", scale::seconds(30), || {
        fs::read_dir(stack.path("work")).ok()?.next().is_none().then_some(())
    });
}
