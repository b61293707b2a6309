//! Requests and authorities that openssl made.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::{Error, KeyKind, Reason, RevokeTarget};

/// Makes a request with openssl and returns its file.
fn foreign_request(fixture: &Fixture, who: &str, subject: &str, key: &[&str], more: &[&str]) -> PathBuf {
    let file = fixture.path(&format!("{who}.csr"));
    let key_file = fixture.path(&format!("{who}.key"));
    let mut arguments =
        vec!["req", "-new", "-nodes", "-subj", subject, "-keyout", text(&key_file), "-out", text(&file)];
    arguments.extend(key);
    arguments.extend(more);
    openssl_must(&arguments);
    file
}

const P256: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

#[test]
fn requests_made_by_openssl_are_signed_whatever_their_key_and_extensions() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    let p384 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
    // A digest that does not go with the curve, and extensions that nobody here knows.
    let cases: [(&str, &[&str], &[&str]); 5] = [
        (
            "p256",
            &P256,
            &["-addext", "subjectAltName=DNS:evil.example.org,email:x@y.z", "-addext", "1.2.3.4=ASN1:NULL"],
        ),
        ("p384", &p384, &["-sha256"]),
        ("ed", &["-newkey", "ed25519"], &[]),
        ("rsa2048", &["-newkey", "rsa:2048"], &["-addext", "basicConstraints=critical,CA:TRUE"]),
        ("rsa4096", &["-newkey", "rsa:4096"], &["-addext", "subjectKeyIdentifier=hash"]),
    ];
    for (who, key, more) in cases {
        let file = foreign_request(&fixture, who, &format!("/C=AT/O=Elsewhere/CN={who}"), key, more);
        fixture.open().sign(&file, &grant_with_unit("build"), &fixture.out()).expect(who);
        let certificate = format!("out/{who}.crt");
        let verified = fixture.verify(&certificate, "sslclient");
        assert!(verified.status.success(), "{who}: {}", shown(verified));
        let described = fixture.describe(&certificate);
        assert!(
            described.contains("CA:FALSE") && !described.contains("evil") && !described.contains("Elsewhere"),
            "{described}"
        );
    }
}

#[test]
fn requests_that_cannot_become_certificates_are_refused_with_the_reason() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    let short = foreign_request(&fixture, "short", "/CN=short", &["-newkey", "rsa:1024"], &["-sha1"]);
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
    let curve = foreign_request(&fixture, "curve", "/CN=curve", &curve, &[]);
    let nameless = foreign_request(&fixture, "nameless", "/O=x", &P256, &[]);
    let twice = foreign_request(&fixture, "twice", "/CN=twice/CN=admin", &P256, &[]);
    let garbage = fixture.path("garbage.csr");
    fs::write(&garbage, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
        .expect("write");
    let certificate = fixture.path("certificate.csr");
    fs::copy(fixture.path("out/admin.crt"), &certificate).expect("copy");
    let cases = [
        (short, "2048 bits"),
        (curve, "not supported"),
        (nameless, "no common name"),
        (twice, "twice"),
        (garbage, "not a signing request"),
        (certificate, "not a signing request"),
    ];
    for (file, reason) in cases {
        let refused = fixture.open().sign(&file, &Grant::default(), &fixture.out());
        let sentence = refused.expect_err(reason).to_string();
        assert!(sentence.contains(reason), "{sentence}");
    }
    let spaced = foreign_request(&fixture, "bob", "/CN=Bob Smith", &P256, &[]);
    let refused = fixture.open().sign(&spaced, &Grant::default(), &fixture.out());
    assert!(matches!(refused, Err(Error::BadValue { .. })), "{refused:?}");
    let grant = Grant { name: Some(name("bob")), ..Grant::default() };
    assert_eq!(fixture.open().sign(&spaced, &grant, &fixture.out()).expect("signed").record.name, "bob");
}

#[test]
fn an_authority_made_by_openssl_signs_and_revokes_and_keeps_its_own_list() {
    if !has_openssl() {
        return;
    }
    for (kind, key) in [("rsa", &["-newkey", "rsa:4096"][..]), ("ec", &P256[..])] {
        let fixture = Fixture::new();
        let folder = fixture.path("ca");
        fs::remove_dir_all(&folder).expect("the first authority goes");
        fs::remove_file(fixture.path("out/ca.crt")).expect("its certificate too");
        fs::create_dir(&folder).expect("folder");
        let (ca_key, ca_file) = (fixture.path("ca/ca.key"), fixture.path("ca/ca.crt"));
        let subject = "/C=AT/ST=Wien/O=Example Grüße/OU=Security/CN=Example Root";
        let usage = "keyUsage=critical,keyCertSign,cRLSign";
        let mut arguments = vec!["req", "-x509", "-utf8", "-nodes", "-days", "400", "-subj", subject, "-addext", usage];
        arguments.extend(["-keyout", text(&ca_key), "-out", text(&ca_file)]);
        arguments.extend(key);
        openssl_must(&arguments);
        fs::set_permissions(&ca_key, fs::Permissions::from_mode(0o600)).expect("mode");

        let mut authority = fixture.open();
        authority.issue(&name("bob"), KeyKind::P256, &grant_with_unit("build"), &fixture.out()).expect(kind);
        authority.issue(&name("carol"), KeyKind::P256, &grant_with_unit("build"), &fixture.out()).expect(kind);
        let verified = fixture.verify("out/bob.crt", "sslclient");
        assert!(verified.status.success(), "{kind}: {}", shown(verified));

        // Forgetting the index leaves what the published list says: nobody revoked comes back.
        authority.revoke(&RevokeTarget::NameOrSerial("bob".to_owned()), Reason::Superseded).expect("revoked");
        drop(authority);
        fs::remove_file(fixture.path("ca/index.jsonl")).expect("index");
        let mut authority = fixture.open();
        authority.revoke(&RevokeTarget::File(fixture.path("out/carol.crt")), Reason::Unspecified).expect("by file");
        for gone in ["out/bob.crt", "out/carol.crt"] {
            let refused = fixture.verify(gone, "sslclient");
            assert!(shown(refused).contains("certificate revoked"), "{kind}: {gone} counts again");
        }
    }
}

#[test]
fn an_authority_whose_name_cannot_be_repeated_is_refused_before_it_signs() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    for subject in ["/OU=one/OU=two/CN=Root", "/O=x+CN=Root"] {
        let folder = fixture.path("odd");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("folder");
        let (key, file) = (folder.join("ca.key"), folder.join("ca.crt"));
        let mut arguments =
            vec!["req", "-x509", "-nodes", "-subj", subject, "-keyout", text(&key), "-out", text(&file)];
        arguments.extend(P256);
        if subject.contains('+') {
            arguments.push("-multivalue-rdn");
        }
        openssl_must(&arguments);
        let refused = Authority::open(&folder);
        assert!(refused.expect_err(subject).to_string().contains("cannot be repeated"));
    }
}

#[test]
fn a_folder_with_an_ordinary_certificate_or_the_wrong_key_is_no_authority() {
    let fixture = Fixture::new();
    let folder = fixture.path("odd");
    fs::create_dir(&folder).expect("folder");
    fs::copy(fixture.path("out/admin.crt"), folder.join("ca.crt")).expect("copy");
    assert!(Authority::open(&folder).expect_err("an ordinary certificate").to_string().contains("may not sign others"));
    fs::copy(fixture.path("ca/ca.crt"), folder.join("ca.crt")).expect("copy");
    fs::copy(fixture.path("out/admin.key"), folder.join("ca.key")).expect("copy");
    let refused =
        Authority::open(&folder).expect("opens").issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out());
    assert!(refused.expect_err("a wrong key").to_string().contains("is not the key of the authority"));
    let nothing = Authority::open(&fixture.path("nowhere"));
    assert!(matches!(nothing, Err(Error::NoAuthority { .. })), "{nothing:?}");
}

#[test]
fn an_encrypted_authority_key_is_named_as_such() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    let key = fixture.path("ca/ca.key");
    let encrypted = fixture.path("encrypted");
    openssl_must(&["pkey", "-in", text(&key), "-aes256", "-passout", "pass:x", "-out", text(&encrypted)]);
    fs::copy(&encrypted, &key).expect("copy");
    let refused = fixture.open().issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out());
    assert!(refused.expect_err("an encrypted key").to_string().contains("is encrypted"));
}
