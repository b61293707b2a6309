//! Certificates, keys and revocation lists, from PEM files into what rustls needs.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::*;

use crate::config::TlsFiles;

/// Why the TLS files cannot be used. The operator is at fault; a running frontend keeps the ones before.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file has no such thing in it, or a broken one.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// One clause.
        what: String,
    },
    /// The private key's file is open to others.
    #[error("{} may be read by others (mode {mode:04o}); chmod 0600 it", path.display())]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// rustls refuses the combination, such as a key that belongs to another certificate.
    #[error("{} and {}: {source}", certificate.display(), key.display())]
    Refused {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Everything that is read on reload, ready for use.
#[derive(Debug, Clone)]
pub struct TlsSetup {
    /// For the acceptor.
    pub server: Arc<ServerConfig>,
    /// The same verifier as in `server`, for connections that are already open.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
    /// When they have to be replaced.
    pub ends: Ends,
}

/// When files are good no longer, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    /// The server's certificate.
    pub certificate: u64,
    /// The first of the revocation lists that has a date.
    pub revocation_list: Option<u64>,
}

impl TlsSetup {
    /// Reads and checks all files. Blocks.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = provider();
        let (mut warnings, mut ends) = (Vec::new(), Ends::default());
        let chain = certificates(&files.certificate)?;
        let key = private_key(&files.key)?;
        let end = end_of(&files.certificate, &chain)?;
        warnings.extend(end_warning(&files.certificate, end));
        ends.certificate = seconds(end);
        let authorities = certificates(&files.client_ca)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|e| content(&files.client_ca, format!("not an authority: {e}")))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        if let Some(path) = &files.crl {
            let lists = revocation_lists(path)?;
            let (due, told) = crl_warnings(path, &lists, &authorities)?;
            warnings.extend(told);
            ends.revocation_list = due;
            // Not `enforce_revocation_expiration`: a list past its date is still obeyed and warned about; refusing everybody
            // because somebody forgot to publish the next one would lock the operator out too.
            builder = builder.with_crls(lists).only_check_end_entity_revocation();
        }
        let verifier =
            builder.build().map_err(|e| content(&files.client_ca, format!("cannot verify with these: {e}")))?;
        let refused =
            |source| TlsError::Refused { certificate: files.certificate.clone(), key: files.key.clone(), source };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain, key)
            .map_err(refused)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session does not show its certificate again, so a revoked one would still get in.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { server: Arc::new(server), verifier, warnings, ends })
    }

    /// Whether a client's certificate would be accepted now: known authority, not ended, not revoked.
    pub fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((end_entity, intermediates)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(end_entity, intermediates, UnixTime::now()).is_ok()
    }
}

/// The provider: TLS 1.3 suites alone, the hybrid post-quantum group first.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    Arc::new(provider)
}

fn content(path: &Path, what: impl Into<String>) -> TlsError {
    TlsError::Content { path: path.to_owned(), what: what.into() }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(content(path, "no certificate in it")),
        Err(e) => Err(content(path, format!("not a certificate in PEM: {e}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    // Of the open file, so that nothing can be swapped between the check and the reading.
    let meta = file.metadata().map_err(failed)?;
    let mode = meta.mode() & 0o777;
    // systemd's credentials are root's with an entry for this user alone; the mask of such entries shows as the group's bits.
    let group_is_root = (meta.uid(), meta.gid()) == (0, 0);
    if mode & if group_is_root { 0o037 } else { 0o077 } != 0 {
        return Err(TlsError::KeyMode { path: path.to_owned(), mode });
    }
    let mut pem = Vec::new();
    file.read_to_end(&mut pem).map_err(failed)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|e| content(path, format!("no private key in PEM: {e}")))
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(content(path, "no revocation list in it")),
        Err(e) => Err(content(path, format!("not a revocation list in PEM: {e}"))),
    }
}

/// When the first of these certificates ends.
fn end_of(path: &Path, chain: &[CertificateDer<'_>]) -> Result<ASN1Time, TlsError> {
    let first = chain.first().map_or(&[][..], |c| c.as_ref());
    let (_, cert) = X509Certificate::from_der(first).map_err(|e| content(path, format!("cannot be read: {e}")))?;
    Ok(cert.validity().not_after)
}

fn seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}

/// A sentence when the server's own certificate has ended or soon will.
fn end_warning(path: &Path, end: ASN1Time) -> Option<String> {
    let left = end.timestamp() - ASN1Time::now().timestamp();
    let path = path.display();
    match left {
        ..0 => Some(format!("the server's certificate {path} ended on {end}; no client will trust it; renew it")),
        0..WARN_SECONDS => Some(format!("the server's certificate {path} ends on {end}; renew it")),
        _ => None,
    }
}

/// Fourteen days.
const WARN_SECONDS: i64 = 14 * 86_400;

/// When the first list is due, and sentences about lists past their date and authorities that no list speaks for: the certificates of
/// those are refused.
fn crl_warnings(
    path: &Path,
    lists: &[CertificateRevocationListDer<'_>],
    authorities: &[CertificateDer<'_>],
) -> Result<(Option<u64>, Vec<String>), TlsError> {
    let (mut due, mut warnings) = (None::<u64>, Vec::new());
    let mut issuers = Vec::new();
    for list in lists {
        let (_, crl) = CertificateRevocationList::from_der(list)
            .map_err(|e| content(path, format!("not a revocation list: {e}")))?;
        issuers.push(crl.issuer().as_raw().to_vec());
        let Some(date) = crl.next_update() else { continue };
        due = Some(due.map_or(seconds(date), |first| first.min(seconds(date))));
        if date < ASN1Time::now() {
            let issuer = crl.issuer();
            warnings.push(format!(
                "the revocation list of {issuer} in {} was good until {date}; it is still obeyed; airlock certs crl makes a new one",
                path.display()
            ));
        }
    }
    for authority in authorities {
        let (_, cert) = X509Certificate::from_der(authority)
            .map_err(|e| content(path, format!("an authority cannot be read: {e}")))?;
        if !issuers.iter().any(|raw| raw.as_slice() == cert.subject().as_raw()) {
            warnings.push(format!(
                "{} has no revocation list of {}; every certificate of this authority is refused",
                path.display(),
                cert.subject()
            ));
        }
    }
    Ok((due, warnings))
}

#[cfg(test)]
mod tests;
