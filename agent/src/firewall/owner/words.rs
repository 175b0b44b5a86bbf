//! A rule as people write it, so that its owner knows it again. Pure.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::matches::{Asks, Match};
use super::ruleset::{At, Comparison, Element, Load, Rule, Set, Step, Table, Verdict};

/// Elements of a set without a name that are written out.
const ELEMENTS_MAX: usize = 5;

/// A chain with its table, as the configuration names it.
pub(super) fn place(table: &Table, chain: &str) -> String {
    let legacy = if table.is_legacy {
        "iptables-legacy "
    } else {
        ""
    };
    format!("{legacy}{} {} {chain}", table.family.word(), table.name)
}

/// What stands in a register: what it is called, and what its values look like.
#[derive(Clone, Debug)]
struct Loaded {
    name: String,
    values: Values,
    /// The bits of it that are left.
    mask: Option<Vec<u8>>,
}

/// What values look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Values {
    Address,
    /// A number in network byte order.
    Number,
    /// A number in the host's byte order, as bits.
    Bits,
    Name,
    Protocol,
    States,
    Family,
    AddressType,
}

/// The rule in words: as it was written where that is known, else much as nft prints it.
pub(super) fn of(rule: &Rule, table: &Table) -> String {
    if let Some(text) = &rule.text {
        return text.clone();
    }
    let mut words = Words::default();
    for step in &rule.steps {
        words.step(step, table);
    }
    words.parts.join(" ")
}

#[derive(Debug, Default)]
struct Words {
    parts: Vec<String>,
    registers: HashMap<At, Loaded>,
    protocol: Option<String>,
}

// === impl Words ===

impl Words {
    fn step(&mut self, step: &Step, table: &Table) {
        match step {
            Step::Load { to, what } => {
                let (name, values) = self.name(*what);
                let loaded = Loaded {
                    name,
                    values,
                    mask: None,
                };
                self.registers.insert(*to, loaded);
            }
            Step::Mask { from, to, mask, .. } => {
                if let Some(mut loaded) = self.registers.get(from).cloned() {
                    loaded.mask = Some(mask.clone());
                    self.registers.insert(*to, loaded);
                }
            }
            Step::Swap { from, to, .. } => {
                if let Some(loaded) = self.registers.get(from).cloned() {
                    self.registers.insert(*to, loaded);
                }
            }
            Step::Compare {
                from,
                comparison,
                with,
            } => self.compare(*from, *comparison, with),
            Step::Range {
                from,
                is_outside,
                low,
                high,
            } => {
                let (name, values) = self.loaded(*from);
                let not = if *is_outside { "!= " } else { "" };
                let (low, high) = (value(values, low, None), value(values, high, None));
                self.parts.push(format!("{name} {not}{low}-{high}"));
            }
            Step::Lookup {
                from,
                set,
                is_outside,
                gives_verdict,
            } => {
                let (name, values) = self.loaded(*from);
                let how = match (is_outside, gives_verdict) {
                    (true, _) => "!= ",
                    (false, true) => "vmap ",
                    (false, false) => "",
                };
                let elements = table.sets.get(set).map(|set| elements(set, values));
                let shown = elements.filter(|_| set.starts_with("__"));
                let shown = shown.unwrap_or_else(|| format!("@{set}"));
                self.parts.push(format!("{name} {how}{shown}"));
            }
            Step::Match(asked) => self.parts.push(of_match(asked)),
            Step::Verdict(verdict) => self.parts.push(of_verdict(verdict)),
            Step::SetMark { .. } | Step::ChangeMark { .. } => {
                self.parts.push("mark set".to_owned())
            }
            Step::Aside(aside) => self.parts.push(aside.word().to_owned()),
            Step::Lead { .. } => self.parts.push("dnat".to_owned()),
            Step::LeadTo { address, port } => {
                let address = address
                    .map(|address| address.to_string())
                    .unwrap_or_default();
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                self.parts.push(format!("dnat to {address}{port}"));
            }
            Step::Unknown(name) | Step::UnknownVerdict(name) => self.parts.push(name.clone()),
            Step::Pass(name) if name == "counter" || name == "comment" => {}
            Step::Pass(name) => self.parts.push(name.clone()),
            Step::Immediate { .. } | Step::Forget { .. } => {}
        }
    }

    fn compare(&mut self, from: At, comparison: Comparison, with: &[u8]) {
        let Some(loaded) = self.registers.get(&from).cloned() else {
            return;
        };
        let how = match comparison {
            Comparison::Equal => "",
            Comparison::NotEqual => "!= ",
            Comparison::Less => "< ",
            Comparison::LessOrEqual => "<= ",
            Comparison::Greater => "> ",
            Comparison::GreaterOrEqual => ">= ",
        };
        let Loaded { name, values, mask } = loaded;
        // Of states, `!= 0` after a mask means any of the mask's.
        let text = match (&mask, values, comparison) {
            (Some(mask), Values::States, Comparison::NotEqual) if with.iter().all(|b| *b == 0) => {
                format!("{name} {}", value(values, mask, None))
            }
            (mask, _, _) => format!("{name} {how}{}", value(values, with, mask.as_deref())),
        };
        if values == Values::Protocol && comparison == Comparison::Equal {
            self.protocol = Some(value(values, with, None));
        }
        self.parts.push(text);
    }

    fn loaded(&self, at: At) -> (String, Values) {
        let loaded = self.registers.get(&at);
        loaded.map_or_else(
            || ("?".to_owned(), Values::Number),
            |loaded| (loaded.name.clone(), loaded.values),
        )
    }

    fn name(&mut self, what: Load) -> (String, Values) {
        match what {
            Load::Meta(key) => meta(key),
            Load::Ct { key, .. } => conntrack(key),
            Load::Fib { result, flags } => fib(result, flags),
            Load::Payload {
                base: 2, offset, ..
            } => self.transport(offset),
            Load::Payload {
                base: 1,
                offset,
                len,
            } => match (offset, len) {
                (12, 1..=4) => ("ip saddr".to_owned(), Values::Address),
                (16, 1..=4) => ("ip daddr".to_owned(), Values::Address),
                (9, 1) => ("ip protocol".to_owned(), Values::Protocol),
                (6, 1) => ("ip6 nexthdr".to_owned(), Values::Protocol),
                (8, 1..=16) => ("ip6 saddr".to_owned(), Values::Address),
                (24, 1..=16) => ("ip6 daddr".to_owned(), Values::Address),
                _ => (format!("@nh,{},{}", 8 * offset, 8 * len), Values::Number),
            },
            Load::Payload { offset, len, .. } => {
                (format!("@ll,{},{}", 8 * offset, 8 * len), Values::Number)
            }
        }
    }

    /// A field of the transport header. That says the protocol, so it need not be said before.
    fn transport(&mut self, offset: usize) -> (String, Values) {
        let protocol = self.protocol.clone().unwrap_or_else(|| "th".to_owned());
        let said = [
            format!("meta l4proto {protocol}"),
            format!("ip protocol {protocol}"),
        ];
        if self.parts.last().is_some_and(|last| said.contains(last)) {
            self.parts.pop();
        }
        let field = match (protocol.as_str(), offset) {
            ("icmp" | "icmpv6", 0) => "type".to_owned(),
            ("icmp" | "icmpv6", 1) => "code".to_owned(),
            (_, 0) => "sport".to_owned(),
            (_, 2) => "dport".to_owned(),
            (_, 13) => "flags".to_owned(),
            (_, offset) => format!("@th,{}", 8 * offset),
        };
        (format!("{protocol} {field}"), Values::Number)
    }
}

fn meta(key: u32) -> (String, Values) {
    let (name, values) = match key {
        1 => ("meta protocol", Values::Number),
        3 => ("meta mark", Values::Bits),
        4 => ("iif", Values::Bits),
        5 => ("oif", Values::Bits),
        6 => ("iifname", Values::Name),
        7 => ("oifname", Values::Name),
        15 => ("meta nfproto", Values::Family),
        16 => ("meta l4proto", Values::Protocol),
        19 => ("pkttype", Values::Number),
        _ => ("meta", Values::Bits),
    };
    (name.to_owned(), values)
}

fn conntrack(key: u32) -> (String, Values) {
    let (name, values) = match key {
        0 => ("ct state", Values::States),
        1 => ("ct direction", Values::Number),
        2 => ("ct status", Values::Bits),
        3 => ("ct mark", Values::Bits),
        12 => ("ct original proto-dst", Values::Number),
        13 => ("ct label", Values::Bits),
        _ => ("ct", Values::Bits),
    };
    (name.to_owned(), values)
}

fn fib(result: u32, flags: u32) -> (String, Values) {
    let whose = if flags & 1 != 0 { "saddr" } else { "daddr" };
    let (what, values) = match result {
        1 => ("oif", Values::Number),
        2 => ("oifname", Values::Name),
        _ => ("type", Values::AddressType),
    };
    (format!("fib {whose} {what}"), values)
}

fn value(values: Values, bytes: &[u8], mask: Option<&[u8]>) -> String {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
    };
    let host = |bytes: &[u8]| {
        let bytes: Vec<u8> = if cfg!(target_endian = "little") {
            bytes.iter().rev().copied().collect()
        } else {
            bytes.to_vec()
        };
        number(&bytes)
    };
    match values {
        Values::Address => address(bytes, mask),
        Values::Number => match mask {
            Some(mask) => format!("{} of {:#x}", number(bytes), number(mask)),
            None => number(bytes).to_string(),
        },
        Values::Bits => match mask {
            Some(mask) => format!("{:#x} of {:#x}", host(bytes), host(mask)),
            None => format!("{:#x}", host(bytes)),
        },
        Values::Name => {
            let name = String::from_utf8_lossy(super::decode::text(bytes).as_bytes()).into_owned();
            let is_whole = bytes.contains(&0);
            if is_whole { name } else { format!("{name}*") }
        }
        Values::Protocol => protocol(number(bytes)),
        Values::States => states(host(bytes)),
        Values::Family => match number(bytes) {
            2 => "ipv4".to_owned(),
            10 => "ipv6".to_owned(),
            other => other.to_string(),
        },
        Values::AddressType => match host(bytes) {
            1 => "unicast".to_owned(),
            2 => "local".to_owned(),
            3 => "broadcast".to_owned(),
            5 => "multicast".to_owned(),
            other => other.to_string(),
        },
    }
}

/// An address, or a network, of which only the bytes that matter may be there.
fn address(bytes: &[u8], mask: Option<&[u8]>) -> String {
    let full = if bytes.len() <= 4 { 4 } else { 16 };
    let prefix_len = match mask {
        Some(mask) => mask.iter().map(|byte| byte.count_ones()).sum::<u32>(),
        None => u32::try_from(8 * bytes.len()).unwrap_or(u32::MAX),
    };
    let mut whole = bytes.to_vec();
    whole.resize(full, 0);
    let Some(address) = super::sources::of_bytes(&whole) else {
        return String::new();
    };
    if usize::try_from(prefix_len).is_ok_and(|len| len >= 8 * full) {
        address.to_string()
    } else {
        format!("{address}/{prefix_len}")
    }
}

fn protocol(number: u64) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

fn states(bits: u64) -> String {
    let names = ["invalid", "established", "related", "new"];
    let mut set: Vec<&str> = names
        .iter()
        .enumerate()
        .filter(|(at, _)| bits >> at & 1 == 1)
        .map(|(_, name)| *name)
        .collect();
    if bits & 64 != 0 {
        set.push("untracked");
    }
    set.join(",")
}

fn elements(set: &Set, values: Values) -> String {
    if set.fields.len() > 1 {
        return "{ .. }".to_owned();
    }
    let one = |element: &Element| {
        let (low, high) = (
            value(values, &element.low, None),
            value(values, &element.high, None),
        );
        let mut text = if low == high {
            low
        } else {
            format!("{low}-{high}")
        };
        if let Some(verdict) = &element.verdict {
            let _ = write!(text, " : {}", of_verdict(verdict));
        }
        text
    };
    let mut shown: Vec<String> = set.elements.iter().take(ELEMENTS_MAX).map(one).collect();
    if set.elements.len() > ELEMENTS_MAX {
        shown.push("..".to_owned());
    }
    format!("{{ {} }}", shown.join(", "))
}

fn of_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Reject => "reject".to_owned(),
        Verdict::Jump(to) => format!("jump {to}"),
        Verdict::Goto(to) => format!("goto {to}"),
        Verdict::Return => "return".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Queue => "queue".to_owned(),
    }
}

fn of_match(asked: &Match) -> String {
    let not = if asked.is_inverted { "! " } else { "" };
    let network = |address: &IpAddr, len: &u8| format!("{address}/{len}");
    let text = match &asked.asks {
        Asks::Source(address, len) => format!("-s {}", network(address, len)),
        Asks::Destination(address, len) => format!("-d {}", network(address, len)),
        Asks::Protocol(number) => format!("-p {}", protocol((*number).into())),
        Asks::SourcePorts(of) => format!("--sport {}", ports(of)),
        Asks::DestinationPorts(of) => format!("--dport {}", ports(of)),
        Asks::EitherPorts(of) => format!("--ports {}", ports(of)),
        Asks::TcpFlags(mask, set) => format!("--tcp-flags {mask:#x} {set:#x}"),
        Asks::IcmpType(kind, _) => format!("--icmp-type {kind}"),
        Asks::States(bits) => format!("--ctstate {}", states((*bits).into()).to_uppercase()),
        Asks::Status(bits) => format!("--ctstatus {bits:#x}"),
        Asks::AskedPorts(first, last) => format!("--ctorigdstport {}", ports(&[(*first, *last)])),
        Asks::IsOriginal => "--ctdir ORIGINAL".to_owned(),
        Asks::Mark { value, mask } => format!("-m mark --mark {value:#x}/{mask:#x}"),
        Asks::ConnMark { value, mask } => format!("-m connmark --mark {value:#x}/{mask:#x}"),
        Asks::InInterface(name) => format!("-i {name}"),
        Asks::OutInterface(name) => format!("-o {name}"),
        Asks::DestinationType(types) => format!("--dst-type {types:#x}"),
        Asks::SourceType(types) => format!("--src-type {types:#x}"),
        Asks::SourceRange(first, last) => format!("--src-range {}", range(first, last)),
        Asks::DestinationRange(first, last) => format!("--dst-range {}", range(first, last)),
        Asks::InSet { set, is_source, .. } => {
            let side = if *is_source { "src" } else { "dst" };
            format!("--match-set {set} {side}")
        }
        Asks::Anything => String::new(),
        Asks::Unknown(name) => format!("-m {name}"),
    };
    format!("{not}{text}")
}

fn range(first: &[u8; 16], last: &[u8; 16]) -> String {
    let is_v4 = [first, last].into_iter().all(|end| end.ends_with(&[0; 12]));
    let address = |bytes: &[u8; 16]| {
        let [a, b, c, d, ..] = *bytes;
        if is_v4 {
            IpAddr::from([a, b, c, d])
        } else {
            IpAddr::from(*bytes)
        }
    };
    format!("{}-{}", address(first), address(last))
}

fn ports(of: &[(u16, u16)]) -> String {
    let one = |(first, last): &(u16, u16)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}:{last}")
        }
    };
    of.iter().map(one).collect::<Vec<_>>().join(",")
}
