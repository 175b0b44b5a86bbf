//! What a rule of nf_tables is made of, as values, and how they are written. Pure.
//! Numbers: linux/netfilter/nf_tables.h.
//!
//! Registers are counted in units of four bytes, so that the fields of a key can stand one behind
//! the other: an IPv4 address takes one, an IPv6 address four.

use super::super::family::Family;
use super::super::numbers::nf_tables as nf;
use crate::netlink::Requests;

/// A register of four bytes, from 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Register(pub(super) u32);

/// One step of a rule. A step that finds no match ends its rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expression<'a> {
    /// Loads a property of the packet.
    Meta(Meta, Register),
    SetMeta(Meta, Register),
    /// Loads what connection tracking knows of it.
    Ct(Ct, Register),
    SetCt(Ct, Register),
    /// Loads what connection tracking knows of the connection's first packet.
    CtOriginal(Ct, Register),
    /// Loads what kind of address the packet is for.
    AddressType(Register),
    /// Loads what kind of address the packet is from.
    SourceType(Register),
    /// Loads bytes of a header.
    Payload {
        base: Header,
        offset: u32,
        len: u32,
        to: Register,
    },
    /// Changes a register of four bytes: `register & mask ^ xor`.
    Bits {
        register: Register,
        len: u32,
        mask: [u8; 4],
        xor: [u8; 4],
    },
    /// Keeps these bits of registers, from this one on.
    Keep(Register, &'a [u8]),
    /// Writes bytes to registers, from this one on.
    Load(Register, &'a [u8]),
    /// Compares.
    Is(Register, &'a [u8]),
    IsNot(Register, &'a [u8]),
    /// Looks for the key that begins in the register.
    In(&'a str, Register),
    NotIn(&'a str, Register),
    /// Loads what a map has for the key that begins in the first register, into the second.
    Find(&'a str, Register, Register),
    Translate(Translation),
    Verdict(Verdict<'a>),
}

/// How addresses of a connection are translated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Translation {
    /// To this address, and this port; without it, at the port that was asked for.
    Destination {
        family: Family,
        address: Register,
        port: Option<Register>,
    },
    /// To this port of the host itself.
    Here {
        port: Register,
    },
    Source {
        family: Family,
        address: Register,
    },
    Masquerade,
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict<'a> {
    Accept,
    Drop,
    /// On to another chain, and not back.
    Goto(&'a str),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meta {
    Mark,
    Iif,
    Oif,
    NfProto,
    L4Proto,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ct {
    State,
    Direction,
    /// What became of its addresses, in bits.
    Status,
    Labels,
    DestinationPort,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Header {
    Network,
    Transport,
}

/// Bytes of the labels of a connection (`NF_CT_LABELS_MAX_SIZE`,
/// linux/netfilter/xt_connlabel.h), which also are as many as registers take at once.
pub(super) const LABELS_LEN: usize = 16;

const META_DREG: u16 = 1;
const META_KEY: u16 = 2;
const META_SREG: u16 = 3;
const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const CT_DIRECTION: u16 = 3;
const CT_SREG: u16 = 4;
/// `IP_CT_DIR_ORIGINAL`.
const ORIGINAL: u8 = 0;
const NAT_TYPE: u16 = 1;
const NAT_FAMILY: u16 = 2;
const NAT_REG_ADDR_MIN: u16 = 3;
const NAT_REG_PROTO_MIN: u16 = 5;
const NAT_SOURCE: u32 = 0;
const NAT_DESTINATION: u32 = 1;
const REDIR_REG_PROTO_MIN: u16 = 1;
const FIB_DREG: u16 = 1;
const FIB_RESULT: u16 = 2;
const FIB_FLAGS: u16 = 3;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_F_SADDR: u32 = 1;
const FIB_F_DADDR: u32 = 2;
const PAYLOAD_DREG: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const CMP_SREG: u16 = 1;
const CMP_OP: u16 = 2;
const CMP_DATA: u16 = 3;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const LOOKUP_SET: u16 = 1;
const LOOKUP_SREG: u16 = 2;
const LOOKUP_DREG: u16 = 3;
const LOOKUP_FLAGS: u16 = 5;
const LOOKUP_F_INV: u32 = 1;
const IMMEDIATE_DREG: u16 = 1;

/// `NFT_REG32_00`.
const REG32_FIRST: u32 = 8;
const REG_VERDICT: u32 = 0;

/// Name and data of one expression, inside the nest of a list's item.
pub(super) fn write(requests: &mut Requests, expression: &Expression<'_>) {
    requests.text(nf::EXPR_NAME, name(expression));
    let data = requests.nest(nf::EXPR_DATA);
    match *expression {
        Expression::Meta(key, to) => {
            number(requests, META_KEY, key.number());
            register(requests, META_DREG, to);
        }
        Expression::SetMeta(key, from) => {
            number(requests, META_KEY, key.number());
            register(requests, META_SREG, from);
        }
        Expression::Ct(key, to) => {
            number(requests, CT_KEY, key.number());
            register(requests, CT_DREG, to);
        }
        Expression::SetCt(key, from) => {
            number(requests, CT_KEY, key.number());
            register(requests, CT_SREG, from);
        }
        Expression::CtOriginal(key, to) => {
            number(requests, CT_KEY, key.number());
            register(requests, CT_DREG, to);
            requests.attribute(CT_DIRECTION, &[ORIGINAL]);
        }
        Expression::AddressType(to) => address_type(requests, FIB_F_DADDR, to),
        Expression::SourceType(to) => address_type(requests, FIB_F_SADDR, to),
        Expression::Payload {
            base,
            offset,
            len,
            to,
        } => {
            register(requests, PAYLOAD_DREG, to);
            number(requests, PAYLOAD_BASE, base.number());
            number(requests, PAYLOAD_OFFSET, offset);
            number(requests, PAYLOAD_LEN, len);
        }
        Expression::Bits {
            register: changed,
            len,
            mask,
            xor,
        } => {
            register(requests, BITWISE_SREG, changed);
            register(requests, BITWISE_DREG, changed);
            number(requests, BITWISE_LEN, len);
            let len = len as usize;
            value(requests, BITWISE_MASK, mask.get(..len).unwrap_or(&mask));
            value(requests, BITWISE_XOR, xor.get(..len).unwrap_or(&xor));
        }
        Expression::Keep(changed, mask) => keep(requests, changed, mask),
        Expression::Load(to, bytes) => {
            register(requests, IMMEDIATE_DREG, to);
            value(requests, nf::IMMEDIATE_DATA, bytes);
        }
        Expression::Is(what, with) => compare(requests, what, CMP_EQ, with),
        Expression::IsNot(what, with) => compare(requests, what, CMP_NEQ, with),
        Expression::In(set, key) => look_up(requests, set, key, 0),
        Expression::NotIn(set, key) => look_up(requests, set, key, LOOKUP_F_INV),
        Expression::Find(set, key, to) => {
            look_up(requests, set, key, 0);
            register(requests, LOOKUP_DREG, to);
        }
        Expression::Translate(translation) => translate(requests, translation),
        Expression::Verdict(verdict) => decide(requests, verdict),
    }
    requests.end_nest(data);
}

const fn name(expression: &Expression<'_>) -> &'static str {
    match expression {
        Expression::Meta(..) | Expression::SetMeta(..) => "meta",
        Expression::Ct(..) | Expression::SetCt(..) | Expression::CtOriginal(..) => "ct",
        Expression::AddressType(_) | Expression::SourceType(_) => "fib",
        Expression::Payload { .. } => "payload",
        Expression::Bits { .. } | Expression::Keep(..) => "bitwise",
        Expression::Is(..) | Expression::IsNot(..) => "cmp",
        Expression::In(..) | Expression::NotIn(..) | Expression::Find(..) => "lookup",
        Expression::Translate(translation) => translation.name(),
        Expression::Load(..) | Expression::Verdict(_) => "immediate",
    }
}

fn address_type(requests: &mut Requests, of: u32, to: Register) {
    register(requests, FIB_DREG, to);
    number(requests, FIB_RESULT, FIB_RESULT_ADDRTYPE);
    number(requests, FIB_FLAGS, of);
}

fn keep(requests: &mut Requests, changed: Register, mask: &[u8]) {
    const NOTHING: [u8; LABELS_LEN] = [0; LABELS_LEN];
    register(requests, BITWISE_SREG, changed);
    register(requests, BITWISE_DREG, changed);
    number(
        requests,
        BITWISE_LEN,
        u32::try_from(mask.len()).unwrap_or_default(),
    );
    value(requests, BITWISE_MASK, mask);
    let nothing = NOTHING.get(..mask.len()).unwrap_or_default();
    value(requests, BITWISE_XOR, nothing);
}

fn compare(requests: &mut Requests, what: Register, operator: u32, with: &[u8]) {
    register(requests, CMP_SREG, what);
    number(requests, CMP_OP, operator);
    value(requests, CMP_DATA, with);
}

fn look_up(requests: &mut Requests, set: &str, key: Register, flags: u32) {
    requests.text(LOOKUP_SET, set);
    register(requests, LOOKUP_SREG, key);
    number(requests, LOOKUP_FLAGS, flags);
}

fn translate(requests: &mut Requests, translation: Translation) {
    let mut to_address = |kind, family, address| {
        let family: u32 = match family {
            Family::V4 => 2,
            Family::V6 => 10,
        };
        number(requests, NAT_TYPE, kind);
        number(requests, NAT_FAMILY, family);
        register(requests, NAT_REG_ADDR_MIN, address);
    };
    match translation {
        Translation::Destination {
            family,
            address,
            port,
        } => {
            to_address(NAT_DESTINATION, family, address);
            if let Some(port) = port {
                register(requests, NAT_REG_PROTO_MIN, port);
            }
        }
        Translation::Source { family, address } => to_address(NAT_SOURCE, family, address),
        Translation::Here { port } => register(requests, REDIR_REG_PROTO_MIN, port),
        Translation::Masquerade => {}
    }
}

fn decide(requests: &mut Requests, verdict: Verdict<'_>) {
    number(requests, IMMEDIATE_DREG, REG_VERDICT);
    let data = requests.nest(nf::IMMEDIATE_DATA);
    let inner = requests.nest(nf::DATA_VERDICT);
    let (code, chain) = match verdict {
        Verdict::Accept => (nf::ACCEPT, None),
        Verdict::Drop => (nf::DROP, None),
        Verdict::Goto(chain) => (nf::GOTO, Some(chain)),
    };
    requests.attribute(nf::VERDICT_CODE, &code.to_be_bytes());
    if let Some(chain) = chain {
        requests.text(nf::VERDICT_CHAIN, chain);
    }
    requests.end_nest(inner);
    requests.end_nest(data);
}

fn number(requests: &mut Requests, kind: u16, number: u32) {
    requests.attribute(kind, &number.to_be_bytes());
}

fn register(requests: &mut Requests, kind: u16, register: Register) {
    number(requests, kind, REG32_FIRST + register.0);
}

fn value(requests: &mut Requests, kind: u16, bytes: &[u8]) {
    let data = requests.nest(kind);
    requests.attribute(nf::DATA_VALUE, bytes);
    requests.end_nest(data);
}

// === impl Translation ===

impl Translation {
    const fn name(self) -> &'static str {
        match self {
            Self::Destination { .. } | Self::Source { .. } => "nat",
            Self::Here { .. } => "redir",
            Self::Masquerade => "masq",
        }
    }
}

// === impl Meta, Ct, Header ===

impl Meta {
    /// `enum nft_meta_keys`.
    const fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::Iif => 4,
            Self::Oif => 5,
            Self::NfProto => 15,
            Self::L4Proto => 16,
        }
    }
}

impl Ct {
    /// `enum nft_ct_keys`.
    const fn number(self) -> u32 {
        match self {
            Self::State => 0,
            Self::Direction => 1,
            Self::Status => 2,
            Self::Labels => 13,
            Self::DestinationPort => 12,
        }
    }
}

impl Header {
    /// `enum nft_payload_bases`.
    const fn number(self) -> u32 {
        match self {
            Self::Network => 1,
            Self::Transport => 2,
        }
    }
}
