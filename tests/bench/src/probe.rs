//! Latency, measured from outside.
//!
//! From the moment an SPA packet leaves, numbered probes leave every few microseconds from the
//! same address towards the closed port. The first probe that is answered was sent when the hole
//! was open; the time between the SPA packet and *that probe's departure* is the grant latency. The
//! probe's own way there and back is not counted, for any server.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::clock;

/// Where packets and probes go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) address: Ipv4Addr,
    pub(crate) spa_port: u16,
    pub(crate) echo_port: u16,
}

/// How a grant is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Time between two probes.
    pub(crate) every: Duration,
    /// When to give up.
    pub(crate) limit: Duration,
}

/// One source address with a socket for its SPA packet and one for its probes.
///
/// Must be made in the client's network namespace.
#[derive(Debug)]
pub(crate) struct Prober {
    spa: UdpSocket,
    probes: UdpSocket,
}

// === impl Prober ===

impl Prober {
    pub(crate) fn new(source: Ipv4Addr, target: Target) -> anyhow::Result<Self> {
        let bind = |port: u16| -> anyhow::Result<UdpSocket> {
            let socket = UdpSocket::bind(SocketAddrV4::new(source, 0))
                .with_context(|| format!("binding {source}"))?;
            socket.connect((target.address, port))?;
            Ok(socket)
        };
        let probes = bind(target.echo_port)?;
        probes.set_nonblocking(true)?;
        Ok(Self {
            spa: bind(target.spa_port)?,
            probes,
        })
    }

    /// Sends the SPA packet.
    pub(crate) fn knock(&self, packet: &[u8]) -> anyhow::Result<()> {
        self.spa.send(packet).context("sending the SPA packet")?;
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
                std::hint::spin_loop();
            }
        }
    }

    /// Probes until `until`, and tells when the last answered probe left.
    pub(crate) fn last_open(&self, every: Duration, until: Instant) -> Option<Instant> {
        let mut departures: Vec<Instant> = Vec::with_capacity(65_536);
        let mut last = None;
        while clock::now() < until {
            let sent = clock::now();
            self.probe(u32::try_from(departures.len()).unwrap_or(u32::MAX));
            departures.push(sent);
            while clock::now() < sent + every {
                if let Some(number) = self.answer() {
                    last = last.max(departures.get(number as usize).copied());
                }
            }
        }
        last
    }

    /// Forgets answers that are still on their way.
    pub(crate) fn drain(&self) {
        while self.answer().is_some() {}
    }
}
