//! A packet that a grant lets in, as the rules after our guard see it. Pure.

use std::net::IpAddr;

use super::super::family::Family;
use super::bytes::{Byte, Symbol, bits, known, symbol};
use super::matches::{STATE_NEW, STATUS_DNAT};
use super::routes::NAME_LEN;
use super::ruleset::Load;

/// The state of a connection that was answered (linux/netfilter/nf_conntrack_common.h).
const STATE_ESTABLISHED: u32 = 2;

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Echo,
}

/// The first packet of a connection.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) family: Family,
    pub(super) kind: Kind,
    /// Whether it goes on to another machine, or a container.
    pub(super) is_led_on: bool,
    /// Whether it is not that packet but this host's answer: then `source` is where it goes.
    pub(super) is_answer: bool,
    /// Whether its destination was translated; `None` where it may have been.
    pub(super) is_translated: Option<bool>,
    /// Where it goes; `None` where any address may stand.
    pub(super) destination: Option<IpAddr>,
    /// The port that is seen, if it is not the one that is looked at.
    pub(super) port: Option<u16>,
    /// The port that was asked for before translation; `None` where any may have been.
    pub(super) asked: AskedPort,
    /// Name of the interface by which it leaves.
    pub(super) out: Option<String>,
    /// The packet's mark, 4 bytes.
    pub(super) mark: Vec<Byte>,
    /// Our bit, and whether the connection's mark has it already.
    pub(super) own: OwnMark,
    pub(super) has_bit: bool,
}

/// Our bit of the mark.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct OwnMark {
    pub(super) bit: u32,
    /// Whether answers have it, too, to what passed through a hole.
    pub(super) on_answers: bool,
}

/// What is known of the port that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AskedPort {
    /// It is the one that is looked at.
    Seen,
    Unknown,
}

/// Protocols (linux/in.h).
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// A bare SYN among the flags of TCP, and its answer.
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
/// Types of addresses (linux/rtnetlink.h).
pub(super) const RTN_UNICAST: u8 = 1;
pub(super) const RTN_LOCAL: u8 = 2;

/// Keys of `meta` (linux/netfilter/nf_tables.h).
const META_PROTOCOL: u32 = 1;
pub(super) const META_MARK: u32 = 3;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const META_PKTTYPE: u32 = 19;
/// Keys of `ct`.
const CT_STATE: u32 = 0;
const CT_DIRECTION: u32 = 1;
const CT_STATUS: u32 = 2;
pub(super) const CT_MARK: u32 = 3;
const CT_L3PROTOCOL: u32 = 7;
pub(super) const CT_ZONE: u32 = 17;
const CT_SRC: u32 = 8;
const CT_PROTOCOL: u32 = 10;
const CT_PROTO_DST: u32 = 12;
const CT_SRC_IP: u32 = 19;
const CT_SRC_IP6: u32 = 21;
/// Bases of `payload`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// What `fib` may give, and be asked.
const FIB_ADDRTYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_PRESENT: u32 = 32;

// === impl Packet ===

impl Packet {
    pub(super) const fn protocol(&self) -> u8 {
        match (self.kind, self.family) {
            (Kind::Tcp, _) => TCP,
            (Kind::Udp, _) => UDP,
            (Kind::Echo, Family::V4) => ICMP,
            (Kind::Echo, Family::V6) => ICMPV6,
        }
    }

    pub(super) const fn address_len(&self) -> usize {
        match self.family {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// What this host answers to it. Marks may be any.
    pub(super) fn answer(&self) -> Self {
        Self {
            is_answer: true,
            mark: vec![Byte::UNKNOWN; self.mark.len()],
            out: None,
            ..self.clone()
        }
    }

    /// The address at the other end.
    pub(super) fn source(&self) -> Vec<Byte> {
        symbol(Symbol::Source, self.address_len())
    }

    /// Type of an echo request, or of its answer.
    pub(super) const fn icmp_type(&self) -> u8 {
        match (self.family, self.is_answer) {
            (Family::V4, false) => 8,
            (Family::V4, true) => 0,
            (Family::V6, false) => 128,
            (Family::V6, true) => 129,
        }
    }

    /// The flags of TCP.
    pub(super) const fn flags(&self) -> u8 {
        if self.is_answer { SYN_ACK } else { SYN }
    }

    /// Its state, as a bit.
    pub(super) const fn state(&self) -> u32 {
        if self.is_answer {
            STATE_ESTABLISHED
        } else {
            STATE_NEW
        }
    }

    /// What its source is to this host.
    pub(super) const fn source_type(&self) -> u8 {
        if self.is_answer {
            RTN_LOCAL
        } else {
            RTN_UNICAST
        }
    }

    /// What its destination is to this host.
    pub(super) const fn destination_type(&self) -> u8 {
        if self.is_led_on || self.is_answer {
            RTN_UNICAST
        } else {
            RTN_LOCAL
        }
    }

    pub(super) fn conn_mark(&self) -> Vec<Byte> {
        if self.is_answer {
            return vec![Byte::UNKNOWN; 4];
        }
        bits(self.own.bit, if self.has_bit { self.own.bit } else { 0 })
    }

    /// Bits of conntrack's status that are known, and what they are.
    pub(super) const fn status(&self) -> (u32, u32) {
        // Seen an answer, and assured.
        const SEEN_OR_ASSURED: u32 = 2 | 4;
        let answered = if self.is_answer { 0 } else { SEEN_OR_ASSURED };
        match self.is_translated {
            Some(true) => (answered | STATUS_DNAT, STATUS_DNAT),
            Some(false) => (answered | STATUS_DNAT, 0),
            None => (answered, 0),
        }
    }

    /// What is loaded; empty where nothing is known.
    pub(super) fn load(&self, what: Load) -> Vec<Byte> {
        match what {
            Load::Meta(key) => self.meta(key),
            Load::Ct { is_reply: true, .. } => Vec::new(),
            Load::Ct {
                key,
                is_reply: false,
            } => self.conntrack(key),
            Load::Payload { base, offset, len } => {
                let header = match base {
                    NETWORK_HEADER => self.network_header(),
                    TRANSPORT_HEADER => self.transport_header(),
                    _ => Vec::new(),
                };
                let bytes = header.into_iter().skip(offset).take(len);
                bytes.collect()
            }
            Load::Fib { result, flags } => self.fib(result, flags),
        }
    }

    fn meta(&self, key: u32) -> Vec<Byte> {
        // The numbers of families are those of netfilter.
        let family = match self.family {
            Family::V4 => 2,
            Family::V6 => 10,
        };
        let ether_type: u16 = match self.family {
            Family::V4 => 0x0800,
            Family::V6 => 0x86dd,
        };
        match key {
            META_PROTOCOL => known(&ether_type.to_be_bytes()),
            META_MARK => self.mark.clone(),
            // It leaves by the way by which it came.
            META_OIF if self.is_answer => symbol(Symbol::InIndex, 4),
            META_OIFNAME if self.is_answer => symbol(Symbol::InName, NAME_LEN),
            META_IIF | META_IIFNAME | META_PKTTYPE if self.is_answer => Vec::new(),
            META_IIF => symbol(Symbol::InIndex, 4),
            META_IIFNAME => symbol(Symbol::InName, NAME_LEN),
            META_OIFNAME => self.out.as_ref().map_or_else(Vec::new, |name| {
                let mut bytes = known(name.as_bytes());
                bytes.resize(NAME_LEN, Byte::known(0));
                bytes
            }),
            META_NFPROTO => known(&[family]),
            META_L4PROTO => known(&[self.protocol()]),
            // To us alone.
            META_PKTTYPE => known(&[0]),
            _ => Vec::new(),
        }
    }

    fn conntrack(&self, key: u32) -> Vec<Byte> {
        match key {
            CT_STATE => known(&self.state().to_ne_bytes()),
            CT_DIRECTION => known(&[u8::from(self.is_answer)]),
            CT_STATUS => {
                let (mask, value) = self.status();
                bits(mask, value)
            }
            CT_MARK => self.conn_mark(),
            CT_L3PROTOCOL => self.meta(META_NFPROTO),
            CT_PROTOCOL => known(&[self.protocol()]),
            CT_SRC | CT_SRC_IP | CT_SRC_IP6 => symbol(Symbol::Source, self.address_len()),
            CT_PROTO_DST => match (self.kind, self.asked) {
                (Kind::Tcp | Kind::Udp, AskedPort::Seen) => symbol(Symbol::Port, 2),
                (Kind::Echo, _) | (_, AskedPort::Unknown) => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    fn network_header(&self) -> Vec<Byte> {
        let source = symbol(Symbol::Source, self.address_len());
        let destination = match self.destination {
            Some(IpAddr::V4(v4)) => known(&v4.octets()),
            Some(IpAddr::V6(v6)) => known(&v6.octets()),
            None => vec![Byte::UNKNOWN; self.address_len()],
        };
        let (protocol_at, source_at) = match self.family {
            Family::V4 => (9, 12),
            Family::V6 => (6, 8),
        };
        let mut header = vec![Byte::UNKNOWN; source_at];
        if let Some(slot) = header.get_mut(protocol_at) {
            *slot = Byte::known(self.protocol());
        }
        let (first, second) = if self.is_answer {
            (destination, source)
        } else {
            (source, destination)
        };
        header.extend(first);
        header.extend(second);
        header
    }

    fn transport_header(&self) -> Vec<Byte> {
        if self.kind == Kind::Echo {
            return known(&[self.icmp_type(), 0]);
        }
        let (here, there) = (self.seen_port(), vec![Byte::UNKNOWN; 2]);
        let mut header = if self.is_answer {
            [here, there]
        } else {
            [there, here]
        }
        .concat();
        if self.kind == Kind::Tcp {
            header.resize(13, Byte::UNKNOWN);
            header.push(Byte::known(self.flags()));
        }
        header
    }

    /// The port that is seen.
    fn seen_port(&self) -> Vec<Byte> {
        match self.port {
            Some(port) => known(&port.to_be_bytes()),
            None => symbol(Symbol::Port, 2),
        }
    }

    /// The way back to the source is taken to be the way by which it came.
    fn fib(&self, result: u32, flags: u32) -> Vec<Byte> {
        let is_source = flags & FIB_SOURCE != 0;
        match (result, is_source) {
            (FIB_ADDRTYPE, true) => known(&u32::from(self.source_type()).to_ne_bytes()),
            (FIB_ADDRTYPE, false) => known(&u32::from(self.destination_type()).to_ne_bytes()),
            _ if flags & FIB_PRESENT != 0 => known(&[1]),
            // An interface, whichever it is.
            _ => Vec::new(),
        }
    }
}
