//! The TLS connection to the controller: one connector for members and for those who join.
//!
//! The controller is always proven, to the fleet's own CA and for [`fleet::SERVER_NAME`], whatever
//! address was dialled. A member has that CA, or several, of which one follows the other. A joiner has only
//! a fingerprint, from the token: it takes as CA the one certificate of the presented chain that has this
//! fingerprint, and then verifies the chain against it in the ordinary way. There is no path here without verification.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use fleet::keep_alive;
use hyper_util::rt::TokioIo;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::error::ConnectError;

/// Name look-up and TCP must be done within this: whoever is there answers, however busy the program is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// And then TLS. A controller to which a fleet comes back is given time: who leaves it has cost it as much, and comes
/// again.
const TLS_TIMEOUT: Duration = Duration::from_secs(12);
/// A question whether the controller is there (`fleet::keep_alive`) that its machine has taken, and that is not
/// answered within this, ends the connection: the program hangs. One that is busy is not left
/// for that: all who left it would come again, or to another, and keep that one busy.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(24);
/// The beginning of an answer must arrive within this, unless the caller asks for less.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What the controller must prove.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// To hold a certificate of one of these CAs.
    Authorities(Vec<CertificateDer<'static>>),
    /// To hold a certificate of the CA whose DER has this SHA-256, or of one that followed it, and to present
    /// that CA.
    Fingerprint([u8; 32]),
}

/// The certificate that a member presents now. Renewal replaces it; every connection that is made
/// afterwards, also by an existing channel, uses the new one.
#[derive(Debug, Default)]
pub(crate) struct Presented(ArcSwapOption<CertifiedKey>);

/// Opens a channel to `address`, and says by culprit why not.
pub(crate) async fn channel(
    address: &str,
    trust: &Trust,
    presented: Option<Arc<Presented>>,
) -> Result<Channel, ConnectError> {
    let (channel, _) = channel_and_shown(address, trust, presented).await?;
    Ok(channel)
}

/// The same, and whether the controller has shown a certificate of an authority that is not known yet, for which
/// one that is known has vouched.
pub(crate) async fn channel_and_shown(
    address: &str,
    trust: &Trust,
    presented: Option<Arc<Presented>>,
) -> Result<(Channel, bool), ConnectError> {
    let connector = Connector::new(address, trust, presented)
        .map_err(|cause| ConnectError::from_tls(address, cause))?;
    // The connector alone makes the connection secure; tonic must not try to do it again.
    let endpoint = Endpoint::from_shared(format!("http://{}", fleet::SERVER_NAME))
        .map_err(|cause| ConnectError::network(address, cause.into()))?
        .origin(Uri::from_static("https://controller.postern.internal"))
        .user_agent(format!(
            concat!("postern/", env!("CARGO_PKG_VERSION"), " {}"),
            fleet::Contract::of_this_program()
        ))
        .map_err(|cause| ConnectError::network(address, cause.into()))?
        .timeout(CALL_TIMEOUT)
        .http2_keep_alive_interval(keep_alive::ASKED_AFTER)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let is_of_unknown = Arc::clone(&connector.is_of_unknown);
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|cause| {
            ConnectError::from_transport(address, &cause)
                .unwrap_or_else(|| ConnectError::network(address, cause.into()))
        })?;
    Ok((channel, is_of_unknown.load(Ordering::Relaxed)))
}

// === impl Presented ===

impl Presented {
    /// Presents `certificate` from now on.
    pub(crate) fn set(&self, certificate: &[u8], pkcs8_der: &[u8]) -> Result<(), rustls::Error> {
        let certified = CertifiedKey::from_der(
            vec![crate::keys::certificate(certificate)],
            crate::keys::private_key(pkcs8_der),
            &rustls::crypto::ring::default_provider(),
        )?;
        self.0.store(Some(Arc::new(certified)));
        Ok(())
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}

// === the connector ===

#[derive(Clone)]
struct Connector {
    address: Arc<str>,
    tls: TlsConnector,
    /// What members know, where they know several at most by word of the first.
    known: Arc<[CertificateDer<'static>]>,
    /// The controller has shown a certificate of another.
    is_of_unknown: Arc<AtomicBool>,
}

impl Connector {
    fn new(
        address: &str,
        trust: &Trust,
        presented: Option<Arc<Presented>>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let builder = match trust {
            Trust::Authorities(cas) => builder.with_webpki_verifier(verifier(cas, provider)?),
            Trust::Fingerprint(fingerprint) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned {
                    fingerprint: *fingerprint,
                    provider,
                })),
        };
        let mut config = match presented {
            Some(presented) => builder.with_client_cert_resolver(presented),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would go on with the certificate it began with, whatever became of it.
        config.resumption = Resumption::disabled();

        let known = match trust {
            Trust::Authorities(cas) => cas.as_slice().into(),
            Trust::Fingerprint(_) => [].into(),
        };
        Ok(Self {
            address: address.into(),
            tls: TlsConnector::from(Arc::new(config)),
            known,
            is_of_unknown: Arc::default(),
        })
    }

    async fn connect(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let tcp = TcpStream::connect(&*self.address);
        let stream = within(CONNECT_TIMEOUT, "connection", tcp).await?;
        stream.set_nodelay(true)?;
        let untaken_ms = u32::try_from(keep_alive::TAKEN_WITHIN.as_millis()).unwrap_or(u32::MAX);
        setsockopt(&stream, TcpUserTimeout, &untaken_ms)?;
        let name = ServerName::try_from(fleet::SERVER_NAME).map_err(io::Error::other)?;
        let stream = within(TLS_TIMEOUT, "TLS", self.tls.connect(name, stream)).await?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let is_known = shown.is_none_or(|shown| self.knows_issuer_of(shown));
        self.is_of_unknown.store(!is_known, Ordering::Relaxed);
        Ok(TokioIo::new(stream))
    }
}

/// What is done within this.
async fn within<T>(
    limit: Duration,
    what: &str,
    doing: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let Ok(done) = tokio::time::timeout(limit, doing).await else {
        let error = format!("no {what} within {} s", limit.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, error));
    };
    done
}

impl Connector {
    /// Whether an authority that is known has signed this itself. A joiner, who knows none, learns all.
    fn knows_issuer_of(&self, shown: &CertificateDer<'_>) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (Ok(name), Ok(verifier)) = (
            ServerName::try_from(fleet::SERVER_NAME),
            verifier(&self.known, provider),
        ) else {
            return true;
        };
        let proven = verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::now());
        proven.is_ok()
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

// === verification ===

/// The SHA-256 by which a token names a CA certificate.
pub(crate) fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

fn verifier(
    cas: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    WebPkiServerVerifier::builder_with_provider(roots(cas)?, provider)
        .build()
        .map_err(|cause| rustls::Error::General(cause.to_string()))
}

pub(crate) fn roots(cas: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca.clone())?;
    }
    Ok(Arc::new(roots))
}

/// Accepts exactly the servers with a certificate of the CA that has the fingerprint, or of one that it
/// vouches for: what it has signed for that stands in the chain that is presented.
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates
            .iter()
            .find(|presented| fingerprint(presented) == self.fingerprint)
            .ok_or(CertificateError::UnknownIssuer)?;
        let ca = [ca.clone().into_owned()];
        verifier(&ca, self.provider.clone())?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
