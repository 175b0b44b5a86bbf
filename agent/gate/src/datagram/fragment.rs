//! Parts of packets, and what is carried by the packet that they make up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, ip_number};

use super::{Datagram, NotForUs};

/// A part of an IP packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment<'a> {
    /// Address in the IP header; anyone can forge it.
    pub source: IpAddr,
    /// Address in the IP header.
    pub destination: IpAddr,
    /// What the parts of one packet have in common, beside their addresses.
    pub identification: u32,
    /// What the bytes begin with, where they are the first of the packet.
    pub number: IpNumber,
    /// Where the bytes belong in the packet.
    pub offset: usize,
    /// Whether others come behind it.
    pub more: bool,
    /// This part of what follows the IP headers.
    pub bytes: &'a [u8],
}

/// Bytes of an IPv6 header, and where its fields are (RFC 8200 section 3).
const V6_HEADER_LEN: usize = 40;
/// Extension headers in front of a fragment or transport header; no sender needs as many.
const EXTENSIONS_MAX: usize = 8;
/// Offsets of fragments are counted in these.
pub(crate) const UNIT: usize = 8;

// === impl Fragment ===

impl<'a> Fragment<'a> {
    /// Reads an IP packet that is a part of one; `None` if it is whole, or none that can be read.
    pub(super) fn read(packet: &'a [u8]) -> Result<Option<Self>, NotForUs> {
        let fragment = match packet.first().map(|byte| byte >> 4) {
            Some(4) => read_v4(packet),
            Some(6) => read_v6(packet),
            Some(_) | None => None,
        };
        let Some(fragment) = fragment else {
            return Ok(None);
        };
        if fragment.number == ip_number::ENCAP_SEC {
            return Err(NotForUs::Transport);
        }
        Ok(Some(fragment))
    }
}

// === impl Datagram ===

impl<'a> Datagram<'a> {
    /// Reads what fragments from `source` to `destination` carried together.
    pub(crate) fn reassembled(
        ends: (IpAddr, IpAddr),
        number: IpNumber,
        bytes: &'a [u8],
    ) -> Result<Self, NotForUs> {
        let (number, bytes) = match ends.0 {
            IpAddr::V4(_) => (number, bytes),
            IpAddr::V6(_) => after_extensions(number, bytes).ok_or(NotForUs::Damaged)?,
        };
        Self::carried(ends, number, bytes)
    }
}

/// RFC 791 section 3.1.
fn read_v4(packet: &[u8]) -> Option<Fragment<'_>> {
    const MORE: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;
    let header = packet.first_chunk::<20>()?;
    let [first, _, t0, t1, i0, i1, f0, f1, _, number, _, _, rest @ ..] = *header;
    let [s0, s1, s2, s3, d0, d1, d2, d3] = rest;
    let flags = u16::from_be_bytes([f0, f1]);
    let offset = usize::from(flags & OFFSET) * UNIT;
    let more = flags & MORE != 0;
    if offset == 0 && !more {
        return None;
    }
    let header_len = usize::from(first & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([t0, t1]));
    Some(Fragment {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        identification: u16::from_be_bytes([i0, i1]).into(),
        number: IpNumber(number),
        offset,
        more,
        bytes: packet.get(header_len.max(header.len())..total_len)?,
    })
}

/// RFC 8200 section 4.5. A fragment header on a packet that is whole says nothing (RFC 6946).
fn read_v6(packet: &[u8]) -> Option<Fragment<'_>> {
    let (header, rest) = packet.split_first_chunk::<V6_HEADER_LEN>()?;
    let [_, _, _, _, l0, l1, next, _, addresses @ ..] = *header;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (mut next, mut rest) = (IpNumber(next), rest.get(..length)?);
    for _ in 0..EXTENSIONS_MAX {
        if next == ip_number::IPV6_FRAGMENTATION_HEADER {
            let (header, bytes) = rest.split_first_chunk::<8>()?;
            let [number, _, o0, o1, identification @ ..] = *header;
            let offset_and_more = u16::from_be_bytes([o0, o1]);
            let fragment = Fragment {
                source: Ipv6Addr::from(*source).into(),
                destination: Ipv6Addr::from(<[u8; 16]>::try_from(destination).ok()?).into(),
                identification: u32::from_be_bytes(identification),
                number: IpNumber(number),
                // Counted in eights, in the upper 13 bits.
                offset: usize::from(offset_and_more & 0xfff8),
                more: offset_and_more & 1 != 0,
                bytes,
            };
            return (fragment.offset > 0 || fragment.more).then_some(fragment);
        }
        (next, rest) = after_extension(next, rest)?;
    }
    None
}

/// Skips extension headers until something else comes.
fn after_extensions(mut number: IpNumber, mut bytes: &[u8]) -> Option<(IpNumber, &[u8])> {
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(number) {
            return Some((number, bytes));
        }
        (number, bytes) = after_extension(number, bytes)?;
    }
    None
}

/// Skips one extension header; `None` if there is none, or not all of it.
fn after_extension(number: IpNumber, bytes: &[u8]) -> Option<(IpNumber, &[u8])> {
    if !is_extension(number) {
        return None;
    }
    let [next, eights, ..] = *bytes else {
        return None;
    };
    let length = (usize::from(eights) + 1) * UNIT;
    Some((IpNumber(next), bytes.get(length..)?))
}

/// Extension headers whose length is where RFC 6564 has it.
fn is_extension(number: IpNumber) -> bool {
    [
        ip_number::IPV6_HEADER_HOP_BY_HOP,
        ip_number::IPV6_ROUTE_HEADER,
        ip_number::IPV6_DESTINATION_OPTIONS,
    ]
    .contains(&number)
}
