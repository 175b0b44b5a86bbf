//! TLS of the server: who it proves to be, and whose certificates it takes. Both may change while it
//! serves; a connection keeps what it began with, until the authority of its certificate counts no more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ServerError;
use crate::ca::authorities::InForce;
use crate::ca::{self, Credentials};

/// Where connections come in.
#[derive(Debug)]
pub(crate) struct Doorway(RwLock<Arc<Threshold>>);

/// What holds for connections that begin now.
pub(super) struct Threshold {
    pub(super) tls: TlsAcceptor,
    clients: Arc<WhateverTheTime>,
    authorities: Vec<Counted>,
}

/// An authority, and what ends when it counts no more.
#[derive(Clone, Debug)]
struct Counted {
    /// DER.
    certificate: CertificateDer<'static>,
    /// Its members' certificates are taken for connections that begin now.
    is_taken: bool,
    counts: CancellationToken,
}

// === impl Doorway ===

impl Doorway {
    pub(super) fn new(identity: &Credentials, in_force: &InForce) -> Result<Self, ServerError> {
        let threshold = Threshold::new(identity, counted(in_force, &[]))?;
        Ok(Self(RwLock::new(Arc::new(threshold))))
    }

    /// Connections that begin from now on see this certificate, and may be of these authorities. Those that
    /// are of an authority which members are to believe no more end.
    pub(crate) fn open_with(
        &self,
        identity: &Credentials,
        in_force: &InForce,
    ) -> Result<(), ServerError> {
        let mut held = self.0.write();
        let authorities = counted(in_force, &held.authorities);
        let threshold = Threshold::new(identity, authorities)?;
        let before = std::mem::replace(&mut *held, Arc::new(threshold));
        for of_before in &before.authorities {
            let mut now = held.authorities.iter();
            if !now.any(|it| it.certificate == of_before.certificate) {
                of_before.counts.cancel();
            }
        }
        Ok(())
    }

    pub(super) fn threshold(&self) -> Arc<Threshold> {
        Arc::clone(&self.0.read())
    }
}

// === impl Threshold ===

impl Threshold {
    fn new(identity: &Credentials, authorities: Vec<Counted>) -> Result<Self, ServerError> {
        let taken = authorities.iter().filter(|it| it.is_taken);
        let taken: Vec<_> = taken.map(|it| it.certificate.clone()).collect();
        let (config, clients) = config(identity, &taken)?;
        Ok(Self {
            tls: TlsAcceptor::from(config),
            clients,
            authorities,
        })
    }

    /// For how long a certificate that was presented is of an authority that counts; `None` where it is of
    /// none. TLS has let in those, too, for they are to be told in words.
    pub(super) fn takes(&self, der: &CertificateDer<'_>) -> Option<CancellationToken> {
        self.clients.believes(der, UnixTime::now()).ok()?;
        let mut taken = self.authorities.iter().filter(|it| it.is_taken);
        let signer = taken.find(|it| ca::has_signed(&it.certificate, der));
        signer.map(|it| it.counts.clone())
    }
}

/// What members are to believe, and what of it they may present now. What counted already goes on.
fn counted(in_force: &InForce, before: &[Counted]) -> Vec<Counted> {
    let taken = in_force.taken();
    let believed = in_force.told().authorities.iter();
    let believed = believed.map(|der| CertificateDer::from(der.clone()));
    believed
        .map(|certificate| {
            let was = before.iter().find(|it| it.certificate == certificate);
            Counted {
                is_taken: taken.contains(&certificate),
                counts: was.map(|was| was.counts.clone()).unwrap_or_default(),
                certificate,
            }
        })
        .collect()
}

impl fmt::Debug for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threshold").finish_non_exhaustive()
    }
}

/// What the server presents and demands.
fn config(
    identity: &Credentials,
    taken: &[CertificateDer<'static>],
) -> Result<(Arc<ServerConfig>, Arc<WhateverTheTime>), ServerError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in taken {
        roots.add(ca.clone()).map_err(ServerError::Tls)?;
    }
    let inner = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| ServerError::Tls(rustls::Error::General(error.to_string())))?;
    let unreadable = |error: rustls_pki_types::pem::Error| {
        ServerError::Tls(rustls::Error::General(error.to_string()))
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(unreadable)?;
    let clients = Arc::new(WhateverTheTime { inner });
    let verifier = Arc::clone(&clients);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ServerError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.map_err(unreadable)?, key)
        .map_err(ServerError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((Arc::new(config), clients))
}

/// Takes a certificate of the fleet's CA also when its time is not now, and one of an authority that is
/// not known here. Who presents one is told in words, by the table of permissions, that it is void and
/// what the clock here says; an alert of TLS would say neither. [`Threshold::takes`] tells those of an
/// unknown authority apart, and they are nobody's.
#[derive(Debug)]
struct WhateverTheTime {
    inner: Arc<dyn ClientCertVerifier>,
}

// === impl WhateverTheTime ===

impl WhateverTheTime {
    /// Proves that a certificate is of an authority that counts, whatever its time.
    fn believes(
        &self,
        end_entity: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        // A member's certificate stands right under its authority's: nothing between them counts.
        match self.inner.verify_client_cert(end_entity, &[], now) {
            Err(rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
            )) => {
                let then = beginning(end_entity).unwrap_or(now);
                self.inner.verify_client_cert(end_entity, &[], then)
            }
            verified => verified,
        }
    }
}

impl ClientCertVerifier for WhateverTheTime {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        use CertificateError::{BadSignature, UnknownIssuer};
        match self.believes(end_entity, now) {
            // All authorities of a fleet have one name, so that another one's is a bad signature.
            Err(rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature)) => {
                Ok(ClientCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The first moment at which a certificate is valid.
fn beginning(der: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let secs = u64::try_from(certificate.validity().not_before.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(secs)))
}
