//! How a port looks from outside, to the millisecond.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use harness::{Node, Result, wait};

/// How long a SYN may take to be answered; the shortest that a socket knows.
const ANSWER: Duration = Duration::from_millis(1);

/// Begins when connections to TCP 22 do, and looks closely again when the promised time is over.
/// Returns how far from it the last connection began; positive is too long.
pub(crate) fn closing_error(from: &Node, to: IpAddr, promised: Duration) -> Result<Lasted> {
    const AROUND: Duration = Duration::from_millis(150);
    let address = SocketAddr::new(to, 22);
    from.within(|| {
        let give_up = wait::now() + Duration::from_secs(10);
        let mut first = None;
        while first.is_none() {
            ensure!(wait::now() < give_up, "{address} did not open");
            first = connects(address);
        }
        let first = first.context("never opened")?;
        wait::until_instant(first + promised - AROUND);
        let mut last = first;
        while wait::now() < first + promised + AROUND {
            last = connects(address).unwrap_or(last);
        }
        Ok(Lasted {
            lasted: last.duration_since(first),
            promised,
        })
    })
}

/// How long a hole was open, and how long it should have been.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasted {
    lasted: Duration,
    promised: Duration,
}

// === impl Lasted ===

impl Lasted {
    /// How far they are apart.
    pub(crate) fn error(self) -> Duration {
        self.lasted.abs_diff(self.promised)
    }
}

/// When a SYN left, if it was answered in time.
fn connects(address: SocketAddr) -> Option<Instant> {
    let sent = wait::now();
    TcpStream::connect_timeout(&address, ANSWER)
        .ok()
        .map(|_| sent)
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
    let (done, sent) = thread::scope(|scope| {
        let throw = |address: &IpAddr| {
            let address = SocketAddr::new(*address, 22);
            let over = &over;
            scope.spawn(move || {
                from.within(|| {
                    let mut sent = 0_u64;
                    while !over.load(Ordering::Relaxed) {
                        connects(address);
                        sent += 1;
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
    let told = from.run(&["nft", "list", "counter", "inet", "answers", "answered"])?;
    let told = told.ok()?.stdout;
    let mut words = told
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    let answered = words.nth(1).context("no counter")?.parse()?;
    from.run(&["nft", "delete", "table", "inet", "answers"])?
        .ok()?;
    Ok((done?, Answered { answered, sent }))
}

/// What became of many SYNs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) answered: u64,
    pub(crate) sent: u64,
}
