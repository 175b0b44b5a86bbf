//! Packets that are made here down to the network header: UDP, TCP and ICMP over IPv4 and IPv6. Pure.
//!
//! What stands in the headers is what fwknop's client puts there (a life of 255 hops, one SYN with window
//! 32767 and sequence 1, ICMP type 0), so that a filter of a capture that was written for it fits. Checksums
//! are right, where the reference leaves those of UDP and TCP zero: some routers drop what has none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hops that a packet may take.
const HOPS: u8 = 255;
const TCP_SYN: u8 = 0x02;
const TCP_WINDOW: u16 = 32767;
/// Five words, and no options.
const TCP_OFFSET: u8 = 5 << 4;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;

/// Echo request and reply, as ICMP and as ICMPv6 number them.
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// What carries the SPA packet above the network header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Carrier {
    Udp {
        from: u16,
        to: u16,
    },
    /// One segment with the SYN flag, which begins no connection.
    Tcp {
        from: u16,
        to: u16,
    },
    /// `None` is an echo reply, whatever its number is in the family of the packet.
    Icmp {
        kind: Option<u8>,
        code: u8,
    },
}

/// From where to where; both of one family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ends {
    V4 { from: Ipv4Addr, to: Ipv4Addr },
    V6 { from: Ipv6Addr, to: Ipv6Addr },
}

/// The whole packet, from the network header on. `id` is the identification of the IPv4 header, and of an
/// echo request.
///
/// # Errors
///
/// When the payload is too long for one packet.
pub(super) fn packet(
    ends: Ends,
    carrier: Carrier,
    id: u16,
    payload: &[u8],
) -> Result<Vec<u8>, TooLong> {
    let (protocol, body) = body(ends, carrier, id, payload)?;
    Ok(match ends {
        Ends::V4 { from, to } => {
            let length = u16::try_from(body.len() + 20).map_err(|_| TooLong)?;
            let mut header = Vec::with_capacity(usize::from(length));
            header.extend([0x45, 0]);
            header.extend(length.to_be_bytes());
            header.extend(id.to_be_bytes());
            header.extend([0, 0, HOPS, protocol]);
            let rest = [from.octets(), to.octets()].concat();
            let sum = checksum(&[&header, &rest]);
            header.extend(sum.to_be_bytes());
            header.extend(rest);
            header.extend(body);
            header
        }
        Ends::V6 { from, to } => {
            let length = u16::try_from(body.len()).map_err(|_| TooLong)?;
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([protocol, HOPS]);
            header.extend(from.octets());
            header.extend(to.octets());
            header.extend(body);
            header
        }
    })
}

/// More than a packet can hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is too long for one packet")]
pub(super) struct TooLong;

/// The header of the carrier with what it carries, and its protocol number.
fn body(ends: Ends, carrier: Carrier, id: u16, payload: &[u8]) -> Result<(u8, Vec<u8>), TooLong> {
    let (protocol, head, tail): (u8, Vec<u8>, Vec<u8>) = match carrier {
        Carrier::Udp { from, to } => {
            let length = u16::try_from(payload.len() + 8).map_err(|_| TooLong)?;
            let head = [from, to, length].map(u16::to_be_bytes).concat();
            (PROTOCOL_UDP, head, Vec::new())
        }
        Carrier::Tcp { from, to } => {
            let mut head = [from, to].map(u16::to_be_bytes).concat();
            head.extend(1_u32.to_be_bytes());
            head.extend(0_u32.to_be_bytes());
            head.extend([TCP_OFFSET, TCP_SYN]);
            head.extend(TCP_WINDOW.to_be_bytes());
            // No urgent data.
            (PROTOCOL_TCP, head, vec![0, 0])
        }
        Carrier::Icmp { kind, code } => {
            let (protocol, reply, request) = match ends {
                Ends::V4 { .. } => (PROTOCOL_ICMP, ECHO_REPLY, ECHO_REQUEST),
                Ends::V6 { .. } => (PROTOCOL_ICMPV6, ECHO_REPLY_V6, ECHO_REQUEST_V6),
            };
            let kind = kind.unwrap_or(reply);
            let rest = if kind == request {
                [id, 1].map(u16::to_be_bytes).concat()
            } else {
                vec![0; 4]
            };
            (protocol, vec![kind, code], rest)
        }
    };
    let length = head.len() + 2 + tail.len() + payload.len();
    let pseudo = pseudo_header(ends, protocol, length)?;
    let sum = match checksum(&[&pseudo, &head, &tail, payload]) {
        // None at all is what zero says in UDP; the other zero means the same number.
        0 if protocol == PROTOCOL_UDP => u16::MAX,
        sum => sum,
    };
    let mut body = head;
    body.extend(sum.to_be_bytes());
    body.extend(tail);
    body.extend(payload);
    Ok((protocol, body))
}

/// What the checksum covers beside the packet itself. ICMP over IPv4 covers nothing else.
fn pseudo_header(ends: Ends, protocol: u8, length: usize) -> Result<Vec<u8>, TooLong> {
    let length = u16::try_from(length).map_err(|_| TooLong)?;
    Ok(match ends {
        Ends::V4 { .. } if protocol == PROTOCOL_ICMP => Vec::new(),
        Ends::V4 { from, to } => {
            let mut pseudo = [from.octets(), to.octets()].concat();
            pseudo.extend([0, protocol]);
            pseudo.extend(length.to_be_bytes());
            pseudo
        }
        Ends::V6 { from, to } => {
            let mut pseudo = [from.octets(), to.octets()].concat();
            pseudo.extend(u32::from(length).to_be_bytes());
            pseudo.extend([0, 0, 0, protocol]);
            pseudo
        }
    })
}

/// The Internet checksum (RFC 1071) of these, one behind the other; each but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        let mut words = part.chunks_exact(2);
        for word in &mut words {
            if let [high, low] = *word {
                sum += u64::from(u16::from_be_bytes([high, low]));
            }
        }
        if let [last] = *words.remainder() {
            sum += u64::from(u16::from_be_bytes([last, 0]));
        }
    }
    while sum > u64::from(u16::MAX) {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or_default()
}

// === impl Ends ===

impl Ends {
    /// `None` for addresses of different families.
    pub(super) fn new(from: IpAddr, to: IpAddr) -> Option<Self> {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Some(Self::V4 { from, to }),
            (IpAddr::V6(from), IpAddr::V6(to)) => Some(Self::V6 { from, to }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests;
