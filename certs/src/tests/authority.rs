//! An authority's daily work: requests, signatures, revocations, and refusals.

use std::fs;

use super::*;
use crate::{CaCopy, Error, Existing, KeyKind, Purpose, Reason, RequestOptions, RevokeTarget, Role, State};
use crate::{renew_request, request};

fn request_options(fixture: &Fixture, who: &str, key: KeyKind) -> RequestOptions {
    RequestOptions { name: name(who), folder: fixture.path("bob"), key, organization: None, unit: None }
}

#[test]
fn openssl_accepts_everything_that_is_made_for_its_purpose_only() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    for kind in KeyKind::ALL {
        let who = format!("bob-{kind}");
        let requested = request(&request_options(&fixture, &who, kind)).expect("a request");
        let grant = Grant { role: Some(Role::Reader), ..grant_with_unit("build") };
        fixture.open().sign(&requested.request_file, &grant, &Output::beside(&requested.request_file)).expect("signed");
        let file = format!("bob/{who}.crt");
        let verified = fixture.verify(&file, "sslclient");
        assert!(verified.status.success(), "{kind}: {}", shown(verified));
        openssl_must(&["pkey", "-noout", "-check", "-in", text(&requested.key_file)]);
        assert!(!fixture.verify(&file, "sslserver").status.success(), "{kind}: a client passes for a server");
        let described = fixture.describe(&file);
        for part in
            [&format!("CN={who}"), "OU=build", "CA:FALSE", "Digital Signature", "1.3.6.1.4.1.32473.7443.1", "reader"]
        {
            assert!(described.contains(part), "{part} is missing in {described}");
        }
        assert!(described.contains("Subject Key Identifier") && described.contains("Authority Key Identifier"));
    }
    let server = fixture.verify("out/server.crt", "sslserver");
    assert!(server.status.success(), "{}", shown(server));
    assert!(!fixture.verify("out/server.crt", "sslclient").status.success(), "a server passes for a client");
    let described = fixture.describe("out/server.crt");
    for part in ["DNS:localhost", "DNS:build1.example.org", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1"] {
        assert!(described.contains(part), "{part} is missing in {described}");
    }
    assert!(fixture.verify("out/admin.crt", "sslclient").status.success());
}

#[test]
fn an_authority_of_every_key_kind_signs_clients_that_verify() {
    if !has_openssl() {
        return;
    }
    for key in KeyKind::ALL {
        let root = tempfile::tempdir().expect("a folder");
        let made = init(&InitOptions { key, ..options(root.path()) }).expect("a new authority");
        let fixture = Fixture { root, made };
        for (file, purpose) in [("out/admin.crt", "sslclient"), ("out/server.crt", "sslserver")] {
            let verified = fixture.verify(file, purpose);
            assert!(verified.status.success(), "{key}: {}", shown(verified));
        }
    }
}

#[test]
fn the_fingerprint_of_a_request_is_that_of_its_certificate() {
    let fixture = Fixture::new();
    let requested = request(&request_options(&fixture, "bob", KeyKind::P256)).expect("a request");
    let issued = fixture.open().sign(&requested.request_file, &Grant::default(), &fixture.out()).expect("signed");
    assert_eq!(issued.record.key_fingerprint, requested.key_fingerprint);
    assert_eq!(issued.ca_copy, CaCopy::Same);
    assert!(!fixture.path("out/bob.key").exists(), "a key came from nowhere");
    let short = requested.key_fingerprint.short();
    assert!(requested.key_fingerprint.to_string().starts_with(&short[..5]), "{short}");
}

#[test]
fn a_request_that_was_altered_is_refused() {
    let fixture = Fixture::new();
    let requested = request(&request_options(&fixture, "bob", KeyKind::Ed25519)).expect("a request");
    let file = fs::read(&requested.request_file).expect("request");
    let block = pem::parse(file).expect("PEM");
    let mut der = block.contents().to_vec();
    let last = der.last_mut().expect("bytes");
    *last ^= 1;
    fs::write(&requested.request_file, crate::certificate::pem_block("CERTIFICATE REQUEST", &der)).expect("write");
    let refused = fixture.open().sign(&requested.request_file, &Grant::default(), &fixture.out());
    assert!(matches!(refused, Err(Error::BadRequestSignature { .. })), "{refused:?}");
    assert_eq!(fixture.open().list().len(), 2, "the index knows a certificate that was refused");
}

#[test]
fn what_a_request_asks_for_beyond_its_name_is_not_granted() {
    let fixture = Fixture::new();
    let asking = RequestOptions {
        organization: Some("Root Inc".parse().expect("text")),
        unit: Some("admins".parse().expect("text")),
        ..request_options(&fixture, "bob", KeyKind::P256)
    };
    let requested = request(&asking).expect("a request");
    let record =
        fixture.open().sign(&requested.request_file, &Grant::default(), &fixture.out()).expect("signed").record;
    assert_eq!((record.organization, record.unit, record.role), (None, None, None));
}

#[test]
fn a_request_for_another_name_than_its_file_says_needs_an_open_word() {
    let fixture = Fixture::new();
    let requested = request(&request_options(&fixture, "alice", KeyKind::P256)).expect("a request");
    let disguised = fixture.path("bob/bob.csr");
    fs::copy(&requested.request_file, &disguised).expect("copy");
    let refused = fixture.open().sign(&disguised, &Grant::default(), &fixture.out());
    assert!(matches!(&refused, Err(Error::NameDiffers { asked, .. }) if asked == "alice"), "{refused:?}");
    let grant = Grant { name: Some(name("bob")), ..Grant::default() };
    assert_eq!(fixture.open().sign(&disguised, &grant, &fixture.out()).expect("signed").record.name, "bob");
}

#[test]
fn a_certificate_that_is_given_instead_of_its_request_is_called_that_and_not_one_that_exists_already() {
    let fixture = Fixture::new();
    let issued = fixture.open().issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
    let refused = fixture.open().sign(&issued.certificate_file, &Grant::default(), &fixture.out());
    assert!(matches!(refused, Err(Error::BadFile { .. })), "{refused:?}");
}

#[test]
fn a_renewed_request_keeps_key_and_subject_and_the_authority_keeps_its_grant() {
    let fixture = Fixture::new();
    let requested = request(&request_options(&fixture, "bob", KeyKind::P256)).expect("a request");
    let beside = Output::beside(&requested.request_file);
    let grant = Grant { role: Some(Role::User), ..grant_with_unit("build") };
    let first = fixture.open().sign(&requested.request_file, &grant, &beside).expect("signed").record;
    let again = renew_request(&name("bob"), &fixture.path("bob")).expect("renewed request");
    assert!(again.replaced_request);
    assert_eq!(again.key_fingerprint, requested.key_fingerprint);
    let kept = fixture.open().sign(&again.request_file, &Grant::default(), &beside);
    assert!(matches!(kept, Err(Error::Exists { .. })), "{kept:?}");
    let replace = Output { existing: Existing::Replace, ..beside };
    let second = fixture.open().sign(&again.request_file, &Grant::default(), &replace).expect("signed").record;
    assert_eq!((&second.unit, second.role), (&first.unit, first.role));
    assert_ne!(second.serial, first.serial);
    let stranger =
        RequestOptions { folder: fixture.path("stranger"), ..request_options(&fixture, "bob", KeyKind::P256) };
    let strange = request(&stranger).expect("a request");
    let issued = fixture.open().sign(&strange.request_file, &Grant::default(), &Output::beside(&strange.request_file));
    let issued = issued.expect("signed");
    assert_eq!((&issued.record.unit, issued.record.role), (&None, None), "a stranger's key inherits bob's grant");
    assert_eq!(issued.same_name.len(), 2, "the operator is not told that bob has other certificates");
}

#[test]
fn revoked_serial_numbers_stand_in_the_list_and_openssl_obeys_it() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    let mut authority = fixture.open();
    for who in ["bob", "carol"] {
        authority.issue(&name(who), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
    }
    assert!(fixture.verify("out/bob.crt", "sslclient").status.success());
    let revoked =
        authority.revoke(&RevokeTarget::NameOrSerial("bob".to_owned()), Reason::KeyCompromise).expect("revoked");
    assert_eq!(revoked.now.len(), 1);
    let refused = fixture.verify("out/bob.crt", "sslclient");
    assert!(!refused.status.success() && shown(refused).contains("certificate revoked"));
    assert!(fixture.verify("out/carol.crt", "sslclient").status.success());
    let crl = shown(openssl(&["crl", "-noout", "-text", "-in", text(&revoked.crl_file)]));
    let (_, serial) = &revoked.now[0];
    for part in [serial.to_string().to_uppercase().as_str(), "Key Compromise", "X509v3 CRL Number", "Next Update"] {
        assert!(crl.contains(part), "{part} is missing in {crl}");
    }
    let again =
        authority.revoke(&RevokeTarget::NameOrSerial(serial.to_string()), Reason::Unspecified).expect("no error");
    assert!(again.now.is_empty() && again.before.len() == 1);
    let number =
        |crl: &str| crl.split("CRL Number:").nth(1).and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    let later = shown(openssl(&["crl", "-noout", "-text", "-in", text(&again.crl_file)]));
    assert_ne!(number(&crl), number(&later), "two lists with one number");
    assert!(later.contains("Key Compromise"), "the first reason was lost");
    drop(authority);
    let states: Vec<State> = fixture.open().list().into_iter().map(|listed| listed.state).collect();
    assert_eq!(states.iter().filter(|state| matches!(state, State::Revoked { .. })).count(), 1);
}

#[test]
fn a_revoked_key_is_never_certified_again() {
    let fixture = Fixture::new();
    let requested = request(&request_options(&fixture, "bob", KeyKind::P256)).expect("a request");
    let mut authority = fixture.open();
    authority.sign(&requested.request_file, &Grant::default(), &fixture.out()).expect("signed");
    authority.revoke(&RevokeTarget::File(fixture.path("out/bob.crt")), Reason::Unspecified).expect("revoked");
    let replace = Output { existing: Existing::Replace, ..fixture.out() };
    let refused = authority.sign(&requested.request_file, &Grant::default(), &replace);
    assert!(refused.expect_err("a revoked key was certified").to_string().contains("was revoked on"));
    let refused = authority.renew("bob", None, &replace);
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
}

#[test]
fn revoking_what_does_not_exist_or_is_not_unique_says_so() {
    let fixture = Fixture::new();
    let mut authority = fixture.open();
    for nobody in ["nobody", "ffffffff", "4"] {
        let refused = authority.revoke(&RevokeTarget::NameOrSerial(nobody.to_owned()), Reason::Unspecified);
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{nobody}: {refused:?}");
    }
    let other = Fixture::new();
    let refused = authority.revoke(&RevokeTarget::File(other.path("out/admin.crt")), Reason::Unspecified);
    assert!(refused.expect_err("another authority's certificate").to_string().contains("another authority"));
}

#[test]
fn one_file_holds_key_certificate_and_authority_when_asked_for_and_can_be_renewed() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    let single = Output { single_file: true, ..fixture.out() };
    let issued = fixture.open().issue(&name("ci"), KeyKind::P256, &Grant::default(), &single).expect("issued");
    assert!(!fixture.path("out/ci.key").exists() && !fixture.path("out/ci.crt").exists());
    let before = fs::read_to_string(&issued.certificate_file).expect("file");
    assert_eq!(before.matches("-----BEGIN ").count(), 3);
    let renewed = fixture.open().renew("ci", None, &single).expect("renewed");
    let after = fs::read_to_string(&renewed.certificate_file).expect("file");
    assert_ne!(before, after);
    let key = |text: &str| {
        text.split("-----BEGIN PRIVATE KEY").nth(1).and_then(|rest| rest.split("-----END").next().map(str::to_owned))
    };
    assert_eq!(key(&before), key(&after), "the key changed");
    assert!(fixture.verify("out/ci.pem", "sslclient").status.success());
    let again = renew_request(&name("ci"), &fixture.path("out")).expect("request from one file");
    assert_eq!(again.key_fingerprint, issued.record.key_fingerprint);
}

#[test]
fn a_server_is_renewed_by_the_name_of_its_files_with_all_its_names() {
    let fixture = Fixture::new();
    let replace = Output { existing: Existing::Replace, ..fixture.out() };
    let renewed = fixture.open().renew("server", None, &replace).expect("renewed").record;
    let Purpose::Server(names) = renewed.purpose else { panic!("not a server's any more") };
    assert_eq!(names.as_slice().len(), 4);
    let span = renewed.not_after.duration_since(renewed.issued_at).as_secs();
    assert_eq!(span, i64::try_from(crate::Lifetime::SERVER.as_duration().as_secs()).expect("a year"));
}

#[test]
fn a_name_means_its_holder_even_where_a_file_of_another_is_called_so() {
    let fixture = Fixture::new();
    let mut authority = fixture.open();
    let grant = Grant { name: Some(name("bob")), ..Grant::default() };
    authority.issue(&name("alice"), KeyKind::P256, &grant, &fixture.out()).expect("bob's, in alice.crt");
    let elsewhere = Output::new(fixture.path("elsewhere"));
    authority.issue(&name("alice"), KeyKind::P256, &Grant::default(), &elsewhere).expect("alice's own");
    let revoked =
        authority.revoke(&RevokeTarget::NameOrSerial("alice".to_owned()), Reason::Unspecified).expect("revoked");
    let names: Vec<&str> = revoked.now.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["alice"]);
}
