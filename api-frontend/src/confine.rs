//! The frontend gives up what it does not need, before any thread exists: a rule set binds the thread that asks for it and its
//! children, and never a thread that is there already.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, PathFdError, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::config::Config;

/// Why the frontend refuses to run as it was started. The operator is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Some of the process's user ids is 0.
    #[error(
        "airlock-frontend does not run as root: it faces the network; start it as the user that frontend_user in executor.toml names"
    )]
    Root,
    /// A folder that it needs cannot be opened.
    #[error("{}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: PathFdError,
    },
    /// The kernel has rule sets and refuses this one.
    #[error("the kernel refuses the frontend's confinement: {0}")]
    Ruleset(#[from] RulesetError),
}

/// What the confinement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// All of it holds.
    Full,
    /// This kernel knows only a part of it.
    Partial,
    /// This kernel knows none of it.
    None,
}

/// Refuses uid 0: real, effective or saved.
pub fn refuse_root() -> Result<(), ConfineError> {
    let saved = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = saved.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let any = uids.split_whitespace().any(|uid| uid == "0");
    let now = rustix::process::geteuid().is_root() || rustix::process::getuid().is_root();
    if any || now { Err(ConfineError::Root) } else { Ok(()) }
}

/// Confines this thread and all that it starts to the folders of the configuration: the state folder to write, those of
/// certificates and policy to read. No TCP connection can be opened and no further address be bound, so listen before this.
///
/// # Errors
/// When a folder is missing. A kernel without the mechanism is no error; see the answer.
pub fn confine(config: &Config) -> Result<Confinement, ConfineError> {
    // Version 6: later ones also restrict connecting to Unix sockets by path, which the executor's needs.
    let abi = ABI::V6;
    let all = AccessFs::from_all(abi);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    rules = allow(rules, config.state_dir(), all)?;
    for folder in read_folders(config) {
        rules = allow(rules, &folder, AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    let RestrictionStatus { ruleset, .. } = rules.restrict_self()?;
    Ok(match ruleset {
        RulesetStatus::FullyEnforced => Confinement::Full,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::None,
    })
}

/// The folders of the files that are read again on reload. Folders, because certificates are replaced by renaming.
fn read_folders(config: &Config) -> Vec<PathBuf> {
    let tls = config.tls();
    let files = [Some(&tls.certificate), Some(&tls.key), Some(&tls.client_ca), tls.crl.as_ref()];
    let files = files.into_iter().flatten().map(PathBuf::as_path).chain(config.policy());
    let mut folders: Vec<PathBuf> = files.map(folder_of).collect();
    folders.sort();
    folders.dedup();
    folders
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn allow(
    rules: RulesetCreated,
    folder: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, ConfineError> {
    let opened = PathFd::new(folder).map_err(|source| ConfineError::Folder { path: folder.to_owned(), source })?;
    Ok(rules.add_rule(PathBeneath::new(opened, access))?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "AIRLOCK_TEST_CONFINED_FOLDER";

    fn config(dir: &Path) -> Config {
        let text = format!(
            "state_dir = \"{0}/state\"\n[tls]\ncertificate = \"{0}/tls/a\"\nkey = \"{0}/tls/b\"\nclient_ca = \"{0}/tls/c\"\n",
            dir.display()
        );
        Config::parse(Path::new("frontend.toml"), &text).expect("a good configuration")
    }

    /// What the process may still do, told by itself: confinement cannot be taken back, so it happens in a process of its own.
    #[test]
    fn a_confined_process_and_its_threads_reach_their_own_folders_and_nothing_else() {
        let Some(dir) = std::env::var_os(CHILD) else { return in_a_process_of_its_own() };
        let dir = PathBuf::from(dir);
        let confinement = confine(&config(&dir)).expect("it can be confined");
        if confinement == Confinement::None {
            println!("skipped a_confined_process…: this kernel has no Landlock");
            return;
        }
        let look = move || {
            assert!(std::fs::read(dir.join("tls/a")).is_ok(), "certificates can be read again");
            assert!(std::fs::write(dir.join("state/new"), "x").is_ok(), "records can be written");
            assert!(std::fs::write(dir.join("tls/a"), "x").is_err(), "certificates cannot be written");
            for path in ["/etc/passwd", "/proc/self/status", "/proc/1/environ"] {
                assert!(std::fs::read(path).is_err(), "{path} was read");
            }
            assert!(std::fs::read(dir.join("outside")).is_err());
            assert!(
                std::net::TcpStream::connect("127.0.0.1:1")
                    .is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
            );
            assert!(Command::new("/bin/true").status().is_err(), "nothing can be executed");
        };
        look();
        std::thread::spawn(look).join().expect("a later thread is confined too");
    }

    fn in_a_process_of_its_own() {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["state", "tls"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        for file in ["tls/a", "outside"] {
            std::fs::write(dir.path().join(file), "x").expect("a file");
        }
        let test = "confine::tests::a_confined_process_and_its_threads_reach_their_own_folders_and_nothing_else";
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let error = confine(&config(Path::new("/nonexistent"))).expect_err("it is missing");
        assert!(error.to_string().contains("/nonexistent/state"), "{error}");
    }
}
