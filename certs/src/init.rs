//! A new authority with its first certificates.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::Role;
use crate::authority::{Authority, CA_CERTIFICATE, CA_KEY, lock_folder};
use crate::certificate::{Certificate, Subject, self_sign};
use crate::error::Error;
use crate::files::{self, Access};
use crate::keys::{self, KeyFingerprint, KeyKind};
use crate::names::{Label, Name, ServerNames, fill_random};
use crate::sign::{Grant, Issued, Output};
use crate::terms::{Existing, Lifetime, Purpose};

/// What to make.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The authority's folder; made with mode 0700 when it does not exist. It should never be readable for a frontend.
    pub folder: PathBuf,
    /// Where the first certificates and copies of `ca.crt` and `crl.pem` go.
    pub output: PathBuf,
    /// The beginning of the authority's name; a few random digits are added, so that no two have the same one.
    pub label: Label,
    /// Which kind of key all keys made here are.
    pub key: KeyKind,
    /// How long the authority lasts; usually [`Lifetime::AUTHORITY`].
    pub lifetime: Lifetime,
    /// The names of a server to make `server.key` and `server.crt` for.
    pub server: Option<ServerNames>,
    /// The name of a person with the role admin to make a key and a certificate for.
    pub admin: Option<Name>,
}

impl InitOptions {
    /// An authority in `folder` with the usual lifetime and keys, and nothing beside it.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        InitOptions {
            output: folder.clone(),
            folder,
            label: default_label(),
            key: KeyKind::default(),
            lifetime: Lifetime::AUTHORITY,
            server: None,
            admin: None,
        }
    }
}

/// What was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Initialised {
    /// What everybody should trust, to be handed out.
    pub ca_file: PathBuf,
    /// The authority's name.
    pub ca_name: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// Its key's fingerprint.
    pub key_fingerprint: KeyFingerprint,
    /// The server's certificate, if one was asked for.
    pub server: Option<Issued>,
    /// The admin's certificate, if one was asked for.
    pub admin: Option<Issued>,
}

/// Makes an authority in a folder, and what else `options` name.
///
/// # Errors
/// [`Error::AuthorityExists`] when the folder holds one; [`Error::Exists`] when any file that would be made is there, in
/// which case nothing is made. When a later step fails, the authority stays, and [`Authority::issue`] makes the rest.
pub fn init(options: &InitOptions) -> Result<Initialised, Error> {
    files::create_private_folder(&options.folder)?;
    let lock = lock_folder(&options.folder)?;
    let ca_file = options.folder.join(CA_CERTIFICATE);
    if files::require_free(&ca_file, Existing::Keep).is_err() {
        return Err(Error::AuthorityExists { path: options.folder.clone() });
    }
    let key_file = options.folder.join(CA_KEY);
    files::require_free(&key_file, Existing::Keep)?;
    let stems = [options.server.as_ref().map(|_| SERVER_STEM), options.admin.as_ref().map(Name::as_str)];
    for stem in stems.into_iter().flatten() {
        files::require_free(&files::beside(&options.output, stem, "key"), Existing::Keep)?;
        files::require_free(&files::beside(&options.output, stem, "crt"), Existing::Keep)?;
    }
    if options.output != options.folder {
        files::require_free(&options.output.join(CA_CERTIFICATE), Existing::Keep)?;
        files::require_free(&options.output.join(crate::authority::CRL), Existing::Keep)?;
    }

    let (key, certificate) = make_authority(&options.label, options.key, options.lifetime, Timestamp::now())?;
    files::write(&key_file, keys::to_pem(&key)?.as_bytes(), Access::Secret, Existing::Keep)?;
    // The certificate makes the folder an authority, so it comes after the key.
    files::write(&ca_file, certificate.to_pem().as_bytes(), Access::Public, Existing::Keep)?;
    drop(lock);

    let mut authority = Authority::open(&options.folder)?;
    authority.refresh_crl()?;
    let output = Output::new(&options.output);
    let mut server = None;
    if let Some(names) = &options.server {
        let grant = Grant { purpose: Purpose::Server(names.clone()), ..Grant::default() };
        server = Some(authority.issue(&SERVER_STEM.parse()?, options.key, &grant, &output)?);
    }
    let mut admin = None;
    if let Some(name) = &options.admin {
        let grant = Grant { role: Some(Role::Admin), ..Grant::default() };
        admin = Some(authority.issue(name, options.key, &grant, &output)?);
    }
    if options.output != options.folder {
        files::create_output_folder(&options.output)?;
        authority.copy_certificates_to(&options.output)?;
        let crl = files::read(&authority.crl_file())?;
        files::write(&options.output.join(crate::authority::CRL), &crl, Access::Public, Existing::Keep)?;
    }
    Ok(Initialised {
        ca_file,
        ca_name: certificate.subject.map(|subject| subject.common_name).unwrap_or_default(),
        not_after: certificate.not_after,
        key_fingerprint: certificate.key_fingerprint,
        server,
        admin,
    })
}

/// Makes the key and the self-signed certificate of an authority whose name nobody else has.
pub(crate) fn make_authority(
    label: &Label,
    kind: KeyKind,
    lifetime: Lifetime,
    now: Timestamp,
) -> Result<(rcgen::KeyPair, Certificate), Error> {
    let key = keys::generate(kind)?;
    let mut random = [0; 4];
    fill_random(&mut random)?;
    // Revocation lists and issuers are found by name: two authorities of one name could not be told apart.
    let suffix = format!(" {:08x}", u32::from_ne_bytes(random));
    let label: String = label.as_str().chars().take(64 - suffix.len()).collect();
    let subject = Subject { common_name: label + &suffix, organization: None, unit: None };
    let certificate = self_sign(&subject, &key, now, lifetime)?;
    Ok((key, certificate))
}

/// What an authority is called when nothing is said.
pub(crate) fn default_label() -> Label {
    "Airlock CA".parse().expect("a short text without control characters is a label")
}

const SERVER_STEM: &str = "server";
