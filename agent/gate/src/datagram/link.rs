//! Link layers: from a frame to the IP packet in it. Numbers: <https://www.tcpdump.org/linktypes.html>.

use super::NotForUs;

/// How the capture wraps an IP packet (the pcap link type).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LinkType {
    /// Ethernet (`DLT_EN10MB`).
    Ethernet,
    /// Linux cooked capture, 16 bytes of header (`DLT_LINUX_SLL`).
    LinuxSll,
    /// Linux cooked capture version 2, 20 bytes of header (`DLT_LINUX_SLL2`).
    LinuxSll2,
    /// A four-byte address family in the byte order of some machine (`DLT_NULL`, `DLT_LOOP`).
    Loopback,
    /// IPv4 or IPv6 without any header in front (`DLT_RAW`): tun, WireGuard, IP in IP.
    RawIp,
    /// PPP, in HDLC framing or without (`DLT_PPP`, `DLT_PPP_SERIAL`).
    Ppp,
    /// A PPPoE session without the Ethernet in front (`DLT_PPP_ETHER`).
    PppoeSession,
    /// Cisco's HDLC (`DLT_C_HDLC`).
    CiscoHdlc,
    /// IP over InfiniBand (`DLT_IPOIB`).
    IpOverInfiniband,
    /// What netfilter's NFLOG hands out (`DLT_NFLOG`).
    Nflog,
}

/// What follows a header, by its `EtherType` (IEEE 802 numbers registry).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const PPPOE_SESSION: u16 = 0x8864;
/// 802.1Q, 802.1ad and the old number for stacked tags.
const VLAN_TYPES: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Customer tag inside a provider tag; nothing nests deeper.
const VLAN_TAGS_MAX: usize = 2;

// === impl LinkType ===

impl LinkType {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Ethernet,
        Self::LinuxSll,
        Self::LinuxSll2,
        Self::Loopback,
        Self::RawIp,
        Self::Ppp,
        Self::PppoeSession,
        Self::CiscoHdlc,
        Self::IpOverInfiniband,
        Self::Nflog,
    ];

    /// The link type that libpcap calls by this number, in memory or in files; `None` for one that is
    /// not read here.
    #[must_use]
    pub const fn of_number(number: i32) -> Option<Self> {
        match number {
            0 | 108 => Some(Self::Loopback),
            1 => Some(Self::Ethernet),
            9 | 50 => Some(Self::Ppp),
            51 => Some(Self::PppoeSession),
            12 | 14 | 101 | 228 | 229 => Some(Self::RawIp),
            104 => Some(Self::CiscoHdlc),
            113 => Some(Self::LinuxSll),
            239 => Some(Self::Nflog),
            242 => Some(Self::IpOverInfiniband),
            276 => Some(Self::LinuxSll2),
            _ => None,
        }
    }

    /// Whether a frame that begins with these bytes may hold an IP packet.
    #[must_use]
    pub fn may_hold_packet(self, beginning: &[u8]) -> bool {
        let version = |packet: &[u8]| packet.first().map(|byte| byte >> 4);
        ip_packet(beginning, self).is_ok_and(|packet| matches!(version(packet), Some(4 | 6)))
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "Ethernet",
            Self::LinuxSll => "Linux cooked",
            Self::LinuxSll2 => "Linux cooked v2",
            Self::Loopback => "loopback",
            Self::RawIp => "raw IP",
            Self::Ppp => "PPP",
            Self::PppoeSession => "PPPoE",
            Self::CiscoHdlc => "Cisco HDLC",
            Self::IpOverInfiniband => "IP over InfiniBand",
            Self::Nflog => "NFLOG",
        }
    }
}

/// Finds the IP packet inside a frame. Bytes after it (padding, FCS) are cut by its own length.
pub(crate) fn ip_packet(frame: &[u8], link: LinkType) -> Result<&[u8], NotForUs> {
    match link {
        LinkType::Ethernet => after_ether_type(skip(frame, 12)?),
        LinkType::LinuxSll => {
            let (ether_type, rest) = split_u16(skip(frame, 14)?)?;
            after_cooked(ether_type, rest)
        }
        LinkType::LinuxSll2 => {
            let (ether_type, _) = split_u16(frame)?;
            after_cooked(ether_type, skip(frame, 20)?)
        }
        // The family's number and byte order differ between systems; the IP header names its version.
        LinkType::Loopback => skip(frame, 4),
        LinkType::RawIp => Ok(frame),
        LinkType::Ppp => {
            // In HDLC framing an address (everybody) and a control byte come first (RFC 1662).
            let hdlc = frame.strip_prefix(&[0xff, 0x03]);
            after_ppp_protocol(hdlc.unwrap_or(frame))
        }
        LinkType::PppoeSession => after_pppoe_header(frame),
        LinkType::CiscoHdlc => after_ether_type(skip(frame, 2)?),
        // The receiver's 20 bytes of address, and 20 that nobody sees, then what RFC 4391 writes.
        LinkType::IpOverInfiniband => {
            let (ether_type, rest) = split_u16(skip(frame, 40)?)?;
            after(ether_type, skip(rest, 2)?)
        }
        LinkType::Nflog => nflog_payload(frame),
    }
}

fn skip(bytes: &[u8], count: usize) -> Result<&[u8], NotForUs> {
    bytes.get(count..).ok_or(NotForUs::Damaged)
}

fn split_u16(bytes: &[u8]) -> Result<(u16, &[u8]), NotForUs> {
    let (number, rest) = bytes.split_first_chunk().ok_or(NotForUs::Damaged)?;
    Ok((u16::from_be_bytes(*number), rest))
}

/// `bytes` begins with an `EtherType`.
fn after_ether_type(bytes: &[u8]) -> Result<&[u8], NotForUs> {
    let (ether_type, rest) = split_u16(bytes)?;
    after(ether_type, rest)
}

/// Skips VLAN tags (a priority tag is one with VLAN 0) and a PPPoE header.
fn after(ether_type: u16, rest: &[u8]) -> Result<&[u8], NotForUs> {
    let (ether_type, rest) = untag(ether_type, rest)?;
    inside(ether_type, rest)
}

/// The same of a cooked frame. Since Linux 6.10 its type is that of the innermost packet, though
/// tags may still be in front of that; then each names the type once more.
fn after_cooked(ether_type: u16, rest: &[u8]) -> Result<&[u8], NotForUs> {
    let (ether_type, mut rest) = untag(ether_type, rest)?;
    for _ in 0..VLAN_TAGS_MAX {
        match rest.split_first_chunk() {
            // Without a tag, these two bytes would be a length or label that no packet has which
            // is as short as ours.
            Some(([_, _, a, b], untagged))
                if u16::from_be_bytes([*a, *b]) == ether_type && begins(ether_type, untagged) =>
            {
                rest = untagged;
            }
            Some(_) | None => break,
        }
    }
    inside(ether_type, rest)
}

/// Skips VLAN tags.
fn untag(mut ether_type: u16, mut rest: &[u8]) -> Result<(u16, &[u8]), NotForUs> {
    for _ in 0..VLAN_TAGS_MAX {
        if VLAN_TYPES.contains(&ether_type) {
            (ether_type, rest) = split_u16(skip(rest, 2)?)?;
        }
    }
    Ok((ether_type, rest))
}

fn inside(ether_type: u16, rest: &[u8]) -> Result<&[u8], NotForUs> {
    match ether_type {
        IPV4 | IPV6 => Ok(rest),
        PPPOE_SESSION => after_pppoe_header(rest),
        _ => Err(NotForUs::NotIp),
    }
}

/// Whether these bytes may be the first of a packet of this type.
fn begins(ether_type: u16, rest: &[u8]) -> bool {
    let first = rest.first();
    match ether_type {
        IPV4 => first.is_some_and(|byte| byte >> 4 == 4),
        IPV6 => first.is_some_and(|byte| byte >> 4 == 6),
        _ => first == Some(&0x11),
    }
}

/// Version and type 1, code 0 (session data), session, length (RFC 2516 section 4).
fn after_pppoe_header(bytes: &[u8]) -> Result<&[u8], NotForUs> {
    let (header, rest) = bytes.split_first_chunk::<6>().ok_or(NotForUs::Damaged)?;
    match header {
        [0x11, 0, ..] => after_ppp_protocol(rest),
        _ => Err(NotForUs::NotIp),
    }
}

/// The protocol takes two bytes, or one that is odd where both sides agreed on it (RFC 1661
/// section 6.5).
fn after_ppp_protocol(bytes: &[u8]) -> Result<&[u8], NotForUs> {
    match bytes {
        [0, 0x21 | 0x57, packet @ ..] | [0x21 | 0x57, packet @ ..] => Ok(packet),
        [] | [0] => Err(NotForUs::Damaged),
        _ => Err(NotForUs::NotIp),
    }
}

/// Family, version and resource, then attributes, one of which is the packet
/// (linux/netfilter/nfnetlink_log.h). Their numbers are in the byte order of the host that captured,
/// which nothing says: in the wrong one, the first length is longer than any frame.
fn nflog_payload(frame: &[u8]) -> Result<&[u8], NotForUs> {
    let attributes = skip(frame, 4)?;
    let found = payload_attribute(attributes, u16::from_ne_bytes);
    found.or_else(|first| {
        let swapped = |[a, b]: [u8; 2]| u16::from_ne_bytes([b, a]);
        payload_attribute(attributes, swapped).map_err(|_| first)
    })
}

fn payload_attribute(mut rest: &[u8], number: impl Fn([u8; 2]) -> u16) -> Result<&[u8], NotForUs> {
    const NFULA_PAYLOAD: u16 = 9;
    const HEADER_LEN: usize = 4;
    // Every step consumes at least a header.
    while let Some(([a, b, c, d], _)) = rest.split_first_chunk() {
        let length = usize::from(number([*a, *b]));
        let attribute = rest.get(HEADER_LEN..length).ok_or(NotForUs::Damaged)?;
        if number([*c, *d]) == NFULA_PAYLOAD {
            return Ok(attribute);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Err(NotForUs::NotIp)
}
