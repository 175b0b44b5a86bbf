//! Whether a port answers after the knock.
//!
//! No host answers a packet, so this is the only way to tell somebody at once that what she asked for
//! has not happened, and not after the long silence of the program that comes next.
//!
//! An attempt that was made before the hole opened is lost, and the kernel repeats it after a second;
//! so further attempts are begun beside it, and the first that succeeds counts.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock;

/// Between the first attempts; each later pause is half as long again, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// One attempt; a way of this length and back is the longest that is found.
const ATTEMPT: Duration = Duration::from_secs(2);
/// One attempt at a port that was to close: silence must last, or a packet that was lost would be
/// taken for it.
const SILENCE: Duration = Duration::from_secs(1);

/// How a port answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Somebody listens there: the connection, and how long after the knock it was there.
    Open {
        /// To whom.
        at: SocketAddr,
        /// The connection itself.
        stream: TcpStream,
        /// Since the knock.
        after: Duration,
    },
    /// The way is free, and nobody listens; or somebody refuses.
    Refused,
    /// Nothing comes back.
    Silence,
}

/// For how long to try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// While nothing comes back.
    pub(crate) silence: Duration,
    /// While connections are refused: the way is free then, which is what a knock is for.
    pub(crate) refused: Duration,
}

/// Tries a port at all addresses of a host until one answers, or until the patience is over, which
/// began with the knock.
pub(crate) async fn of(ports: Vec<SocketAddr>, patience: Patience, knocked: Instant) -> Answer {
    let mut tries: JoinSet<Answer> = JoinSet::new();
    for port in ports {
        tries.spawn(of_one(port, patience, knocked));
    }
    let mut last = Answer::Silence;
    while let Some(answer) = tries.join_next().await {
        match answer {
            Ok(open @ Answer::Open { .. }) => return open,
            Ok(Answer::Refused) => last = Answer::Refused,
            Ok(Answer::Silence) | Err(_) => {}
        }
    }
    last
}

async fn of_one(at: SocketAddr, patience: Patience, knocked: Instant) -> Answer {
    // However long the knock itself took, the port is tried at least once.
    let least = clock::moment() + Duration::from_secs(1).min(patience.silence);
    let mut until = (knocked + patience.silence).max(least);
    let mut tries: JoinSet<io::Result<TcpStream>> = JoinSet::new();
    let mut pause = PAUSE;
    let mut last = Answer::Silence;
    loop {
        tries.spawn(attempt(at));
        let next = clock::moment() + pause;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
        loop {
            let now = clock::moment();
            if now >= until {
                return last;
            }
            let left = next.min(until).saturating_duration_since(now);
            match timeout(left, tries.join_next()).await {
                Ok(Some(Ok(Ok(stream)))) => {
                    let after = clock::moment().saturating_duration_since(knocked);
                    return Answer::Open { at, stream, after };
                }
                Ok(Some(Ok(Err(cause)))) if cause.kind() == ErrorKind::ConnectionRefused => {
                    until = until.min(clock::moment() + patience.refused);
                    last = Answer::Refused;
                }
                Ok(Some(_)) => {}
                Ok(None) => sleep(left).await,
                Err(_) => break,
            }
            if clock::moment() >= next {
                break;
            }
        }
    }
}

async fn attempt(at: SocketAddr) -> io::Result<TcpStream> {
    timeout(ATTEMPT, TcpStream::connect(at))
        .await
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// How long before the packet ports are tried: what is sent later must not overtake it.
const HEAD_START: Duration = Duration::from_millis(20);
/// The kernel repeats after a second what nobody answered; that may come through the hole.
const FIRST_TRY: Duration = Duration::from_millis(800);

/// One attempt at each port that was begun before the packet was sent, and not repeated: what answers
/// it was open without this packet.
#[derive(Debug)]
pub(crate) struct Before {
    tries: JoinSet<Option<SocketAddr>>,
    open: Vec<SocketAddr>,
}

// === impl Before ===

impl Before {
    /// Begins, and comes back when every port has answered or the packet may be sent.
    pub(crate) async fn begin(ports: Vec<SocketAddr>) -> Self {
        let mut tries = JoinSet::new();
        for port in ports {
            let connect = TcpStream::connect(port);
            let tried = async move { timeout(FIRST_TRY, connect).await.ok()?.ok().map(|_| port) };
            tries.spawn(tried);
        }
        let mut open = Vec::new();
        let until = clock::moment() + HEAD_START;
        loop {
            let left = until.saturating_duration_since(clock::moment());
            match timeout(left, tries.join_next()).await {
                Ok(Some(tried)) => open.extend(tried.ok().flatten()),
                Ok(None) | Err(_) => return Self { tries, open },
            }
        }
    }

    /// Which of them are known to have been open.
    pub(crate) fn open(&mut self) -> &[SocketAddr] {
        while let Some(tried) = self.tries.try_join_next() {
            self.open.extend(tried.ok().flatten());
        }
        &self.open
    }
}

/// What became of a port that was to close.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// It does not answer any more.
    Closed,
    /// It still does.
    Open,
}

/// Tries until the port answers at none of these addresses, or until the patience is over.
pub(crate) async fn until_closed(ports: &[SocketAddr], patience: Duration) -> Ending {
    let until = clock::moment() + patience;
    loop {
        if !is_any_open(ports).await {
            return Ending::Closed;
        }
        if clock::moment() + PAUSE >= until {
            return Ending::Open;
        }
        sleep(PAUSE * 5).await;
    }
}

async fn is_any_open(ports: &[SocketAddr]) -> bool {
    let mut tries: JoinSet<bool> = JoinSet::new();
    for port in ports {
        let port = *port;
        tries.spawn(async move {
            matches!(timeout(SILENCE, TcpStream::connect(port)).await, Ok(Ok(_)))
        });
    }
    tries.join_all().await.into_iter().any(|open| open)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn secs(secs: u64) -> Patience {
        Patience {
            silence: Duration::from_secs(secs),
            refused: Duration::from_secs(secs),
        }
    }

    async fn tried(port: SocketAddr, patience: Patience) -> Answer {
        of(vec![port], patience, clock::moment()).await
    }

    #[tokio::test]
    async fn a_port_that_opens_a_moment_later_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap();
        let impatient = Patience {
            refused: Duration::ZERO,
            ..secs(60)
        };
        let open = tried(port, secs(5)).await;
        assert!(matches!(open, Answer::Open { at, .. } if at == port));
        assert_eq!(until_closed(&[port], Duration::ZERO).await, Ending::Open);
        drop((listener, open));
        assert_eq!(until_closed(&[port], Duration::ZERO).await, Ending::Closed);
        assert!(matches!(tried(port, impatient).await, Answer::Refused));

        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            TcpListener::bind(port).unwrap()
        });

        assert!(matches!(tried(port, secs(5)).await, Answer::Open { .. }));
        later.join().unwrap();
    }

    #[tokio::test]
    async fn a_port_that_answers_before_the_packet_is_known_to_be_open_and_a_later_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let later = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = later.local_addr().unwrap();
        drop(later);

        let mut before = Before::begin(vec![closed, open]).await;
        let later = TcpListener::bind(closed).unwrap();

        assert!(matches!(tried(closed, secs(5)).await, Answer::Open { .. }));
        assert_eq!(before.open(), [open]);
        drop((listener, later));
    }

    #[tokio::test]
    async fn one_address_that_answers_is_enough_and_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let other = SocketAddr::from(([127, 0, 0, 2], open.port()));

        let answer = of(vec![other, open], secs(5), clock::moment()).await;

        assert!(matches!(answer, Answer::Open { at, .. } if at == open));
    }
}
