//! Private keys and the fingerprints of public ones.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::certificate::pem_block;
use crate::error::Error;
use crate::files;
use crate::names::hex_bytes;

/// The kinds of private keys that can be made. Others are accepted in requests: P-384, and RSA from 2048 bits on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyKind {
    /// ECDSA on the curve P-256: small, fast, and accepted everywhere.
    #[default]
    P256,
    /// Ed25519; browsers do not take such certificates.
    Ed25519,
    /// RSA with 4096 bits, for those whose rules ask for it; making one takes seconds.
    Rsa4096,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [KeyKind; 3] = [KeyKind::P256, KeyKind::Ed25519, KeyKind::Rsa4096];

    /// The word for this kind on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyKind::P256 => "p256",
            KeyKind::Ed25519 => "ed25519",
            KeyKind::Rsa4096 => "rsa4096",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyKind {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        KeyKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| Error::BadValue {
            what: "key kind",
            value: word.to_owned(),
            problem: "is not known",
            remedy: "use p256, ed25519 or rsa4096",
        })
    }
}

/// SHA-256 of a public key (its DER SubjectPublicKeyInfo).
///
/// A request and the certificate made from it show the same fingerprint, so that requester and operator can compare them
/// by voice. The same figure by other means:
/// `openssl x509 -in bob.crt -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum`.
#[derive(Clone, Copy, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyFingerprint([u8; 32]);

impl KeyFingerprint {
    /// The first two bytes and the last, as in `7c:90:…:2b`: enough to tell keys apart in a line of text.
    pub fn short(&self) -> String {
        let [first, second, .., last] = self.0;
        format!("{first:02x}:{second:02x}:…:{last:02x}")
    }

    pub(crate) fn of_spki(der: &[u8]) -> Self {
        KeyFingerprint(Sha256::digest(der).into())
    }

    pub(crate) fn of_key(key: &KeyPair) -> Self {
        Self::of_spki(&key.subject_public_key_info())
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        self.0.iter().try_for_each(|byte| {
            write!(f, "{separator}{byte:02x}")?;
            separator = ":";
            Ok(())
        })
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for KeyFingerprint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let bytes = hex_bytes(&digits).and_then(|bytes| bytes.try_into().ok());
        bytes.map(KeyFingerprint).ok_or(Error::BadValue {
            what: "fingerprint",
            value: text,
            problem: "is not a SHA-256 in hexadecimal",
            remedy: "write 32 bytes as two digits each",
        })
    }
}

impl From<KeyFingerprint> for String {
    fn from(fingerprint: KeyFingerprint) -> String {
        fingerprint.to_string()
    }
}

/// Makes a new private key.
pub(crate) fn generate(kind: KeyKind) -> Result<KeyPair, Error> {
    match kind {
        KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        KeyKind::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
    }
    .map_err(Error::crypto("key"))
}

/// The private key as PKCS #8 in PEM form.
///
/// The library writes Ed25519 keys in the second version of PKCS #8, which openssl 3.0 and older cannot read; the first
/// version holds the same 32 bytes without the public key.
pub(crate) fn to_pem(key: &KeyPair) -> Result<String, Error> {
    let der = key.serialized_der();
    if key.algorithm() != &rcgen::PKCS_ED25519 {
        return Ok(pem_block("PRIVATE KEY", der));
    }
    let seed = der.strip_prefix(&ED25519_V2_START).and_then(|rest| rest.first_chunk::<32>());
    let seed =
        seed.ok_or_else(|| Error::Crypto { what: "key", detail: "its encoding is not as expected".to_owned() })?;
    Ok(pem_block("PRIVATE KEY", &[&ED25519_V1_START[..], seed].concat()))
}

/// Reads the private key in the PEM file `path`, refusing one that others may read.
pub(crate) fn load(path: &Path) -> Result<KeyPair, Error> {
    let pem = files::read_secret(path)?;
    let encrypted = pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    if encrypted {
        return Err(Error::bad_file(path, "is encrypted; decrypt it first: openssl pkey -in OLD -out NEW"));
    }
    let der = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| Error::bad_file(path, "holds no private key in PEM form; give the file that does"))?;
    KeyPair::try_from(&der).map_err(|_| {
        Error::bad_file(path, "holds a private key of a kind that is not supported; use P-256, P-384, Ed25519 or RSA")
    })
}

/// The private key in the PEM file `path` as the block it is, provided that it is the one with this fingerprint.
pub(crate) fn private_block(path: &Path, fingerprint: &KeyFingerprint) -> Result<String, Error> {
    if KeyFingerprint::of_key(&load(path)?) != *fingerprint {
        return Err(Error::bad_file(
            path,
            "holds another key than the one that was certified; give the folder of that one",
        ));
    }
    let blocks =
        pem::parse_many(files::read_secret(path)?).map_err(|error| Error::bad_file(path, error.to_string()))?;
    let block = blocks.iter().find(|block| block.tag().ends_with("PRIVATE KEY"));
    block
        .map(|block| pem_block(block.tag(), block.contents()))
        .ok_or_else(|| Error::bad_file(path, "holds no private key in PEM form"))
}

/// Stands in the first lines of every encrypted private key, of the old and the new PEM form.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// DER of a version 2 Ed25519 key up to its 32 secret bytes, which the 32 public ones follow.
const ED25519_V2_START: [u8; 16] =
    [0x30, 0x51, 0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// DER of a version 1 Ed25519 key up to its 32 secret bytes, with which it ends.
const ED25519_V1_START: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
