//! Everything that a process can be told to have inherited, as one JSON document. `airlock-jobprobe` prints it of itself when it
//! runs as a job; a test takes the same of the executor, so that what a job has from the host can be told from what it was given.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, access};

use serde_json::{Map, Value, json};

/// What the kernel's files below `/proc/PID` say of any process that one may look at.
pub fn document(proc: &Path) -> Value {
    // Before anything else is opened.
    let descriptors = descriptors(proc);
    let status = status(proc);
    let field = |name: &str| Value::from(status.get(name).map(String::as_str).unwrap_or("missing"));
    let words = |name: &str| -> Value { status.get(name).map(|s| s.split_whitespace().collect()).unwrap_or_default() };
    json!({
        "users": words("Uid"),
        "groups": words("Gid"),
        "supplementary_groups": words("Groups"),
        "capabilities": {
            "inheritable": field("CapInh"), "permitted": field("CapPrm"), "effective": field("CapEff"),
            "bounding": field("CapBnd"), "ambient": field("CapAmb"),
        },
        "no_new_privileges": field("NoNewPrivs"),
        "seccomp": { "mode": field("Seccomp"), "filters": field("Seccomp_filters") },
        "signals": {
            "blocked": field("SigBlk"), "ignored": field("SigIgn"), "caught": field("SigCgt"),
            "pending": field("SigPnd"), "pending_for_all": field("ShdPnd"),
        },
        "umask": field("Umask"),
        "threads": field("Threads"),
        "tracer": field("TracerPid"),
        "name": field("Name"),
        "processors": field("Cpus_allowed_list"),
        "memory_nodes": field("Mems_allowed_list"),
        "limits": limits(proc),
        "descriptors": descriptors,
        "session": session(proc),
        "oom_score_adjustment": text(proc, "oom_score_adj"),
        "core_dump_filter": text(proc, "coredump_filter"),
        "login_user": text(proc, "loginuid"),
        "audit_session": text(proc, "sessionid"),
        "security_label": text(proc, "attr/current"),
        "personality": text(proc, "personality"),
        "timer_slack": text(proc, "timerslack_ns"),
        "control_groups": control_groups(proc),
        "namespaces": links(&proc.join("ns")),
        "mounts": mounts(proc),
        "root": link(&proc.join("root")),
        "interfaces": interfaces(proc),
    })
}

/// What a process sees around it.
pub fn surroundings() -> Value {
    let folders = ["/tmp", "/var/tmp", "/dev/shm"].map(|path| (path.to_owned(), folder(Path::new(path))));
    let folders: Map<_, _> = folders.into_iter().collect();
    json!({
        "processes": processes(),
        "readable_of_parent": of_parent(),
        "keys": keys(),
        "devices": below(Path::new("/dev"), 3, &|about| about.file_type().is_char_device() || about.file_type().is_block_device()),
        "kernel_settings": below(Path::new("/proc/sys"), 8, &fs::Metadata::is_file),
        "host_name": text(Path::new("/proc"), "sys/kernel/hostname"),
        "writable": writable(),
        "folders": folders,
        "directory": folder(Path::new(".")),
    })
}

fn text(folder: &Path, file: &str) -> Value {
    match fs::read(folder.join(file)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\0']).into(),
        Err(error) => error.kind().to_string().into(),
    }
}

fn link(path: &Path) -> Value {
    match fs::read_link(path) {
        Ok(to) => to.to_string_lossy().into(),
        Err(error) => error.kind().to_string().into(),
    }
}

fn links(folder: &Path) -> Value {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| (e.file_name().to_string_lossy().into_owned(), link(&e.path()))).collect::<Map<_, _>>().into()
}

fn lines(folder: &Path, file: &str) -> Vec<String> {
    fs::read_to_string(folder.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn status(proc: &Path) -> BTreeMap<String, String> {
    let split = |line: &String| line.split_once(':').map(|(k, v)| (k.to_owned(), v.trim().to_owned()));
    lines(proc, "status").iter().filter_map(split).collect()
}

fn descriptors(proc: &Path) -> Value {
    let folder = proc.join("fd");
    let mut found = Map::new();
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let number = entry.file_name().to_string_lossy().into_owned();
        let to = fs::read_link(entry.path()).map(|to| to.to_string_lossy().into_owned()).unwrap_or_default();
        // The folder that is being read is open too.
        if to.starts_with("/proc/") && to.ends_with("/fd") {
            continue;
        }
        let info = lines(proc, &format!("fdinfo/{number}"));
        let flags = info.iter().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default().trim().to_owned();
        // Numbers of pipes and sockets are new each time.
        let to = to.split(":[").next().unwrap_or_default().to_owned();
        found.insert(number, json!({ "to": to, "flags": flags }));
    }
    found.into()
}

// "Max open files            1024                 65536                files": columns of 26, 21 and 21.
fn limits(proc: &Path) -> Value {
    let column =
        |line: &str, from: usize, to: usize| line.get(from..to.min(line.len())).unwrap_or_default().trim().to_owned();
    let row = |line: &String| (column(line, 0, 26), json!([column(line, 26, 47), column(line, 47, 68)]));
    lines(proc, "limits").iter().skip(1).map(row).collect::<Map<_, _>>().into()
}

// Fields behind the name, which may hold anything but its closing parenthesis.
fn session(proc: &Path) -> Value {
    let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    let field = |n: usize| fields.get(n - 3).copied().unwrap_or("missing");
    json!({
        "process": stat.split(' ').next(), "parent": field(4), "group": field(5), "session": field(6),
        "terminal": field(7), "terminal_group": field(8), "nice": field(19), "signal_at_end": field(38),
        "real_time_priority": field(40), "policy": field(41),
    })
}

fn control_groups(proc: &Path) -> Value {
    let split = |line: &String| line.split_once(':').map(|(_, rest)| rest.to_owned());
    let mut found: Vec<String> = lines(proc, "cgroup").iter().filter_map(split).collect();
    found.sort();
    found.into()
}

// Without the numbers of the mount, of its parent and of its peers: they differ in every namespace. That of the file system is the
// same everywhere.
fn mounts(proc: &Path) -> Value {
    let row = |line: String| {
        let (before, after) = line.split_once(" - ").unwrap_or((&line, ""));
        let mut words = before.split(' ').skip(2);
        let device = words.next();
        let (root, at, options) = (words.next(), words.next(), words.next());
        let propagation: Vec<&str> = words.filter_map(|word| word.split(':').next()).collect();
        let word = |word: Option<&str>| word.unwrap_or_default().to_owned();
        let propagation = if propagation.is_empty() { "private".to_owned() } else { propagation.join("+") };
        format!("{} {} {} {} {propagation} - {after}", word(at), word(root), word(options), word(device))
    };
    lines(proc, "mountinfo").into_iter().map(row).collect::<Vec<_>>().into()
}

fn interfaces(proc: &Path) -> Value {
    let name = |line: &String| line.split_once(':').map(|(name, _)| name.trim().to_owned());
    let mut names: Vec<String> = lines(proc, "net/dev").iter().filter_map(name).collect();
    names.sort();
    names.into()
}

fn processes() -> Value {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<_> = pids.collect();
    found.sort_unstable();
    found
        .into_iter()
        .map(|pid| {
            let status = status(Path::new(&format!("/proc/{pid}")));
            let field = |name: &str| status.get(name).map(String::as_str).unwrap_or("missing").to_owned();
            format!("{pid} {} {}", field("Name"), field("Uid").split_whitespace().next().unwrap_or("missing"))
        })
        .collect()
}

// Whatever tells what a process does or holds; of the keeper, nothing of it is the job's business.
fn of_parent() -> Value {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).unwrap_or_default();
    let folder = Path::new("/proc").join(parent);
    let mut byte = [0];
    let reads = |name: &&str| {
        let opened = fs::File::open(folder.join(name));
        // Memory is read at an address; that it can be opened says enough.
        opened.is_ok_and(|mut file| *name == "mem" || file.read(&mut byte).is_ok_and(|read| read > 0))
    };
    let files = ["auxv", "environ", "io", "maps", "mem", "pagemap", "personality", "smaps", "stack", "syscall"];
    let files: Vec<&str> = files.into_iter().filter(reads).collect();
    let lists = ["fd", "map_files"].into_iter().filter(|name| fs::read_dir(folder.join(name)).is_ok());
    let links = ["cwd", "exe", "ns/mnt", "root"].into_iter().filter(|name| fs::read_link(folder.join(name)).is_ok());
    files.into_iter().chain(lists).chain(links).collect()
}

/// Kind and description of the kernel's keys that the caller may see, without numbers: of its session, above all.
pub fn keys() -> Value {
    let key = |line: &String| line.split_whitespace().skip(7).collect::<Vec<_>>().join(" ");
    lines(Path::new("/proc"), "keys").iter().map(key).collect()
}

/// Everything of a kind below a folder that it may read or write, as "PATH read", "PATH write" or both.
fn below(folder: &Path, depth: u32, kind: &dyn Fn(&fs::Metadata) -> bool) -> Value {
    let mut found = Vec::new();
    descend(folder, depth, kind, &mut found);
    found.sort();
    found.into()
}

fn descend(folder: &Path, depth: u32, kind: &dyn Fn(&fs::Metadata) -> bool, found: &mut Vec<String>) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.is_dir() && depth > 0 {
            descend(&path, depth - 1, kind, found);
        }
        if kind(&about) {
            let may = [("read", Access::READ_OK), ("write", Access::WRITE_OK)];
            let may = may.into_iter().filter(|(_, how)| access(&path, *how).is_ok());
            found.extend(may.map(|(word, _)| format!("{} {word}", path.display())));
        }
    }
}

/// Places of a host that a job might write to.
const PLACES: [&str; 20] = [
    ".", "/", "/bin", "/boot", "/dev", "/dev/shm", "/etc", "/home", "/lib", "/opt", "/proc/sys/kernel", "/root",
    "/run", "/sys/fs/cgroup", "/tmp", "/usr", "/usr/local/bin", "/var", "/var/lib", "/var/tmp",
];

fn writable() -> Value {
    let may = |path: &&str| access(*path, Access::WRITE_OK).is_ok();
    PLACES.into_iter().filter(may).collect()
}

fn folder(path: &Path) -> Value {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) => return error.kind().to_string().into(),
    };
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    json!({
        "mode": format!("{:04o}", about.permissions().mode() & 0o7777),
        "user": about.uid().to_string(), "group": about.gid().to_string(), "holds": names,
    })
}
