//! How a port looks from outside, to the millisecond.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use harness::{Node, Result, wait};
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};

/// Between two SYNs.
const PAUSE: Duration = Duration::from_millis(1);

/// How long a SYN may take to be answered; shorter than until the kernel sends it again.
const ANSWER: Duration = Duration::from_millis(600);

/// For how long a hole was open, as far as its SYNs tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasted {
    /// From the first that was answered to the last.
    at_least: Duration,
    /// From the last before the first, to the first after the last.
    at_most: Duration,
    promised: Duration,
}

// === impl Lasted ===

impl Lasted {
    /// How far from its promised end it closed, at least.
    pub(crate) fn error(self) -> Duration {
        let too_long = self.at_least.saturating_sub(self.promised);
        too_long.max(self.promised.saturating_sub(self.at_most))
    }
}

/// Sends SYNs to TCP 22 until one is answered, and again around the time that is promised from then.
pub(crate) fn lasted(from: &Node, to: IpAddr, promised: Duration) -> Result<Lasted> {
    const AROUND: Duration = Duration::from_millis(150);
    let address = SocketAddr::new(to, 22);
    from.within(|| {
        let mut syns = Vec::new();
        let give_up = wait::now() + Duration::from_secs(10);
        while !syns.iter().any(Syn::is_answered) {
            ensure!(wait::now() < give_up, "{address} did not open");
            // Older ones are sent again by the kernel, and would be answered late.
            syns.retain(|syn: &Syn| syn.sent.elapsed() < ANSWER);
            syns.push(Syn::send(address)?);
            thread::sleep(PAUSE);
        }
        let first = answered(&syns).context("never opened")?;
        let before = first.checked_sub(1).and_then(|at| syns.get(at));
        let before = before.context("open from the beginning")?.sent;
        let first = syns.get(first).context("the first")?.sent;

        wait::until_instant(first + promised - AROUND);
        let mut syns = Vec::new();
        while wait::now() < first + promised + AROUND {
            syns.push(Syn::send(address)?);
            thread::sleep(PAUSE);
        }
        thread::sleep(ANSWER);
        let last = syns.iter().rposition(Syn::is_answered);
        let last = last.context("closed long before its time")?;
        let after = syns.get(last + 1).context("still open")?.sent;
        let last = syns.get(last).context("the last")?.sent;
        Ok(Lasted {
            at_least: last.duration_since(first),
            at_most: after.duration_since(before),
            promised,
        })
    })
}

fn answered(syns: &[Syn]) -> Option<usize> {
    syns.iter().position(Syn::is_answered)
}

/// A connection that was asked for, and when.
#[derive(Debug)]
struct Syn {
    sent: Instant,
    socket: TcpStream,
}

// === impl Syn ===

impl Syn {
    /// Sends it, and waits for nothing.
    fn send(address: SocketAddr) -> Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(family, SockType::Stream, flags, None)?;
        let sent = wait::now();
        match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => bail!("tcp to {address}: {error}"),
        }
        let socket = TcpStream::from(socket);
        Ok(Self { sent, socket })
    }

    fn is_answered(&self) -> bool {
        self.socket.peer_addr().is_ok()
    }
}

/// Connects to TCP 22 again and again from a node, over these addresses, while `work` is done. Returns
/// how many SYNs were answered, as the node's kernel counts them, and how many were sent.
pub(crate) fn barrage<T>(
    from: &Node,
    to: &[IpAddr],
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Answered)> {
    let counter = "table inet answers {
        counter answered { }
        chain seen {
            type filter hook prerouting priority -300;
            tcp sport 22 tcp flags & (syn | ack) == syn | ack counter name answered
        }
    }";
    from.run(&["nft", counter])?.ok()?;
    let over = AtomicBool::new(false);
    let begun = wait::now();
    let (done, sent) = thread::scope(|scope| {
        let throw = |address: &IpAddr| {
            let address = SocketAddr::new(*address, 22);
            let over = &over;
            scope.spawn(move || {
                from.within(|| {
                    let mut sent = 0_u32;
                    while !over.load(Ordering::Relaxed) {
                        drop(Syn::send(address)?);
                        sent += 1;
                        thread::sleep(PAUSE / 2);
                    }
                    Ok(sent)
                })
            })
        };
        let throwers: Vec<_> = to.iter().map(throw).collect();
        let done = work();
        over.store(true, Ordering::Relaxed);
        let mut sent = 0;
        for thrower in throwers {
            sent += thrower
                .join()
                .map_err(|_| anyhow!("a thrower panicked"))??;
        }
        Ok::<_, anyhow::Error>((done, sent))
    })?;
    let took = begun.elapsed();
    let told = from.run(&["nft", "list", "counter", "inet", "answers", "answered"])?;
    let told = told.ok()?.stdout;
    let mut words = told
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    let answered = words.nth(1).context("no counter")?.parse()?;
    from.run(&["nft", "delete", "table", "inet", "answers"])?
        .ok()?;
    Ok((
        done?,
        Answered {
            answered,
            sent,
            took,
        },
    ))
}

/// What became of many SYNs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) answered: u32,
    pub(crate) sent: u32,
    took: Duration,
}

// === impl Answered ===

impl Answered {
    /// For how long in all the port was open.
    pub(crate) fn open_for(self) -> Duration {
        self.took * self.answered / self.sent.max(1)
    }
}
