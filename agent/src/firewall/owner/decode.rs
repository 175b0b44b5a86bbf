//! A rule as the kernel gives it, as steps. Pure; numbers: linux/netfilter/nf_tables.h.

use std::net::IpAddr;

pub(super) use super::super::changes::text;
use super::super::nftables::line::COMMENT;
use super::super::numbers::nf_tables as nf;
use super::matches;
use super::packet::{CT_MARK, CT_ZONE, META_MARK};
use super::ruleset::{Aside, At, Comparison, Keeping, Load, Rule, Step, Verdict};
use crate::netlink::Attributes;

/// Flags of linux/netfilter/nf_nat.h.
const NAT_ADDRESS: u32 = 1;
const NAT_PORT: u32 = 2;

/// A rule. What is not understood stands in it as unknown.
pub(super) fn rule(said: Attributes<'_>) -> Rule {
    let expressions = said.find(nf::RULE_EXPRESSIONS).unwrap_or_default();
    let steps = Attributes::inside(expressions).map(|(_, expression)| {
        let expression = Attributes::inside(expression);
        let name = expression.find(nf::EXPR_NAME).map(text).unwrap_or_default();
        let data = Attributes::inside(expression.find(nf::EXPR_DATA).unwrap_or_default());
        step(name, data)
    });
    Rule {
        handle: said
            .find(nf::RULE_HANDLE)
            .and_then(be64)
            .unwrap_or_default(),
        steps: steps.flatten().collect(),
        is_ours: said.find(nf::RULE_USERDATA).is_some_and(has_our_comment),
        text: None,
    }
}

/// nft keeps the comment as a kind (0), a length and the text.
fn has_our_comment(data: &[u8]) -> bool {
    let [0, _, text @ ..] = data else {
        return false;
    };
    text.starts_with(COMMENT)
}

/// A number in network byte order.
pub(super) fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

pub(super) fn be64(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// The value inside an attribute of data.
pub(super) fn value(data: &[u8]) -> Option<&[u8]> {
    Attributes::inside(data).find(nf::DATA_VALUE)
}

/// The verdict inside an attribute of data.
pub(super) fn verdict(data: &[u8]) -> Option<Verdict> {
    let verdict = Attributes::inside(Attributes::inside(data).find(nf::DATA_VERDICT)?);
    let chain = || {
        verdict
            .find(nf::VERDICT_CHAIN)
            .map(text)
            .unwrap_or_default()
    };
    // The upper half of netfilter's own may carry a queue's number.
    let code = be32(verdict.find(nf::VERDICT_CODE)?)?.cast_signed();
    Some(match code {
        nf::CONTINUE => Verdict::Continue,
        nf::JUMP => Verdict::Jump(chain().to_owned()),
        nf::GOTO => Verdict::Goto(chain().to_owned()),
        nf::RETURN => Verdict::Return,
        _ => match code & 0xff {
            nf::DROP => Verdict::Drop,
            nf::ACCEPT => Verdict::Accept,
            _ => Verdict::Queue,
        },
    })
}

fn step(name: &str, data: Attributes<'_>) -> Vec<Step> {
    let number = |kind| data.find(kind).and_then(be32);
    let one = match name {
        "immediate" => immediate(data),
        "cmp" => compare(data),
        "range" => range(data),
        "lookup" => lookup(data),
        "payload" if number(1).is_some() => payload(data),
        "meta" => meta(data),
        "ct" => conntrack(data),
        "fib" => load(data, 1, |of| {
            Some(Load::Fib {
                result: of.find(2).and_then(be32)?,
                flags: of.find(3).and_then(be32)?,
            })
        }),
        "bitwise" => bitwise(data),
        "byteorder" => byteorder(data),
        "nat" => nat(data),
        "redir" => Some(Step::Lead {
            address: None,
            port: number(1).and_then(register),
        }),
        "reject" => Some(Step::Verdict(Verdict::Reject)),
        "queue" => Some(Step::Verdict(Verdict::Queue)),
        "notrack" => Some(Step::Aside(Aside::Untracked)),
        "counter" | "log" | "dynset" | "objref" | "last" | "masq" | "payload" | "flow_offload"
        | "dup" => Some(Step::Pass(name.to_owned())),
        "match" => return matches_of(data),
        "target" => Some(target(data)),
        "tproxy" | "fwd" | "synproxy" => Some(Step::UnknownVerdict(name.to_owned())),
        _ => None,
    };
    let unknown = || {
        // Whatever it loads is not known.
        let to = number(1).and_then(register);
        let forget = to.map(|to| Step::Forget { to, len: 16 });
        let mut steps = vec![Step::Unknown(name.to_owned())];
        steps.extend(forget);
        steps
    };
    one.map_or_else(unknown, |step| vec![step])
}

/// Where a register begins: four of 16 bytes, or sixteen of 4, which are the same.
fn register(number: u32) -> Option<At> {
    let number = usize::try_from(number).ok()?;
    match number {
        1..=4 => Some((number - 1) * 16),
        8..=23 => Some((number - 8) * 4),
        _ => None,
    }
}

fn register_of(data: Attributes<'_>, kind: u16) -> Option<At> {
    register(be32(data.find(kind)?)?)
}

fn load(
    data: Attributes<'_>,
    to: u16,
    what: impl FnOnce(Attributes<'_>) -> Option<Load>,
) -> Option<Step> {
    Some(Step::Load {
        to: register_of(data, to)?,
        what: what(data)?,
    })
}

fn immediate(data: Attributes<'_>) -> Option<Step> {
    let said = data.find(2)?;
    if let Some(verdict) = verdict(said) {
        return Some(Step::Verdict(verdict));
    }
    Some(Step::Immediate {
        to: register_of(data, 1)?,
        bytes: value(said)?.to_vec(),
    })
}

fn compare(data: Attributes<'_>) -> Option<Step> {
    let comparison = match be32(data.find(2)?)? {
        0 => Comparison::Equal,
        1 => Comparison::NotEqual,
        2 => Comparison::Less,
        3 => Comparison::LessOrEqual,
        4 => Comparison::Greater,
        5 => Comparison::GreaterOrEqual,
        _ => return None,
    };
    Some(Step::Compare {
        from: register_of(data, 1)?,
        comparison,
        with: value(data.find(3)?)?.to_vec(),
    })
}

fn range(data: Attributes<'_>) -> Option<Step> {
    Some(Step::Range {
        from: register_of(data, 1)?,
        is_outside: be32(data.find(2)?)? == 1,
        low: value(data.find(3)?)?.to_vec(),
        high: value(data.find(4)?)?.to_vec(),
    })
}

fn lookup(data: Attributes<'_>) -> Option<Step> {
    let to = data.find(3).and_then(be32);
    Some(Step::Lookup {
        from: register_of(data, 2)?,
        set: text(data.find(1)?).to_owned(),
        is_outside: data.find(5).and_then(be32).unwrap_or_default() & 1 != 0,
        // Register 0 is the verdict.
        gives_verdict: to == Some(0),
    })
}

fn payload(data: Attributes<'_>) -> Option<Step> {
    let size = |kind| usize::try_from(be32(data.find(kind)?)?).ok();
    load(data, 1, |data| {
        Some(Load::Payload {
            base: be32(data.find(2)?)?,
            offset: size(3)?,
            len: size(4)?,
        })
    })
}

fn meta(data: Attributes<'_>) -> Option<Step> {
    let key = be32(data.find(2)?)?;
    match register_of(data, 3) {
        Some(from) if key == META_MARK => Some(Step::SetMark { from }),
        Some(_) => Some(Step::Pass("meta set".to_owned())),
        None => load(data, 1, |_| Some(Load::Meta(key))),
    }
}

fn conntrack(data: Attributes<'_>) -> Option<Step> {
    let key = be32(data.find(2)?)?;
    if data.find(4).is_some() {
        return Some(match key {
            CT_MARK => Step::Aside(Aside::SetConnectionMark),
            CT_ZONE => Step::Aside(Aside::SetZone),
            _ => Step::Pass("ct set".to_owned()),
        });
    }
    let is_reply = data.find(3).and_then(|direction| direction.first());
    let is_reply = is_reply.is_some_and(|direction| *direction == 1);
    load(data, 1, |_| Some(Load::Ct { key, is_reply }))
}

fn bitwise(data: Attributes<'_>) -> Option<Step> {
    let is_shift = data.find(6).and_then(be32).is_some_and(|how| how != 0);
    if is_shift {
        return None;
    }
    Some(Step::Mask {
        from: register_of(data, 1)?,
        to: register_of(data, 2)?,
        mask: value(data.find(4)?)?.to_vec(),
        xor: value(data.find(5)?)?.to_vec(),
    })
}

fn byteorder(data: Attributes<'_>) -> Option<Step> {
    let number = |kind| usize::try_from(be32(data.find(kind)?)?).ok();
    Some(Step::Swap {
        from: register_of(data, 1)?,
        to: register_of(data, 2)?,
        len: number(4)?,
        size: number(5)?,
    })
}

fn nat(data: Attributes<'_>) -> Option<Step> {
    const DESTINATION: u32 = 1;
    if be32(data.find(1)?)? != DESTINATION {
        return Some(Step::Pass("snat".to_owned()));
    }
    Some(Step::Lead {
        address: register_of(data, 3),
        port: register_of(data, 5),
    })
}

fn named(data: Attributes<'_>) -> (&str, u32, &[u8]) {
    let name = data.find(1).map(text).unwrap_or_default();
    let revision = data.find(2).and_then(be32).unwrap_or_default();
    (name, revision, data.find(3).unwrap_or_default())
}

fn matches_of(data: Attributes<'_>) -> Vec<Step> {
    let (name, revision, info) = named(data);
    let asked = matches::decode(name, revision, info);
    if asked.is_empty() {
        return vec![Step::Pass(name.to_owned())];
    }
    asked.into_iter().map(Step::Match).collect()
}

/// A target of iptables.
fn target(data: Attributes<'_>) -> Step {
    let (name, revision, info) = named(data);
    let u32_at = |at: usize| {
        let bytes = info.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    match (name, revision) {
        ("REJECT", _) => Step::Verdict(Verdict::Reject),
        ("MARK", 2) => match (u32_at(0), u32_at(4)) {
            (Some(value), Some(mask)) => Step::ChangeMark { value, mask },
            _ => Step::UnknownVerdict(name.to_owned()),
        },
        ("CONNMARK", 1 | 2) => {
            connection_mark(revision, info).map_or_else(|| Step::Pass(name.to_owned()), Step::Aside)
        }
        ("NOTRACK", _) => Step::Aside(Aside::Untracked),
        ("CT", _) => tracking(info).map_or_else(|| Step::Pass(name.to_owned()), Step::Aside),
        ("DNAT", _) => {
            destination_nat(revision, info).unwrap_or_else(|| Step::UnknownVerdict(name.to_owned()))
        }
        ("REDIRECT", 0) => {
            let port = old_range(info).and_then(|(_, port)| port);
            Step::LeadTo {
                address: None,
                port,
            }
        }
        _ if changes_nothing(name) => Step::Pass(name.to_owned()),
        _ => Step::UnknownVerdict(name.to_owned()),
    }
}

/// `struct xt_connmark_tginfo1` and `2`: the value to set, both masks, how to shift, and what to do.
fn connection_mark(revision: u32, info: &[u8]) -> Option<Aside> {
    let u32_at = |at: usize| {
        let bytes = info.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    let (value, of_connection, of_packet) = (u32_at(0)?, u32_at(4)?, u32_at(8)?);
    Some(Aside::Keep(
        match info.get(if revision == 1 { 12 } else { 14 })? {
            0 => Keeping::Set(value | of_connection),
            1 => Keeping::Save(of_connection | of_packet),
            2 => Keeping::Restore(of_connection | of_packet),
            _ => return None,
        },
    ))
}

/// `struct xt_ct_target_info`: flags, and a zone.
fn tracking(info: &[u8]) -> Option<Aside> {
    /// `XT_CT_NOTRACK` and its other name.
    const NOTRACK: u16 = 0x3;
    /// Of one direction alone, or from the mark.
    const OTHER_ZONE: u16 = 0x1c;
    let u16_at = |at: usize| {
        let bytes = info.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_ne_bytes(bytes))
    };
    let (flags, zone) = (u16_at(0)?, u16_at(2)?);
    if flags & NOTRACK != 0 {
        Some(Aside::Untracked)
    } else if flags & OTHER_ZONE != 0 {
        Some(Aside::Zone(None))
    } else {
        (zone != 0).then_some(Aside::Zone(Some(zone)))
    }
}

/// Whether a target of iptables only writes something somewhere.
pub(super) fn changes_nothing(name: &str) -> bool {
    [
        "LOG",
        "NFLOG",
        "ULOG",
        "CONNMARK",
        "TCPMSS",
        "CLASSIFY",
        "TOS",
        "DSCP",
        "TTL",
        "HL",
        "CT",
        "NOTRACK",
        "TRACE",
        "SET",
        "AUDIT",
        "CHECKSUM",
        "SECMARK",
        "CONNSECMARK",
        "RATEEST",
        "LED",
        "HMARK",
        "IDLETIMER",
        "TEE",
        "MASQUERADE",
        "SNAT",
        "ECN",
        "TCPOPTSTRIP",
    ]
    .contains(&name)
}

/// `struct nf_nat_range2` (and its beginning, `nf_nat_range`), or the old one of IPv4.
fn destination_nat(revision: u32, info: &[u8]) -> Option<Step> {
    if revision == 0 {
        let (address, port) = old_range(info)?;
        return Some(Step::LeadTo { address, port });
    }
    let flags = u32::from_ne_bytes(info.get(..4)?.try_into().ok()?);
    let address: [u8; 16] = info.get(4..20)?.try_into().ok()?;
    let port = u16::from_be_bytes(info.get(36..38)?.try_into().ok()?);
    let [a, b, c, d, rest @ ..] = address;
    let address = if rest == [0; 12] {
        IpAddr::from([a, b, c, d])
    } else {
        IpAddr::from(address)
    };
    Some(Step::LeadTo {
        address: (flags & NAT_ADDRESS != 0).then_some(address),
        port: (flags & NAT_PORT != 0).then_some(port),
    })
}

/// `struct nf_nat_ipv4_multi_range_compat`: count, flags, first and last address, first port.
fn old_range(info: &[u8]) -> Option<(Option<IpAddr>, Option<u16>)> {
    let flags = u32::from_ne_bytes(info.get(4..8)?.try_into().ok()?);
    let address: [u8; 4] = info.get(8..12)?.try_into().ok()?;
    let port = u16::from_be_bytes(info.get(16..18)?.try_into().ok()?);
    Some((
        (flags & NAT_ADDRESS != 0).then_some(address.into()),
        (flags & NAT_PORT != 0).then_some(port),
    ))
}
