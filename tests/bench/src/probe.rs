//! Latency, measured from outside.
//!
//! From the moment an SPA packet leaves, numbered probes leave every few microseconds from the
//! same address towards the closed port. The first probe that is answered was sent when the hole
//! was open; the time between the SPA packet and *that probe's departure* is the grant latency. The
//! probe's own way there and back is not counted, for any server.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use crate::clock;

/// Where packets and probes go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) address: Ipv4Addr,
    pub(crate) spa_port: u16,
    pub(crate) echo_port: u16,
}

/// Keeps every processor awake while it lives: one spins with the prober, the others for nothing, all
/// at the lowest priority.
///
/// A halted virtual processor hears of its disk's interrupts a quarter of a millisecond late, four
/// times in one grant, and which processor halts is chance: without this, two runs of one program
/// differ by a factor of two.
#[derive(Debug)]
pub(crate) struct Vigil {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

// === impl Vigil ===

impl Vigil {
    /// Starts it, and puts the calling thread, which is to probe, on the first processor.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        let processors = allowed()?;
        let (own, others) = processors.split_first().context("no processor")?;
        stay_on(*own)?;
        give_way()?;
        let over = Arc::new(AtomicBool::new(false));
        let mut vigil = Self {
            over: Arc::clone(&over),
            threads: Vec::new(),
        };
        for processor in others.iter().copied() {
            let over = Arc::clone(&over);
            vigil.threads.push(thread::spawn(move || {
                // One that cannot give way must not spin either.
                if stay_on(processor).and_then(|()| give_way()).is_ok() {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            }));
        }
        Ok(vigil)
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The processors that this thread may use.
fn allowed() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|number| set.is_set(*number).unwrap_or(false))
        .collect())
}

fn stay_on(processor: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Makes this thread give way to everyone (SCHED_IDLE): it spins, and must not keep the server, the
/// disk's threads or the echo from a processor when these wake up on it. Through `chrt`, because
/// the call itself would need unsafe code.
pub(crate) fn give_way() -> anyhow::Result<()> {
    let thread = nix::unistd::gettid().to_string();
    let status = Command::new("chrt")
        .args(["--idle", "--pid", "0", &thread])
        .status()
        .context("cannot start chrt (util-linux)")?;
    anyhow::ensure!(status.success(), "chrt: {status}");
    Ok(())
}

/// How a grant is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Time between two probes.
    pub(crate) every: Duration,
    /// When to give up.
    pub(crate) limit: Duration,
}

/// Shorter pauses are spun through, which keeps a virtual machine's processors awake.
const SPUN: Duration = Duration::from_micros(60);

/// One source address with a socket for its SPA packet and one for its probes.
///
/// Must be made in the client's network namespace.
#[derive(Debug)]
pub(crate) struct Prober {
    source: Ipv4Addr,
    target: Target,
    spa: UdpSocket,
    probes: UdpSocket,
}

// === impl Prober ===

impl Prober {
    pub(crate) fn new(source: Ipv4Addr, target: Target) -> anyhow::Result<Self> {
        let any = SocketAddrV4::new(source, 0);
        let probes = bound(any, target.address, target.echo_port)?;
        probes.set_nonblocking(true)?;
        Ok(Self {
            source,
            target,
            spa: bound(any, target.address, target.spa_port)?,
            probes,
        })
    }

    /// The same client with sockets, and so with flows, that were never used.
    pub(crate) fn anew(&self) -> anyhow::Result<Self> {
        Self::new(self.source, self.target)
    }

    /// Sends the SPA packet. Nobody listens on its port, so the kernel may first hand out the refusal
    /// of an earlier packet.
    pub(crate) fn knock(&self, packet: &[u8]) -> anyhow::Result<()> {
        if self.spa.send(packet).is_err() {
            self.spa.send(packet).context("sending the SPA packet")?;
        }
        Ok(())
    }

    /// Sends probe number `number`.
    pub(crate) fn probe(&self, number: u32) {
        let _ = self.probes.send(&number.to_be_bytes());
    }

    /// The number of an answered probe, if one has arrived.
    pub(crate) fn answer(&self) -> Option<u32> {
        let mut buffer = [0; 4];
        match self.probes.recv(&mut buffer) {
            Ok(4) => Some(u32::from_be_bytes(buffer)),
            Ok(_) | Err(_) => None,
        }
    }

    /// Sends `packet` and probes until an answer comes or the limit passes.
    pub(crate) fn grant_latency(
        &self,
        packet: &[u8],
        pace: Pace,
    ) -> anyhow::Result<Option<Duration>> {
        let mut departures: Vec<Instant> = Vec::with_capacity(4096);
        // Sleeps of some tens of microseconds are to last as long as they say.
        nix::sys::prctl::set_timerslack(1)?;
        let start = clock::now();
        self.knock(packet)?;
        loop {
            let sent = clock::now();
            let number = u32::try_from(departures.len()).unwrap_or(u32::MAX);
            departures.push(sent);
            self.probe(number);
            let next = sent + pace.every;
            loop {
                if let Some(departure) = self
                    .answer()
                    .and_then(|number| departures.get(number as usize))
                {
                    return Ok(Some(departure.duration_since(start)));
                }
                let now = clock::now();
                if now.duration_since(start) > pace.limit {
                    return Ok(None);
                }
                if now >= next {
                    break;
                }
                self.pause(next - now);
            }
        }
    }

    /// Waits for an answer, at most for `time`. Spins through short times; sleeps in long ones, so
    /// that under a flood the probing takes no core from the server.
    fn pause(&self, time: Duration) {
        if time < SPUN {
            std::hint::spin_loop();
            return;
        }
        let mut fds = [PollFd::new(self.probes.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(time)), None);
    }
}

/// Looks at holes through flows that never were before.
///
/// A flow that was let in is established and lives on when its hole has closed, as it should; whether
/// the *hole* is open only a new flow can tell. Must be used in the client's network namespace.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Flows of the last moments: whose hole, when it left, and where its answer would come.
    flows: VecDeque<(usize, Instant, UdpSocket)>,
}

/// Flows whose answers are still waited for.
const FLOWS_MAX: usize = 512;
/// Where new flows begin.
const FLOW_PORTS: RangeInclusive<u16> = 1_024..=19_999;

// === impl Watch ===

impl Watch {
    /// Looks at every hole, round after round with `pause` between, until `until`. Tells for each
    /// when the last answered probe left.
    pub(crate) fn last_open(
        mut self,
        probers: &[Prober],
        pause: Duration,
        until: Instant,
    ) -> anyhow::Result<Vec<Option<Instant>>> {
        let mut last = vec![None; probers.len()];
        // Below the ephemeral ports, and no port twice: a port that was let in once is established.
        let mut ports = FLOW_PORTS;
        while clock::now() < until {
            let round = clock::now();
            let port = ports.next().context("out of ports for new flows")?;
            for (whose, prober) in probers.iter().enumerate() {
                let target = prober.target;
                let from = SocketAddrV4::new(prober.source, port);
                let socket = bound(from, target.address, target.echo_port)?;
                socket.set_nonblocking(true)?;
                let sent = clock::now();
                let _ = socket.send(&[0; 4]);
                self.flows.push_back((whose, sent, socket));
                if self.flows.len() > FLOWS_MAX {
                    self.collect(&mut last, FLOWS_MAX / 2);
                }
            }
            clock::wait_until(round + pause);
        }
        thread::sleep(Duration::from_millis(20));
        self.collect(&mut last, 0);
        Ok(last)
    }

    /// Reads the answers of all but the newest `keep` flows, and lets these flows go.
    fn collect(&mut self, last: &mut [Option<Instant>], keep: usize) {
        while self.flows.len() > keep {
            let Some((whose, sent, socket)) = self.flows.pop_front() else {
                return;
            };
            if socket.recv(&mut [0; 4]).is_ok()
                && let Some(last) = last.get_mut(whose)
            {
                *last = Some(sent);
            }
        }
    }
}

/// A UDP socket from one address to another.
pub(crate) fn bound(from: SocketAddrV4, address: Ipv4Addr, port: u16) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(from).with_context(|| format!("binding {from}"))?;
    socket.connect((address, port))?;
    Ok(socket)
}
