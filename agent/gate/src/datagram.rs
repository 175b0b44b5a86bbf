//! The first check: from a frame off the wire to addresses, ports and a payload.
//!
//! Only whole packets pass. Fragments are refused, the first one too: fwknopd takes the first
//! fragment for the packet, and what it judged is then not what the sender sent. Checksums are not
//! looked at, since raw clients leave them zero and the HMAC says more than any checksum.

use std::net::IpAddr;

use etherparse::{IpNumber, IpSlice, TcpSlice, UdpSlice, ip_number};

/// How the capture wraps an IP packet (the pcap link type).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LinkType {
    /// Ethernet, with at most two 802.1Q tags (`DLT_EN10MB`).
    Ethernet,
    /// Linux cooked capture, 16 bytes of header (`DLT_LINUX_SLL`).
    LinuxSll,
    /// Linux cooked capture version 2, 20 bytes of header (`DLT_LINUX_SLL2`).
    LinuxSll2,
    /// A four-byte address family in the byte order of some machine (`DLT_NULL`, `DLT_LOOP`).
    Loopback,
    /// IPv4 or IPv6 without any header in front (`DLT_RAW`).
    RawIp,
}

/// What carried the payload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Transport {
    /// Generic routing encapsulation, version 0 (RFC 2784, RFC 2890).
    Gre,
    /// ICMP or `ICMPv6`, any type: what follows the first eight bytes.
    Icmp,
    /// One TCP segment.
    Tcp,
    /// UDP.
    Udp,
}

/// One whole packet as seen on the wire. A UDP socket makes the same value without a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datagram<'a> {
    /// Address in the IP header; anyone can forge it.
    pub source: IpAddr,
    /// Address in the IP header; unspecified if the capture cannot know it.
    pub destination: IpAddr,
    /// 0 for transports without ports.
    pub source_port: u16,
    /// 0 for transports without ports.
    pub destination_port: u16,
    /// What carried the payload.
    pub transport: Transport,
    /// Everything after the transport's header; may be empty.
    pub payload: &'a [u8],
}

/// A frame that holds no packet for us. Strangers send these all day, so nothing is logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotForUs {
    /// The frame carries neither IPv4 nor IPv6.
    #[error("not an IP packet")]
    NotIp,
    /// A header is cut off, contradicts itself, or promises more bytes than were captured.
    #[error("damaged or cut-off header")]
    Damaged,
    /// Part of a fragmented packet.
    #[error("fragment")]
    Fragment,
    /// The source is unspecified or multicast, which no sender can have.
    #[error("impossible source address")]
    Source,
    /// Sent to another machine: no address of this host, and none that configuration or policy
    /// names.
    #[error("sent to an address that is not this host's")]
    Destination,
    /// Neither UDP, TCP, ICMP, `ICMPv6` nor GRE version 0.
    #[error("transport without SPA")]
    Transport,
}

/// 802.1Q, 802.1ad and the old number for stacked tags (IEEE 802 numbers registry).
const VLAN_TYPES: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Customer tag inside a provider tag; nothing nests deeper.
const VLAN_TAGS_MAX: usize = 2;
/// Type, code, checksum and the four bytes that each type uses in its own way (RFC 792, RFC 4443).
const ICMP_HEADER_BYTES: usize = 8;

// === impl Datagram ===

impl<'a> Datagram<'a> {
    /// Reads one captured frame.
    ///
    /// # Errors
    ///
    /// [`NotForUs`] says what the frame is instead. It never panics, whatever the bytes.
    pub fn parse(frame: &'a [u8], link: LinkType) -> Result<Self, NotForUs> {
        let ip = IpSlice::from_slice(ip_packet(frame, link)?).map_err(|_| NotForUs::Damaged)?;
        if ip.is_fragmenting_payload() {
            return Err(NotForUs::Fragment);
        }
        let source = ip.source_addr();
        if source.is_unspecified() || source.is_multicast() {
            return Err(NotForUs::Source);
        }
        let destination = ip.destination_addr();
        let (number, bytes) = match &ip {
            IpSlice::Ipv4(v4) => (v4.payload().ip_number, v4.payload().payload),
            IpSlice::Ipv6(v6) => (v6.payload().ip_number, v6.payload().payload),
        };
        let carried = Carried::parse(number, bytes)?;

        Ok(Self {
            source,
            destination,
            source_port: carried.source_port,
            destination_port: carried.destination_port,
            transport: carried.transport,
            payload: carried.payload,
        })
    }
}

/// The transport's part of a datagram.
struct Carried<'a> {
    transport: Transport,
    source_port: u16,
    destination_port: u16,
    payload: &'a [u8],
}

// === impl Carried ===

impl<'a> Carried<'a> {
    fn parse(number: IpNumber, bytes: &'a [u8]) -> Result<Self, NotForUs> {
        match number {
            ip_number::UDP => {
                let udp = UdpSlice::from_slice(bytes).map_err(|_| NotForUs::Damaged)?;
                Ok(Self {
                    transport: Transport::Udp,
                    source_port: udp.source_port(),
                    destination_port: udp.destination_port(),
                    payload: udp.payload(),
                })
            }
            ip_number::TCP => {
                let tcp = TcpSlice::from_slice(bytes).map_err(|_| NotForUs::Damaged)?;
                Ok(Self {
                    transport: Transport::Tcp,
                    source_port: tcp.source_port(),
                    destination_port: tcp.destination_port(),
                    payload: tcp.payload(),
                })
            }
            ip_number::ICMP | ip_number::IPV6_ICMP => bytes
                .get(ICMP_HEADER_BYTES..)
                .map(|payload| Self::without_ports(Transport::Icmp, payload))
                .ok_or(NotForUs::Damaged),
            ip_number::GRE => {
                gre_payload(bytes).map(|payload| Self::without_ports(Transport::Gre, payload))
            }
            _ => Err(NotForUs::Transport),
        }
    }

    fn without_ports(transport: Transport, payload: &'a [u8]) -> Self {
        Self {
            transport,
            source_port: 0,
            destination_port: 0,
            payload,
        }
    }
}

/// Finds the IP packet inside a frame. Bytes after it (padding, FCS) are cut by its own length.
fn ip_packet(frame: &[u8], link: LinkType) -> Result<&[u8], NotForUs> {
    match link {
        LinkType::Ethernet => {
            let (_, rest) = frame.split_at_checked(12).ok_or(NotForUs::Damaged)?;
            after_ether_type(rest)
        }
        LinkType::LinuxSll => {
            let (_, rest) = frame.split_at_checked(14).ok_or(NotForUs::Damaged)?;
            after_ether_type(rest)
        }
        LinkType::LinuxSll2 => {
            let (header, packet) = frame.split_at_checked(20).ok_or(NotForUs::Damaged)?;
            match header.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)) {
                Some(0x0800 | 0x86dd) => Ok(packet),
                _ => Err(NotForUs::NotIp),
            }
        }
        // The family's number and byte order differ between systems; the IP header names its version.
        LinkType::Loopback => frame.get(4..).ok_or(NotForUs::Damaged),
        LinkType::RawIp => Ok(frame),
    }
}

/// Skips VLAN tags; `bytes` begins with an `EtherType`.
fn after_ether_type(mut bytes: &[u8]) -> Result<&[u8], NotForUs> {
    for _ in 0..=VLAN_TAGS_MAX {
        let (ether_type, rest) = bytes.split_first_chunk().ok_or(NotForUs::Damaged)?;
        match u16::from_be_bytes(*ether_type) {
            0x0800 | 0x86dd => return Ok(rest),
            tag if VLAN_TYPES.contains(&tag) => bytes = rest.get(2..).ok_or(NotForUs::Damaged)?,
            _ => return Err(NotForUs::NotIp),
        }
    }
    Err(NotForUs::NotIp)
}

/// Skips the GRE header and its optional checksum, key and sequence number (RFC 2890 section 2).
fn gre_payload(bytes: &[u8]) -> Result<&[u8], NotForUs> {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ROUTING_OR_VERSION: u16 = 0x4007;

    let flags = bytes
        .first_chunk()
        .map(|flags| u16::from_be_bytes(*flags))
        .ok_or(NotForUs::Damaged)?;
    if flags & ROUTING_OR_VERSION != 0 {
        return Err(NotForUs::Transport);
    }
    let options = [CHECKSUM, KEY, SEQUENCE]
        .iter()
        .filter(|&&option| flags & option != 0)
        .count();
    bytes.get(4 + 4 * options..).ok_or(NotForUs::Damaged)
}

#[cfg(test)]
mod tests;
