//! Signing requests: reading those of others, making our own.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::certificate::Subject;
use crate::error::Error;
use crate::keys::KeyFingerprint;

/// A request that was signed by the key it brings. Nothing else in it is believed: what it asks for is decided by whoever signs.
#[derive(Debug)]
pub(crate) struct VerifiedRequest {
    pub(crate) subject: Subject,
    pub(crate) public_key: SubjectPublicKeyInfo,
    pub(crate) key_fingerprint: KeyFingerprint,
}

impl VerifiedRequest {
    pub(crate) fn read(path: &Path, pem: &[u8]) -> Result<Self, Error> {
        let unreadable =
            || Error::bad_file(path, "is not a signing request in PEM form; airlock certs request makes one");
        let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|_| unreadable())?;
        let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| unreadable())?;
        if !rest.is_empty() {
            return Err(unreadable());
        }
        let spki = &request.certification_request_info.subject_pki;
        let public_key = SubjectPublicKeyInfo::from_der(spki.raw).map_err(|_| {
            Error::bad_file(path, "brings a key of a kind that is not supported; use P-256, P-384, Ed25519 or RSA")
        })?;
        // The signature check alone would let shorter keys pass with some algorithms, and TLS would refuse them later.
        if matches!(spki.parsed(), Ok(PublicKey::RSA(rsa)) if rsa.key_size() < 2048) {
            return Err(Error::bad_file(
                path,
                "brings an RSA key of less than 2048 bits, which TLS refuses; make a longer one",
            ));
        }
        request.verify_signature().map_err(|_| Error::BadRequestSignature { path: path.to_owned() })?;
        let subject = Subject::from_x509(&request.certification_request_info.subject)
            .map_err(|problem| Error::bad_file(path, format!("{problem}; ask its sender for another")))?;
        Ok(VerifiedRequest { subject, public_key, key_fingerprint: KeyFingerprint::of_spki(spki.raw) })
    }
}

/// Makes a request for `key` as PEM.
pub(crate) fn make(subject: &Subject, key: &KeyPair) -> Result<String, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject.to_distinguished_name();
    params.serialize_request(key).and_then(|request| request.pem()).map_err(Error::crypto("signing request"))
}
