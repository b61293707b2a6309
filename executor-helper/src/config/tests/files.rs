//! The file itself: who can have written it, and where in it something is wrong.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use super::with_profile;
use crate::config::Config;

struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder with a good executor.toml; `None`, and a line that says so, when this is not root's test.
    fn of_root() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            eprintln!("skipped: {test}: only root can make files that the executor trusts");
            return None;
        }
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(&with_profile("").replace(r#""airlock""#, "64100"));
        Some(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("executor.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
        self.mode(0o600);
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.file(), fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn why_not(path: &Path) -> String {
    Config::load(path).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_file_that_only_root_can_write_is_read() {
    let Some(folder) = Folder::of_root() else { return };
    for mode in [0o400, 0o600, 0o640, 0o644, 0o755] {
        folder.mode(mode);
        assert_eq!(Config::load(&folder.file()).unwrap().frontend, (64_100, 64_100), "{mode:o}");
    }
}

#[test]
fn a_file_that_a_group_may_write_is_refused_with_the_groups_name_and_the_mode() {
    let Some(folder) = Folder::of_root() else { return };
    let path = folder.file();
    // Debian's group adm has gid 4 everywhere.
    chown(&path, None, Some(4)).unwrap();
    folder.mode(0o660);
    assert_eq!(why_not(&path), format!("{} may be written by group adm (mode 0660); chmod 0600 it", path.display()));
    chown(&path, None, Some(3_999_999_999)).unwrap();
    folder.mode(0o620);
    assert_eq!(
        why_not(&path),
        format!("{} may be written by group 3999999999 (mode 0620); chmod 0600 it", path.display())
    );
}

#[test]
fn a_file_that_everybody_may_write_is_refused() {
    let Some(folder) = Folder::of_root() else { return };
    folder.mode(0o606);
    assert_eq!(
        why_not(&folder.file()),
        format!("{} may be written by everybody (mode 0606); chmod 0600 it", folder.file().display())
    );
}

#[test]
fn a_file_of_another_user_is_refused() {
    let Some(folder) = Folder::of_root() else { return };
    chown(folder.file(), Some(64_100), None).unwrap();
    assert_eq!(
        why_not(&folder.file()),
        format!("{} belongs to uid 64100, not to root; chown root it", folder.file().display())
    );
}

#[test]
fn a_symbolic_link_is_refused_whatever_it_leads_to() {
    let Some(folder) = Folder::of_root() else { return };
    let link = folder.0.path().join("link.toml");
    symlink(folder.file(), &link).unwrap();
    assert_eq!(why_not(&link), format!("{} is a symbolic link; name the file itself", link.display()));
}

#[test]
fn what_is_no_file_is_refused() {
    let Some(folder) = Folder::of_root() else { return };
    let nothing = folder.0.path().join("nothing.toml");
    assert_eq!(why_not(&nothing), format!("{}: No such file or directory (os error 2)", nothing.display()));
    assert_eq!(why_not(folder.0.path()), format!("{} is not a file", folder.0.path().display()));
    // Opening a pipe without a writer would wait for ever.
    let pipe = folder.0.path().join("pipe.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(why_not(&pipe), format!("{} is not a file", pipe.display()));
}

#[test]
fn an_unknown_key_is_named_with_its_line_its_table_and_what_was_meant() {
    let Some(folder) = Folder::of_root() else { return };
    let text = "frontend_user = 64100\n\n[uid_pool]\nfirst = 1900000000\ncount = 65536\n\n[profile.standard]\nrun_as = \"pool\"\n\n\
                [profile.standard.limits] # bounds\ncpu = { default = \"1\", max = \"1\" }\npids = { default = 1, max = 1 }\n\n\
                memroy = { default = \"1G\", max = \"1G\" }\n";
    folder.write(text);
    assert_eq!(
        why_not(&folder.file()),
        format!(
            "{}:14: unknown key 'memroy' in [profile.standard.limits]; did you mean 'memory'?",
            folder.file().display()
        )
    );
}

#[test]
fn an_unknown_key_that_is_near_nothing_gets_no_guess() {
    let Some(folder) = Folder::of_root() else { return };
    folder.write(&format!("entirely_unknown = 1\n{}", with_profile("")));
    assert_eq!(
        why_not(&folder.file()),
        format!("{}:1: unknown key 'entirely_unknown' in the file", folder.file().display())
    );
}

#[test]
fn a_wrong_type_and_a_wrong_syntax_are_named_with_their_line() {
    let Some(folder) = Folder::of_root() else { return };
    folder.write("frontend_user = 64100\n[uid_pool]\nfirst = \"many\"\ncount = 1\n");
    let why = why_not(&folder.file());
    assert!(why.starts_with(&format!("{}:3: ", folder.file().display())), "{why}");
    folder.write("frontend_user = 64100\n[uid_pool\n");
    let why = why_not(&folder.file());
    assert!(why.starts_with(&format!("{}:2: ", folder.file().display())), "{why}");
}

#[test]
fn a_file_that_is_not_text_is_refused() {
    let Some(folder) = Folder::of_root() else { return };
    fs::write(folder.file(), [0xff, 0xfe, 0]).unwrap();
    assert!(why_not(&folder.file()).contains("UTF-8"));
}
