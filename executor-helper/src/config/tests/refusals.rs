//! Files that mean something they must not.

use super::{parsed, users_of, why_not, with_profile};
use crate::config::units::is_plain_absolute;

fn refused(lines: &str, says: &str) {
    let why = why_not(&with_profile(lines));
    assert!(why.contains(says), "expected '{says}' in: {why}");
}

// Of a value, which stands on a line of its own: line 9 of the text. Its key is named once.
fn refused_value(line: &str, says: &str) {
    let why = why_not(&with_profile(line));
    let key = line.split('=').next().unwrap().trim();
    let says_where = says.contains(key) || says.starts_with("unknown value");
    let named = if says_where { says.to_owned() } else { format!("{key}: {says}") };
    assert_eq!(why, format!(":9: {named}"));
}

fn refused_instead(of: &str, instead: &str, says: &str) {
    let text = with_profile("");
    assert!(text.contains(of), "'{of}' is not in the text");
    let why = why_not(&text.replace(of, instead));
    assert!(why.contains(says), "expected '{says}' in: {why}");
}

const POOL: &str = r#"run_as = "pool""#;
const RANGE: &str = "first = 1900000000, count = 65536";

#[test]
fn the_least_is_a_configuration() {
    parsed(&with_profile("")).unwrap();
}

#[test]
fn no_profile_runs_as_root_under_any_name() {
    refused_instead(POOL, r#"run_as = "root""#, "no profile can run as uid or gid 0");
    refused_instead(POOL, r#"run_as = "toor""#, "no profile can run as uid or gid 0");
    refused_instead(POOL, r#"run_as = "wheel""#, "no profile can run as uid or gid 0");
    refused_instead(POOL, r#"run_as = "0""#, "there is no user '0' in /etc/passwd");
    refused_instead(POOL, r#"run_as = """#, "there is no user '' in /etc/passwd");
    refused_instead(POOL, "run_as = 0", ":5: run_as: invalid type: integer `0`, expected a string");
}

#[test]
fn no_profile_has_group_0() {
    refused_instead(POOL, "run_as = \"deploy\"\ngroups = [\"root\"]", "no profile can have group 0");
    refused_instead(POOL, "run_as = \"deploy\"\ngroups = [\"zero\"]", "no profile can have group 0");
}

#[test]
fn no_profile_runs_as_the_frontend() {
    refused_instead(POOL, r#"run_as = "airlock""#, "is the frontend's own user");
    refused_instead(POOL, r#"run_as = "same""#, "is the frontend's own user");
}

#[test]
fn a_user_with_groups_that_the_profile_does_not_list_is_refused() {
    let says = "user 'ops' is in group 'docker', which groups = [...] does not list";
    refused_instead(POOL, r#"run_as = "ops""#, says);
    refused_instead(POOL, "run_as = \"ops\"\ngroups = [\"build\"]", says);
}

#[test]
fn unknown_users_and_groups_are_named() {
    refused_instead(POOL, r#"run_as = "nobody-here""#, "there is no user 'nobody-here' in /etc/passwd");
    refused_instead(POOL, "run_as = \"deploy\"\ngroups = [\"nope\"]", "there is no group 'nope' in /etc/group");
    refused_instead(POOL, "run_as = \"pool\"\ngroups = [\"build\"]", "a pooled user has no groups");
    refused_instead(POOL, r#"run_as = "odd""#, "there is no user 'odd'");
}

#[test]
fn the_frontend_is_an_unprivileged_user_of_this_host() {
    let user = r#"frontend_user = "airlock""#;
    for root in [r#"frontend_user = "root""#, r#"frontend_user = "toor""#, "frontend_user = 0"] {
        refused_instead(user, root, "frontend_user is root");
    }
    refused_instead(user, r#"frontend_user = "nope""#, "there is no user 'nope' in /etc/passwd");
    refused_instead(user, "", "frontend_user");
    assert_eq!(parsed(&with_profile("").replace(user, "frontend_user = 64100")).unwrap().frontend, (64_100, 64_100));
}

#[test]
fn a_pool_has_no_system_user_and_no_end_beyond_the_numbers() {
    let says = "must lie above 1000, below 2^32, and without the frontend's uid";
    for range in [
        "first = 0, count = 65536",
        "first = 999, count = 10",
        "first = 1900000000, count = 0",
        "first = 4294967295, count = 1",
        "first = 4294900000, count = 65536000",
        "first = 4294901760, count = 65536",
    ] {
        refused_instead(RANGE, range, says);
    }
    for range in ["first = -1, count = 10", "first = 4294967296, count = 1", "first = 1900000000, count = 4294967296"] {
        let why = why_not(&with_profile("").replace(RANGE, range));
        assert!(!why.is_empty());
    }
    let pool = with_profile("").replace(r#"frontend_user = "airlock""#, "frontend_user = 1900000007");
    assert!(why_not(&pool).contains("without the frontend's uid"));
}

#[test]
fn the_last_uids_of_a_pool_are_never_minus_one() {
    let config = parsed(&with_profile("").replace(RANGE, "first = 4294901759, count = 65536")).unwrap();
    assert_eq!(config.uid_pool.first + (config.uid_pool.count - 1), u32::MAX - 1);
}

#[test]
fn a_pool_that_meets_somebody_is_refused_and_says_whom() {
    for (range, who) in [
        ("first = 1000, count = 65536", "user same"),
        ("first = 1002, count = 1", "user ops"),
        ("first = 1003, count = 1", "group build"),
        ("first = 1900099999, count = 2", "group shared"),
        ("first = 1900200000, count = 1", "subordinate ids 1900200000+65536"),
        ("first = 1900265535, count = 10", "subordinate ids 1900200000+65536"),
        ("first = 1900299991, count = 10", "subordinate ids 1900300000+10"),
        ("first = 1900150000, count = 1000000", "subordinate ids 1900200000+65536"),
    ] {
        refused_instead(RANGE, range, &format!("meets {who}; choose a free range"));
    }
    for free in ["first = 1900265536, count = 10", "first = 1900299990, count = 10", "first = 1900099990, count = 10"] {
        parsed(&with_profile("").replace(RANGE, free)).unwrap_or_else(|why| panic!("{free}: {why}"));
    }
}

#[test]
fn subordinate_ids_beyond_the_numbers_are_not_overlooked() {
    let users = users_of("airlock:x:900:900::/:\n", "airlock:x:900:\n", "bob:1899999999:9999999999\n", "");
    assert!(users.conflict(1_900_000_000, 65_536).is_some());
    assert!(users.conflict(1_800_000_000, 65_536).is_none());
}

#[test]
fn a_host_without_subordinate_ids_is_read() {
    let etc = tempfile::tempdir().unwrap();
    std::fs::write(etc.path().join("passwd"), "a:x:5:5::/:\n").unwrap();
    std::fs::write(etc.path().join("group"), "").unwrap();
    assert_eq!(crate::config::Users::read(etc.path()).unwrap().user("a").unwrap().uid, 5);
    std::fs::remove_file(etc.path().join("passwd")).unwrap();
    assert!(crate::config::Users::read(etc.path()).is_err());
}

#[test]
fn own_processes_need_own_mounts() {
    refused(r#"namespaces = ["pid"]"#, "namespace pid needs mount");
    let none_of = |name| format!("namespace '{name}' is none of pid, mount, ipc, uts, net");
    refused_value(r#"namespaces = ["user"]"#, &none_of("user"));
    refused_value(r#"namespaces = ["Pid", "mount"]"#, &none_of("Pid"));
}

#[test]
fn a_default_above_its_maximum_is_refused() {
    let memory = r#"memory = { default = "1G", max = "16G" }"#;
    refused_instead(
        memory,
        r#"memory = { default = "2G", max = "1G" }"#,
        "limits.memory: the default 2147483648 is above",
    );
    refused(r#"limits.timeout = { default = "8d", max = "7d" }"#, "limits.timeout: the default");
    refused(r#"limits.swap = { default = "1", max = "0" }"#, "limits.swap: the default 1 is above the maximum 0");
}

#[test]
fn what_must_be_bounded_needs_a_default_and_a_maximum() {
    refused(r#"limits.swap = { default = "0" }"#, "limits.swap needs a max");
    for (of, name) in [
        (r#"limits.cpu = { default = "2", max = "8" }"#, "cpu"),
        (r#"limits.memory = { default = "1G", max = "16G" }"#, "memory"),
        ("limits.pids = { default = 512, max = 4096 }", "pids"),
    ] {
        let says = format!("limits.{name} needs a default and a max");
        refused_instead(of, &format!("limits.{name} = {{ default = 4 }}"), &says);
        refused_instead(of, &format!("limits.{name} = {{ max = 4 }}"), &says);
    }
}

#[test]
fn amounts_that_are_none_are_named() {
    for (limit, amount) in [
        ("swap", "lots"),
        ("swap", "1GB"),
        ("swap", "-1"),
        ("timeout", "7q"),
        ("io_read_ops", "1K"),
        ("input", "all"),
        ("cpu_weight", "1.5"),
    ] {
        let why = why_not(&with_profile(&format!("limits.{limit} = {{ max = \"{amount}\" }}")));
        assert!(why.ends_with(&format!("limits.{limit} '{amount}' is not such an amount")), "{why}");
    }
    refused_value("limits.swap = { max = -1 }", "neither a number nor a text in quotes");
}

#[test]
fn an_amount_in_a_table_of_its_own_is_named_with_the_line_of_the_table() {
    let text = with_profile("[profile.q]\nrun_as = \"pool\"\n[profile.q.limits]\ncpu = { default = \"1\" }");
    let why = why_not(&format!("{text}swap = {{ max = \"lots\" }}\n"));
    assert_eq!(why, ":11: limits.swap 'lots' is not such an amount");
}

#[test]
fn rlimits_have_known_names_and_their_soft_bound_is_not_above_the_hard_one() {
    let none_of = |name| format!("rlimit '{name}' is none of cpu, fsize, stack, core, nofile, memlock");
    refused_value("rlimits = { nproc = 10 }", &none_of("nproc"));
    refused_value("rlimits = { as = 10 }", &none_of("as"));
    for bad in [r#""2048:1024""#, r#""1024""#, r#"":""#, r#""a:b""#, r#""-1:5""#] {
        refused_value(&format!("rlimits = {{ nofile = {bad} }}"), "rlimit nofile is not a number or \"soft:hard\"");
    }
    let config = parsed(&with_profile(r#"rlimits = { nofile = "1K:2K", stack = 4096 }"#)).unwrap();
    assert_eq!(config.profiles["p"].rlimits, [(7, 1024, 2048), (3, 4096, 4096)]);
}

#[test]
fn paths_are_absolute_and_plain() {
    let cwd = "cwd must list \"fresh\" or absolute paths without '..'";
    for bad in [
        "[]", r#"["srv"]"#, r#"["/srv/../etc"]"#, r#"["/srv//x"]"#, r#"["/srv/"]"#, r#"["/"]"#, r#"[""]"#,
        r#"["fresh", "."]"#,
    ] {
        refused(&format!("cwd = {bad}"), cwd);
    }
    for bad in ["", ":", "/bin:", "bin", "/bin:usr", "/bin/..", "/bin:/usr/./bin"] {
        refused(&format!("path = \"{bad}\""), "path must be absolute folders separated by ':'");
    }
    for bad in ["[]", r#"["true"]"#, r#"[""]"#, r#"["./x"]"#] {
        refused(&format!("command = {bad}"), "command must begin with an absolute path");
    }
    for key in ["socket", "work_dir", "audit", "keeper"] {
        for bad in ["relative", "/a/../b", ""] {
            let why = why_not(&format!("{key} = \"{bad}\"\n{}", with_profile("")));
            assert_eq!(why, format!(":1: {key}: '{bad}' is not an absolute path"), "{key}");
        }
    }
    for bad in ["", "/x", "x/", "../x", "a/../../b", "."] {
        let why = why_not(&format!("cgroup = \"{bad}\"\n{}", with_profile("")));
        assert!(why.contains("is not a path below the cgroup mount point"), "{why}");
    }
    assert!(!is_plain_absolute("/a\0b"));
    assert!(is_plain_absolute("/a/b.c/...d"));
}

#[test]
fn other_values_that_mean_nothing_are_refused() {
    for bad in ["9", "1777", "-1", "", "0o22"] {
        refused_value(&format!("umask = \"{bad}\""), "umask is not an octal number such as \"0022\"");
    }
    refused_value(r#"seccomp = "off""#, "unknown value 'off' in [profile.p]");
    refused_value(r#"seccomp = "defualt""#, "unknown value 'defualt' in [profile.p]; did you mean 'default'?");
    refused_value("oom_score = 70000", "invalid value: integer `70000`, expected u16");
    for (name, says) in
        [("\"a/b\"", "its name may have"), ("\"\"", "its name may have"), ("\"..\\u0000\"", "its name may have")]
    {
        refused_instead("[profile.p]", &format!("[profile.{name}]"), says);
    }
}

#[test]
fn ceilings_are_numbers_of_something() {
    let ceiling = |line: &str| why_not(&format!("ceilings.{line}\n{}", with_profile("")));
    for (line, says) in [
        ("memory = \"lots\"", ":1: ceilings.memory: 'lots' is not a size"),
        ("memory = \"0%\"", ":1: ceilings.memory: '0%' is not a size"),
        ("memory = \"101%\"", ":1: ceilings.memory: '101%' is not a size"),
        ("cpu = \"many\"", ":1: ceilings.cpu: not a number of cores"),
        ("output_in_flight = \"x\"", ":1: ceilings.output_in_flight: 'x' is not a size"),
        ("input_in_flight = \"x\"", ":1: ceilings.input_in_flight: 'x' is not a size"),
    ] {
        assert_eq!(ceiling(line), says, "{line}");
    }
    assert!(ceiling("jobs = -1").starts_with(":1: "));
    assert!(ceiling("jbos = 1").starts_with(":1: unknown key 'jbos' in the file; did you mean 'jobs'?"));
}

#[test]
fn a_file_without_a_pool_or_without_a_frontend_is_refused() {
    let pool = format!("uid_pool = {{ {RANGE} }}");
    refused_instead(&pool, "", "uid_pool 0+0 must lie above 1000");
    let frontend = "frontend_user = \"airlock\"";
    refused_instead(frontend, "", "frontend_user: there is no user '' in /etc/passwd");
    refused_instead(frontend, "frontend_user = true", ":2: frontend_user: neither a number nor a text in quotes");
}

#[test]
fn a_refusal_of_what_a_profile_means_names_the_profile() {
    let why = why_not(&with_profile(r#"path = "bin""#));
    assert_eq!(why, ": [profile.p]: path must be absolute folders separated by ':'");
}
