//! Junk at a chosen rate, bounded in time and count, inside the benchmark's own namespaces.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::Node;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

use crate::clock;
use crate::probe::{Target, bound};

/// No flood lasts longer than this, whatever the experiment says.
const LONGEST: Duration = Duration::from_secs(60);
/// Packets per system call, at most.
const BATCH: usize = 64;
/// System calls a second of a paced flood, so that it comes evenly.
const BATCHES_PER_SEC: u64 = 5_000;

/// A running flood; stops when dropped.
#[derive(Debug)]
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    started: Instant,
    thread: Option<JoinHandle<()>>,
}

// === impl Flood ===

impl Flood {
    /// Sends `payloads` round robin from `sources`, at `rate` packets a second (`None`: as fast as
    /// the machine can).
    pub(crate) fn start(
        client: &Node,
        target: Target,
        sources: &[Ipv4Addr],
        payloads: Vec<Vec<u8>>,
        rate: Option<u64>,
    ) -> anyhow::Result<Self> {
        let sockets = Self::sockets(client, target, sources)?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            run(&sockets, &payloads, rate, &stopping, &counting);
        });
        Ok(Self {
            stop,
            sent,
            started: clock::now(),
            thread: Some(thread),
        })
    }

    /// A socket at each of these addresses.
    pub(crate) fn sockets(
        client: &Node,
        target: Target,
        sources: &[Ipv4Addr],
    ) -> anyhow::Result<Vec<UdpSocket>> {
        client.within(|| {
            sources
                .iter()
                .map(|source| {
                    let from = SocketAddrV4::new(*source, 0);
                    bound(from, target.address, target.spa_port)
                })
                .collect()
        })
    }

    /// Packets sent so far, and per second.
    pub(crate) fn sent(&self) -> (u64, f64) {
        let sent = self.sent.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = sent as f64 / clock::now().duration_since(self.started).as_secs_f64();
        (sent, rate)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends each of these once, as fast as the machine can, and returns how many were taken.
pub(crate) fn send_all(sockets: &[UdpSocket], payloads: &[Vec<u8>]) -> u64 {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let none: Vec<Option<SockaddrIn>> = vec![None; BATCH];
    let mut total = 0;
    for (socket, batch) in sockets.iter().cycle().zip(payloads.chunks(BATCH)) {
        let slices: Vec<[std::io::IoSlice<'_>; 1]> = batch
            .iter()
            .map(|payload| [std::io::IoSlice::new(payload)])
            .collect();
        let addresses = none.get(..slices.len()).unwrap_or_default();
        let sent = sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &slices,
            addresses,
            [],
            MsgFlags::empty(),
        );
        total += sent.map_or(0, |results| results.count() as u64);
    }
    total
}

fn run(
    sockets: &[UdpSocket],
    payloads: &[Vec<u8>],
    rate: Option<u64>,
    stop: &AtomicBool,
    sent: &AtomicU64,
) {
    // A paced flood comes in small batches, some thousand times a second, and sleeps between: the
    // machine has two cores, and the server needs one of them.
    let batch = rate.map_or(BATCH, |rate| {
        usize::try_from(rate / BATCHES_PER_SEC)
            .unwrap_or(BATCH)
            .clamp(1, BATCH)
    });
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(batch, None);
    let none: Vec<Option<SockaddrIn>> = vec![None; batch];
    let start = clock::now();
    let mut total = 0_u64;
    let mut turn = 0_usize;
    while !stop.load(Ordering::Relaxed) && clock::now().duration_since(start) < LONGEST {
        let Some(socket) = sockets.get(turn % sockets.len().max(1)) else {
            return;
        };
        let slices: Vec<[std::io::IoSlice<'_>; 1]> = (0..batch)
            .filter_map(|i| payloads.get((turn * batch + i) % payloads.len().max(1)))
            .map(|payload| [std::io::IoSlice::new(payload)])
            .collect();
        turn = turn.wrapping_add(1);
        let done = sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &slices,
            &none,
            [],
            MsgFlags::empty(),
        )
        .map_or(0, |results| results.count());
        total += done as u64;
        sent.store(total, Ordering::Relaxed);
        if let Some(rate) = rate {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let due = start + Duration::from_secs_f64(total as f64 / rate as f64);
            std::thread::sleep(due.saturating_duration_since(clock::now()));
        }
    }
}
