//! The listener that Prometheus asks, off unless an address is configured.
//!
//! It answers `GET /metrics` in the OpenMetrics text form and `GET /healthz`, and nothing else. Nobody
//! has to say who she is, so the address should be a loopback one; whoever can reach it can cost no
//! more than [`CONNECTIONS_MAX`] connections of [`REQUEST_BYTES_MAX`] bytes and [`PATIENCE`] each, and
//! one text at a time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Connections at once; Prometheus has one. More wait in the kernel.
pub const CONNECTIONS_MAX: usize = 8;
/// What one connection may send in all: a few requests with their header fields.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// For how long one connection is kept, whatever it does.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Before another attempt when the system gives no connection, as when it has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// What OpenMetrics 1.0 says of itself.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An address to listen on that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not an address and a port, like 127.0.0.1:9464 or [::1]:9464")]
pub struct InvalidListen {
    /// What was written.
    pub text: String,
}

/// What is asked for the text; `None` when whoever knows the numbers does not answer.
type Source = dyn Fn() -> Option<String> + Send + Sync;

/// One question at a time: who asks for the numbers again and again costs no more than one who waits.
type Shared = Arc<(Box<Source>, Mutex<()>)>;

/// A listener whose connections are few and short.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection that ends at its time, or when it has sent more than it may.
struct Short {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
    _place: OwnedSemaphorePermit,
}

/// Reads an address to listen on: an IP address and a port.
///
/// # Errors
///
/// [`InvalidListen`] for everything else, also a host name and port 0.
pub fn parse_listen(text: &str) -> Result<SocketAddr, InvalidListen> {
    let address = text.trim().parse::<SocketAddr>().ok();
    address
        .filter(|address| address.port() > 0)
        .ok_or_else(|| InvalidListen {
            text: text.to_owned(),
        })
}

/// Says in the log where the numbers are, and warns when others than this host can read them.
pub fn announce(address: SocketAddr) {
    if address.ip().to_canonical().is_loopback() {
        tracing::info!(%address, "metrics at http://{address}/metrics");
    } else {
        tracing::warn!(
            %address,
            "metrics at http://{address}/metrics, for everybody who can reach that address: they name no user and no key, but say how busy this host is"
        );
    }
}

/// The text of a registry, as [`serve`] wants it.
#[must_use]
pub fn text(registry: &Registry) -> Option<String> {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => Some(text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written as text");
            None
        }
    }
}

/// Answers on `listener` until `until` is there; then every connection ends.
///
/// `source` gives the text of all metrics, and may take its time: it runs on a thread for that, never
/// twice at once. Where it gives none, both paths answer 503.
pub async fn serve(
    listener: TcpListener,
    source: impl Fn() -> Option<String> + Send + Sync + 'static,
    until: impl Future<Output = ()> + Send,
) {
    let shared: Shared = Arc::new((Box::new(source), Mutex::new(())));
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .with_state(shared);
    let bounded = Bounded {
        listener,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    // Connections that are under way end by their own time, or with the runtime.
    tokio::select! {
        () = until => {}
        ended = async { axum::serve(bounded, router).await } => {
            if let Err(error) = ended {
                tracing::error!(%error, "metrics are no longer served");
            }
        }
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match ask(shared).await {
        Some(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        None => not_known(),
    }
}

async fn health(State(shared): State<Shared>) -> Response {
    match ask(shared).await {
        Some(_) => "ok\n".into_response(),
        None => not_known(),
    }
}

fn not_known() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "not answering\n").into_response()
}

async fn ask(shared: Shared) -> Option<String> {
    let _turn = shared.1.lock().await;
    let source = Arc::clone(&shared);
    let asked = tokio::task::spawn_blocking(move || (source.0)()).await;
    asked.ok().flatten()
}

// === impl Bounded ===

impl axum::serve::Listener for Bounded {
    type Io = Short;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Short, SocketAddr) {
        loop {
            // The semaphore is never closed.
            let place = Arc::clone(&self.places).acquire_owned().await;
            match (place, self.listener.accept().await) {
                (Ok(place), Ok((stream, from))) => return (Short::new(stream, place), from),
                (_, Err(error)) => {
                    tracing::debug!(%error, "no connection for metrics");
                    sleep(ACCEPT_PAUSE).await;
                }
                (Err(_), Ok(_)) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

// === impl Short ===

impl Short {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            end: Box::pin(sleep(PATIENCE)),
            bytes_left: REQUEST_BYTES_MAX,
            _place: place,
        }
    }

    fn still(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Short {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.still(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len().saturating_sub(before);
        match self.bytes_left.checked_sub(read) {
            Some(left) => self.bytes_left = left,
            None => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Short {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.still(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
