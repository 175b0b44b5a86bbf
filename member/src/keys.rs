//! The keys a member makes for itself. None of them ever leaves its directory, or the keyring of whoever
//! has it.

use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spa::ExchangeSecret;
use zeroize::Zeroizing;

use crate::error::{Cause, ConnectError};

/// The keys that stay for the life of a membership.
#[derive(Clone)]
pub(crate) struct Keys {
    /// Proves who the member is when its certificate has run out.
    pub(crate) identity: SigningKey,
    /// Agrees on pairwise SPA keys; hosts and users only.
    pub(crate) exchange: Option<Arc<ExchangeSecret>>,
}

/// A TLS key, and the request for a certificate over it.
pub(crate) struct TlsKey {
    pub(crate) pkcs8_der: Zeroizing<Vec<u8>>,
    pub(crate) csr_der: Vec<u8>,
}

// === impl Keys ===

impl Keys {
    pub(crate) fn generate(with_exchange: bool) -> Result<Self, ConnectError> {
        let identity = SigningKey::from_bytes(&*random()?);
        let exchange = if with_exchange {
            Some(Arc::new(ExchangeSecret::from_bytes(*random()?)))
        } else {
            None
        };
        Ok(Self { identity, exchange })
    }

    /// Of the bytes of both.
    pub(crate) fn of(identity: [u8; 32], exchange: Option<[u8; 32]>) -> Self {
        Self {
            identity: SigningKey::from_bytes(&identity),
            exchange: exchange.map(|bytes| Arc::new(ExchangeSecret::from_bytes(bytes))),
        }
    }

    pub(crate) fn identity_public(&self) -> [u8; 32] {
        self.identity.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.identity.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, ConnectError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|cause| ConnectError::Keys(cause.into()))?;
    Ok(bytes)
}

// === impl TlsKey ===

impl TlsKey {
    /// Makes a P-256 key. The request names nobody: names come from the controller.
    pub(crate) fn generate() -> Result<Self, ConnectError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(keys)?;
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(keys)?;
        Ok(Self {
            pkcs8_der: Zeroizing::new(key.serialize_der()),
            csr_der: request.der().to_vec(),
        })
    }
}

fn keys(cause: rcgen::Error) -> ConnectError {
    ConnectError::Keys(Cause::from(cause))
}

/// The private key in the form that rustls takes.
pub(crate) fn private_key(pkcs8_der: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8_der.to_vec()))
}

/// The certificate in the form that rustls takes.
pub(crate) fn certificate(der: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from(der.to_vec())
}
