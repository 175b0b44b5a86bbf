//! Packets from a UDP socket, for hosts without libpcap rights.
//!
//! The kernel tells where each datagram went to (`IP_PKTINFO`), so that DESTINATION works here too.
//! Nothing is ever answered.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::Duration;

use gate::{Datagram, Transport};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

use super::{Arrival, Capture, CaptureError};

/// Longest datagram that can be an SPA packet, and one byte more to notice longer ones.
const PAYLOAD_LEN: usize = 1509;

/// Receives datagrams on one address and port.
#[derive(Debug)]
pub struct SocketCapture {
    socket: UdpSocket,
    name: String,
    port: u16,
    payload: Box<[u8; PAYLOAD_LEN]>,
    control: Vec<u8>,
}

// === impl SocketCapture ===

impl SocketCapture {
    /// Binds the socket. `[::]` receives IPv4 too.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Socket`] when the address is taken or not ours.
    pub fn bind(address: SocketAddr, buffer_bytes: u32) -> Result<Self, CaptureError> {
        let open = || {
            let socket = UdpSocket::bind(address)?;
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
            let port = socket.local_addr()?.port();
            Ok((socket, port))
        };
        let (socket, port) = open().map_err(|cause: std::io::Error| CaptureError::Socket {
            address: address.to_string(),
            reason: cause.to_string(),
        })?;
        Ok(Self {
            socket,
            name: format!("udp {address}"),
            port,
            payload: Box::new([0; PAYLOAD_LEN]),
            control: nix::cmsg_space!(nix::libc::in_pktinfo, nix::libc::in6_pktinfo),
        })
    }

    /// Receives one datagram; `None` when there is none.
    fn receive(&mut self, each: &mut dyn FnMut(Arrival<'_>)) -> Result<bool, Errno> {
        let fd = self.socket.as_raw_fd();
        let mut slices = [IoSliceMut::new(self.payload.as_mut_slice())];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut self.control), flags);
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
        let (Some(source), Some(payload)) = (source, self.payload.get(..length)) else {
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

impl Capture for SocketCapture {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
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
        for taken in 0..max {
            match self.receive(each) {
                Ok(true) => {}
                Ok(false) => return Ok(taken),
                Err(errno) => {
                    return Err(CaptureError::Down {
                        name: self.name.clone(),
                        reason: errno.to_string(),
                    });
                }
            }
        }
        Ok(max)
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

fn unknown(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}
