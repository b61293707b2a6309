//! From one authority to the next.

use std::fs;

use super::*;
use crate::{CaCopy, Error, Existing, KeyKind, Lifetime, Reason, RevokeTarget, State};

#[test]
fn during_a_change_both_authorities_count_and_the_new_one_signs() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    let old_ca = fs::read_to_string(fixture.path("ca/ca.crt")).expect("certificate");
    let mut authority = fixture.open();
    authority.issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
    authority.start_next(None, KeyKind::Ed25519, Lifetime::AUTHORITY).expect("the next one");
    let again = authority.start_next(None, KeyKind::P256, Lifetime::AUTHORITY);
    assert!(matches!(again, Err(Error::Rollover { .. })), "{again:?}");
    drop(authority);

    let mut authority = fixture.open();
    assert!(authority.is_changing());
    let carol = authority.issue(&name("carol"), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
    assert_eq!(carol.ca_copy, CaCopy::Extended);
    for file in ["out/bob.crt", "out/carol.crt"] {
        let verified = fixture.verify(file, "sslclient");
        assert!(verified.status.success(), "{file}: {}", shown(verified));
    }
    fs::write(fixture.path("old.crt"), &old_ca).expect("write");
    let only_old =
        openssl(&["verify", "-CAfile", text(&fixture.path("old.crt")), text(&fixture.path("out/carol.crt"))]);
    assert!(!only_old.status.success(), "the old authority still signs");

    authority.revoke(&RevokeTarget::NameOrSerial("bob".to_owned()), Reason::Unspecified).expect("revoked");
    assert!(shown(fixture.verify("out/bob.crt", "sslclient")).contains("certificate revoked"));
    assert!(fixture.verify("out/carol.crt", "sslclient").status.success());
}

#[test]
fn the_old_authority_retires_only_when_nobody_is_left_behind() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    let replace = Output { existing: Existing::Replace, ..fixture.out() };
    let mut authority = fixture.open();
    assert!(matches!(authority.retire_old(false), Err(Error::Rollover { .. })));
    authority.start_next(None, KeyKind::P256, Lifetime::AUTHORITY).expect("the next one");
    let sentence = authority.retire_old(false).expect_err("people are left behind").to_string();
    assert!(sentence.contains("admin") && sentence.contains("localhost"), "{sentence}");
    assert!(sentence.starts_with("2 certificates of the old authority still count ("), "{sentence}");
    assert!(authority.list().iter().all(|listed| listed.by_retiring_authority));
    authority.renew("admin", None, &replace).expect("renewed");
    let sentence = authority.retire_old(false).expect_err("the server is left behind").to_string();
    assert!(sentence.contains("localhost") && !sentence.contains("admin"), "{sentence}");
    assert!(sentence.starts_with("1 certificate of the old authority still counts ("), "{sentence}");
    authority.renew("server", None, &replace).expect("renewed");
    assert!(authority.retire_old(false).expect("nobody is left").is_empty());
    assert!(!authority.is_changing());
    drop(authority);

    let ca = fs::read_to_string(fixture.path("ca/ca.crt")).expect("certificate");
    assert_eq!(ca.matches("-----BEGIN").count(), 1);
    let list = fs::read_to_string(fixture.path("ca/crl.pem")).expect("list");
    assert_eq!(list.matches("-----BEGIN").count(), 1);
    assert!(!fixture.path("ca/ca.key").exists(), "the old key is still there");
    fixture.open().issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out()).expect("the new one signs on");
    for (file, purpose) in
        [("out/admin.crt", "sslclient"), ("out/bob.crt", "sslclient"), ("out/server.crt", "sslserver")]
    {
        let verified = fixture.verify(file, purpose);
        assert!(verified.status.success(), "{file}: {}", shown(verified));
    }
}

#[test]
fn retiring_anyway_names_those_who_lose_their_access() {
    let fixture = Fixture::new();
    let mut authority = fixture.open();
    authority.start_next(None, KeyKind::P256, Lifetime::AUTHORITY).expect("the next one");
    let lost = authority.retire_old(true).expect("retired");
    assert_eq!(lost.len(), 2);
    let states: Vec<_> = authority.list().iter().map(|one| (one.state, one.by_retiring_authority)).collect();
    assert_eq!(states, [(State::LeftBehind, false); 2], "what nobody trusts any more is not called valid");
    authority.start_next(None, KeyKind::P256, Lifetime::AUTHORITY).expect("and the one after that");
    authority.retire_old(true).expect("which retires the second");
    authority.issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out()).expect("the third signs");
}
