//! Reading certificates, and making ones whose contents were checked before anybody gets them.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use airlock_proto::identity::{ROLE_EXTENSION_OID, Role, encode_role};

use crate::error::Error;
use crate::keys::KeyFingerprint;
use crate::names::{Serial, ServerName};
use crate::terms::{Lifetime, Purpose};

/// The names of a certificate's holder, as they stand in the certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Subject {
    pub(crate) common_name: String,
    pub(crate) organization: Option<String>,
    pub(crate) unit: Option<String>,
}

impl Subject {
    pub(crate) fn to_distinguished_name(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        if let Some(organization) = &self.organization {
            name.push(DnType::OrganizationName, organization.as_str());
        }
        if let Some(unit) = &self.unit {
            name.push(DnType::OrganizationalUnitName, unit.as_str());
        }
        name.push(DnType::CommonName, self.common_name.as_str());
        name
    }

    /// Reads a subject with exactly one common name and at most one organisation and unit; other attributes are passed over.
    pub(crate) fn from_x509(name: &X509Name<'_>) -> Result<Self, &'static str> {
        let (Some(common_name), Some(organization), Some(unit)) = (
            at_most_one(name, &OID_X509_COMMON_NAME),
            at_most_one(name, &OID_X509_ORGANIZATION_NAME),
            at_most_one(name, &OID_X509_ORGANIZATIONAL_UNIT),
        ) else {
            return Err("has a name, organisation or unit twice or not as text");
        };
        let common_name = common_name.ok_or("has no common name")?;
        Ok(Subject { common_name, organization, unit })
    }
}

/// What Airlock reads from one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) subject: Result<Subject, &'static str>,
    pub(crate) serial: Serial,
    pub(crate) not_after: Timestamp,
    pub(crate) spki: Vec<u8>,
    pub(crate) key_fingerprint: KeyFingerprint,
    pub(crate) subject_key_identifier: Option<Vec<u8>>,
    /// The subject exactly as encoded, which issued certificates must repeat.
    pub(crate) raw_subject: Vec<u8>,
    pub(crate) raw_issuer: Vec<u8>,
    pub(crate) may_sign_certificates: bool,
    pub(crate) may_sign_crls: bool,
}

impl Certificate {
    /// Reads all certificates in the PEM file `path`, of which there is at least one.
    pub(crate) fn read_all(path: &Path, pem: &[u8]) -> Result<Vec<Self>, Error> {
        let ders = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let ders = ders.map_err(|error| Error::bad_file(path, format!("is not a PEM file: {error}")))?;
        if ders.is_empty() {
            return Err(Error::bad_file(path, "holds no certificate in PEM form; give the file that does"));
        }
        ders.into_iter()
            .map(|der| {
                Self::parse(der).map_err(|problem| Error::bad_file(path, format!("holds a certificate that {problem}")))
            })
            .collect()
    }

    /// Reads the first certificate in the PEM file `path`, which is its holder's own.
    pub(crate) fn read_first(path: &Path, pem: &[u8]) -> Result<Self, Error> {
        let first = Self::read_all(path, pem)?.into_iter().next();
        first.ok_or_else(|| Error::bad_file(path, "holds no certificate in PEM form; give the file that does"))
    }

    fn parse(der: CertificateDer<'static>) -> Result<Self, &'static str> {
        let (rest, x509) = X509Certificate::from_der(&der).map_err(|_| "cannot be read; it is damaged or not X.509")?;
        if !rest.is_empty() {
            return Err("has bytes after its end");
        }
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| "ends or begins outside of the calendar")
        };
        let constraints = x509.basic_constraints().map_err(|_| "has its constraints twice")?;
        let usage = x509.key_usage().map_err(|_| "has its key usage twice")?;
        let is_authority = constraints.is_some_and(|extension| extension.value.ca);
        let identifier = x509.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        });
        let certificate = Certificate {
            subject: Subject::from_x509(x509.subject()),
            serial: Serial::from_bytes(x509.raw_serial()),
            not_after: time(x509.validity().not_after)?,
            spki: x509.public_key().raw.to_vec(),
            key_fingerprint: KeyFingerprint::of_spki(x509.public_key().raw),
            subject_key_identifier: identifier,
            raw_subject: x509.subject().as_raw().to_vec(),
            raw_issuer: x509.issuer().as_raw().to_vec(),
            // A certificate without a key usage extension may be used for everything (RFC 5280, 4.2.1.3).
            may_sign_certificates: is_authority && usage.as_ref().is_none_or(|usage| usage.value.key_cert_sign()),
            may_sign_crls: usage.as_ref().is_none_or(|usage| usage.value.crl_sign()),
            der: CertificateDer::from(Vec::new()),
        };
        Ok(Certificate { der, ..certificate })
    }

    /// Whether `issuer` signed this certificate, by name and by signature.
    pub(crate) fn is_signed_by(&self, issuer: &Certificate) -> bool {
        let Ok((_, x509)) = X509Certificate::from_der(&self.der) else { return false };
        let Ok((_, issuer_key)) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&issuer.spki) else { return false };
        self.raw_issuer == issuer.raw_subject && x509.verify_signature(Some(&issuer_key)).is_ok()
    }

    /// Whether the library that makes certificates can repeat this subject as their issuer: it keeps one value per
    /// attribute, in sets of one, and does not survive a set of none.
    pub(crate) fn has_repeatable_name(&self) -> bool {
        let Ok((_, name)) = X509Name::from_der(&self.raw_subject) else { return false };
        let mut seen = Vec::new();
        name.iter().all(|set| match set.iter().collect::<Vec<_>>().as_slice() {
            [attribute] if !seen.contains(attribute.attr_type()) => {
                seen.push(attribute.attr_type().clone());
                true
            }
            _ => false,
        }) && !seen.is_empty()
    }

    /// The certificate as a PEM block.
    pub(crate) fn to_pem(&self) -> String {
        pem_block("CERTIFICATE", &self.der)
    }
}

/// Everything that is decided about a certificate before it is made.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) purpose: &'a Purpose,
    pub(crate) role: Option<Role>,
    pub(crate) serial: &'a Serial,
    pub(crate) now: Timestamp,
    pub(crate) lifetime: Lifetime,
}

impl Contents<'_> {
    /// Makes the certificate for `public_key` and checks that `authority` is seen by everybody as its issuer.
    pub(crate) fn sign(
        &self,
        public_key: &impl PublicKeyData,
        authority: &Certificate,
        issuer: &Issuer<'_, KeyPair>,
    ) -> Result<Certificate, Error> {
        let mut params = base_params(self.subject, self.serial, self.now, self.lifetime)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match self.purpose {
            Purpose::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Server(names) => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = names.as_slice().iter().map(alternative_name).collect::<Result<_, _>>()?;
            }
        }
        if let Some(role) = self.role {
            params.custom_extensions.push(CustomExtension::from_oid_content(&ROLE_EXTENSION_OID, encode_role(role)));
        }
        let made = params.signed_by(public_key, issuer).map_err(Error::crypto("certificate"))?;
        let made = Certificate::parse(made.der().clone()).map_err(Error::crypto("certificate"))?;
        if !made.is_signed_by(authority) {
            let detail = "the authority's name cannot be repeated exactly, so nobody would trust the result; \
                          make a new authority: airlock certs init --next";
            return Err(Error::Crypto { what: "certificate", detail: detail.to_owned() });
        }
        Ok(made)
    }
}

/// Makes a self-signed authority certificate named `subject` for `key`.
pub(crate) fn self_sign(
    subject: &Subject,
    key: &KeyPair,
    now: Timestamp,
    lifetime: Lifetime,
) -> Result<Certificate, Error> {
    let mut params = base_params(subject, &Serial::random()?, now, lifetime)?;
    // Path length 0: what this authority certifies can never be an authority itself.
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = params.self_signed(key).map_err(Error::crypto("authority certificate"))?;
    Certificate::parse(made.der().clone()).map_err(Error::crypto("authority certificate"))
}

/// The end of a lifetime that begins `now`.
pub(crate) fn end_of(now: Timestamp, lifetime: Lifetime) -> Result<Timestamp, Error> {
    now.checked_add(lifetime.as_duration()).map_err(Error::crypto("certificate's end"))
}

/// Seconds since 1970 as an unsigned span, the form in which dates reach the certificate library.
pub(crate) fn since_1970(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0))
}

/// One PEM block.
pub(crate) fn pem_block(label: &str, der: &[u8]) -> String {
    pem::encode_config(&pem::Pem::new(label, der), pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

/// How far before its making a certificate begins, for hosts whose clocks are late.
pub(crate) const CLOCK_ALLOWANCE: Duration = Duration::from_secs(5 * 60);

/// The only value of an attribute as text, which may be missing; nothing when there are several or it is no text.
fn at_most_one(name: &X509Name<'_>, attribute: &Oid<'_>) -> Option<Option<String>> {
    let mut values = name.iter_by_oid(attribute);
    let Some(first) = values.next() else { return Some(None) };
    let text = first.as_str().ok()?;
    if values.next().is_some() { None } else { Some(Some(text.to_owned())) }
}

fn base_params(
    subject: &Subject,
    serial: &Serial,
    now: Timestamp,
    lifetime: Lifetime,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970(now).saturating_sub(CLOCK_ALLOWANCE);
    params.not_after = epoch + since_1970(end_of(now, lifetime)?);
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.distinguished_name = subject.to_distinguished_name();
    Ok(params)
}

fn alternative_name(name: &ServerName) -> Result<SanType, Error> {
    Ok(match name {
        ServerName::Dns(name) => SanType::DnsName(name.as_str().try_into().map_err(Error::crypto("server name"))?),
        ServerName::Ip(address) => SanType::IpAddress(*address),
    })
}
