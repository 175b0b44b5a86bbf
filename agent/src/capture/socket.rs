//! Sockets of our own, for hosts without libpcap or the right to use it, and for packets over TCP.
//!
//! | file | what it holds |
//! |---|---|
//! | `udp` | datagrams, one message each |
//! | `tcp` | connections, one message each |
//!
//! Both listen on one address: at its own port, and at those that the policy names. Nothing is ever
//! answered. What the host's own packet filter drops never comes here, unlike to a capture.

mod tcp;
mod udp;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::CaptureError;

pub(super) use tcp::TcpCapture;
pub(super) use udp::UdpCapture;

/// A socket that listens.
trait Listening: Sized {
    /// What it is called in front of an address.
    const KIND: &'static str;

    /// Listens on an address; at a port that is free where that is 0. Never makes its reader wait.
    fn bind(address: SocketAddr, buffer_bytes: u32) -> io::Result<Self>;

    /// At which port.
    fn port(&self) -> io::Result<u16>;
}

/// All sockets of one capture.
#[derive(Debug)]
struct Bindings<S> {
    address: SocketAddr,
    buffer_bytes: u32,
    own: Bound<S>,
    /// At the ports that the policy names.
    of_policy: Vec<Bound<S>>,
}

#[derive(Debug)]
struct Bound<S> {
    socket: S,
    port: u16,
}

// === impl Bindings ===

impl<S: Listening> Bindings<S> {
    /// Listens on an address. `[::]` receives IPv4 too.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Socket`] when the address is taken or not ours.
    fn new(address: SocketAddr, buffer_bytes: u32) -> Result<Self, CaptureError> {
        Ok(Self {
            own: Bound::new(address, buffer_bytes)?,
            of_policy: Vec::new(),
            address,
            buffer_bytes,
        })
    }

    /// For people.
    fn name(&self) -> String {
        format!("{} {}", S::KIND, self.address)
    }

    /// Listens at these ports too, and at no others but its own.
    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        let wanted: BTreeSet<u16> = ports.iter().map(|port| port.get()).collect();
        self.of_policy.retain(|bound| wanted.contains(&bound.port));
        let mut failed = None;
        for port in wanted {
            if self.all().any(|bound| bound.port == port) {
                continue;
            }
            let address = SocketAddr::new(self.address.ip(), port);
            match Bound::new(address, self.buffer_bytes) {
                Ok(bound) => self.of_policy.push(bound),
                Err(cause) => failed = Some(cause),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl<S> Bindings<S> {
    fn all(&self) -> impl Iterator<Item = &Bound<S>> {
        self.of_policy.iter().chain([&self.own])
    }

    /// What each may take of so many, so that a flood at one starves no other.
    fn share(&self, max: usize) -> usize {
        max.div_ceil(self.of_policy.len() + 1)
    }
}

// === impl Bound ===

impl<S: Listening> Bound<S> {
    fn new(address: SocketAddr, buffer_bytes: u32) -> Result<Self, CaptureError> {
        let open = || {
            let socket = S::bind(address, buffer_bytes)?;
            let port = socket.port()?;
            Ok(Self { socket, port })
        };
        open().map_err(|cause: io::Error| CaptureError::Socket {
            address: format!("{} {address}", S::KIND),
            reason: cause.to_string(),
        })
    }
}

/// The address that something was sent to, where nobody says.
fn unknown(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}

/// For tests of both.
#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::num::NonZeroU16;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::super::{Arrival, Capture};

    /// A loopback address that no other test has.
    pub(super) fn address() -> SocketAddr {
        static TESTS: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, TESTS.fetch_add(1, Ordering::Relaxed), high, low);
        (address, 0).into()
    }

    /// A port of the address that nobody has, for UDP neither.
    pub(super) fn free_port(address: SocketAddr) -> NonZeroU16 {
        let socket = TcpListener::bind((address.ip(), 0)).unwrap();
        socket.local_addr().unwrap().port().try_into().unwrap()
    }

    /// Port and length of all that has arrived.
    pub(super) fn arrivals(
        capture: &mut dyn Capture,
        max: usize,
        steady: std::time::Duration,
    ) -> Vec<(u16, usize)> {
        let mut arrived = Vec::new();
        let taken = capture.next_batch(max, steady, &mut |arrival| match arrival {
            Arrival::Datagram(datagram) => {
                arrived.push((datagram.destination_port, datagram.payload.len()));
            }
            Arrival::Frame(..) | Arrival::Seen(..) => panic!("{arrival:?}"),
        });
        assert_eq!(taken, Ok(arrived.len()));
        arrived
    }
}
