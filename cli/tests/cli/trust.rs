//! Certificates and keys: what is wrong with them is one sentence.

use crate::{
    fake::{
        Fake, Peculiarities,
        pki::{Authority, Validity},
    },
    harness::{airlock, command, silent_port, spawn},
};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn a_revoked_certificate_is_named_as_such_with_its_serial() {
    let fake = Fake::with(Peculiarities { revoked: vec!["alice"], ..Default::default() });
    let finished = airlock(&fake, &["list"]);
    assert_eq!(finished.code(), 125);
    let expected = format!(
        "airlock: localhost:{} refused your certificate: revoked (serial 5e616c696365); ask your operator for a new one\n",
        fake.port
    );
    assert_eq!(finished.stderr, expected);
}

#[test]
fn an_expired_certificate_is_named_with_its_day() {
    let fake = Fake::start();
    fake.authority.write_client(fake.folder.path(), "old", Validity::Past);
    let finished = airlock(&fake, &["-i", "old", "list"]);
    assert!(finished.stderr.contains("refused your certificate: expired on 2021-01-01"), "{}", finished.stderr);
    assert_eq!(finished.code(), 125);
}

#[test]
fn a_certificate_of_another_authority_is_refused_by_the_server_and_named() {
    let fake = Fake::start();
    let other = Authority::new("Other CA");
    let folder = tempfile::tempdir().unwrap();
    other.write_client(folder.path(), "eve", Validity::Now);
    // Eve trusts the right server with the wrong certificate.
    fs::copy(fake.folder.path().join("ca.crt"), folder.path().join("ca.crt")).unwrap();
    let finished = airlock(&fake, &["-i", "eve", "--certs", folder.path().to_str().unwrap(), "list"]);
    assert!(finished.stderr.contains("does not know the authority"), "{}", finished.stderr);
}

#[test]
fn a_certificate_that_renews_the_one_in_a_single_file_works_beside_it() {
    let fake = Fake::start();
    let part = |name: &str| fs::read_to_string(fake.folder.path().join(name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("alice.pem");
    fs::write(&whole, part("alice.crt") + &part("alice.key") + &part("ca.crt")).unwrap();
    fs::set_permissions(&whole, fs::Permissions::from_mode(0o600)).unwrap();
    let list = || airlock(&fake, &["--certs", folder.path().to_str().unwrap(), "list"]);
    assert_eq!(list().code(), 0);
    fs::write(folder.path().join("alice.crt"), part("alice.crt")).unwrap();
    let renewed = list();
    assert_eq!((renewed.code(), renewed.stderr.as_str()), (0, ""));
    fake.authority.write_client(folder.path(), "bob", Validity::Past);
    fs::rename(folder.path().join("bob.crt"), folder.path().join("alice.crt")).unwrap();
    assert!(list().stderr.contains("do not belong together"), "the certificate beside it is the one that counts");
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    Authority::new("Other CA").write_client(folder.path(), "alice", Validity::Now);
    let finished = airlock(&fake, &["--certs", folder.path().to_str().unwrap(), "list"]);
    assert!(finished.stderr.contains("from an authority that is not in your ca.crt"), "{}", finished.stderr);
}

#[test]
fn a_wrong_server_name_is_answered_with_the_names_the_certificate_has() {
    let fake =
        Fake::with(Peculiarities { server_names: Some(vec!["build1.example.org".into()]), ..Default::default() });
    let finished = airlock(&fake, &["list"]);
    let expected = format!(
        "airlock: cannot trust localhost:{}: its certificate names build1.example.org, not localhost; use that name or server_name\n",
        fake.port
    );
    assert_eq!(finished.stderr, expected);
    assert_eq!(airlock(&fake, &["--server-name", "build1.example.org", "list"]).code(), 0);
}

#[test]
fn an_expired_server_certificate_is_not_trusted() {
    let fake = Fake::with(Peculiarities { server_expired: true, ..Default::default() });
    assert!(airlock(&fake, &["list"]).stderr.contains("its certificate has expired"));
}

#[test]
fn a_key_that_others_can_read_is_refused_before_anything_is_sent() {
    let fake = Fake::start();
    let key = fake.folder.path().join("alice.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let finished = airlock(&fake, &["list"]);
    assert_eq!(finished.code(), 125);
    assert!(finished.stderr.contains("can be read by others (mode 0640)"), "{}", finished.stderr);
}

#[test]
fn one_file_with_all_three_parts_is_an_identity() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str| fs::read_to_string(fake.folder.path().join(name)).unwrap();
    let pem = folder.path().join("all.pem");
    fs::write(&pem, part("alice.crt") + &part("alice.key") + &part("ca.crt")).unwrap();
    fs::set_permissions(&pem, fs::Permissions::from_mode(0o600)).unwrap();
    let finished = airlock(&fake, &["-i", "all", "--certs", folder.path().to_str().unwrap(), "list"]);
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
}

#[test]
fn an_identity_that_is_not_there_or_leaves_its_folder_is_refused() {
    let fake = Fake::start();
    assert!(airlock(&fake, &["-i", "nobody", "list"]).stderr.contains("no identity 'nobody'"));
    assert!(airlock(&fake, &["-i", "../alice", "list"]).stderr.contains("is not a name"));
}

#[test]
fn nothing_that_listens_is_said_so() {
    let fake = Fake::start();
    let (_held, free) = silent_port();
    let finished = spawn(command(&fake, free, &["list"])).finish();
    assert_eq!(finished.code(), 125);
    assert!(
        finished.stderr.starts_with(&format!("airlock: cannot reach localhost:{free}: connection refused")),
        "{}",
        finished.stderr
    );
}

#[test]
fn files_of_an_identity_that_do_not_serve_are_named_in_plain_words() {
    let fake = Fake::start();
    let said = |words: &[&str]| {
        let finished = airlock(&fake, words);
        assert_eq!(finished.code(), 125, "{finished:?}");
        finished.stderr
    };
    let file = |name: &str| fake.folder.path().join(name);
    assert_eq!(
        said(&["--server-name", "a b", "list"]),
        "airlock: server name 'a b' is not a name that a certificate could carry; use a host name or an IP address\n"
    );
    fake.authority.write_client(fake.folder.path(), "carol", Validity::Now);
    fs::copy(file("carol.key"), file("alice.key")).unwrap();
    assert_eq!(
        said(&["list"]),
        "airlock: certificate and key of identity 'alice' do not belong together; find the key that the certificate was made \
         for, or ask for a new certificate: airlock certs request alice\n"
    );
    fs::remove_file(file("ca.crt")).unwrap();
    assert_eq!(
        said(&["list"]),
        format!("airlock: cannot read {}: no such file or directory\n", file("ca.crt").display())
    );
}
