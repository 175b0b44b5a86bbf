//! The listener that Prometheus asks, off unless an address is configured.
//!
//! It answers `GET /metrics` in the OpenMetrics text form and `GET /healthz`, and nothing else: one
//! question a connection. Nobody has to say who she is, so the address should be a loopback one;
//! whoever can reach it can cost no more than [`CONNECTIONS_MAX`] connections of
//! [`REQUEST_BYTES_MAX`] bytes each, and one text at a time. She cannot keep others out by being slow:
//! a question is asked within [`HEAD_PATIENCE`], and where every place is taken, the oldest slow
//! connection of the address that has most of them makes room.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// Connections at once; Prometheus has one.
pub const CONNECTIONS_MAX: usize = 32;
/// The longest question, with its header fields; more is answered with 431.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// For how long a question is waited for, once somebody is connected.
pub const HEAD_PATIENCE: Duration = Duration::from_secs(2);
/// For how long one connection is kept, whatever it does.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Who is connected for so long and has not asked is slow: this is longer than the first packet of an
/// honest question takes after the connection, also on a busy host.
const SLOW_AFTER: Duration = Duration::from_millis(50);
/// Before another look for a place, where all are taken by who is not slow yet.
const ROOM_PAUSE: Duration = Duration::from_millis(10);
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

/// One connection.
#[derive(Debug)]
struct Place {
    /// From where: an IPv4 address, or the /64 that one machine of IPv6 has all of.
    network: IpAddr,
    since: Instant,
    /// While its question is answered, it waits for us and not we for it.
    is_asking: Arc<AtomicBool>,
    task: AbortHandle,
}

/// All connections: they end with this value.
#[derive(Debug, Default)]
struct Places {
    taken: Vec<Place>,
    tasks: JoinSet<()>,
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
    tokio::select! {
        () = until => {}
        never = accept_all(&listener, &router) => match never {},
    }
}

async fn accept_all(listener: &TcpListener, router: &Router) -> Infallible {
    let mut places = Places::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                places.make_room().await;
                places.take(stream, from.ip(), router);
            }
            Err(error) => {
                tracing::debug!(%error, "no connection for metrics");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the one question of a connection.
async fn answer(stream: TcpStream, router: Router, is_asking: Arc<AtomicBool>) {
    let asked = middleware::from_fn(move |request: Request, next: Next| {
        let is_asking = Arc::clone(&is_asking);
        async move {
            is_asking.store(true, Ordering::Relaxed);
            let response = next.run(request).await;
            is_asking.store(false, Ordering::Relaxed);
            response
        }
    });
    let service = TowerToHyperService::new(router.layer(asked));
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(REQUEST_BYTES_MAX)
        .keep_alive(false);
    let served = server.serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error, "a connection for metrics broke off"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
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

// === impl Places ===

impl Places {
    /// Waits until there is a place: one that is free, or one of who is slow.
    async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.taken.retain(|place| !place.task.is_finished());
            if self.taken.len() < CONNECTIONS_MAX {
                return;
            }
            let now = Instant::now();
            match slowest(&self.taken, now) {
                Some(index) => self.taken.swap_remove(index).task.abort(),
                None => sleep(ROOM_PAUSE).await,
            }
        }
    }

    fn take(&mut self, stream: TcpStream, from: IpAddr, router: &Router) {
        let is_asking = Arc::new(AtomicBool::new(false));
        let answered = answer(stream, router.clone(), Arc::clone(&is_asking));
        self.taken.push(Place {
            network: network(from),
            since: Instant::now(),
            is_asking,
            task: self.tasks.spawn(answered),
        });
    }
}

/// Which place is taken away: of the network that has most of them, the oldest of who is slow.
fn slowest(taken: &[Place], now: Instant) -> Option<usize> {
    let is_slow = |place: &Place| {
        !place.is_asking.load(Ordering::Relaxed)
            && now.saturating_duration_since(place.since) >= SLOW_AFTER
    };
    let of_network = |place: &Place| {
        let same = taken.iter().filter(|other| other.network == place.network);
        same.count()
    };
    let slow = taken.iter().enumerate().filter(|(_, place)| is_slow(place));
    slow.max_by_key(|(_, place)| (of_network(place), std::cmp::Reverse(place.since)))
        .map(|(index, _)| index)
}

/// What one machine has of addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = v6.to_bits() & (u128::MAX << 64);
            IpAddr::V6(prefix.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests;
