//! The configuration that the manual shows.

use ipc_protocol::Limit;

use super::{parsed, with_profile};
use crate::{
    config::{RunAs, Seccomp, UidRange},
    plan::namespace,
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
    assert_eq!(config.uid_pool, UidRange { first: 1_900_000_000, count: 65_536 });
    assert_eq!(config.ceilings.jobs, 1000);
    assert_eq!(config.ceilings.cpu, Some(14_000));
    assert_eq!(config.ceilings.starts_per_second, 200);
    assert!(config.ceilings.memory > 0 && config.ceilings.memory < rustix::system::sysinfo().totalram);
    assert!(config.keeper.ends_with("airlock-keeper"));

    let standard = &config.profiles["standard"];
    assert_eq!(standard.user, RunAs::Pool);
    assert_eq!(standard.namespaces, namespace::PID | namespace::MOUNT | namespace::IPC | namespace::UTS);
    assert_eq!(standard.umask, 0o022);
    assert_eq!(standard.rlimits, [(4, 0, 0), (7, 1024, 65_536)]);
    assert_eq!(standard.limits.default.get(Limit::Memory), Some(1 << 30));
    assert_eq!(standard.limits.max.get(Limit::Timeout), Some(7 * 86_400_000));
    assert_eq!(standard.limits.max.get(Limit::Swap), Some(0));
    assert_eq!(standard.limits.max.get(Limit::Input), Some(256 << 20));
    assert_eq!(standard.seccomp, Seccomp::Default);
    assert!(standard.info().network && standard.info().fresh_cwd);
    assert_eq!(standard.info().cwd, ["/srv/src"]);

    // As much as all jobs together, when the file says more.
    let narrow = parsed(&EXAMPLE.replace("cpu = \"14\"", "cpu = \"1.5\"")).unwrap();
    let limits = &narrow.profiles["standard"].limits;
    assert_eq!([&limits.default, &limits.max].map(|limits| limits.get(Limit::Cpu)), [Some(1_500); 2]);
    assert_eq!(standard.limits.max.get(Limit::Cpu), Some(8_000));

    let deploy = &config.profiles["deploy-web"];
    assert!(matches!(&deploy.user, RunAs::Named(user, groups) if user.uid == 1000 && groups.is_empty()));
    assert_eq!(deploy.command.as_deref(), Some(&["/usr/local/bin/deploy-web".to_owned()][..]));
    assert!(!config.profiles.contains_key("nope"));
}

// "What a request leaves out gets the default, never unlimited": also where the file says nothing.
#[test]
fn every_profile_bounds_processor_memory_and_processes() {
    for (name, profile) in parsed(EXAMPLE).unwrap().profiles {
        for limit in [Limit::Cpu, Limit::Memory, Limit::Swap, Limit::Pids] {
            let bounds = (profile.limits.default.get(limit), profile.limits.max.get(limit));
            assert!(matches!(bounds, (Some(_), Some(_))), "{} of {name}", limit.name());
        }
    }
}

#[test]
fn people_are_told_of_the_default_profile_first() {
    let text = with_profile("").replace("[profile.p]", "[profile.a]\nrun_as = \"pool\"\n[profile.standard]");
    let names: Vec<String> = parsed(&text).unwrap().infos().into_iter().map(|profile| profile.name).collect();
    assert_eq!(names, ["standard", "a"]);
}

#[test]
fn a_profile_without_a_default_for_the_input_takes_none() {
    assert_eq!(parsed(&with_profile("")).unwrap().profiles["p"].info().max.get(Limit::Input), None);
}

#[test]
fn a_profile_says_nothing_about_the_network_when_it_has_none_of_its_own() {
    let config = parsed(&with_profile(r#"namespaces = ["pid", "mount", "net"]"#)).unwrap();
    assert!(!config.profiles["p"].info().network);
}

#[test]
fn a_named_user_has_exactly_the_groups_that_the_profile_lists() {
    let text = with_profile("").replace(r#"run_as = "pool""#, "run_as = \"ops\"\ngroups = [\"docker\", \"build\"]");
    let config = parsed(&text).unwrap();
    match &config.profiles["p"].user {
        RunAs::Named(user, groups) => assert_eq!((user.uid, user.gid, &groups[..]), (1002, 1002, &[998, 1003][..])),
        other => panic!("{other:?}"),
    }
}
