//! Who the client is: a certificate chain, its key, and the authorities whose servers it trusts.

use crate::dial::plain_reason;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    fmt, fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A certificate chain, its private key and the trusted authorities. Debug output does not show the key.
pub struct Identity {
    name: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Vec<CertificateDer<'static>>,
}

/// What a certificate says about itself, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// CN of the subject, empty when there is none.
    pub common_name: String,
    /// Lower-case hexadecimal without leading zeros.
    pub serial: String,
    /// End of validity.
    pub not_after: SystemTime,
    /// Begin of validity.
    pub not_before: SystemTime,
    /// DNS names and IP addresses of the subject alternative name.
    pub names: Vec<String>,
}

/// An identity that cannot be used. The user or who made the files has to put them right; each message says which file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A name that would leave the folder, or is empty.
    #[error("identity '{0}' is not a name; use letters, digits, dots, dashes and underscores")]
    Name(String),
    /// The name asked of the server's certificate is none that one could carry.
    #[error("server name '{0}' is not a name that a certificate could carry; use a host name or an IP address")]
    ServerName(String),
    /// Neither NAME.pem nor NAME.crt exists.
    #[error(
        "no identity '{name}' in {folder}: neither {name}.crt nor {name}.pem is there; make one with: airlock certs request {name}"
    )]
    Missing {
        /// The identity asked for.
        name: String,
        /// Where it was looked for.
        folder: String,
    },
    /// A file could not be read.
    #[error("cannot read {file}: {reason}", file = .file.display(), reason = plain_reason(.source))]
    Read {
        /// Which.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file holds no PEM object of the kind needed.
    #[error("{file} holds no {what}", file = .file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// "certificate" or "private key".
        what: &'static str,
    },
    /// Others than the owner can read the private key, so it may be known already.
    #[error("{file} can be read by others (mode {mode:04o}); make it yours alone with: chmod 600 {file}", file = .file.display())]
    KeyReadableByOthers {
        /// Which.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The certificate's key and the private key differ.
    #[error(
        "certificate and key of identity '{name}' do not belong together; find the key that the certificate was made for, or ask \
         for a new certificate: airlock certs request {name}"
    )]
    Mismatch {
        /// The identity.
        name: String,
    },
    /// A certificate, its key or an authority cannot be used for TLS, such as one of an unsupported kind.
    #[error("identity '{name}' cannot be used: {reason}")]
    Unusable {
        /// The identity.
        name: String,
        /// What the TLS library says.
        reason: String,
    },
}

impl Identity {
    /// Reads `NAME.pem`, or `NAME.crt`, `NAME.key` and `ca.crt`, from `folder`. A `NAME.crt` is preferred when both exist; where
    /// its `NAME.key` is not there, key and authorities are those of `NAME.pem`.
    ///
    /// # Errors
    /// [`IdentityError`] when a file is missing, unreadable, empty, or when the key can be read by others.
    pub fn load(folder: &Path, name: &str) -> Result<Self, IdentityError> {
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(IdentityError::Name(name.to_owned()));
        }
        let [certificate, key, whole] = ["crt", "key", "pem"].map(|kind| folder.join(format!("{name}.{kind}")));
        if certificate.exists() && !key.exists() && whole.exists() {
            // Renewed: the request was made with the key in NAME.pem, and what came back is a NAME.crt.
            let renewed = certificates(&certificate, &read(&certificate)?)?;
            return Ok(Identity { chain: renewed, ..Self::from_single_file(name, &whole)? });
        }
        if certificate.exists() {
            return Self::from_files(name, &certificate, &key, &folder.join("ca.crt"));
        }
        if whole.exists() {
            return Self::from_single_file(name, &whole);
        }
        Err(IdentityError::Missing { name: name.to_owned(), folder: folder.display().to_string() })
    }

    /// Reads the three parts from files of any name.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn from_files(name: &str, certificate: &Path, key: &Path, authorities: &Path) -> Result<Self, IdentityError> {
        Ok(Identity {
            name: name.to_owned(),
            chain: certificates(certificate, &read(certificate)?)?,
            key: private_key(key)?,
            roots: certificates(authorities, &read(authorities)?)?,
        })
    }

    /// The identity's name, which is that of its files.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the identity's own certificate says; `None` when it is not a readable X.509 certificate.
    pub fn facts(&self) -> Option<CertificateFacts> {
        CertificateFacts::read(self.chain.first()?)
    }

    /// True when one of the identity's own authorities signed its certificate, which is the ordinary case.
    pub fn is_by_own_authority(&self) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(self.roots.iter().cloned());
        let provider = std::sync::Arc::new(crate::tls::provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
        let (Ok(verifier), Some((own, chain))) = (verifier, self.chain.split_first()) else { return false };
        // The time is the certificate's own, so that an expired one is not also called foreign.
        let within = self.facts().map_or_else(SystemTime::now, |facts| facts.not_after - Duration::from_secs(1));
        let within = within.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        verifier.verify_client_cert(own, chain, rustls_pki_types::UnixTime::since_unix_epoch(within)).is_ok()
    }

    pub(crate) fn into_parts(
        self,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Vec<CertificateDer<'static>>) {
        (self.chain, self.key, self.roots)
    }

    // One file with certificate, key and authorities: the first certificate (and those that are not self-issued) is the
    // chain, every certificate after the first is also an authority.
    fn from_single_file(name: &str, file: &Path) -> Result<Self, IdentityError> {
        let key = private_key(file)?;
        let all = certificates(file, &read(file)?)?;
        let (own, roots) =
            all.split_first().ok_or(IdentityError::Content { file: file.into(), what: "certificate" })?;
        if roots.is_empty() {
            return Err(IdentityError::Content { file: file.into(), what: "certificate of an authority" });
        }
        Ok(Identity { name: name.to_owned(), chain: vec![own.clone()], key, roots: roots.to_vec() })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

impl CertificateFacts {
    /// Reads a DER certificate; `None` when it is not one.
    pub fn read(der: &[u8]) -> Option<Self> {
        use x509_parser::extensions::GeneralName;
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let common_name =
            certificate.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok()).unwrap_or("").to_owned();
        let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let mut names = Vec::new();
        if let Ok(Some(extension)) = certificate.subject_alternative_name() {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::DNSName(dns) => names.push((*dns).to_owned()),
                    GeneralName::IPAddress([a, b, c, d]) => {
                        names.push(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string())
                    }
                    GeneralName::IPAddress(bytes) => {
                        if let Ok(bytes) = <[u8; 16]>::try_from(*bytes) {
                            names.push(std::net::Ipv6Addr::from(bytes).to_string());
                        }
                    }
                    _ => {}
                }
            }
        }
        Some(CertificateFacts {
            common_name,
            serial: format!("{:x}", certificate.tbs_certificate.serial),
            not_after: time(certificate.validity().not_after.timestamp()),
            not_before: time(certificate.validity().not_before.timestamp()),
            names,
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, IdentityError> {
    fs::read(file).map_err(|source| IdentityError::Read { file: file.into(), source })
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(IdentityError::Content { file: file.into(), what: "certificate" }),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let metadata = fs::metadata(file).map_err(|source| IdentityError::Read { file: file.into(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    // Root's key may be readable by a group on purpose nowhere: the same rule for everybody.
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(IdentityError::KeyReadableByOthers { file: file.into(), mode });
    }
    PrivateKeyDer::from_pem_slice(&read(file)?)
        .map_err(|_| IdentityError::Content { file: file.into(), what: "private key" })
}
