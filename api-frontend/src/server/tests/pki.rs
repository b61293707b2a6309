//! A certificate authority for one test.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use airlock_proto::identity::{ROLE_EXTENSION_OID, Role, encode_role};
use rcgen::*;

pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub chain: String,
    pub key: String,
    pub serial: Vec<u8>,
}

/// What a client's certificate says.
pub struct Client<'a> {
    pub name: &'a str,
    pub unit: &'a str,
    pub role: Option<Role>,
    /// Seconds from now; negative for the past.
    pub ends_in: i64,
}

impl<'a> Client<'a> {
    pub fn new(name: &'a str, unit: &'a str) -> Self {
        Self { name, unit, role: None, ends_in: 3600 }
    }
}

/// Seconds from 1970 to so many seconds from now.
fn at(seconds: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    Duration::from_secs((now + seconds) as u64)
}

impl Pki {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn server(&self) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "build1");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, &KeyPair::generate().unwrap(), 3600)
    }

    pub fn client(&self, client: &Client<'_>) -> Pair {
        self.client_with(client, &KeyPair::generate().unwrap())
    }

    pub fn client_with(&self, client: &Client<'_>, key: &KeyPair) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, client.name);
        if !client.unit.is_empty() {
            params.distinguished_name.push(DnType::OrganizationalUnitName, client.unit);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Some(role) = client.role {
            let extension = CustomExtension::from_oid_content(&ROLE_EXTENSION_OID, encode_role(role));
            params.custom_extensions.push(extension);
        }
        self.issue(params, key, client.ends_in)
    }

    fn issue(&self, mut params: CertificateParams, key: &KeyPair, ends_in: i64) -> Pair {
        let serial = uuid::Uuid::new_v4().as_bytes()[..8].iter().map(|b| b & 0x7f | 1).collect::<Vec<u8>>();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = date_time_ymd(1970, 1, 1) + at(-7200);
        params.not_after = date_time_ymd(1970, 1, 1) + at(ends_in);
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(key, &self.issuer).unwrap();
        Pair { chain: cert.pem(), key: key.serialize_pem(), serial }
    }

    pub fn crl(&self, revoked: &[&Pair], next_update_in: i64) -> String {
        let revoked_certs = revoked.iter().map(|pair| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&pair.serial),
            revocation_time: date_time_ymd(1970, 1, 1) + at(-60),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + at(-3600),
            next_update: date_time_ymd(1970, 1, 1) + at(next_update_in),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// As certificates are replaced in practice: whole, by renaming.
pub fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    fs::rename(new, path).unwrap();
}
