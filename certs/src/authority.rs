//! An authority in its folder: opened, locked, and asked what it has issued.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::{Issuer, KeyPair};
use rustix::fs::{FlockOperation, flock};
use rustls_pki_types::CertificateDer;

use crate::certificate::Certificate;
use crate::error::Error;
use crate::files::{self, Access};
use crate::index::{Index, Listed, Record, State};
use crate::keys;
use crate::terms::Existing;

/// An authority that was opened for use. While one exists, no other process uses the same folder.
#[derive(Debug)]
pub struct Authority {
    pub(crate) folder: PathBuf,
    pub(crate) now: Timestamp,
    pub(crate) index: Index,
    /// The one that signs new certificates, then one that is being left, if any: the order of `ca.crt`.
    pub(crate) certificates: Vec<Certificate>,
    _lock: File,
}

impl Authority {
    /// Opens the authority in `folder`, made by [`init`](crate::init()) or by openssl. Waits while another process uses it.
    ///
    /// # Errors
    /// [`Error::NoAuthority`] without a `ca.crt`; [`Error::Exposed`] when others may write into the folder;
    /// [`Error::BadFile`] when `ca.crt` holds no authority or the index is damaged.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::open_at(folder, Timestamp::now())
    }

    /// Like [`Authority::open`], as if the clock stood at `now`: for tests of what happens when certificates end.
    ///
    /// # Errors
    /// As [`Authority::open`].
    pub fn open_at(folder: &Path, now: Timestamp) -> Result<Self, Error> {
        let lock = lock_folder(folder)?;
        let path = folder.join(CA_CERTIFICATE);
        let pem = files::read_if_present(&path)?.ok_or_else(|| Error::NoAuthority { path: folder.to_owned() })?;
        files::require_private_folder(folder)?;
        let certificates = Certificate::read_all(&path, &pem)?;
        for certificate in &certificates {
            if !certificate.may_sign_certificates {
                return Err(Error::bad_file(
                    &path,
                    "holds a certificate that may not sign others; give that of an authority",
                ));
            }
            if !certificate.has_repeatable_name() {
                return Err(Error::bad_file(
                    &path,
                    "holds an authority with an attribute twice or none in its name, which cannot be repeated; make another",
                ));
            }
        }
        // Certificates know no fractions of a second, and the index agrees with them.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Ok(Authority { folder: folder.to_owned(), now, index: Index::read(folder)?, certificates, _lock: lock })
    }

    /// The certificates to hand to everybody: `ca.crt` in the folder.
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join(CA_CERTIFICATE)
    }

    /// The revocation lists to copy to every frontend: `crl.pem` in the folder.
    pub fn crl_file(&self) -> PathBuf {
        self.folder.join(CRL)
    }

    /// When the certificate that signs now ends.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.certificates.first().map(|certificate| certificate.not_after)
    }

    /// Whether a change of authority is under way, between [`Authority::start_next`] and [`Authority::retire_old`].
    pub fn is_changing(&self) -> bool {
        self.certificates.len() > 1
    }

    /// Every certificate ever issued here, the one that ends first at the top.
    pub fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> = self
            .index
            .records
            .iter()
            .enumerate()
            .map(|(place, record)| {
                let takes_its_place = |newer: &Record| {
                    newer.key_fingerprint == record.key_fingerprint
                        && newer.name == record.name
                        && newer.purpose.is_server() == record.purpose.is_server()
                        && self.index.state_of(newer, self.now) == State::Valid
                };
                let signer = self.certificates.iter().position(|one| one.key_fingerprint == record.authority);
                let state = match self.index.state_of(record, self.now) {
                    State::Valid if signer.is_none() => State::LeftBehind,
                    state => state,
                };
                Listed {
                    state,
                    superseded: self.index.records.iter().skip(place + 1).any(takes_its_place),
                    // The first signs now, and one after it is being left.
                    by_retiring_authority: signer.is_some_and(|place| place > 0),
                    record: record.clone(),
                }
            })
            .collect();
        listed.sort_by(|a, b| match a.record.not_after.cmp(&b.record.not_after) {
            Ordering::Equal => a.record.name.cmp(&b.record.name),
            other => other,
        });
        listed
    }

    /// The certificates that still count, hang on an authority that is being left, and have no newer one in their place.
    pub fn left_behind(&self) -> Vec<Listed> {
        self.list()
            .into_iter()
            .filter(|listed| listed.state == State::Valid && listed.by_retiring_authority && !listed.superseded)
            .collect()
    }

    /// The certificate that signs now.
    pub(crate) fn current(&self) -> Result<&Certificate, Error> {
        self.certificates.first().ok_or_else(|| Error::NoAuthority { path: self.folder.clone() })
    }

    /// The private key and name of one of the authority's certificates.
    pub(crate) fn issuer(&self, certificate: &Certificate) -> Result<Issuer<'static, KeyPair>, Error> {
        let key = self.key_of(certificate)?.1;
        let der: &CertificateDer<'_> = &certificate.der;
        Issuer::from_ca_cert_der(der, key).map_err(Error::crypto("authority's name"))
    }

    /// The file with the private key of one of the authority's certificates, and the key.
    pub(crate) fn key_of(&self, certificate: &Certificate) -> Result<(PathBuf, KeyPair), Error> {
        let entries = fs::read_dir(&self.folder).map_err(Error::io("read", &self.folder))?;
        let mut last_problem = None;
        for entry in entries {
            let path = entry.map_err(Error::io("read", &self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name != CA_KEY && !(name.starts_with("ca-") && name.ends_with(".key")) {
                continue;
            }
            match keys::load(&path) {
                Ok(key) if keys::KeyFingerprint::of_key(&key) == certificate.key_fingerprint => return Ok((path, key)),
                Ok(_) => {}
                Err(problem) => last_problem = Some(problem),
            }
        }
        let missing =
            || Error::bad_file(&self.folder.join(CA_KEY), "is not the key of the authority in ca.crt; put it there");
        Err(last_problem.unwrap_or_else(missing))
    }

    pub(crate) fn write_certificates(&self) -> Result<(), Error> {
        let pem: String = self.certificates.iter().map(Certificate::to_pem).collect();
        files::write(&self.certificate_file(), pem.as_bytes(), Access::Public, Existing::Replace)
    }
}

/// Takes the folder for this process until the returned descriptor is closed.
pub(crate) fn lock_folder(folder: &Path) -> Result<File, Error> {
    let handle = match File::open(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoAuthority { path: folder.to_owned() });
        }
        other => other.map_err(Error::io("open", folder))?,
    };
    loop {
        match flock(&handle, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(handle),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::io("lock", folder)(errno.into())),
        }
    }
}

/// What everybody trusts.
pub(crate) const CA_CERTIFICATE: &str = "ca.crt";
/// The private key of the first authority; later ones are called `ca-….key`.
pub(crate) const CA_KEY: &str = "ca.key";
/// What is trusted no longer.
pub(crate) const CRL: &str = "crl.pem";
