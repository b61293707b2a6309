//! Whose key files are taken.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use super::{TlsError, private_key};

const NOBODY: u32 = 65534;

fn key(folder: &tempfile::TempDir, mode: u32) -> PathBuf {
    let path = folder.path().join("server.key");
    fs::write(&path, rcgen::KeyPair::generate().expect("a key").serialize_pem()).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its mode");
    path
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for mode in [0o604, 0o602, 0o644, 0o620] {
        let refused = private_key(&key(&folder, mode));
        assert!(matches!(refused, Err(TlsError::KeyMode { .. })), "mode {mode:o}");
    }
    assert!(private_key(&key(&folder, 0o400)).is_ok());
}

// systemd hands a credential over with an entry for the service's user, whose mask shows as the group's bits.
#[test]
fn a_credential_is_taken_though_the_group_root_may_read_it_and_no_other_group() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a_credential_is_taken_though_the_group_root_may_read_it_and_no_other_group: not root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = key(&folder, 0o440);
    chown(&path, Some(0), Some(0)).expect("its owner");
    assert!(private_key(&path).is_ok());
    chown(&path, Some(0), Some(NOBODY)).expect("its owner");
    assert!(matches!(private_key(&path), Err(TlsError::KeyMode { .. })));
    chown(&path, Some(NOBODY), Some(0)).expect("its owner");
    assert!(matches!(private_key(&path), Err(TlsError::KeyMode { .. })));
}
