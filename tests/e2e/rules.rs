//! Rules and groups of policy.toml: who is here on what terms, and what people's jobs may take together.

use std::collections::BTreeSet;
use std::time::Instant;

use airlock_e2e::{Job, Signal, Stack, StackOptions, Tool, scale, wait_until};

/// Who is not named here, such as bob, fits no rule.
const RULES: &str = r#"
[[rule]]
match = { cn = "admin" }

[[rule]]
match = { cn = "mallory" }
role = "none"

[[rule]]
match = { ou = "build" }
role = "user"
profiles = ["offline"]
group = "build"

[group.build]
"#;

/// A stack with the rules, the bounds of group build, and carol and dave of that unit.
fn stack(bounds: &str) -> Stack {
    let stack = StackOptions::new().edit("policy.toml", "[output]", &format!("{RULES}{bounds}\n[output]")).start();
    for name in ["carol", "dave"] {
        issue(&stack, &[name, "--ou", "build"]);
    }
    stack
}

/// A certificate beside those of the stack.
fn issue(stack: &Stack, words: &[&str]) {
    let airlock = Tool::new(stack.path("bin/airlock")).args(["certs", "issue"]).args(words);
    airlock.arg("--dir").arg(stack.path("ca")).arg("--out").arg(stack.certs()).run().ends_with(0);
}

/// What `whoami` says of the group.
fn group_line(stack: &Stack) -> String {
    let told = stack.airlock("carol").arg("whoami").run().ends_with(0).out();
    told.lines().find(|line| line.starts_with("group")).unwrap_or_else(|| panic!("no group: {told}")).to_owned()
}

fn sleeper<'stack>(stack: &'stack Stack, name: &str, words: &[&str]) -> Job<'stack> {
    stack.job_of(name, &[words, &["--", "sleep", "1000"]].concat())
}

/// Has the frontend read the changed policy, and waits until it has or has refused to.
fn reload(stack: &Stack, note: &str) {
    let times = |log: String| log.matches(note).count();
    let before = times(stack.log("frontend"));
    stack.signal("frontend", Signal::HUP);
    wait_until("the reload", scale::seconds(10), || (times(stack.log("frontend")) > before).then_some(()));
}

const RELOADED: &str = "policy were read again";
const RELOAD_REFUSED: &str = "reload refused";

#[test]
fn the_first_rule_that_fits_gives_role_profiles_and_group() {
    let stack = stack("jobs = 2\nmemory = \"1G\"");
    let told = stack.airlock("carol").arg("whoami").run().ends_with(0).out();
    assert!(told.contains("role user") && told.contains("offline*") && !told.contains("standard"), "{told}");
    assert!(told.contains("group      build: 0 of 2 jobs, 0 of 1G memory, 0 cores in use"), "{told}");
    let job = stack.job_of("carol", &["--memory", "64M", "--", "true"]);
    assert_eq!(job.end()["profile"], "offline", "the first profile of the rule is the default");
    let other = stack.airlock("carol").args(["run", "--profile", "standard", "--", "true"]).run();
    other.says(125, &["profile 'standard' is not among yours: offline"]);
    let told = stack.airlock("admin").arg("whoami").run().ends_with(0).out();
    assert!(told.contains("role admin") && told.contains("standard*") && !told.contains("group "), "{told}");
}

#[test]
fn whom_no_rule_fits_is_refused_every_call_and_the_journal_says_so_under_the_request_id() {
    let stack = stack("jobs = 2");
    for words in ["whoami", "list", "run -- true", "status last", "logs last"] {
        let (command, rest) = words.split_once(' ').unwrap_or((words, ""));
        let refused = stack.airlock("bob").args([command, "--format", "json"]).args(rest.split_terminator(' '));
        let refused = refused.run().ends_with(125);
        let said: serde_json::Value =
            serde_json::from_str(refused.err().trim()).unwrap_or_else(|e| panic!("{e}\n{refused}"));
        assert_eq!(said["error"]["code"], "PERMISSION_DENIED", "{refused}");
        let message = said["error"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("bob has no role on local: no rule of the policy fits"), "{refused}");
        let request = said["error"]["request_id"].as_str().unwrap_or_else(|| panic!("no request id: {refused}"));
        let journal = stack.log("frontend");
        let line =
            journal.lines().find(|line| line.contains(request)).unwrap_or_else(|| panic!("{request}: {journal}"));
        assert!(line.contains("no rule fits") && line.contains("bob"), "{line}");
    }
}

#[test]
fn a_refusal_within_a_rule_names_that_rule_in_the_journal() {
    let stack = stack("jobs = 1");
    let words = ["run", "--request-id", "asked-for-too-much", "--memory", "900G", "--", "true"];
    stack.airlock("carol").args(words).run().ends_with(125);
    let first = sleeper(&stack, "carol", &["--memory", "64M"]);
    let words = ["run", "--request-id", "one-too-many", "--memory", "64M", "--", "true"];
    stack.airlock("dave").args(words).run().ends_with(125);
    let policy = std::fs::read_to_string(stack.path("policy.toml")).expect("the policy");
    let header = policy.lines().position(|line| line.contains("ou = \"build\"")).expect("the rule");
    let rule = format!("policy.toml:{header} (ou build)");
    for request in ["asked-for-too-much", "one-too-many"] {
        let journal = stack.log("frontend");
        let line =
            journal.lines().find(|line| line.contains(request)).unwrap_or_else(|| panic!("{request}: {journal}"));
        assert!(line.contains(&rule), "{rule} is not in {line}");
    }
    first.kill();
}

#[test]
fn a_profile_that_a_rule_names_and_the_executor_lacks_is_told_at_each_reading_and_to_admins() {
    let stack = stack("jobs = 2");
    let missing = "the executor has no profile 'ofline'";
    let told = |times: usize| {
        wait_until("the warning", scale::seconds(10), || {
            (stack.log("frontend").matches(missing).count() == times).then_some(())
        });
    };
    told(0);
    stack.edit("policy.toml", "profiles = [\"offline\"]", "profiles = [\"offline\", \"ofline\"]");
    reload(&stack, RELOADED);
    told(1);
    stack.end("frontend", Signal::TERM);
    stack.up().ends_with(0);
    told(2);
    let doctor = |identity: &str| stack.airlock(identity).arg("doctor").run().ends_with(0).out();
    assert!(doctor("admin").contains("warn  policy") && doctor("admin").contains(missing), "{}", doctor("admin"));
    assert!(!doctor("carol").contains(missing), "{}", doctor("carol"));
}

#[test]
fn a_full_group_refuses_at_once_by_name_whoever_of_it_asks_and_has_room_when_a_job_has_ended() {
    let stack = stack("jobs = 2");
    let jobs = [sleeper(&stack, "carol", &["--memory", "64M"]), sleeper(&stack, "dave", &["--memory", "64M"])];
    for name in ["carol", "dave"] {
        let begin = Instant::now();
        let refused = stack.airlock(name).args(["run", "--", "true"]).run();
        refused.says(125, &["group build has 2 jobs running, its most; wait for one"]);
        assert!(begin.elapsed() < scale::seconds(5), "nothing waits silently: {:?}", begin.elapsed());
        let json = stack.airlock(name).args(["start", "--format", "json", "--", "true"]).run().ends_with(125);
        assert!(json.err().contains("RESOURCE_EXHAUSTED"), "{json}");
    }
    let doctor = stack.airlock("carol").arg("doctor").run().ends_with(0).out();
    assert!(doctor.contains("warn  access") && doctor.contains("group build 2 of 2 jobs"), "{doctor}");
    stack.airlock("admin").args(["run", "--", "true"]).run().ends_with(0);
    jobs[1].kill();
    assert!(group_line(&stack).contains("1 of 2 jobs"), "{}", group_line(&stack));
    stack.airlock("carol").args(["run", "--memory", "64M", "--", "true"]).run().ends_with(0);
    jobs[0].kill();
}

#[test]
fn memory_and_cores_of_a_group_are_the_sums_of_its_live_jobs_limits() {
    let stack = stack("memory = \"256M\"\ncpu = \"150%\"");
    let start = |memory: &str, cpu: &str| {
        stack.airlock("carol").args(["start", "--memory", memory, "--cpu", cpu, "--", "sleep", "1000"]).run()
    };
    start("200M", "0.5").ends_with(0);
    start("100M", "0.5").says(125, &["group build has 200M of its 256M of memory in use, and this job asks for 100M"]);
    start("300M", "0.5")
        .says(125, &["memory 300M is above the most that group build allows all its jobs together, 256M"]);
    start("56M", "1").ends_with(0);
    assert_eq!(group_line(&stack), "group      build: 2 jobs, 256M of 256M memory, 1.5 of 1.5 cores in use");
    stack.airlock("carol").args(["stop", "--all", "--grace", "0"]).run().ends_with(0);
    assert_eq!(group_line(&stack), "group      build: 0 jobs, 0 of 256M memory, 0 of 1.5 cores in use");
    start("20M", "1").ends_with(0);
    start("20M", "1").says(125, &["group build has 1 of its 1.5 cores in use, and this job asks for 1"]);
    stack.airlock("carol").args(["stop", "--all", "--grace", "0"]).run().ends_with(0);
}

#[test]
fn of_thirty_starts_at_once_a_group_of_five_admits_five() {
    let stack = stack("jobs = 5");
    let words = ["start", "--memory", "32M", "--", "sleep", "1000"];
    let starts: Vec<_> =
        (0..30).map(|number| stack.airlock(["carol", "dave"][number % 2]).args(words).start()).collect();
    let ended: Vec<_> = starts.into_iter().map(|start| start.finish()).collect();
    let started = ended.iter().filter(|outcome| outcome.code() == Some(0)).count();
    assert_eq!(started, 5);
    for refused in ended.into_iter().filter(|outcome| outcome.code() != Some(0)) {
        refused.says(125, &["group build has 5 jobs running, its most"]);
    }
    // A job has a group of its own in each hierarchy of the host.
    let groups = stack.job_groups();
    let born: BTreeSet<_> = groups.iter().filter_map(|group| group.file_name()).collect();
    assert_eq!(born.len(), 5, "no more were born: {groups:?}");
    stack.airlock("admin").args(["stop", "--all", "--grace", "0"]).run().ends_with(0);
}

#[test]
fn after_both_processes_were_killed_a_group_counts_exactly_what_lives() {
    let stack = stack("jobs = 3");
    let kept = [sleeper(&stack, "carol", &["--memory", "64M"]), sleeper(&stack, "dave", &["--memory", "64M"])];
    let brief = stack.job_of("carol", &["--memory", "64M", "--", "sh", "-c", "echo ready; sleep 1000"]);
    brief.has_said("ready");
    let before = group_line(&stack);
    assert!(before.starts_with("group      build: 3 of 3 jobs, 192M memory"), "{before}");
    stack.end("frontend", Signal::KILL);
    stack.end("executor", Signal::KILL);
    stack.up().ends_with(0);
    assert_eq!(group_line(&stack), before);
    stack.airlock("dave").args(["run", "--", "true"]).run().says(125, &["group build has 3 jobs running"]);
    brief.kill();
    let after = group_line(&stack);
    assert!(after.starts_with("group      build: 2 of 3 jobs, 128M memory"), "{after}");
    kept.iter().for_each(Job::kill);
}

#[test]
fn a_rule_with_role_none_shuts_out_on_reload_and_ends_the_open_streams() {
    let stack = stack("jobs = 3");
    let job = stack.job_of("carol", &["--memory", "64M", "--", "sh", "-c", "echo ready; sleep 1000"]);
    let mut follower = stack.airlock("carol").args(["logs", "-f", "--reconnect", "1s", job.id()]).start();
    follower.wait_for_out("ready");
    let mut unharmed = stack.airlock("admin").args(["logs", "-f", job.id()]).start();
    unharmed.wait_for_out("ready");
    stack.edit("policy.toml", "cn = \"mallory\"", "cn = \"car*\"");
    reload(&stack, RELOADED);
    let cut = follower.finish();
    assert!(cut.code() != Some(0), "{cut}");
    stack.airlock("carol").arg("list").run().says(125, &["carol has no role on local", "shuts this name out"]);
    stack.airlock("dave").arg("list").run().ends_with(0);
    assert!(!unharmed.has_ended(), "the others' streams go on");
    stack.airlock("admin").args(["stop", job.id(), "--grace", "0"]).run().ends_with(0);
}

#[test]
fn a_bad_rule_is_named_with_its_line_on_reload_and_the_old_rules_stay() {
    let stack = stack("jobs = 1");
    stack.edit("policy.toml", "group = \"build\"", "group = \"bild\"");
    let policy = std::fs::read_to_string(stack.path("policy.toml")).expect("the policy");
    let line = 1 + policy.lines().position(|line| line.contains("bild")).expect("the mistake");
    reload(&stack, RELOAD_REFUSED);
    let said = format!("policy.toml:{line}: there is no [group.bild]; groups are build");
    assert!(stack.log("frontend").contains(&said), "{said}: {}", stack.log("frontend"));
    assert!(group_line(&stack).contains("0 of 1 job"), "{}", group_line(&stack));
    stack.airlock("bob").arg("whoami").run().says(125, &["bob has no role"]);
}
