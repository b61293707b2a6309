//! `airlock-executor --check`: what would work here, what not, and what to do, in plain words.

use std::{path::Path, process::ExitCode};

use ipc_protocol::JobId;

use crate::{
    cgroup::Hierarchy,
    config::{Config, FRESH, RunAs, UidRange},
    executor::keepers,
    listener,
    plan::namespace,
};

const NAMELESS: &str =
    "; they have no names, and ssh, git, initdb and others want one: is 'airlock' in /etc/nsswitch.conf?";

struct Report {
    failed: u32,
    warned: u32,
}

impl Report {
    fn line(&mut self, kind: &str, subject: &str, text: &str) {
        self.failed = self.failed.saturating_add(u32::from(kind == "FAIL"));
        self.warned = self.warned.saturating_add(u32::from(kind == "warn"));
        println!("{kind:<5} {subject:<13} {text}");
    }

    fn warn(&mut self, subject: &str, text: &str) {
        self.line("warn", subject, text);
    }

    fn result<T>(&mut self, subject: &str, result: Result<T, String>, ok: impl Fn(&T) -> String) -> Option<T> {
        match result {
            Ok(value) => {
                self.line("ok", subject, &ok(&value));
                Some(value)
            }
            Err(why) => {
                self.line("FAIL", subject, &why);
                None
            }
        }
    }
}

/// Prints the report. Exit status 0 when nothing failed, warnings or not, else 1.
pub fn run(path: &Path) -> ExitCode {
    let mut report = Report { failed: 0, warned: 0 };
    if !rustix::process::geteuid().is_root() {
        report.warn("user", "not root: some of what follows fails for that reason alone");
    }
    report.line("ok", "kernel", &rustix::system::uname().release().to_string_lossy());
    let config = Config::load(path);
    if let Some(config) =
        report.result("config", config, |c| format!("{}, {} profiles", path.display(), c.profiles.len()))
    {
        check_host(&mut report, &config);
        check_profiles(&mut report, &config);
        check_unit(&mut report, &config);
    }
    println!("{} failed, {} warnings", report.failed, report.warned);
    if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether this program would take over every job that runs: one line for each that it would not, and an error then. Starts and
/// ends nothing; for the package, before it restarts the executor.
pub fn adopt_dry_run(path: &Path) -> Result<(), String> {
    let config = Config::load(path)?;
    let hierarchy = Hierarchy::open(&config.cgroup, config.io_device.clone())?;
    let groups = hierarchy.job_ids().map_err(|e| format!("cgroups of jobs: {e}"))?;
    let all = keepers(&hierarchy)?;
    let refused = all.iter().filter_map(|(pid, adopted)| match adopted {
        Ok((_, plan)) if groups.contains(&plan.entry.job) => None,
        Ok(_) => Some((pid.as_raw_nonzero(), "it has no cgroup")),
        Err(why) => Some((pid.as_raw_nonzero(), why.as_str())),
    });
    let refused: Vec<_> = refused.collect();
    for (pid, why) in &refused {
        // A keeper that is not believed has its job's id among its words all the same.
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let job = words.split('\0').nth(1).and_then(|id| id.parse::<JobId>().ok());
        println!("keeper {pid}{}: {why}", job.map_or(String::new(), |id| format!(" of job {id}")));
    }
    let left = refused.len();
    println!("{} jobs would be taken over, {left} would not", all.len().saturating_sub(left));
    if left == 0 { Ok(()) } else { Err(format!("{left} jobs would be lost; let them end before the restart")) }
}

fn check_host(report: &mut Report, config: &Config) {
    let access = rustix::fs::access(&config.keeper, rustix::fs::Access::EXEC_OK);
    let keeper = access.map_err(|e| format!("{}: {e}", config.keeper.display()));
    report.result("keeper", keeper, |()| config.keeper.display().to_string());
    let device = config.io_device.clone().or_else(|| listener::block_device_of(&config.work_dir));
    if device.is_none() {
        report.warn("io", "work_dir is on no block device of its own: io limits are refused; set io_device");
    }
    let hierarchy = Hierarchy::open(&config.cgroup, device);
    if let Some(hierarchy) = report.result("cgroups", hierarchy, |h| format!("{}, {}", h.kind(), config.cgroup)) {
        for missing in hierarchy.missing {
            report.warn("cgroups", &format!("there is no {missing} controller: jobs that need its limit are refused"));
        }
    }
    let UidRange { first, count } = config.uid_pool;
    let last = first.saturating_add(count.saturating_sub(1));
    // Whatever tells this host who is who; root itself asks no name service.
    let asked = std::process::Command::new("getent").args(["passwd", &last.to_string()]).output();
    let (kind, names) = if asked.is_ok_and(|said| said.status.success()) { ("ok", "") } else { ("warn", NAMELESS) };
    report.line(kind, "uid pool", &format!("{first}-{last} free in passwd, group, subuid and subgid{names}"));
    let space = rustix::fs::statvfs(&config.work_dir).map_err(|e| format!("{}: {e}", config.work_dir.display()));
    let free = |s: &rustix::fs::StatVfs| {
        format!("{} has {} GiB free", config.work_dir.display(), s.f_bavail.saturating_mul(s.f_frsize) >> 30)
    };
    report.result("disk", space, free);
}

// What the unit's mounts take away is taken from every job, and it shows only from inside.
fn check_unit(report: &mut Report, config: &Config) {
    let Some(pid) = serving() else {
        if Path::new("/run/systemd/system").exists() {
            report.warn("unit", "airlock-executor.service does not run: what it hides from jobs is not known");
        }
        return;
    };
    let own = [("executor", &config.work_dir)].map(|(name, dir)| (name, dir.display().to_string()));
    let listed = config.profiles.values().flat_map(|p| p.cwd.iter().map(|dir| (p.name.as_str(), dir.clone())));
    let mut hidden = 0u32;
    for (name, dir) in own.into_iter().chain(listed.filter(|(_, dir)| dir != FRESH && Path::new(dir).is_dir())) {
        let (what, line) = match rustix::fs::statvfs(format!("/proc/{pid}/root{dir}")) {
            Ok(s) if !s.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) => continue,
            Ok(_) => ("read-only for jobs: the unit has ProtectSystem=strict", "ReadWritePaths="),
            Err(_) => {
                ("hidden from jobs: the unit has ProtectHome=yes or the like", "ProtectHome=no and ReadWritePaths=")
            }
        };
        hidden = hidden.saturating_add(1);
        let text = format!("{dir} is {what}; allow it by systemctl edit airlock-executor: [Service] {line}{dir}");
        report.line("FAIL", name, &text);
    }
    if hidden == 0 {
        report.line("ok", "unit", "jobs can write to every folder that a profile names");
    }
}

// The executor that systemd runs.
fn serving() -> Option<String> {
    let mut processes = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().into_string().ok());
    processes.find(|pid| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.lines().any(|line| line.ends_with("/airlock-executor.service"))
    })
}

fn check_profiles(report: &mut Report, config: &Config) {
    for profile in config.profiles.values() {
        let missing = profile.cwd.iter().filter(|dir| *dir != FRESH).find(|dir| !Path::new(dir).is_dir());
        if let Some(dir) = missing {
            report.warn(&profile.name, &format!("the folder {dir} does not exist"));
        }
        let user = match &profile.user {
            RunAs::Pool => "pooled uid".to_owned(),
            RunAs::Named(user, _) => format!("user {} ({})", user.name, user.uid),
        };
        let has = |bit| profile.namespaces & bit != 0;
        let own =
            if has(namespace::MOUNT | namespace::PID) { "own processes and /tmp" } else { "sees the host's processes" };
        let network = if has(namespace::NET) { "no network" } else { "the network of this host" };
        report.line("ok", &profile.name, &format!("{user}; {own}; {network}"));
    }
}
