//! The first check: from a frame off the wire to addresses, ports and a payload.
//!
//! Only whole packets are judged; a [`Fragment`] waits for the others (`fragments`). fwknopd takes
//! the first fragment for the packet, and what it judged is then not what the sender sent. Checksums
//! are not looked at, since raw clients leave them zero and the HMAC says more than any checksum.

mod fragment;
mod link;

use std::net::IpAddr;

use etherparse::{IpNumber, IpSlice, TcpSlice, UdpSlice, ip_number};

pub use fragment::Fragment;
pub(crate) use fragment::UNIT;
pub use link::LinkType;

pub(crate) use link::ip_packet;

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
    /// Another protocol of IP by its number: what follows the IP headers.
    Other(u8),
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

/// What a frame holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packet<'a> {
    /// All of it.
    Whole(Datagram<'a>),
    /// Part of one.
    Fragment(Fragment<'a>),
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
    /// Part of a fragmented packet, of which others are missing, or that is refused as a whole.
    #[error("fragment")]
    Fragment,
    /// The source is unspecified or multicast, which no sender can have.
    #[error("impossible source address")]
    Source,
    /// Sent to another machine: no address of this host, and none that configuration or policy
    /// names.
    #[error("sent to an address that is not this host's")]
    Destination,
    /// ESP, whose bytes are for somebody else, or GRE of another version than 0.
    #[error("transport without SPA")]
    Transport,
}

/// Type, code, checksum and the four bytes that each type uses in its own way (RFC 792, RFC 4443).
const ICMP_HEADER_BYTES: usize = 8;

// === impl Packet ===

impl<'a> Packet<'a> {
    /// Reads one captured frame.
    ///
    /// # Errors
    ///
    /// [`NotForUs`] says what the frame is instead. It never panics, whatever the bytes.
    pub fn parse(frame: &'a [u8], link: LinkType) -> Result<Self, NotForUs> {
        let packet = ip_packet(frame, link)?;
        if let Some(fragment) = Fragment::read(packet)? {
            check_source(fragment.source)?;
            return Ok(Self::Fragment(fragment));
        }
        let ip = IpSlice::from_slice(packet).map_err(|_| NotForUs::Damaged)?;
        if ip.is_fragmenting_payload() {
            return Err(NotForUs::Fragment);
        }
        check_source(ip.source_addr())?;
        let (number, bytes) = match &ip {
            IpSlice::Ipv4(v4) => (v4.payload().ip_number, v4.payload().payload),
            IpSlice::Ipv6(v6) => (v6.payload().ip_number, v6.payload().payload),
        };
        let ends = (ip.source_addr(), ip.destination_addr());
        Datagram::carried(ends, number, bytes).map(Self::Whole)
    }
}

// === impl Datagram ===

impl<'a> Datagram<'a> {
    /// Reads one captured frame that holds a whole packet.
    ///
    /// # Errors
    ///
    /// [`NotForUs`] says what the frame is instead. It never panics, whatever the bytes.
    pub fn parse(frame: &'a [u8], link: LinkType) -> Result<Self, NotForUs> {
        match Packet::parse(frame, link)? {
            Packet::Whole(datagram) => Ok(datagram),
            Packet::Fragment(_) => Err(NotForUs::Fragment),
        }
    }

    /// What IP carries from `source` to `destination`: the bytes after its headers.
    fn carried(
        (source, destination): (IpAddr, IpAddr),
        number: IpNumber,
        bytes: &'a [u8],
    ) -> Result<Self, NotForUs> {
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

/// Refuses an address that no sender can have.
pub(crate) fn check_source(source: IpAddr) -> Result<(), NotForUs> {
    if source.is_unspecified() || source.is_multicast() {
        return Err(NotForUs::Source);
    }
    Ok(())
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
            ip_number::ENCAP_SEC => Err(NotForUs::Transport),
            // With IP in IP, too: where the kernel takes the outer header off, the packet inside is seen
            // once more, on the tunnel's interface.
            IpNumber(other) => Ok(Self::without_ports(Transport::Other(other), bytes)),
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
