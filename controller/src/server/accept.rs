//! From the listening socket to connections that speak: every step has a time limit, and what is
//! exceeded is logged, once in a while.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::Role;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Exceeded, Full, Place};
use super::connection::Connection;
use super::silence::Silence;
use super::tls::Doorway;
use crate::access::layer::AuthorizeLayer;
use crate::access::peer::{Peer, Presented};
use crate::clock;

/// TLS must be done within this, at a controller that is busy, too,
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// and HTTP/2 begun within this after it.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// After the system refused to accept; doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Between two lines of the log about the same thing.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Connections that wait to be served; each is taken at once.
pub(super) const READY_MAX: usize = 64;

/// The open door.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) admission: Arc<Admission>,
    pub(super) greeter: Greeter,
    pub(super) stopping: CancellationToken,
}

/// What brings a connection to speak.
#[derive(Clone)]
pub(super) struct Greeter {
    pub(super) doorway: Arc<Doorway>,
    pub(super) authorize: AuthorizeLayer,
    pub(super) silence: Silence,
    /// Where connections that speak are served.
    pub(super) ready: Ready,
}

/// Where connections that speak are served.
#[derive(Clone)]
pub(super) struct Ready {
    /// Those of hosts.
    pub(super) hosts: mpsc::Sender<Connection>,
    /// All others.
    pub(super) others: mpsc::Sender<Connection>,
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    #[error("it has gone before its turn")]
    Gone,
    #[error("no TLS within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    NoHandshake,
    #[error("TLS")]
    Tls(#[source] io::Error),
    #[error("no HTTP/2 within {} s", PREFACE_TIMEOUT.as_secs())]
    NoPreface,
    #[error("HTTP/2")]
    Preface(#[source] io::Error),
    #[error(transparent)]
    Full(#[from] Full),
}

/// A line of the log that is not repeated too soon.
#[derive(Debug, Default)]
struct Seldom {
    last: Option<Instant>,
    since: u64,
}

// === impl Door ===

impl Door {
    /// Accepts until the controller stops. Nothing that a peer or the system does ends it.
    pub(super) async fn run(self) {
        let mut backoff = BACKOFF_MIN;
        let [mut refused, mut crowded] = [Seldom::default(), Seldom::default()];
        loop {
            let accepted = tokio::select! {
                () = self.stopping.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    // One peer is one, whichever family the socket is of that it came to.
                    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                    backoff = BACKOFF_MIN;
                    let (place, exceeded) = self.admission.enter(address.ip());
                    if let Some(exceeded) = exceeded
                        && let Some(closed) = crowded.say(clock::instant())
                    {
                        warn_of(exceeded, closed);
                    }
                    let greeter = self.greeter.clone();
                    tokio::spawn(greeter.greet(stream, address, place));
                    // Whoever was accepted before speaks first: in a storm of hosts that come back the
                    // rest waits in the kernel, and not here, where it would be crowded out.
                    yield_now().await;
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    if let Some(times) = refused.say(clock::instant()) {
                        tracing::error!(%error, times, "cannot accept connections; trying on");
                    }
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }
}

/// The peer was gone before it was accepted.
fn is_the_peers(error: &io::Error) -> bool {
    [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
    ]
    .contains(&error.kind())
}

fn warn_of(exceeded: Exceeded, closed: u64) {
    match exceeded {
        Exceeded::Address(address, max) => tracing::warn!(
            %address, max, closed,
            "one address has too many connections that prove no member: those that said nothing \
             for longest are closed"
        ),
        Exceeded::Strangers(address, max) => tracing::warn!(
            %address, max, closed,
            "there are too many connections that prove no member, most of them from this address: \
             its oldest are closed"
        ),
    }
}

// === impl Greeter ===

impl Greeter {
    /// Brings one connection to speak, and hands it over to be served.
    async fn greet(self, stream: TcpStream, address: SocketAddr, place: Place) {
        let closed = place.closed();
        let ready = self.ready.clone();
        let greeted = tokio::select! {
            () = closed.cancelled() => return,
            greeted = self.begin(stream, address.ip(), place) => greeted,
        };
        match greeted {
            Ok(connection) => ready.take(connection).await,
            Err(NotServed::Full(full)) => {
                tracing::warn!(%address, %full, "a connection of a member was closed");
            }
            Err(error) => {
                tracing::debug!(%address, error = %program::one_line(&error), "closed");
            }
        }
    }

    async fn begin(
        self,
        stream: TcpStream,
        address: IpAddr,
        mut place: Place,
    ) -> Result<Connection, NotServed> {
        stream.set_nodelay(true).map_err(NotServed::Tls)?;
        let threshold = self.doorway.threshold();
        let handshake = async {
            said_and_there(&stream).await?;
            threshold.tls.accept(stream).await.map_err(NotServed::Tls)
        };
        let stream = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| NotServed::NoHandshake)??;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let authority = certificate.map(|der| (der, threshold.takes(der)));
        let (presented, authority) = match authority {
            None => (Presented::Nothing, CancellationToken::new()),
            Some((der, Some(counts))) => (Presented::at(der, clock::now()), counts),
            Some((_, None)) => (Presented::Foreign, CancellationToken::new()),
        };
        self.authorize.hear_of(&presented).await;
        let mut heard = None;
        if let Some((member, role)) = self.authorize.member_of(&presented) {
            place.becomes_members(member)?;
            heard = (role == Role::Host).then(|| self.silence.watch());
        }
        let peer = Peer::new(address, presented).while_counts(authority);
        let connection = Connection::begin(stream, peer, place, heard);
        timeout(PREFACE_TIMEOUT, connection)
            .await
            .map_err(|_| NotServed::NoPreface)?
            .map_err(NotServed::Preface)
    }
}

/// Waits until the peer has said something, and is still there: in a storm those who gave up before their turn would
/// otherwise cost as much as those who wait for theirs.
async fn said_and_there(stream: &TcpStream) -> Result<(), NotServed> {
    let ready = stream.ready(Interest::READABLE).await;
    if ready.map_err(NotServed::Tls)?.is_read_closed() {
        return Err(NotServed::Gone);
    }
    Ok(())
}

// === impl Ready ===

impl Ready {
    async fn take(&self, connection: Connection) {
        let served = if connection.is_hosts() {
            &self.hosts
        } else {
            &self.others
        };
        // When nobody takes it, the controller is stopping.
        drop(served.send(connection).await);
    }
}

// === impl Seldom ===

impl Seldom {
    /// Counts, and says how often it happened since the last line when another one is due.
    fn say(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        let is_due = |last: Instant| now.duration_since(last) >= SAID_AGAIN_AFTER;
        if !self.last.is_none_or(is_due) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn who_has_gone_before_its_turn_costs_no_handshake_whatever_was_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(b"a hello").await.unwrap();

        let (stream, _) = listener.accept().await.unwrap();
        said_and_there(&stream).await.unwrap();
        drop(peer);

        // Its word that it goes may come a moment later.
        let gone = async {
            while !matches!(said_and_there(&stream).await, Err(NotServed::Gone)) {
                yield_now().await;
            }
        };
        timeout(HANDSHAKE_TIMEOUT, gone).await.unwrap();
    }

    #[test]
    fn a_line_of_the_log_is_repeated_once_in_a_while_and_says_how_often_it_happened() {
        let begin = clock::instant();
        let mut line = Seldom::default();

        assert_eq!(line.say(begin), Some(1));
        for _ in 0..1_000 {
            assert_eq!(line.say(begin + Duration::from_secs(9)), None);
        }
        assert_eq!(line.say(begin + SAID_AGAIN_AFTER), Some(1_001));
    }
}
