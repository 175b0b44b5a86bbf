//! The matches of iptables, as far as they are understood, from the kernel's structures. Pure.
//!
//! Layouts: linux/netfilter/xt_tcpudp.h, xt_multiport.h, xt_conntrack.h, xt_state.h, xt_mark.h,
//! xt_connmark.h, xt_addrtype.h, xt_set.h, xt_iprange.h. Numbers are in host order unless said.

use std::net::IpAddr;
use std::sync::Arc;

use super::sources::Members;

/// What a packet is asked by one match; all of them must hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Match {
    pub(super) asks: Asks,
    pub(super) is_inverted: bool,
}

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Asks {
    /// From this network.
    Source(IpAddr, u8),
    /// To this network.
    Destination(IpAddr, u8),
    /// The number of the protocol (linux/in.h).
    Protocol(u8),
    SourcePorts(Vec<(u16, u16)>),
    DestinationPorts(Vec<(u16, u16)>),
    /// One of these ports, as source or destination.
    EitherPorts(Vec<(u16, u16)>),
    /// Flags of TCP: those of the first, of which exactly those of the second are set.
    TcpFlags(u8, u8),
    IcmpType(u8, Option<u8>),
    /// Any of these states (bits as `ct state` has them).
    States(u32),
    /// All of these bits of conntrack's status.
    Status(u32),
    /// The port that was asked for before translation.
    AskedPorts(u16, u16),
    /// Whether it goes in the direction in which the connection began.
    IsOriginal,
    Mark {
        value: u32,
        mask: u32,
    },
    ConnMark {
        value: u32,
        mask: u32,
    },
    /// Comes in through this interface; with `+` at the end, any that begins so.
    InInterface(String),
    OutInterface(String),
    /// Its destination is of one of these types (bit n is `RTN_` n).
    DestinationType(u16),
    SourceType(u16),
    /// From an address of this range, both ends included. Those of IPv4 are the first four bytes.
    SourceRange([u8; 16], [u8; 16]),
    DestinationRange([u8; 16], [u8; 16]),
    /// Its source, or destination, is in a set of ipset: by name (or `#` and number), and who is in
    /// it, once that was read.
    InSet {
        set: String,
        is_source: bool,
        members: Option<Arc<Members>>,
    },
    /// Always.
    Anything,
    /// What is not understood, by its name.
    Unknown(String),
}

/// States of conntrack as bits (linux/netfilter/nf_conntrack_common.h).
pub(super) const STATE_NEW: u32 = 8;
pub(super) const STATE_UNTRACKED: u32 = 64;
/// Connections whose destination, or source, was translated.
pub(super) const STATUS_DNAT: u32 = 1 << 5;
pub(super) const STATUS_SNAT: u32 = 1 << 4;
/// Bits of the virtual states in xt_conntrack.h.
const XT_STATE_SNAT: u16 = 1 << 6;
const XT_STATE_DNAT: u16 = 1 << 7;

/// Inversions of `struct xt_tcp` and `xt_udp`.
const INVERTS_SOURCE_PORTS: u8 = 1;
const INVERTS_PORTS: u8 = 2;
const INVERTS_FLAGS: u8 = 4;
const INVERTS_OPTION: u8 = 8;

/// Flags of xt_conntrack.h.
const CT_STATE: u16 = 1;
const CT_STATUS: u16 = 1 << 6;
const CT_ASKED_PORT: u16 = 1 << 9;
const CT_DIRECTION: u16 = 1 << 12;
/// Says that the states are those of the old name of the match.
const CT_ALIAS: u16 = 1 << 13;

// === impl Match ===

impl Match {
    pub(super) const fn of(asks: Asks) -> Self {
        Self {
            asks,
            is_inverted: false,
        }
    }

    pub(super) const fn inverted(asks: Asks, is_inverted: bool) -> Self {
        Self { asks, is_inverted }
    }
}

/// What the kernel's structure of the match `name` asks.
pub(super) fn decode(name: &str, revision: u32, info: &[u8]) -> Vec<Match> {
    let known = match (name, revision) {
        ("comment", _) => Some(Vec::new()),
        ("tcp" | "udp", 0) => transport(name == "tcp", info),
        ("icmp" | "icmp6", 0) => icmp(info),
        ("multiport", 1) => multiport(info),
        ("conntrack", 1..=3) => conntrack(info, revision),
        ("state", 0) => u32_at(info, 0).map(|states| vec![Match::of(Asks::States(states))]),
        ("mark" | "connmark", 1) => mark(name == "mark", info),
        ("addrtype", 1) => addrtype(info),
        ("set", 1..=4) => set(info),
        ("iprange", 1) => iprange(info),
        _ => None,
    };
    known.unwrap_or_else(|| vec![Match::of(Asks::Unknown(name.to_owned()))])
}

fn transport(is_tcp: bool, info: &[u8]) -> Option<Vec<Match>> {
    let port = |at| u16_at(info, at);
    let (sources, asked) = ((port(0)?, port(2)?), (port(4)?, port(6)?));
    let inverts = *info.get(if is_tcp { 11 } else { 8 })?;
    let mut asks = Vec::new();
    if sources != (0, u16::MAX) {
        let ports = Asks::SourcePorts(vec![sources]);
        asks.push(Match::inverted(ports, inverts & INVERTS_SOURCE_PORTS != 0));
    }
    if asked != (0, u16::MAX) {
        let ports = Asks::DestinationPorts(vec![asked]);
        asks.push(Match::inverted(ports, inverts & INVERTS_PORTS != 0));
    }
    if is_tcp {
        let (option, mask, set) = (*info.get(8)?, *info.get(9)?, *info.get(10)?);
        if option != 0 || inverts & INVERTS_OPTION != 0 {
            asks.push(Match::of(Asks::Unknown("tcp option".to_owned())));
        }
        if mask != 0 {
            let flags = Asks::TcpFlags(mask, set);
            asks.push(Match::inverted(flags, inverts & INVERTS_FLAGS != 0));
        }
    }
    Some(asks)
}

/// `struct ipt_icmp`: type, first and last code, inversion. All types are 255.
fn icmp(info: &[u8]) -> Option<Vec<Match>> {
    let &[kind, first, last, inverts, ..] = info else {
        return None;
    };
    let asks = match (kind, first, last) {
        (u8::MAX, 0, u8::MAX) => Asks::Anything,
        (kind, 0, u8::MAX) => Asks::IcmpType(kind, None),
        (kind, first, last) if first == last => Asks::IcmpType(kind, Some(first)),
        _ => return None,
    };
    Some(vec![Match::inverted(asks, inverts & 1 != 0)])
}

/// `struct xt_multiport_v1`: which side, count, 15 ports, 15 flags that begin ranges, inversion.
fn multiport(info: &[u8]) -> Option<Vec<Match>> {
    let (side, count) = (*info.first()?, usize::from(*info.get(1)?));
    let mut ports = Vec::new();
    let mut at = 0;
    while at < count.min(15) {
        let first = u16_at(info, 2 + 2 * at)?;
        let mut last = first;
        if *info.get(32 + at)? != 0 {
            at += 1;
            last = u16_at(info, 2 + 2 * at)?;
        }
        ports.push((first, last));
        at += 1;
    }
    let asks = match side {
        0 => Asks::SourcePorts(ports),
        1 => Asks::DestinationPorts(ports),
        _ => Asks::EitherPorts(ports),
    };
    Some(vec![Match::inverted(asks, *info.get(47)? != 0)])
}

/// `struct xt_conntrack_mtinfo1` to `3`: eight addresses and masks, two times, a protocol, four
/// ports, then what is asked. In the first, states are one byte wide.
fn conntrack(info: &[u8], revision: u32) -> Option<Vec<Match>> {
    let port = |at| {
        let bytes = info.get(at..at + 2)?.try_into().ok()?;
        Some(if revision == 3 {
            u16::from_ne_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let (asked, inverted) = (u16_at(info, 146)?, u16_at(info, 148)?);
    let (states, status) = if revision == 1 {
        (u16::from(*info.get(150)?), u16::from(*info.get(151)?))
    } else {
        (u16_at(info, 150)?, u16_at(info, 152)?)
    };
    let mut asks = Vec::new();
    if asked & CT_STATE != 0 {
        asks.push(Match::inverted(states_of(states), inverted & CT_STATE != 0));
    }
    if asked & CT_STATUS != 0 {
        let status = Asks::Status(status.into());
        asks.push(Match::inverted(status, inverted & CT_STATUS != 0));
    }
    if asked & CT_ASKED_PORT != 0 {
        let first = port(140)?;
        let last = if revision == 3 { port(156)? } else { first };
        let ports = Asks::AskedPorts(first, last.max(first));
        asks.push(Match::inverted(ports, inverted & CT_ASKED_PORT != 0));
    }
    if asked & CT_DIRECTION != 0 {
        asks.push(Match::inverted(
            Asks::IsOriginal,
            inverted & CT_DIRECTION != 0,
        ));
    }
    let known = CT_STATE | CT_STATUS | CT_ASKED_PORT | CT_DIRECTION | CT_ALIAS;
    if asked & !known != 0 {
        asks.push(Match::of(Asks::Unknown("conntrack".to_owned())));
    }
    Some(asks)
}

/// `XT_CONNTRACK_STATE_BIT` counts as `ct state` does, but that of untracked packets; and there are
/// two states that are none.
fn states_of(states: u16) -> Asks {
    let mut bits = u32::from(states & 0x3f);
    if states & (XT_STATE_DNAT | XT_STATE_SNAT) != 0 {
        if bits != 0 {
            return Asks::Unknown("conntrack".to_owned());
        }
        let dnat = states & XT_STATE_DNAT != 0;
        return Asks::Status(if dnat { STATUS_DNAT } else { STATUS_SNAT });
    }
    if states & (1 << 8) != 0 {
        bits |= STATE_UNTRACKED;
    }
    Asks::States(bits)
}

fn mark(is_packets: bool, info: &[u8]) -> Option<Vec<Match>> {
    let (value, mask) = (u32_at(info, 0)?, u32_at(info, 4)?);
    let asks = if is_packets {
        Asks::Mark { value, mask }
    } else {
        Asks::ConnMark { value, mask }
    };
    Some(vec![Match::inverted(asks, *info.get(8)? != 0)])
}

/// `struct xt_addrtype_info_v1`: types of source and destination, flags.
fn addrtype(info: &[u8]) -> Option<Vec<Match>> {
    const INVERTS_SOURCE: u32 = 1;
    const INVERTS_DESTINATION: u32 = 2;
    let (source, destination) = (u16_at(info, 0)?, u16_at(info, 2)?);
    let flags = u32_at(info, 4)?;
    let mut asks = Vec::new();
    if source != 0 {
        let asked = Asks::SourceType(source);
        asks.push(Match::inverted(asked, flags & INVERTS_SOURCE != 0));
    }
    if destination != 0 {
        let asked = Asks::DestinationType(destination);
        asks.push(Match::inverted(asked, flags & INVERTS_DESTINATION != 0));
    }
    if flags & !(INVERTS_SOURCE | INVERTS_DESTINATION) != 0 {
        asks.push(Match::of(Asks::Unknown("addrtype".to_owned())));
    }
    Some(asks)
}

/// `struct xt_set_info`: number, dimensions, and bits: which are sources, and inversion.
fn set(info: &[u8]) -> Option<Vec<Match>> {
    const INVERTED: u8 = 1;
    const FIRST_IS_SOURCE: u8 = 2;
    let (number, dimensions, flags) = (u16_at(info, 0)?, *info.get(2)?, *info.get(3)?);
    let asks = if dimensions == 1 {
        Asks::InSet {
            set: format!("#{number}"),
            is_source: flags & FIRST_IS_SOURCE != 0,
            members: None,
        }
    } else {
        Asks::Unknown("set".to_owned())
    };
    Some(vec![Match::inverted(asks, flags & INVERTED != 0)])
}

/// `struct xt_iprange_mtinfo`: first and last source, first and last destination, flags.
fn iprange(info: &[u8]) -> Option<Vec<Match>> {
    const SOURCE: u8 = 1;
    const DESTINATION: u8 = 2;
    const INVERTS_SOURCE: u8 = 16;
    const INVERTS_DESTINATION: u8 = 32;
    let address = |at: usize| <[u8; 16]>::try_from(info.get(at..at + 16)?).ok();
    let flags = *info.get(64)?;
    let mut asks = Vec::new();
    if flags & SOURCE != 0 {
        let range = Asks::SourceRange(address(0)?, address(16)?);
        asks.push(Match::inverted(range, flags & INVERTS_SOURCE != 0));
    }
    if flags & DESTINATION != 0 {
        let range = Asks::DestinationRange(address(32)?, address(48)?);
        asks.push(Match::inverted(range, flags & INVERTS_DESTINATION != 0));
    }
    Some(asks)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_ne_bytes(bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_a_multiport_match_are_ranges_and_single_ports() {
        let mut info = [0_u8; 48];
        info[..2].copy_from_slice(&[1, 3]);
        for (at, port) in [22_u16, 8000, 8010].iter().enumerate() {
            info[2 + 2 * at..4 + 2 * at].copy_from_slice(&port.to_ne_bytes());
        }
        info[33] = 1;
        let expected = Asks::DestinationPorts(vec![(22, 22), (8000, 8010)]);
        assert_eq!(decode("multiport", 1, &info), [Match::of(expected)]);
    }

    #[test]
    fn a_match_that_is_too_short_or_unknown_cannot_be_told() {
        let unknown = |name: &str| [Match::of(Asks::Unknown(name.to_owned()))];
        assert_eq!(decode("multiport", 1, &[1, 3]), unknown("multiport"));
        assert_eq!(decode("recent", 0, &[0; 64]), unknown("recent"));
        assert_eq!(decode("comment", 0, &[0; 256]), []);
    }
}
