//! Who a caller is: what their certificate says, once TLS has verified it.

use std::time::{Duration, SystemTime};

use airlock_proto::identity::{ROLE_EXTENSION_OID_DOTTED, Role, RoleExtensionError, decode_role};
use x509_parser::prelude::*;

use crate::policy::RoleSource;

/// A verified client certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    organizations: Vec<String>,
    units: Vec<String>,
    alternative_names: Vec<String>,
    serial: String,
    not_after: SystemTime,
    extension: Option<Result<Role, RoleExtensionError>>,
}

/// Why a verified certificate names nobody. Whoever issued it is at fault; the holder needs another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate that the parser understands.
    #[error("the client certificate cannot be read: {0}")]
    Unreadable(String),
    /// A subject without a common name, or with several.
    #[error("the client certificate carries {0} common names; exactly one names its owner")]
    CommonNames(usize),
    /// A common name that is empty, long, or holds control characters.
    #[error("the client certificate's common name is empty, longer than 64 characters or has control characters in it")]
    CommonName,
}

impl Identity {
    /// Reads a certificate in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, cert) = X509Certificate::from_der(der).map_err(|e| IdentityError::Unreadable(e.to_string()))?;
        let names: Vec<&str> = cert.subject().iter_common_name().filter_map(|cn| cn.as_str().ok()).collect();
        let [name] = names[..] else { return Err(IdentityError::CommonNames(names.len())) };
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
            return Err(IdentityError::CommonName);
        }
        let organizations = cert.subject().iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned);
        let units = cert.subject().iter_organizational_unit().filter_map(|ou| ou.as_str().ok()).map(str::to_owned);
        let seconds = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
        Ok(Self {
            name: name.to_owned(),
            organizations: organizations.collect(),
            units: units.collect(),
            alternative_names: alternative_names(&cert),
            serial: format!("{:x}", cert.tbs_certificate.serial),
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            extension: role_extension(&cert),
        })
    }

    /// The common name: the owner of jobs. Two certificates with one name are one person.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Organisations.
    pub fn organizations(&self) -> &[String] {
        &self.organizations
    }

    /// Organisational units.
    pub fn units(&self) -> &[String] {
        &self.units
    }

    /// DNS names, addresses of mail and URIs.
    pub fn alternative_names(&self) -> &[String] {
        &self.alternative_names
    }

    /// Serial number, lower-case hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The role, from the first of `sources` that carries one. A role extension that cannot be read gives no role at all: its
    /// issuer meant something, and guessing from elsewhere could mean more than that.
    pub fn role(&self, sources: &[RoleSource]) -> Result<Option<Role>, RoleExtensionError> {
        for source in sources {
            let found = match source {
                RoleSource::Extension => self.extension.clone().transpose()?,
                RoleSource::Ou => self.units.iter().find_map(|unit| unit.parse().ok()),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn alternative_names(cert: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(n) | GeneralName::RFC822Name(n) | GeneralName::URI(n) => Some((*n).to_owned()),
        _ => None,
    });
    names.collect()
}

fn role_extension(cert: &X509Certificate<'_>) -> Option<Result<Role, RoleExtensionError>> {
    let extension = cert.extensions().iter().find(|e| e.oid.to_id_string() == ROLE_EXTENSION_OID_DOTTED)?;
    Some(decode_role(extension.value))
}

/// The same bound as X.520 has for a common name.
const NAME_CHARACTERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use airlock_proto::identity::{ROLE_EXTENSION_OID, encode_role};
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType, SerialNumber};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn named(name: &str) -> Result<Identity, IdentityError> {
        Identity::from_der(&certificate(|p| p.distinguished_name.push(DnType::CommonName, name)))
    }

    #[test]
    fn a_certificate_is_read_whole() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "Zoë Müller");
            params.distinguished_name.push(DnType::OrganizationName, "Example");
            params.distinguished_name.push(DnType::OrganizationalUnitName, "build");
            params.subject_alt_names.push(SanType::URI("spiffe://example/zoe".try_into().unwrap()));
            params.serial_number = Some(SerialNumber::from_slice(&[0x5e, 0x1f]));
            params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        });
        let identity = Identity::from_der(&der).unwrap();
        assert_eq!((identity.name(), identity.serial()), ("Zoë Müller", "5e1f"));
        assert_eq!(
            (identity.organizations(), identity.units()),
            (&["Example".to_owned()][..], &["build".to_owned()][..])
        );
        assert_eq!(identity.alternative_names(), ["spiffe://example/zoe"]);
        assert_eq!(identity.not_after(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000));
    }

    #[test]
    fn a_certificate_that_names_nobody_or_something_odd_is_refused() {
        assert_eq!(Identity::from_der(&certificate(|_| {})), Err(IdentityError::CommonNames(0)));
        for name in ["", "a\nb", "tab\there", &"x".repeat(65)] {
            assert_eq!(named(name), Err(IdentityError::CommonName), "{name:?}");
        }
        assert!(named(&"x".repeat(64)).is_ok());
        assert!(matches!(Identity::from_der(b"not a certificate"), Err(IdentityError::Unreadable(_))));
    }

    #[test]
    fn the_first_source_that_has_a_role_decides_and_a_broken_extension_gives_none() {
        let with = |extension: Option<Vec<u8>>, unit: &str| {
            let der = certificate(|params| {
                params.distinguished_name.push(DnType::CommonName, "alice");
                params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
                let extension = extension.map(|der| CustomExtension::from_oid_content(&ROLE_EXTENSION_OID, der));
                params.custom_extensions.extend(extension);
            });
            Identity::from_der(&der).unwrap()
        };
        let both = [RoleSource::Extension, RoleSource::Ou];
        let reader = Some(encode_role(Role::Reader));
        assert_eq!(with(reader.clone(), "admin").role(&both), Ok(Some(Role::Reader)));
        assert_eq!(with(reader.clone(), "admin").role(&[RoleSource::Ou, RoleSource::Extension]), Ok(Some(Role::Admin)));
        assert_eq!(with(None, "user").role(&both), Ok(Some(Role::User)));
        assert_eq!(with(None, "user").role(&[RoleSource::Extension]), Ok(None));
        assert_eq!(with(None, "Admin").role(&both), Ok(None), "roles are written in one way");
        assert_eq!(
            with(reader, "admin").role(&[]),
            Ok(None),
            "with another's authority, nothing in a certificate counts"
        );
        assert!(with(Some(b"junk".to_vec()), "admin").role(&both).is_err());
    }
}
