//! Certificates for people and servers: from a request, together with a key, or for a key already known.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{PublicKeyData, SubjectPublicKeyInfo};

use airlock_proto::identity::Role;

use crate::authority::{Authority, CA_CERTIFICATE};
use crate::certificate::{Certificate, Contents, Subject, end_of};
use crate::csr::VerifiedRequest;
use crate::error::Error;
use crate::files::{self, Access};
use crate::index::{Issuance, Record, State};
use crate::keys::{self, KeyFingerprint, KeyKind};
use crate::names::{Label, Name, Serial};
use crate::terms::{Existing, Lifetime, Purpose};

/// What the holder of the authority grants. A request can ask for a name; everything else is decided here.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The common name. Without one it is the stem of the file, and a request must ask for just that.
    pub name: Option<Name>,
    /// The organisation.
    pub organization: Option<Label>,
    /// The organisational unit.
    pub unit: Option<Label>,
    /// The role in Airlock's own extension; none leaves it to the frontend's policy.
    pub role: Option<Role>,
    /// What the certificate is for. A server's common name is the first of its names.
    pub purpose: Purpose,
    /// How long it lasts; without one [`Lifetime::CLIENT`] or [`Lifetime::SERVER`].
    pub lifetime: Option<Lifetime>,
}

/// Where the files for somebody go.
#[derive(Clone, Debug)]
pub struct Output {
    /// Their folder; made when it does not exist. It also gets a copy of `ca.crt`, unless one is there.
    pub folder: PathBuf,
    /// What happens to files that exist.
    pub existing: Existing,
    /// One file `NAME.pem` (0600) with certificate, key and authority instead of `NAME.crt` and `NAME.key`.
    pub single_file: bool,
}

impl Output {
    /// Separate files in `folder`, replacing nothing.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Output { folder: folder.into(), existing: Existing::Keep, single_file: false }
    }

    /// Separate files in the folder of `file`, replacing nothing.
    pub fn beside(file: &Path) -> Self {
        Self::new(file.parent().unwrap_or(Path::new("")))
    }
}

/// A certificate that was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Issued {
    /// What the authority remembers of it.
    pub record: Record,
    /// The file with the certificate: `NAME.crt` or `NAME.pem`.
    pub certificate_file: PathBuf,
    /// The file with the key, where one was made; the same as `certificate_file` for a single file.
    pub key_file: Option<PathBuf>,
    /// What became of the copy of `ca.crt` beside it.
    pub ca_copy: CaCopy,
    /// Other valid certificates of the same name for other keys: to frontends all of them are the same person.
    pub same_name: Vec<Record>,
}

/// What became of the copy of `ca.crt` in an output folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CaCopy {
    /// It was written.
    Written,
    /// It was there, and is the same.
    Same,
    /// It was there from before a change of authority, and now holds the new authority too.
    Extended,
    /// One with other certificates is there and was left alone; its holder should compare it with the authority's.
    Different,
}

impl Authority {
    /// Makes a certificate from the request in the file `request`; its files are called like the request.
    ///
    /// A request from the holder of an earlier certificate (same name, same key) keeps organisation, unit and role of that
    /// one where `grant` names none.
    ///
    /// # Errors
    /// [`Error::BadRequestSignature`] when the request is not signed by its own key; [`Error::NameDiffers`] when it asks
    /// for another name than its file says and `grant` names none; [`Error::BadFile`] for anything that is no request, for
    /// unsupported keys and for keys that were revoked; [`Error::Exists`]; [`Error::OutlivesAuthority`].
    pub fn sign(&mut self, request: &Path, grant: &Grant, output: &Output) -> Result<Issued, Error> {
        let stem: Name = request.file_stem().unwrap_or_default().to_string_lossy().parse()?;
        let certificate_file = files::beside(&output.folder, stem.as_str(), "crt");
        // First whether it is a request at all: who gives bob.crt is not helped by hearing that bob.crt exists.
        let verified = VerifiedRequest::read(request, &files::read(request)?)?;
        files::require_free(&certificate_file, output.existing)?;
        self.refuse_revoked_key(request, &verified.key_fingerprint)?;
        let name = match (&grant.purpose, &grant.name) {
            (Purpose::Server(names), _) => names.common_name(),
            (Purpose::Client, Some(name)) => name.to_string(),
            (Purpose::Client, None) => {
                let asked: Name = verified.subject.common_name.parse()?;
                if asked != stem {
                    return Err(Error::NameDiffers { path: request.to_owned(), asked: asked.to_string() });
                }
                asked.to_string()
            }
        };
        let earlier = self.index.records.iter().rev().find(|record| {
            record.name == name
                && record.key_fingerprint == verified.key_fingerprint
                && record.purpose.is_server() == grant.purpose.is_server()
        });
        let terms = Terms {
            stem,
            name,
            organization: grant.organization.clone().or_else(|| earlier.and_then(|record| record.organization.clone())),
            unit: grant.unit.clone().or_else(|| earlier.and_then(|record| record.unit.clone())),
            role: grant.role.or_else(|| earlier.and_then(|record| record.role)),
            purpose: grant.purpose.clone(),
            lifetime: grant.lifetime.unwrap_or(grant.purpose.default_lifetime()),
            issuance: Issuance::Signed,
        };
        let (certificate, record) = self.certify(terms, &verified.public_key)?;
        self.hand_out(record, certificate_file, None, output, certificate.to_pem().as_bytes(), Access::Public)
    }

    /// Makes a key and its certificate in one step: `STEM.key` (0600) and `STEM.crt`, or `STEM.pem`.
    ///
    /// The key is then known to whoever runs this; [`request`](crate::request()) and [`Authority::sign`] avoid that.
    ///
    /// # Errors
    /// [`Error::Exists`] and [`Error::OutlivesAuthority`], before anything was made.
    pub fn issue(&mut self, stem: &Name, key: KeyKind, grant: &Grant, output: &Output) -> Result<Issued, Error> {
        let extension = if output.single_file { "pem" } else { "crt" };
        let certificate_file = files::beside(&output.folder, stem.as_str(), extension);
        let key_file = files::beside(&output.folder, stem.as_str(), if output.single_file { "pem" } else { "key" });
        files::require_free(&certificate_file, output.existing)?;
        files::require_free(&key_file, output.existing)?;
        let lifetime = grant.lifetime.unwrap_or(grant.purpose.default_lifetime());
        self.require_outlived(lifetime)?;
        let key = keys::generate(key)?;
        let terms = Terms {
            stem: stem.clone(),
            name: match &grant.purpose {
                Purpose::Server(names) => names.common_name(),
                Purpose::Client => grant.name.as_ref().unwrap_or(stem).to_string(),
            },
            organization: grant.organization.clone(),
            unit: grant.unit.clone(),
            role: grant.role,
            purpose: grant.purpose.clone(),
            lifetime,
            issuance: Issuance::Issued,
        };
        let (certificate, record) = self.certify(terms, &key)?;
        files::create_output_folder(&output.folder)?;
        let mut pem = certificate.to_pem();
        let mut access = Access::Public;
        if output.single_file {
            pem.push_str(&keys::to_pem(&key)?);
            pem.push_str(&self.certificates_pem());
            access = Access::Secret;
        } else {
            files::write(&key_file, keys::to_pem(&key)?.as_bytes(), Access::Secret, output.existing)?;
        }
        self.hand_out(record, certificate_file, Some(key_file), output, pem.as_bytes(), access)
    }

    /// Makes a new certificate for the key, name, purpose and role of an earlier one; no request is needed.
    ///
    /// `wanted` is a name, the stem of its files, or the beginning of a serial number. Without a `lifetime` the new one
    /// lasts as long as the old one did. It is signed by the current authority, also after a change. For a single file, the
    /// key is taken from the one that exists in the output folder.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none that was not revoked; [`Error::Ambiguous`] when several keys have that name;
    /// [`Error::Exists`], [`Error::OutlivesAuthority`].
    pub fn renew(&mut self, wanted: &str, lifetime: Option<Lifetime>, output: &Output) -> Result<Issued, Error> {
        let earlier = self.find_to_renew(wanted)?;
        let extension = if output.single_file { "pem" } else { "crt" };
        let certificate_file = files::beside(&output.folder, earlier.stem.as_str(), extension);
        let key_block = if output.single_file {
            let block = keys::private_block(&certificate_file, &earlier.key_fingerprint)?;
            Some(block)
        } else {
            files::require_free(&certificate_file, output.existing)?;
            None
        };
        let kept = self.kept_copy(&earlier.serial);
        let old = Certificate::read_first(&kept, &files::read(&kept)?)?;
        let key = SubjectPublicKeyInfo::from_der(&old.spki).map_err(Error::crypto("certificate"))?;
        let lasted = earlier.not_after.duration_since(earlier.issued_at);
        let same = Duration::try_from(lasted).ok().and_then(|lasted| Lifetime::from_duration(lasted).ok());
        let terms = Terms {
            stem: earlier.stem,
            name: earlier.name,
            organization: earlier.organization,
            unit: earlier.unit,
            role: earlier.role,
            lifetime: lifetime.or(same).unwrap_or(earlier.purpose.default_lifetime()),
            purpose: earlier.purpose,
            issuance: Issuance::Renewed,
        };
        let (certificate, record) = self.certify(terms, &key)?;
        match key_block {
            None => {
                self.hand_out(record, certificate_file, None, output, certificate.to_pem().as_bytes(), Access::Public)
            }
            Some(key) => {
                let pem = certificate.to_pem() + &key + &self.certificates_pem();
                let output = Output { existing: Existing::Replace, ..output.clone() };
                self.hand_out(record, certificate_file, None, &output, pem.as_bytes(), Access::Secret)
            }
        }
    }

    /// Where the authority keeps its own copy of a certificate.
    pub(crate) fn kept_copy(&self, serial: &Serial) -> PathBuf {
        self.folder.join("issued").join(format!("{serial}.crt"))
    }

    pub(crate) fn certificates_pem(&self) -> String {
        self.certificates.iter().map(Certificate::to_pem).collect()
    }

    /// Signs, and remembers before anybody can hold the result, so that whatever is in use can be revoked.
    fn certify(&mut self, terms: Terms, public_key: &impl PublicKeyData) -> Result<(Certificate, Record), Error> {
        self.require_outlived(terms.lifetime)?;
        let authority = self.current()?;
        let serial = Serial::random()?;
        let subject = Subject {
            common_name: terms.name.clone(),
            organization: terms.organization.as_ref().map(Label::to_string),
            unit: terms.unit.as_ref().map(Label::to_string),
        };
        let contents = Contents {
            subject: &subject,
            purpose: &terms.purpose,
            role: terms.role,
            serial: &serial,
            now: self.now,
            lifetime: terms.lifetime,
        };
        let certificate = contents.sign(public_key, authority, &self.issuer(authority)?)?;
        let record = Record {
            name: terms.name,
            stem: terms.stem,
            purpose: terms.purpose,
            organization: terms.organization,
            unit: terms.unit,
            role: terms.role,
            issued_at: self.now,
            not_after: certificate.not_after,
            key_fingerprint: certificate.key_fingerprint,
            authority: authority.key_fingerprint,
            issuance: terms.issuance,
            serial,
        };
        let kept = self.kept_copy(&record.serial);
        files::create_private_folder(kept.parent().unwrap_or(&self.folder))?;
        files::write(&kept, certificate.to_pem().as_bytes(), Access::Public, Existing::Keep)?;
        self.index.add_record(record.clone())?;
        self.refresh_crl_when_due()?;
        Ok((certificate, record))
    }

    fn hand_out(
        &self,
        record: Record,
        certificate_file: PathBuf,
        key_file: Option<PathBuf>,
        output: &Output,
        pem: &[u8],
        access: Access,
    ) -> Result<Issued, Error> {
        files::create_output_folder(&output.folder)?;
        files::write(&certificate_file, pem, access, output.existing)?;
        let same_name = self
            .index
            .valid_at(self.now)
            .filter(|other| other.name == record.name && !other.purpose.is_server() && !record.purpose.is_server())
            .filter(|other| other.key_fingerprint != record.key_fingerprint)
            .cloned()
            .collect();
        let ca_copy = self.copy_certificates_to(&output.folder)?;
        Ok(Issued { record, certificate_file, key_file, ca_copy, same_name })
    }

    pub(crate) fn copy_certificates_to(&self, folder: &Path) -> Result<CaCopy, Error> {
        let copy = folder.join(CA_CERTIFICATE);
        let own = files::read(&self.certificate_file())?;
        let Some(there) = files::read_if_present(&copy)? else {
            return files::write(&copy, &own, Access::Public, Existing::Keep).map(|()| CaCopy::Written);
        };
        if there == own {
            return Ok(CaCopy::Same);
        }
        let ours = |other: &Certificate| self.certificates.iter().any(|certificate| certificate.der == other.der);
        match Certificate::read_all(&copy, &there) {
            Ok(certificates) if certificates.iter().all(ours) => {
                files::write(&copy, &own, Access::Public, Existing::Replace).map(|()| CaCopy::Extended)
            }
            _ => Ok(CaCopy::Different),
        }
    }

    fn require_outlived(&self, lifetime: Lifetime) -> Result<(), Error> {
        let authority_end = self.current()?.not_after;
        let wanted_end = end_of(self.now, lifetime)?;
        if wanted_end > authority_end {
            return Err(Error::OutlivesAuthority { authority_end, wanted_end });
        }
        Ok(())
    }

    fn refuse_revoked_key(&self, request: &Path, key: &KeyFingerprint) -> Result<(), Error> {
        let revoked = self.index.records.iter().filter(|record| record.key_fingerprint == *key);
        for record in revoked {
            if let State::Revoked { at, .. } = self.index.state_of(record, self.now) {
                let problem = format!(
                    "brings a key whose certificate was revoked on {}; ask its sender for a request with a new key",
                    at.strftime("%Y-%m-%d")
                );
                return Err(Error::bad_file(request, problem));
            }
        }
        Ok(())
    }

    fn find_to_renew(&self, wanted: &str) -> Result<Record, Error> {
        let hint = " (revoked ones are not renewed)";
        let mut found: Vec<&Record> = self.find(wanted)?;
        found.retain(|record| !matches!(self.index.state_of(record, self.now), State::Revoked { .. }));
        let latest = *found.last().ok_or(Error::NotFound { wanted: wanted.to_owned(), hint })?;
        let mut keys: Vec<KeyFingerprint> = Vec::new();
        for record in found.iter().filter(|record| self.index.state_of(record, self.now) == State::Valid) {
            if !keys.contains(&record.key_fingerprint) {
                keys.push(record.key_fingerprint);
            }
        }
        if keys.len() > 1 {
            return Err(Error::Ambiguous { wanted: wanted.to_owned(), count: keys.len() });
        }
        Ok(latest.clone())
    }
}

/// Everything decided about a certificate apart from its key.
struct Terms {
    stem: Name,
    name: String,
    organization: Option<Label>,
    unit: Option<Label>,
    role: Option<Role>,
    purpose: Purpose,
    lifetime: Lifetime,
    issuance: Issuance,
}
