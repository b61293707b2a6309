//! Taking certificates back, and the lists that tell frontends so.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::authority::Authority;
use crate::certificate::{CLOCK_ALLOWANCE, Certificate, pem_block, since_1970};
use crate::error::Error;
use crate::files::{self, Access};
use crate::index::{Record, Revocation, State};
use crate::names::Serial;
use crate::terms::{Existing, Reason};

/// Which certificates to take back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RevokeTarget {
    /// All valid ones of a name; without any, those of a file stem; else the one whose serial number begins so (4 digits
    /// or more).
    NameOrSerial(String),
    /// The first one in a PEM file, also when the authority's index does not know it.
    File(PathBuf),
}

impl FromStr for RevokeTarget {
    type Err = std::convert::Infallible;

    /// What has a slash or ends in `.crt`, `.pem` or `.cer` is a file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_file = text.contains('/') || [".crt", ".pem", ".cer"].iter().any(|ending| text.ends_with(ending));
        Ok(if is_file { RevokeTarget::File(text.into()) } else { RevokeTarget::NameOrSerial(text.to_owned()) })
    }
}

/// What was taken back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Revoked {
    /// Name and serial number of each certificate that no longer counts from now on.
    pub now: Vec<(String, Serial)>,
    /// Name, serial number and time of each that did not count before.
    pub before: Vec<(String, Serial, Timestamp)>,
    /// The revocation lists, written anew; every frontend needs a copy.
    pub crl_file: PathBuf,
    /// When frontends begin to warn that the lists are old. They are obeyed all the same.
    pub next_update: Timestamp,
}

impl Authority {
    /// Takes certificates back and writes `crl.pem` anew. One that was taken back before is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing fits; [`Error::Ambiguous`] when a shortened serial number fits several;
    /// [`Error::BadFile`] when the file's certificate is not one of this authority's.
    pub fn revoke(&mut self, target: &RevokeTarget, reason: Reason) -> Result<Revoked, Error> {
        let mut wanted = match target {
            RevokeTarget::File(path) => vec![self.revocation_of_file(path, reason)?],
            RevokeTarget::NameOrSerial(text) => self.revocations_of(text, reason)?,
        };
        let mut before = Vec::new();
        wanted.retain(|wanted| match self.index.revocation_of(&wanted.serial, &wanted.authority) {
            Some(earlier) => {
                before.push((earlier.name.clone(), earlier.serial.clone(), earlier.at));
                false
            }
            None => true,
        });
        let now = wanted.iter().map(|revocation| (revocation.name.clone(), revocation.serial.clone())).collect();
        self.index.add_revocations(wanted)?;
        let next_update = self.refresh_crl()?;
        Ok(Revoked { now, before, crl_file: self.crl_file(), next_update })
    }

    /// Writes `crl.pem` anew with the same contents, a higher number and fresh dates. Returns when it should be written again.
    ///
    /// # Errors
    /// [`Error::BadFile`] when `ca.crt` may not sign such lists or its key is missing.
    pub fn refresh_crl(&mut self) -> Result<Timestamp, Error> {
        let next_update = self.now.checked_add(CRL_LIFETIME).map_err(Error::crypto("revocation list"))?;
        let published = self.published_crls()?;
        let mut pem = String::new();
        for authority in &self.certificates {
            if !authority.may_sign_crls {
                let problem = "holds an authority that may not sign revocation lists (no cRLSign in its key usage)";
                return Err(Error::bad_file(&self.certificate_file(), problem));
            }
            let earlier = published.iter().find(|crl| crl.issuer == authority.raw_subject);
            let der = self.sign_crl(authority, &self.issuer(authority)?, earlier, next_update)?;
            pem.push_str(&pem_block("X509 CRL", &der));
        }
        files::write(&self.crl_file(), pem.as_bytes(), Access::Public, Existing::Replace)?;
        Ok(next_update)
    }

    /// Writes `crl.pem` when there is none, when an authority has none in it, or when half of its time is over.
    pub(crate) fn refresh_crl_when_due(&mut self) -> Result<(), Error> {
        if !self.certificates.iter().all(|authority| authority.may_sign_crls) {
            return Ok(());
        }
        let published = self.published_crls()?;
        let half = CRL_LIFETIME / 2;
        let is_fresh = |authority: &Certificate| {
            published.iter().any(|crl| {
                crl.issuer == authority.raw_subject && crl.next_update.is_some_and(|end| self.now + half < end)
            })
        };
        if !self.certificates.iter().all(is_fresh) {
            self.refresh_crl()?;
        }
        Ok(())
    }

    /// Every record that `wanted` names, oldest first: by name, else by file stem, else by the beginning of a serial number.
    pub(crate) fn find(&self, wanted: &str) -> Result<Vec<&Record>, Error> {
        let records = &self.index.records;
        let by_name: Vec<&Record> = records.iter().filter(|record| record.name == wanted).collect();
        if !by_name.is_empty() {
            return Ok(by_name);
        }
        let by_stem: Vec<&Record> = records.iter().filter(|record| record.stem.as_str() == wanted).collect();
        if !by_stem.is_empty() {
            return Ok(by_stem);
        }
        let digits: String = wanted.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
        if digits.len() < 4 {
            return Ok(Vec::new());
        }
        let by_serial: Vec<&Record> =
            records.iter().filter(|record| record.serial.to_string().starts_with(&digits)).collect();
        if by_serial.len() > 1 {
            return Err(Error::Ambiguous { wanted: wanted.to_owned(), count: by_serial.len() });
        }
        Ok(by_serial)
    }

    fn revocations_of(&self, wanted: &str, reason: Reason) -> Result<Vec<Revocation>, Error> {
        let found = self.find(wanted)?;
        let not_found = |hint| Error::NotFound { wanted: wanted.to_owned(), hint };
        if found.is_empty() {
            return Err(not_found("; one that was made elsewhere is revoked by its file"));
        }
        let open: Vec<Revocation> = found
            .into_iter()
            .filter(|record| self.index.state_of(record, self.now) != State::Expired)
            .map(|record| Revocation {
                serial: record.serial.clone(),
                authority: record.authority,
                name: record.name.clone(),
                at: self.now,
                reason,
            })
            .collect();
        if open.is_empty() { Err(not_found(" (all of that name have ended)")) } else { Ok(open) }
    }

    fn revocation_of_file(&self, path: &std::path::Path, reason: Reason) -> Result<Revocation, Error> {
        let certificate = Certificate::read_first(path, &files::read(path)?)?;
        let authority = self.certificates.iter().find(|authority| certificate.is_signed_by(authority));
        let authority = authority
            .ok_or_else(|| Error::bad_file(path, "holds a certificate of another authority; revoke it there"))?;
        Ok(Revocation {
            serial: certificate.serial,
            authority: authority.key_fingerprint,
            name: certificate.subject.map(|subject| subject.common_name).unwrap_or_default(),
            at: self.now,
            reason,
        })
    }

    fn sign_crl(
        &self,
        authority: &Certificate,
        issuer: &Issuer<'_, KeyPair>,
        earlier: Option<&PublishedCrl>,
        next_update: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let mut entries: Vec<PublishedEntry> = earlier.map(|crl| crl.entries.clone()).unwrap_or_default();
        for revocation in self.index.revocations.iter().filter(|entry| entry.authority == authority.key_fingerprint) {
            if !entries.iter().any(|entry| entry.serial == revocation.serial) {
                entries.push(PublishedEntry {
                    serial: revocation.serial.clone(),
                    at: revocation.at,
                    reason: reason_code(revocation.reason),
                });
            }
        }
        let params = CertificateRevocationListParams {
            this_update: epoch + since_1970(self.now).saturating_sub(CLOCK_ALLOWANCE),
            next_update: epoch + since_1970(next_update),
            crl_number: SerialNumber::from(earlier.map_or_else(|| vec![1], |crl| crl.next_number.clone())),
            issuing_distribution_point: None,
            revoked_certs: entries
                .into_iter()
                .map(|entry| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(entry.serial.as_bytes()),
                    revocation_time: epoch + since_1970(entry.at),
                    reason_code: entry.reason,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: match &authority.subject_key_identifier {
                Some(identifier) => KeyIdMethod::PreSpecified(identifier.clone()),
                None => KeyIdMethod::Sha256,
            },
        };
        let crl = params.signed_by(issuer).map_err(Error::crypto("revocation list"))?;
        Ok(crl.der().to_vec())
    }

    /// What `crl.pem` says now, which may have been written by other programs: nothing in it is ever taken back.
    fn published_crls(&self) -> Result<Vec<PublishedCrl>, Error> {
        let path = self.crl_file();
        let Some(pem) = files::read_if_present(&path)? else { return Ok(Vec::new()) };
        let damaged = || Error::bad_file(&path, "holds no readable revocation lists; restore it from a backup");
        let mut crls = Vec::new();
        for der in CertificateRevocationListDer::pem_slice_iter(&pem) {
            let der = der.map_err(|_| damaged())?;
            let (_, crl) = CertificateRevocationList::from_der(&der).map_err(|_| damaged())?;
            let issuer = self.certificates.iter().find(|authority| authority.raw_subject == crl.issuer().as_raw());
            // A list of an authority that was retired is of no use any more.
            let Some(issuer) = issuer else { continue };
            let (_, key) = SubjectPublicKeyInfo::from_der(&issuer.spki).map_err(|_| damaged())?;
            if crl.verify_signature(&key).is_err() {
                return Err(Error::bad_file(
                    &path,
                    "is not signed by the authority it names; restore it from a backup",
                ));
            }
            crls.push(PublishedCrl::from_x509(&crl).map_err(|_| damaged())?);
        }
        Ok(crls)
    }
}

/// A revocation list as it was published.
struct PublishedCrl {
    issuer: Vec<u8>,
    next_number: Vec<u8>,
    next_update: Option<Timestamp>,
    entries: Vec<PublishedEntry>,
}

#[derive(Clone)]
struct PublishedEntry {
    serial: Serial,
    at: Timestamp,
    reason: Option<RevocationReason>,
}

impl PublishedCrl {
    fn from_x509(crl: &CertificateRevocationList<'_>) -> Result<Self, jiff::Error> {
        let entries = crl.iter_revoked_certificates().map(|entry| {
            Ok::<_, jiff::Error>(PublishedEntry {
                serial: Serial::from_bytes(entry.raw_serial()),
                at: Timestamp::from_second(entry.revocation_date.timestamp())?,
                reason: entry.reason_code().and_then(|(_, code)| known_reason(code.0)),
            })
        });
        Ok(PublishedCrl {
            issuer: crl.issuer().as_raw().to_vec(),
            next_number: crl.crl_number().map_or_else(|| vec![1], |number| (number + 1u32).to_bytes_be()),
            next_update: crl.next_update().and_then(|end| Timestamp::from_second(end.timestamp()).ok()),
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

fn reason_code(reason: Reason) -> Option<RevocationReason> {
    match reason {
        Reason::Unspecified => None,
        Reason::KeyCompromise => Some(RevocationReason::KeyCompromise),
        Reason::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
        Reason::Superseded => Some(RevocationReason::Superseded),
        Reason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
    }
}

/// The reasons of RFC 5280, 5.3.1, that a list of end certificates can carry; others are dropped, the entry stays.
fn known_reason(code: u8) -> Option<RevocationReason> {
    match code {
        1 => Some(RevocationReason::KeyCompromise),
        2 => Some(RevocationReason::CaCompromise),
        3 => Some(RevocationReason::AffiliationChanged),
        4 => Some(RevocationReason::Superseded),
        5 => Some(RevocationReason::CessationOfOperation),
        6 => Some(RevocationReason::CertificateHold),
        9 => Some(RevocationReason::PrivilegeWithdrawn),
        _ => None,
    }
}

/// As long as people's certificates last: a list that nobody renewed for so long deserves the frontend's daily warning.
const CRL_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
