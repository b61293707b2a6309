//! What the frontend's TLS library makes of the certificates, revocation lists included.

use std::fs;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use super::*;
use crate::{KeyKind, Lifetime, Reason, RevokeTarget};

fn verifier(fixture: &Fixture) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(fixture.path("ca/ca.crt")).expect("file") {
        roots.add(certificate.expect("PEM")).expect("an authority");
    }
    let crls = CertificateRevocationListDer::pem_file_iter(fixture.path("ca/crl.pem")).expect("file");
    let crls: Vec<_> = crls.map(|crl| crl.expect("PEM")).collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(crls)
        .only_check_end_entity_revocation()
        .build()
        .expect("a verifier")
}

fn verdict(fixture: &Fixture, relative: &str) -> Result<(), String> {
    let pem = fs::read(fixture.path(relative)).expect("file");
    let certificate = CertificateDer::from_pem_slice(&pem).expect("PEM");
    let verdict = verifier(fixture).verify_client_cert(&certificate, &[], UnixTime::now());
    verdict.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn the_frontends_library_accepts_clients_of_both_authorities_and_refuses_the_revoked() {
    let fixture = Fixture::new();
    let mut authority = fixture.open();
    for who in ["old-bob", "old-eve"] {
        authority.issue(&name(who), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
    }
    authority.start_next(None, KeyKind::Rsa4096, Lifetime::AUTHORITY).expect("the next one");
    for (who, key) in [("new-bob", KeyKind::Ed25519), ("new-eve", KeyKind::Rsa4096)] {
        authority.issue(&name(who), key, &Grant::default(), &fixture.out()).expect("issued");
    }
    for who in ["old-eve", "new-eve"] {
        authority.revoke(&RevokeTarget::NameOrSerial(who.to_owned()), Reason::Unspecified).expect("revoked");
    }
    for accepted in ["out/admin.crt", "out/old-bob.crt", "out/new-bob.crt"] {
        assert_eq!(verdict(&fixture, accepted), Ok(()), "{accepted}");
    }
    for (refused, why) in
        [("out/old-eve.crt", "Revoked"), ("out/new-eve.crt", "Revoked"), ("out/server.crt", "client authentication")]
    {
        let sentence = verdict(&fixture, refused).expect_err(refused);
        assert!(sentence.to_lowercase().contains(&why.to_lowercase()), "{refused}: {sentence}");
    }
    let stranger = Fixture::new();
    fs::copy(stranger.path("out/admin.crt"), fixture.path("out/stranger.crt")).expect("copy");
    assert!(verdict(&fixture, "out/stranger.crt").is_err());
}
