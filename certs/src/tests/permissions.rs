//! Who may read what, and what is never overwritten.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::{Error, KeyKind, RequestOptions, request};

#[test]
fn private_keys_and_the_index_are_for_their_owner_alone() {
    let fixture = Fixture::new();
    let options = RequestOptions {
        name: name("bob"),
        folder: fixture.path("out"),
        key: KeyKind::P256,
        organization: None,
        unit: None,
    };
    request(&options).expect("a request");
    let single = Output { single_file: true, ..fixture.out() };
    fixture.open().issue(&name("ci"), KeyKind::P256, &Grant::default(), &single).expect("issued");
    let modes = |folder: &str| -> BTreeMap<String, u32> {
        let entries = fs::read_dir(fixture.path(folder)).expect("folder").map(|entry| entry.expect("entry"));
        entries
            .map(|entry| {
                (entry.file_name().into_string().expect("a name"), entry.metadata().expect("mode").mode() & 0o7777)
            })
            .collect()
    };
    let expected = |list: &[(&str, u32)]| list.iter().map(|(name, mode)| ((*name).to_owned(), *mode)).collect();
    let in_authority: BTreeMap<String, u32> = expected(&[
        ("ca.crt", 0o644),
        ("ca.key", 0o600),
        ("crl.pem", 0o644),
        ("index.jsonl", 0o600),
        ("issued", 0o700),
    ]);
    assert_eq!(modes("ca"), in_authority);
    assert_eq!(fs::metadata(fixture.path("ca")).expect("folder").mode() & 0o7777, 0o700);
    let mut handed_out = modes("out");
    for secret in ["admin.key", "server.key", "bob.key", "ci.pem"] {
        assert_eq!(handed_out.remove(secret), Some(0o600), "{secret}");
    }
    assert!(handed_out.values().all(|mode| *mode == 0o644), "{handed_out:?}");
    assert!(handed_out.contains_key("crl.pem") && handed_out.contains_key("ca.crt"), "{handed_out:?}");
}

#[test]
fn only_the_authoritys_own_folder_is_closed_to_others() {
    let root = tempfile::tempdir().expect("a folder");
    init(&InitOptions::new(root.path().join("etc/airlock/ca"))).expect("a new authority");
    let mode = |path: &str| fs::metadata(root.path().join(path)).expect("folder").mode() & 0o777;
    assert_eq!(mode("etc/airlock/ca"), 0o700);
    assert_ne!(mode("etc/airlock") & 0o055, 0, "other users cannot pass");
}

#[test]
fn nothing_that_exists_is_overwritten_and_nothing_else_is_made_then() {
    let fixture = Fixture::new();
    let twice = init(&options(fixture.root.path()));
    assert!(matches!(twice, Err(Error::AuthorityExists { .. })), "{twice:?}");
    let options = RequestOptions {
        name: name("bob"),
        folder: fixture.path("out"),
        key: KeyKind::P256,
        organization: None,
        unit: None,
    };
    fs::write(fixture.path("out/bob.csr"), "mine").expect("write");
    assert!(matches!(request(&options), Err(Error::Exists { .. })));
    assert!(!fixture.path("out/bob.key").exists(), "a key was made for a request that was refused");
    fs::remove_file(fixture.path("out/bob.csr")).expect("remove");
    fs::write(fixture.path("out/bob.key"), "mine").expect("write");
    assert!(matches!(request(&options), Err(Error::Exists { .. })));
    let refused = fixture.open().issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out());
    assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read(fixture.path("out/bob.key")).expect("file"), b"mine");
    assert_eq!(fixture.open().list().len(), 2, "a refused certificate stands in the index");
}

#[test]
fn an_initial_server_key_in_the_way_is_noticed_before_the_authority_is_made() {
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir(root.path().join("out")).expect("folder");
    fs::write(root.path().join("out/server.key"), "mine").expect("write");
    assert!(matches!(init(&options(root.path())), Err(Error::Exists { .. })));
    assert!(!root.path().join("ca/ca.key").exists());
}

#[test]
fn an_authority_that_others_may_read_or_change_is_refused_with_the_remedy() {
    let fixture = Fixture::new();
    let issue = || fixture.open().issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out());
    fs::set_permissions(fixture.path("ca/ca.key"), fs::Permissions::from_mode(0o640)).expect("mode");
    let sentence = issue().expect_err("an exposed key").to_string();
    assert!(sentence.contains("may be read by others (mode 0640); run: chmod 600"), "{sentence}");
    fs::set_permissions(fixture.path("ca/ca.key"), fs::Permissions::from_mode(0o600)).expect("mode");
    fs::set_permissions(fixture.path("ca"), fs::Permissions::from_mode(0o777)).expect("mode");
    let sentence = Authority::open(&fixture.path("ca")).expect_err("an open folder").to_string();
    assert!(sentence.contains("run: chmod 700"), "{sentence}");
}

#[test]
fn another_authoritys_certificate_in_the_output_folder_is_left_alone() {
    let fixture = Fixture::new();
    fs::write(fixture.path("out/ca.crt"), "another").expect("write");
    let issued = fixture.open().issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
    assert_eq!(issued.ca_copy, crate::CaCopy::Different);
    assert_eq!(fs::read(fixture.path("out/ca.crt")).expect("file"), b"another");
}

#[test]
fn a_damaged_index_or_list_stops_the_work_instead_of_forgetting_anybody() {
    let fixture = Fixture::new();
    let index = fixture.path("ca/index.jsonl");
    let whole = fs::read(&index).expect("index");
    fs::write(&index, &whole[..whole.len() - 20]).expect("write");
    let sentence = Authority::open(&fixture.path("ca")).expect_err("half a line").to_string();
    assert!(sentence.contains("line 2"), "{sentence}");
    fs::write(&index, whole).expect("write");
    let other = Fixture::new();
    let list = fs::read_to_string(fixture.path("ca/crl.pem")).expect("list");
    // Without the first line of its body, where the lengths of everything stand.
    let damaged: Vec<&str> =
        list.lines().enumerate().filter(|(number, _)| *number != 1).map(|(_, line)| line).collect();
    fs::write(fixture.path("ca/crl.pem"), damaged.join("\n")).expect("write");
    assert!(fixture.open().refresh_crl().is_err(), "a damaged list was replaced");
    fs::copy(other.path("ca/crl.pem"), fixture.path("ca/crl.pem")).expect("copy");
    fixture.open().refresh_crl().expect("a list of somebody else is no loss");
}

#[test]
fn two_processes_take_turns_and_both_certificates_are_remembered() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for who in ["bob", "carol", "dave", "erin"] {
            let fixture = &fixture;
            scope.spawn(move || {
                fixture.open().issue(&name(who), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
            });
        }
    });
    assert_eq!(fixture.open().list().len(), 6);
}
