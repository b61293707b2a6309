//! The configuration that the manual shows.

use super::{parsed, with_profile};
use crate::{
    config::{RunAs, fields},
    shared::plan::namespace,
};

const EXAMPLE: &str = r#"
frontend_user = "airlock"                  # the one uid that may connect
work_dir = "/var/lib/airlock/work"         # better on a file system of its own
audit = "/var/log/airlock/audit.jsonl"

[uid_pool]                                 # one uid per live job, least recently used first; free of users, LDAP and subuids
first = 1900000000
count = 65536

[ceilings]                                 # of all jobs together
jobs = 1000
memory = "80%"                             # of the host
cpu = "14"
pids = 50000
starts_per_second = 200

[profile.standard]                         # own processes, /tmp and IPC; the host's files as any user sees them; its network
run_as = "pool"
path = "/usr/local/bin:/usr/bin:/bin"
env = { LANG = "C.UTF-8" }
env_allow = ["*"]                          # names a request may set; LD_*, GCONV_PATH and the like never
cwd = ["fresh", "/srv/src"]                # the first is the default; others only if listed, and as the job's user
umask = "0022"
namespaces = ["pid", "mount", "ipc", "uts"]   # and net: no network; [] for named users who work on the host itself
seccomp = "default"
rlimits = { nofile = "1024:65536", core = 0 }

[profile.standard.limits]                  # what a request leaves out gets the default; never "unlimited"
cpu     = { default = "2",   max = "8" }
memory  = { default = "1G",  max = "16G" }
swap    = { default = "0",   max = "0" }
pids    = { default = 512,   max = 4096 }
timeout = { default = "24h", max = "7d" }
input   = { max = "256M" }

[profile.deploy-web]                       # one fixed act as a real user, nothing else
run_as = "deploy"
command = ["/usr/local/bin/deploy-web"]    # exactly these words; a request brings no others
env_allow = ["VERSION"]
cwd = ["/srv/www"]
limits.timeout = { default = "10m", max = "10m" }
"#;

#[test]
fn the_example_of_the_manual_is_a_configuration() {
    let config = parsed(EXAMPLE).unwrap();
    assert_eq!(config.frontend, (900, 900));
    assert_eq!(config.pool, (1_900_000_000, 65_536));
    assert_eq!(config.ceilings.jobs, 1000);
    assert_eq!(config.ceilings.cpu_milli, Some(14_000));
    assert_eq!(config.ceilings.starts_per_second, 200);
    assert!(config.ceilings.memory > 0 && config.ceilings.memory < rustix::system::sysinfo().totalram);
    assert!(config.keeper.ends_with("airlock-keeper"));

    let standard = config.profile("standard").unwrap();
    assert_eq!(standard.run_as, RunAs::Pool);
    assert_eq!(standard.namespaces, namespace::PID | namespace::MOUNT | namespace::IPC | namespace::UTS);
    assert_eq!(standard.umask, 0o022);
    assert_eq!(standard.rlimits, [[4, 0, 0], [7, 1024, 65_536]]);
    assert_eq!(standard.default.memory, Some(1 << 30));
    assert_eq!(standard.max.timeout_ms, Some(7 * 86_400_000));
    assert_eq!(standard.max.swap, Some(0));
    assert_eq!(standard.input_max, 256 << 20);
    assert!(standard.seccomp && standard.info().network && standard.info().fresh_cwd);
    assert_eq!(standard.info().cwd, ["/srv/src"]);

    let deploy = config.profile("deploy-web").unwrap();
    assert!(matches!(&deploy.run_as, RunAs::Named(user, groups) if user.uid == 1000 && groups.is_empty()));
    assert_eq!(deploy.command.as_deref(), Some(&["/usr/local/bin/deploy-web".to_owned()][..]));
    assert!(config.profile("nope").is_none());
}

// "What a request leaves out gets the default, never unlimited": also where the file says nothing.
#[test]
fn every_profile_bounds_processor_memory_and_processes() {
    for profile in parsed(EXAMPLE).unwrap().profiles {
        for ((name, default), (_, max)) in fields(&profile.default).into_iter().zip(fields(&profile.max)) {
            if matches!(name, "cpu" | "memory" | "swap" | "pids") {
                assert!(default.is_some() && max.is_some(), "{} of {}", name, profile.name);
            }
        }
    }
}

#[test]
fn a_profile_says_nothing_about_the_network_when_it_has_none_of_its_own() {
    let config = parsed(&with_profile(r#"namespaces = ["pid", "mount", "net"]"#)).unwrap();
    assert!(!config.profile("p").unwrap().info().network);
}

#[test]
fn a_named_user_has_exactly_the_groups_that_the_profile_lists() {
    let text = with_profile("").replace(r#"run_as = "pool""#, "run_as = \"ops\"\ngroups = [\"docker\", \"build\"]");
    let config = parsed(&text).unwrap();
    match &config.profile("p").unwrap().run_as {
        RunAs::Named(user, groups) => assert_eq!((user.uid, user.gid, &groups[..]), (1002, 1002, &[998, 1003][..])),
        other => panic!("{other:?}"),
    }
}
