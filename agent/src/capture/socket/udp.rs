//! Packets from a UDP socket, one in each datagram.
//!
//! The kernel tells where each datagram went to (`IP_PKTINFO`), so that DESTINATION works here too.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use gate::{Datagram, Transport};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

use super::super::{Arrival, Capture, CaptureError};
use super::{Bindings, Bound, Listening, unknown};

/// Longest datagram that can be an SPA packet, and one byte more to notice longer ones.
const PAYLOAD_LEN: usize = 1509;

/// Receives datagrams on one address.
#[derive(Debug)]
pub(in super::super) struct UdpCapture {
    name: String,
    bindings: Bindings<UdpSocket>,
    scratch: Scratch,
    /// Datagrams that were handed on.
    received: u64,
}

/// Room for one datagram and what the kernel tells about it.
#[derive(Debug)]
struct Scratch {
    payload: Box<[u8; PAYLOAD_LEN]>,
    control: Vec<u8>,
}

// === impl UdpCapture ===

impl UdpCapture {
    /// Binds the socket. `[::]` receives IPv4 too.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Socket`] when the address is taken or not ours.
    pub(in super::super) fn bind(
        address: SocketAddr,
        buffer_bytes: u32,
    ) -> Result<Self, CaptureError> {
        let bindings = Bindings::new(address, buffer_bytes)?;
        Ok(Self {
            name: bindings.name(),
            bindings,
            received: 0,
            scratch: Scratch {
                payload: Box::new([0; PAYLOAD_LEN]),
                control: nix::cmsg_space!(nix::libc::in_pktinfo, nix::libc::in6_pktinfo),
            },
        })
    }
}

impl Listening for UdpSocket {
    const KIND: &'static str = "udp";

    fn bind(address: SocketAddr, buffer_bytes: u32) -> io::Result<Self> {
        let socket = Self::bind(address)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        let bytes = buffer_bytes as usize;
        // Beyond the system's limit if we may, and as much as we may otherwise.
        setsockopt(&socket, sockopt::RcvBufForce, &bytes)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &bytes))?;
        Ok(socket)
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.local_addr()?.port())
    }
}

// === impl Bound ===

impl Bound<UdpSocket> {
    /// Receives one datagram; reports whether there was one.
    fn receive(
        &self,
        scratch: &mut Scratch,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<bool, Errno> {
        let Scratch { payload, control } = scratch;
        let fd = self.socket.as_raw_fd();
        let mut slices = [IoSliceMut::new(payload.as_mut_slice())];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(control), flags);
        let (length, source, destination) = match received {
            Ok(message) => (
                message.bytes,
                message.address.as_ref().and_then(address_of),
                message
                    .cmsgs()
                    .ok()
                    .and_then(|mut all| all.find_map(destination_of)),
            ),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        let (Some(source), Some(payload)) = (source, payload.get(..length)) else {
            return Ok(true);
        };
        each(Arrival::Datagram(Datagram {
            source: source.ip().to_canonical(),
            destination: destination
                .unwrap_or_else(|| unknown(source.ip()))
                .to_canonical(),
            source_port: source.port(),
            destination_port: self.port,
            transport: Transport::Udp,
            payload,
        }));
        Ok(true)
    }
}

impl Capture for UdpCapture {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        let sockets = self.bindings.all();
        fds.extend(sockets.map(|bound| PollFd::new(bound.socket.as_fd(), PollFlags::POLLIN)));
    }

    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        self.bindings.follow(ports)
    }

    fn retry_in(&self, _steady: Duration) -> Option<Duration> {
        None
    }

    fn next_batch(
        &mut self,
        max: usize,
        _steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        let share = self.bindings.share(max);
        let mut taken = 0;
        for bound in self.bindings.all() {
            for _ in 0..share {
                match bound.receive(&mut self.scratch, each) {
                    Ok(true) => {
                        taken += 1;
                        self.received += 1;
                    }
                    Ok(false) => break,
                    Err(errno) => {
                        return Err(CaptureError::Down {
                            name: self.name.clone(),
                            reason: errno.to_string(),
                        });
                    }
                }
            }
        }
        Ok(taken)
    }

    fn frames(&self) -> u64 {
        self.received
    }

    fn dropped(&mut self) -> u64 {
        0
    }
}

fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddr::from((v6.ip(), v6.port())))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many things a kernel can tell, we asked for these two"
)]
fn destination_of(told: ControlMessageOwned) -> Option<IpAddr> {
    match told {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::tests::{address, free_port as free_port_of};
    use super::*;

    /// A capture on a free port of a loopback address that no other test has.
    fn capture() -> UdpCapture {
        UdpCapture::bind(address(), 1 << 16).unwrap()
    }

    /// A port of the capture's address that nobody has.
    fn free_port(capture: &UdpCapture) -> NonZeroU16 {
        free_port_of(capture.bindings.address)
    }

    fn send(capture: &UdpCapture, port: u16, payload: &[u8]) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .send_to(payload, (capture.bindings.address.ip(), port))
            .unwrap();
        socket.local_addr().unwrap()
    }

    fn arrivals(capture: &mut UdpCapture, max: usize) -> Vec<(u16, usize)> {
        super::super::tests::arrivals(capture, max, Duration::ZERO)
    }

    #[test]
    fn a_datagram_comes_with_its_source_and_the_address_it_was_sent_to() {
        let mut capture = capture();
        let from = send(&capture, capture.bindings.own.port, b"packet");
        let (address, port) = (capture.bindings.address.ip(), capture.bindings.own.port);
        let mut arrived = 0;

        let taken = capture.next_batch(9, Duration::ZERO, &mut |arrival| {
            let Arrival::Datagram(datagram) = arrival else {
                panic!("{arrival:?}");
            };
            assert_eq!(
                (datagram.source, datagram.source_port),
                (from.ip(), from.port())
            );
            assert_eq!(datagram.destination, address);
            assert_eq!(
                (datagram.destination_port, datagram.payload),
                (port, &b"packet"[..])
            );
            arrived += 1;
        });

        assert_eq!((taken, arrived), (Ok(1), 1));
        assert_eq!(arrivals(&mut capture, 9), []);
    }

    #[test]
    fn what_is_longer_than_any_packet_arrives_as_too_long_and_not_as_its_beginning() {
        let mut capture = capture();

        send(&capture, capture.bindings.own.port, &[b'A'; 3_000]);

        assert_eq!(
            arrivals(&mut capture, 9),
            [(capture.bindings.own.port, PAYLOAD_LEN)]
        );
    }

    #[test]
    fn ports_that_the_policy_names_are_listened_on_until_it_names_others() {
        let mut capture = capture();
        let (first, second) = (free_port(&capture), free_port(&capture));

        capture.follow(&[first].into()).unwrap();
        send(&capture, first.get(), b"one");
        assert_eq!(arrivals(&mut capture, 9), [(first.get(), 3)]);
        capture.follow(&[second].into()).unwrap();
        UdpSocket::bind((capture.bindings.address.ip(), first.get())).unwrap();
        send(&capture, second.get(), b"two");
        send(&capture, capture.bindings.own.port, b"own");

        let arrived = arrivals(&mut capture, 9);
        assert_eq!(arrived, [(second.get(), 3), (capture.bindings.own.port, 3)]);
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_and_the_others_are_received_nevertheless() {
        let mut capture = capture();
        let held = UdpSocket::bind((capture.bindings.address.ip(), 0)).unwrap();
        let taken = held.local_addr().unwrap().port().try_into().unwrap();
        let free = free_port(&capture);

        let followed = capture.follow(&[taken, free].into());

        assert!(matches!(followed, Err(CaptureError::Socket { .. })));
        send(&capture, free.get(), b"free");
        assert_eq!(arrivals(&mut capture, 9), [(free.get(), 4)]);
    }

    #[test]
    fn a_flood_at_one_port_leaves_every_other_its_share() {
        let mut capture = capture();
        let quiet = free_port(&capture);
        capture.follow(&[quiet].into()).unwrap();
        for _ in 0..20 {
            send(&capture, capture.bindings.own.port, b"flood");
        }
        send(&capture, quiet.get(), b"quiet");

        let arrived = arrivals(&mut capture, 8);

        assert!(arrived.contains(&(quiet.get(), 5)), "{arrived:?}");
        assert_eq!(arrived.len(), 5);
    }
}
