//! Mounts of a job beside those of the host: what it has for itself, what it lacks, and whether anything goes back.

use serde_json::{Map, Value};

use super::comparison::texts;

#[derive(Clone, Debug)]
struct Mount {
    at: String,
    root: String,
    options: String,
    device: String,
    source: String,
}

// One file system: what is said of its source and options may depend on who asks, as the process numbers of autofs do.
impl PartialEq for Mount {
    fn eq(&self, other: &Self) -> bool {
        let of = |mount: &Self| [&mount.at, &mount.root, &mount.options, &mount.device].map(Clone::clone);
        of(self) == of(other)
    }
}

/// What the probe says of a job, compared with what it says of the executor before and after: other tests mount things meanwhile.
/// A job `within` the executor's namespace propagates nothing that the host does not.
pub fn compared(of_job: &Value, of_executor: &[&Value; 2], within: bool) -> Value {
    let job: Vec<_> = texts(of_job).map(parse).collect();
    let [before, after] = of_executor.map(|all| texts(all).map(|line| parse(line).0).collect::<Vec<_>>());
    let on_host = |mount: &Mount| before.contains(mount) || after.contains(mount);
    let own = job.iter().map(|(mount, _)| mount).filter(|mount| !on_host(mount)).map(|mount| shown(mount, &after));
    let in_job = |mount: &Mount| job.iter().any(|(other, _)| other == mount);
    let missing = before.iter().filter(|mount| after.contains(mount) && !in_job(mount)).map(|mount| mount.at.clone());
    // A host that shares its mounts makes a job's a slave of them; on one that does not they are private.
    let back = job
        .iter()
        .filter(|(_, propagation)| !within && propagation.contains("shared"))
        .map(|(mount, _)| mount.at.clone());
    let mut all = Map::new();
    all.insert("its own".into(), own.collect());
    all.insert("missing of the host's".into(), missing.collect());
    all.insert("propagate to others".into(), back.collect());
    all.into()
}

// As the probe writes it: place, root in its file system, options, device, propagation, and behind a dash the file system.
fn parse(line: &str) -> (Mount, String) {
    // Newer kernels say what kind of inode numbers a file system in memory has.
    let line = line.replace(",inode64", "");
    let (mount, source) = line.split_once(" - ").unwrap_or((&line, ""));
    let mut words = mount.split(' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let mount = Mount { at: word(), root: word(), options: word(), device: word(), source: source.to_owned() };
    (mount, word())
}

// What lies at its place on the host too, a piece of the same file system with the same options, needs no more words: which file
// system that is differs from host to host.
fn shown(mount: &Mount, host: &[Mount]) -> String {
    let holds = |of_host: &&Mount| below(&mount.at, &of_host.at).is_some();
    let same = host.iter().filter(holds).max_by_key(|of_host| of_host.at.len()).is_some_and(|of_host| {
        let rest = below(&mount.at, &of_host.at).unwrap_or_default();
        let root = format!("{}{rest}", of_host.root.trim_end_matches('/'));
        (of_host.source.as_str(), of_host.options.as_str(), root) == (&mount.source, &mount.options, mount.root.clone())
    });
    let Mount { at, root, options, source, .. } = mount;
    if same { format!("{at} as on the host") } else { format!("{at} {root} {options} - {source}") }
}

// What stands behind the folder, with its slash.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder.trim_end_matches('/')).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}
