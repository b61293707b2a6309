//! The requester's half: a private key that stays here, and a request that travels.

use std::path::{Path, PathBuf};

use crate::certificate::{Certificate, Subject};
use crate::csr;
use crate::error::Error;
use crate::files::{self, Access};
use crate::keys::{self, KeyFingerprint, KeyKind};
use crate::names::{Label, Name};
use crate::terms::Existing;

/// What to put into a new request.
#[derive(Clone, Debug)]
pub struct RequestOptions {
    /// The name asked for, and the stem of the files.
    pub name: Name,
    /// Where the files go; made when it does not exist.
    pub folder: PathBuf,
    /// Which kind of key to make.
    pub key: KeyKind,
    /// An organisation to ask for. Whoever signs decides.
    pub organization: Option<Label>,
    /// An organisational unit to ask for. Whoever signs decides.
    pub unit: Option<Label>,
}

/// What a request consists of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Requested {
    /// The file with the private key, which stays where it is. After [`renew_request`] it may be `NAME.pem`.
    pub key_file: PathBuf,
    /// The file to send to whoever holds the authority.
    pub request_file: PathBuf,
    /// The key's fingerprint, to be compared by another way than the request itself takes.
    pub key_fingerprint: KeyFingerprint,
    /// Whether an earlier request file was replaced.
    pub replaced_request: bool,
}

/// Makes `NAME.key` (0600) and `NAME.csr` in the folder given.
///
/// # Errors
/// [`Error::Exists`] when either file exists: the key may be in use.
pub fn request(options: &RequestOptions) -> Result<Requested, Error> {
    let key_file = files::beside(&options.folder, options.name.as_str(), "key");
    let request_file = files::beside(&options.folder, options.name.as_str(), "csr");
    files::require_free(&key_file, Existing::Keep)?;
    files::require_free(&request_file, Existing::Keep)?;
    files::create_output_folder(&options.folder)?;
    let key = keys::generate(options.key)?;
    let subject = Subject {
        common_name: options.name.to_string(),
        organization: options.organization.as_ref().map(Label::to_string),
        unit: options.unit.as_ref().map(Label::to_string),
    };
    let pem = csr::make(&subject, &key)?;
    files::write(&key_file, keys::to_pem(&key)?.as_bytes(), Access::Secret, Existing::Keep)?;
    files::write(&request_file, pem.as_bytes(), Access::Public, Existing::Keep)?;
    Ok(Requested { key_file, request_file, key_fingerprint: KeyFingerprint::of_key(&key), replaced_request: false })
}

/// Makes a new `NAME.csr` for the certificate in `NAME.crt` and `NAME.key`, or in `NAME.pem`.
///
/// Subject and key stay: the new certificate takes the old one's place by replacing one file, and there is no moment in
/// which key and certificate do not belong together. Whoever wants another key makes a new request in another folder.
/// An earlier `NAME.csr` is replaced; it was of use only until it was signed.
///
/// # Errors
/// [`Error::Io`] when there is no such certificate; [`Error::BadFile`] when key and certificate do not belong together;
/// [`Error::Exposed`] when others may read the key.
pub fn renew_request(name: &Name, folder: &Path) -> Result<Requested, Error> {
    let stem = name.as_str();
    let mut certificate_file = files::beside(folder, stem, "crt");
    let mut key_file = files::beside(folder, stem, "key");
    let together = files::beside(folder, stem, "pem");
    if together.exists() && !certificate_file.exists() {
        certificate_file = together.clone();
        key_file = together;
    }
    let pem = files::read(&certificate_file)?;
    let certificate = Certificate::read_first(&certificate_file, &pem)?;
    let key = keys::load(&key_file)?;
    if KeyFingerprint::of_key(&key) != certificate.key_fingerprint {
        let problem = format!("is not the key of {}; find the one that is", certificate_file.display());
        return Err(Error::bad_file(&key_file, problem));
    }
    let subject = certificate.subject.map_err(|problem| Error::bad_file(&certificate_file, problem))?;
    let request_file = files::beside(folder, stem, "csr");
    let replaced_request = files::require_free(&request_file, Existing::Keep).is_err();
    files::write(&request_file, csr::make(&subject, &key)?.as_bytes(), Access::Public, Existing::Replace)?;
    Ok(Requested { key_file, request_file, key_fingerprint: certificate.key_fingerprint, replaced_request })
}
