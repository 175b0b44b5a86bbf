//! Packets with headers of our own, which the kernel sends for those who may.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto,
    socket,
};

use super::craft::{self, Carrier, Ends};
use crate::error::{CommandError, Result};
use crate::knock::way;

/// Sends `text` so; from `source`, or else from the address that the kernel uses on the way.
///
/// # Errors
///
/// Exit code 1 without the right to it, 2 for a source of the other family, 3 when the network takes no
/// packet for it.
pub(super) fn send(text: &str, to: SocketAddr, source: Option<IpAddr>, carrier: Carrier) -> Result {
    let own = || way::to(to).map(|way| way.own);
    let from = source.map_or_else(own, Ok).map_err(unsent)?;
    let there = to.ip().to_canonical();
    let ends = Ends::new(from, there).ok_or_else(|| {
        CommandError::usage(format!("a packet to {there} cannot come from {from}"))
            .with_hint("-Q names an address of the family of the host; -4 and -6 choose it")
    })?;
    let mut id = [0; 2];
    getrandom::fill(&mut id)
        .map_err(|cause| CommandError::failed("the operating system gives no randomness", cause))?;
    let packet = craft::packet(ends, carrier, u16::from_be_bytes(id), text.as_bytes())
        .map_err(|cause| CommandError::usage("the packet cannot be made").because(cause))?;
    let family = match ends {
        Ends::V4 { .. } => AddressFamily::Inet,
        Ends::V6 { .. } => AddressFamily::Inet6,
    };
    // This protocol means that the network header is in what is sent, in both families.
    let raw = socket(
        family,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Raw,
    )
    .map_err(may_not)?;
    let flags = MsgFlags::empty();
    let sent = match (ends, to) {
        (Ends::V4 { to: there, .. }, _) => {
            let there = SockaddrIn::from(SocketAddrV4::new(there, 0));
            sendto(raw.as_raw_fd(), &packet, &there, flags)
        }
        (Ends::V6 { to: there, .. }, SocketAddr::V6(to)) => {
            // The port of such an address is that of the protocol, or none.
            let there = SocketAddrV6::new(there, 0, 0, to.scope_id());
            sendto(raw.as_raw_fd(), &packet, &SockaddrIn6::from(there), flags)
        }
        (Ends::V6 { .. }, SocketAddr::V4(_)) => Err(Errno::EAFNOSUPPORT),
    };
    sent.map(drop).map_err(|cause| unsent(cause.into()))
}

fn unsent(cause: io::Error) -> CommandError {
    CommandError::unreachable("the network does not take the packet").because(cause)
}

fn may_not(cause: Errno) -> CommandError {
    let error = CommandError::refused("headers of one's own need the capability CAP_NET_RAW");
    error.because(io::Error::from(cause)).with_hint(
        "run it as root, or with `setpriv --ambient-caps +net_raw`; -P udp, tcp and http need nothing",
    )
}
