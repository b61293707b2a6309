//! The one TLS configuration of this client: version 1.3, the post-quantum group first, no resumption.

use crate::identity::{Identity, IdentityError};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
};
use std::sync::Arc;

pub(crate) fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    CryptoProvider { kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1], ..aws_lc_rs::default_provider() }
}

pub(crate) fn configuration(identity: Identity) -> Result<(ClientConfig, CertificateDer<'static>), IdentityError> {
    let name = identity.name().to_owned();
    let unusable = |reason: String| IdentityError::Unusable { name: name.clone(), reason };
    let (chain, key, authorities) = identity.into_parts();
    let own = chain.first().cloned().ok_or_else(|| unusable("there is no certificate".into()))?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority)
            .map_err(|error| unusable(format!("an authority's certificate is not usable ({error})")))?;
    }
    let mut configuration = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => IdentityError::Mismatch { name: name.clone() },
            other => unusable(other.to_string()),
        })?;
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would skip the server's look at its revocation list; one call is one full handshake.
    configuration.resumption = Resumption::disabled();
    Ok((configuration, own))
}
