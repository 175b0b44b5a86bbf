//! From a frame to the facts of the SYN in it, as p0f reads them.

use std::net::IpAddr;

use etherparse::{IpSlice, TcpSlice, ip_number};
use policy::{OptionKinds, Quirks, Syn, kinds};

use crate::datagram::{LinkType, check_source, ip_packet};

/// A SYN, with what its header says of its ends; anybody can forge the source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) syn: Syn,
}

/// Bits of TCP's flags (RFC 9293) and of its byte 12.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE_CWR: u8 = 0xc0;
const NS: u8 = 0x01;
/// The longest window scale that means anything (RFC 7323).
const SCALE_MAX: u8 = 14;

/// Reads the SYN of a frame; `None` where it holds none. What it never does is panic.
#[must_use]
pub fn syn_of(frame: &[u8], link: LinkType) -> Option<(IpAddr, Syn)> {
    seen(frame, link).map(|seen| (seen.source, seen.syn))
}

/// The same with its ends.
pub(super) fn seen(frame: &[u8], link: LinkType) -> Option<Seen> {
    let packet = ip_packet(frame, link).ok()?;
    let ip = IpSlice::from_slice(packet).ok()?;
    if ip.is_fragmenting_payload() {
        return None;
    }
    check_source(ip.source_addr()).ok()?;
    let (mut syn, bytes) = match &ip {
        IpSlice::Ipv4(v4) => of_v4(v4)?,
        IpSlice::Ipv6(v6) => of_v6(v6)?,
    };
    let tcp = TcpSlice::from_slice(bytes).ok()?;
    of_tcp(&mut syn, &tcp, bytes)?;
    Some(Seen {
        source: ip.source_addr().to_canonical(),
        destination: ip.destination_addr().to_canonical(),
        syn,
    })
}

fn nothing(is_v6: bool, ttl: u8, headers_len: usize) -> Option<Syn> {
    Some(Syn {
        is_v6,
        ttl,
        ip_options_len: 0,
        mss: 0,
        window: 0,
        scale: 0,
        options: OptionKinds::default(),
        eol_pad: 0,
        quirks: Quirks::default(),
        has_payload: false,
        has_timestamp: false,
        headers_len: u16::try_from(headers_len).ok()?,
    })
}

fn of_v4<'s>(ip: &etherparse::Ipv4Slice<'s>) -> Option<(Syn, &'s [u8])> {
    let (header, payload) = (ip.header(), ip.payload());
    if payload.ip_number != ip_number::TCP || !ip.extensions().is_empty() {
        return None;
    }
    let header_len = header.slice().len();
    let mut syn = nothing(false, header.ttl(), header_len)?;
    syn.ip_options_len = u8::try_from(header.options().len()).ok()?;
    let flags = header.slice().get(6).copied().unwrap_or_default();
    let (df, id) = (header.dont_fragment(), header.identification());
    let quirks = &mut syn.quirks;
    quirks.add_if(df, Quirks::DF);
    quirks.add_if(df && id != 0, Quirks::ID_PLUS);
    quirks.add_if(!df && id == 0, Quirks::ID_MINUS);
    quirks.add_if(flags & 0x80 != 0, Quirks::ZERO_PLUS);
    quirks.add_if(header.ecn().value() != 0, Quirks::ECN);
    Some((syn, payload.payload))
}

/// Extension headers are not looked behind.
fn of_v6<'s>(ip: &etherparse::Ipv6Slice<'s>) -> Option<(Syn, &'s [u8])> {
    let (header, payload) = (ip.header(), ip.payload());
    if header.next_header() != ip_number::TCP {
        return None;
    }
    let mut syn = nothing(true, header.hop_limit(), header.slice().len())?;
    let quirks = &mut syn.quirks;
    quirks.add_if(header.flow_label().value() != 0, Quirks::FLOW);
    quirks.add_if(header.traffic_class() & 0x03 != 0, Quirks::ECN);
    Some((syn, payload.payload))
}

fn of_tcp(syn: &mut Syn, tcp: &TcpSlice<'_>, bytes: &[u8]) -> Option<()> {
    let (offset_and_ns, flags) = (*bytes.get(12)?, *bytes.get(13)?);
    if flags & (FIN | SYN | RST | ACK) != SYN {
        return None;
    }
    syn.headers_len += u16::try_from(tcp.header_slice().len()).ok()?;
    syn.window = tcp.window_size();
    syn.has_payload = !tcp.payload().is_empty();
    let quirks = &mut syn.quirks;
    quirks.add_if(flags & ECE_CWR != 0 || offset_and_ns & NS != 0, Quirks::ECN);
    quirks.add_if(tcp.sequence_number() == 0, Quirks::SEQ_MINUS);
    // As p0f sees it, which looks at one bit of the number; signatures are made with p0f.
    let acknowledged = tcp.acknowledgment_number() & 1 << 24;
    quirks.add_if(acknowledged != 0, Quirks::ACK_PLUS);
    let is_urgent = flags & URG != 0;
    quirks.add_if(is_urgent, Quirks::URGF_PLUS);
    quirks.add_if(!is_urgent && tcp.urgent_pointer() != 0, Quirks::UPTR_PLUS);
    quirks.add_if(flags & PSH != 0, Quirks::PUSHF_PLUS);
    if options(syn, tcp.options()).is_none() {
        syn.quirks.add_if(true, Quirks::BAD);
    }
    Some(())
}

/// Reads the options; `None` where they cannot be read to their end.
fn options(syn: &mut Syn, mut rest: &[u8]) -> Option<()> {
    while let Some((&kind, behind)) = rest.split_first() {
        if !syn.options.push(kind) {
            return None;
        }
        rest = match kind {
            kinds::EOL => {
                syn.eol_pad = u8::try_from(behind.len()).ok()?;
                // Nor does p0f look at the last byte.
                let looked_at = behind.split_last().map_or(behind, |(_, others)| others);
                let is_more = looked_at.iter().any(|byte| *byte != 0);
                syn.quirks.add_if(is_more, Quirks::OPT_PLUS);
                return Some(());
            }
            kinds::NOP => behind,
            kinds::MSS | kinds::SCALE | kinds::SACK_OK | kinds::TIMESTAMP => {
                fixed(syn, kind, behind)?
            }
            kinds::SACK => by_length(behind, 10..=34)?,
            _ => by_length(behind, 2..=40)?,
        };
    }
    Some(())
}

/// Reads an option of a length that everybody knows; one that says another length is taken to have
/// that one. Returns what is behind it.
fn fixed<'b>(syn: &mut Syn, kind: u8, behind: &'b [u8]) -> Option<&'b [u8]> {
    let value_len = match kind {
        kinds::MSS => 2,
        kinds::SCALE => 1,
        kinds::TIMESTAMP => 8,
        _ => 0,
    };
    let (&length, value) = behind.split_first()?;
    let (value, rest) = value.split_at_checked(value_len)?;
    syn.quirks
        .add_if(usize::from(length) != value_len + 2, Quirks::BAD);
    match value {
        &[high, low] => syn.mss = u16::from_be_bytes([high, low]),
        &[scale] => {
            syn.scale = scale;
            syn.quirks.add_if(scale > SCALE_MAX, Quirks::EXWS);
        }
        stamps if stamps.len() == 8 => {
            let (own, peers) = stamps.split_at(4);
            syn.has_timestamp = own.iter().any(|byte| *byte != 0);
            syn.quirks.add_if(!syn.has_timestamp, Quirks::TS1_MINUS);
            syn.quirks
                .add_if(peers.iter().any(|byte| *byte != 0), Quirks::TS2_PLUS);
        }
        _ => {}
    }
    Some(rest)
}

/// What is behind an option that says its own length.
fn by_length(behind: &[u8], lengths: std::ops::RangeInclusive<u8>) -> Option<&[u8]> {
    let length = *behind.first()?;
    if !lengths.contains(&length) {
        return None;
    }
    // The length counts the kind, too.
    behind.get(usize::from(length) - 1..)
}
