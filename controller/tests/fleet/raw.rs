//! Connections below gRPC: bytes over TLS, and a line between that can be cut.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::support::Fleet;

/// What every HTTP/2 connection begins with, and an empty SETTINGS frame.
pub(crate) const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// TLS without a certificate.
pub(crate) fn connector(fleet: &Fleet) -> TlsConnector {
    let pem = std::fs::read(fleet.dir.path().join("data/ca.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

pub(crate) async fn tls(
    fleet: &Fleet,
    connector: &TlsConnector,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(fleet.running.address()).await?;
    let name = ServerName::try_from(fleet::SERVER_NAME).unwrap();
    connector.connect(name, stream).await
}

/// Reads until the other end closes, which must be within `limit`; gives what came.
pub(crate) async fn until_closed(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    limit: Duration,
) -> Vec<u8> {
    let mut came = Vec::new();
    let closed = async {
        let mut bytes = [0; 4_096];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            came.extend_from_slice(&bytes[..read]);
        }
    };
    let in_time = tokio::time::timeout(limit, closed).await;
    assert!(in_time.is_ok(), "still open after {limit:?}");
    came
}

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Headers of a call, without any compression.
pub(crate) fn headers(path: &str) -> Vec<u8> {
    let path_len = u8::try_from(path.len()).unwrap();
    // `:method POST`, `:scheme https`, then `:path` as a literal that is not indexed.
    [&[0x83, 0x87, 0x04, path_len], path.as_bytes()].concat()
}

/// A line to the controller that can be cut without a word to either end.
pub(crate) struct Line {
    pub(crate) port: u16,
    cut: CancellationToken,
}

impl Line {
    pub(crate) async fn to(fleet: &Fleet) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (controller, cut) = (fleet.running.address(), CancellationToken::new());
        let is_cut = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let is_cut = is_cut.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(controller).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = is_cut.cancelled() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, cut }
    }

    /// From now on nothing passes, and neither end is told.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
}

/// Writes all, whatever becomes of it.
pub(crate) async fn say(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}
