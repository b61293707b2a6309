//! Certificates for Airlock: a small certificate authority in a folder, and requests for it.
//!
//! The two halves meet in a file, so that no private key ever travels:
//!
//! - whoever wants a certificate calls [`request()`] (later [`renew_request`]) and sends the `.csr` file;
//! - whoever holds the authority opens it with [`Authority::open`] and signs, issues, renews, revokes and lists.
//!
//! [`init`] makes the authority. Its folder (0700) holds
//!
//! | file | what |
//! |---|---|
//! | `ca.crt` | what everybody trusts: the authority's certificate, during a change of authority the new one and the old one |
//! | `ca.key`, `ca-*.key` | the private keys that belong to `ca.crt`, 0600 |
//! | `crl.pem` | one revocation list per certificate in `ca.crt`; frontends need a copy |
//! | `index.jsonl` | one line per certificate issued or revoked, never changed once written |
//! | `issued/` | every certificate issued, by serial number |
//!
//! An authority made by openssl works as well: a folder with its `ca.crt` and `ca.key` is enough. Every file appears
//! complete or not at all; private keys are created with mode 0600, and nothing that exists is overwritten unless the
//! caller says so. All functions block on the disk; generating an RSA key takes seconds.
//!
//! ```
//! use airlock_certs::{Authority, Grant, InitOptions, KeyKind, Output, Reason, RequestOptions, RevokeTarget};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (ca, bobs_folder) = (folder.path().join("ca"), folder.path().join("bob"));
//! airlock_certs::init(&InitOptions { server: Some("build1.example.org".parse()?), ..InitOptions::new(&ca) })?;
//!
//! // Where bob works:
//! let asked = airlock_certs::request(&RequestOptions {
//!     name: "bob".parse()?,
//!     folder: bobs_folder,
//!     key: KeyKind::P256,
//!     organization: None,
//!     unit: None,
//! })?;
//!
//! // Where the authority is, with the request that bob has sent:
//! let mut authority = Authority::open(&ca)?;
//! let grant = Grant { unit: Some("build".parse()?), ..Grant::default() };
//! let issued = authority.sign(&asked.request_file, &grant, &Output::beside(&asked.request_file))?;
//! assert_eq!(issued.record.key_fingerprint, asked.key_fingerprint);
//!
//! // When bob leaves:
//! authority.revoke(&RevokeTarget::NameOrSerial("bob".to_owned()), Reason::AffiliationChanged)?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod authority;
mod certificate;
mod crl;
mod csr;
mod error;
mod files;
mod index;
mod init;
mod keys;
mod names;
mod request;
mod rollover;
mod sign;
mod terms;

pub use airlock_proto::identity::Role;
pub use authority::Authority;
pub use crl::{RevokeTarget, Revoked};
pub use error::Error;
pub use index::{Issuance, Listed, Record, State};
pub use init::{InitOptions, Initialised, init};
pub use keys::{KeyFingerprint, KeyKind};
pub use names::{Label, Name, Serial, ServerName, ServerNames};
pub use request::{RequestOptions, Requested, renew_request, request};
pub use sign::{CaCopy, Grant, Issued, Output};
pub use terms::{Existing, Lifetime, Purpose, Reason};

#[cfg(test)]
mod tests;
