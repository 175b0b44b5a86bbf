//! The steps that rules of our table are made of. Pure.

use spa::Protocol;

use super::super::family::Family;
use super::expression::{Ct, Expression, Header, LABELS_LEN, Meta, Register};

/// `RTN_UNICAST` (linux/rtnetlink.h): the address of some other machine.
pub(super) const UNICAST: &[u8] = &1_u32.to_ne_bytes();
/// `RTN_LOCAL`: an address of this host.
const LOCAL: &[u8] = &2_u32.to_ne_bytes();
/// Every network namespace numbers its loopback interface so.
pub(super) const LOOPBACK: &[u8] = &1_u32.to_ne_bytes();
pub(super) const NONE: &[u8] = &[0; 4];
/// Bits of `ct state`.
pub(super) const ESTABLISHED: u32 = 0x2;
pub(super) const NEW: u32 = 0x8;
pub(super) const UNTRACKED: u32 = 0x40;
/// `IPS_DST_NAT`, a bit of `ct status` (linux/netfilter/nf_conntrack_common.h).
const TRANSLATED: u32 = 0x20;
/// The label of a connection that began through a hole: bit 117. The kernel has 128 of them, of
/// which whoever names labels (connlabel.conf) takes the low ones. The connection mark would not do:
/// owners give it back to packets as a whole, and choose routes by it.
const LABEL: &[u8; LABELS_LEN] = &(1_u128 << 117).to_ne_bytes();
const NO_LABEL: &[u8; LABELS_LEN] = &[0; LABELS_LEN];
pub(super) const ORIGINAL: &[u8] = &[0];
pub(super) const REPLY: &[u8] = &[1];

pub(super) const IPPROTO_TCP: &[u8] = &[6];
pub(super) const IPPROTO_UDP: &[u8] = &[17];
pub(super) const IPPROTO_ICMP: &[u8] = &[1];
pub(super) const IPPROTO_ICMPV6: &[u8] = &[58];
/// Types of echo requests.
pub(super) const ECHO_V4: &[u8] = &[8];
pub(super) const ECHO_V6: &[u8] = &[128];

pub(super) const R0: Register = Register(0);

/// How many wide rules may overlap: the kernel's intervals of one set may not.
pub(super) const LAYERS: usize = 4;

/// A rule, and the chain that it is appended to.
pub(super) type RuleOf = (&'static str, Vec<Expression<'static>>);

/// Where a header has a port: the source's, or the destination's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Port {
    Source,
    Destination,
    /// The destination's, before it was translated.
    Asked,
}

/// Which address of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Address {
    Source,
    Destination,
}

/// The loopback interface.
pub(super) const fn interface(which: Meta) -> [Expression<'static>; 2] {
    [Expression::Meta(which, R0), Expression::Is(R0, LOOPBACK)]
}

pub(super) const fn protocol(number: &'static [u8]) -> [Expression<'static>; 2] {
    [
        Expression::Meta(Meta::L4Proto, R0),
        Expression::Is(R0, number),
    ]
}

pub(super) const fn family(family: Family) -> [Expression<'static>; 2] {
    let number: &[u8] = match family {
        Family::V4 => &[2],
        Family::V6 => &[10],
    };
    [
        Expression::Meta(Meta::NfProto, R0),
        Expression::Is(R0, number),
    ]
}

/// An echo request.
pub(super) fn echo(of: Family) -> Vec<Expression<'static>> {
    let (number, kind) = match of {
        Family::V4 => (IPPROTO_ICMP, ECHO_V4),
        Family::V6 => (IPPROTO_ICMPV6, ECHO_V6),
    };
    let kind = [transport(0, 1, R0), Expression::Is(R0, kind)];
    [&family(of)[..], &protocol(number), &kind].concat()
}

pub(super) const fn transport(offset: u32, len: u32, to: Register) -> Expression<'static> {
    Expression::Payload {
        base: Header::Transport,
        offset,
        len,
        to,
    }
}

/// A TCP segment that begins a connection, or one that does not.
pub(super) fn begins(does: bool) -> Vec<Expression<'static>> {
    /// SYN alone of FIN, SYN, RST and ACK.
    const FLAGS: [u8; 4] = [0x17, 0, 0, 0];
    const SYN: &[u8] = &[0x02];
    let flags = [
        transport(13, 1, R0),
        Expression::Bits {
            register: R0,
            len: 1,
            mask: FLAGS,
            xor: [0; 4],
        },
        if does {
            Expression::Is(R0, SYN)
        } else {
            Expression::IsNot(R0, SYN)
        },
    ];
    [&protocol(IPPROTO_TCP)[..], &flags].concat()
}

/// What connection tracking says of a packet.
pub(super) const fn state(bit: u32) -> [Expression<'static>; 3] {
    [
        Expression::Ct(Ct::State, R0),
        Expression::Bits {
            register: R0,
            len: 4,
            mask: bit.to_ne_bytes(),
            xor: [0; 4],
        },
        Expression::IsNot(R0, NONE),
    ]
}

/// Of a connection whose destination is another one than was asked for.
pub(super) const fn translated() -> [Expression<'static>; 3] {
    /// `IPS_DST_NAT` (linux/netfilter/nf_conntrack_common.h).
    const DST_NAT: u32 = 0x20;
    [
        Expression::Ct(Ct::Status, R0),
        Expression::Bits {
            register: R0,
            len: 4,
            mask: DST_NAT.to_ne_bytes(),
            xor: [0; 4],
        },
        Expression::IsNot(R0, NONE),
    ]
}

pub(super) const fn direction(which: &'static [u8]) -> [Expression<'static>; 2] {
    [Expression::Ct(Ct::Direction, R0), Expression::Is(R0, which)]
}

/// Of a connection without our label.
pub(super) const fn unlabelled() -> [Expression<'static>; 3] {
    [
        Expression::Ct(Ct::Labels, R0),
        Expression::Keep(R0, LABEL),
        Expression::Is(R0, NO_LABEL),
    ]
}

/// Of a connection with our label.
pub(super) const fn labelled() -> [Expression<'static>; 3] {
    let [load, keep, _] = unlabelled();
    [load, keep, Expression::IsNot(R0, NO_LABEL)]
}

/// Gives the connection our label; it keeps those that it has.
pub(super) const fn label_connection() -> [Expression<'static>; 2] {
    [
        Expression::Load(R0, LABEL),
        Expression::SetCt(Ct::Labels, R0),
    ]
}

const fn only(bits: u32) -> Expression<'static> {
    Expression::Bits {
        register: R0,
        len: 4,
        mask: bits.to_ne_bytes(),
        xor: [0; 4],
    }
}

/// A packet with our mark.
pub(super) const fn packet_marked(mark: u32) -> [Expression<'static>; 3] {
    [
        Expression::Meta(Meta::Mark, R0),
        only(mark),
        Expression::IsNot(R0, NONE),
    ]
}

/// Takes our mark from a packet.
pub(super) const fn clear_mark(mark: u32) -> [Expression<'static>; 3] {
    [
        Expression::Meta(Meta::Mark, R0),
        only(!mark),
        Expression::SetMeta(Meta::Mark, R0),
    ]
}

/// Of a connection whose destination is as it was asked for.
pub(super) const fn untranslated() -> [Expression<'static>; 3] {
    [
        Expression::Ct(Ct::Status, R0),
        only(TRANSLATED),
        Expression::Is(R0, NONE),
    ]
}

/// From an address of some other machine.
pub(super) const fn from_others() -> [Expression<'static>; 2] {
    [Expression::SourceType(R0), Expression::IsNot(R0, LOCAL)]
}

/// For an address of some other machine.
pub(super) const fn for_others() -> [Expression<'static>; 2] {
    [Expression::AddressType(R0), Expression::Is(R0, UNICAST)]
}

pub(super) const fn for_us() -> [Expression<'static>; 2] {
    [Expression::AddressType(R0), Expression::IsNot(R0, UNICAST)]
}

/// Loads protocol and port into two registers.
pub(super) const fn service(at: Register, port: Port) -> [Expression<'static>; 2] {
    let next = Register(at.0 + 1);
    let port = match port {
        Port::Source => transport(0, 2, next),
        Port::Destination => transport(2, 2, next),
        Port::Asked => Expression::CtOriginal(Ct::DestinationPort, next),
    };
    [Expression::Meta(Meta::L4Proto, at), port]
}

/// Loads an address; and the register behind it.
pub(super) const fn load_address(
    of: Family,
    which: Address,
    to: Register,
) -> (Expression<'static>, Register) {
    // `struct iphdr`, `struct ipv6hdr`.
    let (offset, len) = match (of, which) {
        (Family::V4, Address::Source) => (12, 4),
        (Family::V4, Address::Destination) => (16, 4),
        (Family::V6, Address::Source) => (8, 16),
        (Family::V6, Address::Destination) => (24, 16),
    };
    let load = Expression::Payload {
        base: Header::Network,
        offset,
        len,
        to,
    };
    (load, Register(to.0 + len / 4))
}

const fn with_bit(mark: u32) -> Expression<'static> {
    Expression::Bits {
        register: R0,
        len: 4,
        mask: (!mark).to_ne_bytes(),
        xor: mark.to_ne_bytes(),
    }
}

pub(super) const fn mark_packet(mark: u32) -> [Expression<'static>; 3] {
    [
        Expression::Meta(Meta::Mark, R0),
        with_bit(mark),
        Expression::SetMeta(Meta::Mark, R0),
    ]
}

pub(super) const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// Protocol and type of an echo request.
pub(super) const fn echo_of(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (1, 8),
        Family::V6 => (58, 128),
    }
}
