//! Whether a match of iptables holds for a packet. Pure.

use super::super::family::Family;
use super::bytes::{Byte, Meaning, Symbol, Told, bits, symbol};
use super::matches::{Asks, Match};
use super::packet::{AskedPort, Kind, Packet};
use super::routes::NAME_LEN;
use super::ruleset::{Comparison, Load};
use super::sources::{Members, Sources};
use super::truth::Truth;

/// For whom the match holds.
pub(super) fn holds(asked: &Match, packet: &Packet, meaning: &Meaning<'_>) -> Told {
    Ok(truth(&asked.asks, packet, meaning)?.inverted_if(asked.is_inverted))
}

fn truth(asks: &Asks, packet: &Packet, meaning: &Meaning<'_>) -> Told {
    Ok(match asks {
        Asks::Anything => Truth::YES,
        Asks::Unknown(_) => Truth::MAYBE,
        Asks::Source(address, prefix_len) | Asks::Destination(address, prefix_len) => {
            let is_source = matches!(asks, Asks::Source(..));
            let network = Sources::network(*address, *prefix_len);
            at_end(packet, is_source, Family::of(*address), &network)
        }
        Asks::SourceRange(first, last) | Asks::DestinationRange(first, last) => {
            let is_source = matches!(asks, Asks::SourceRange(..));
            // A table of iptables is of one family, so of the packet's.
            let number = |bytes: &[u8; 16]| {
                let bytes = bytes.iter().take(packet.address_len());
                bytes.fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
            };
            let range = Sources::range(number(first), number(last));
            at_end(packet, is_source, packet.family, &range)
        }
        Asks::InSet {
            is_source, members, ..
        } => match members {
            Some(members) if *is_source != packet.is_answer => in_set(members, packet.family),
            Some(_) | None => Truth::MAYBE,
        },
        Asks::Protocol(number) => Truth::of(*number == packet.protocol()),
        Asks::SourcePorts(ports) | Asks::DestinationPorts(ports) => {
            let is_ours = matches!(asks, Asks::SourcePorts(_)) == packet.is_answer;
            if packet.kind == Kind::Echo {
                Truth::NO
            } else if is_ours {
                ports_seen(packet, meaning, ports)?
            } else {
                Truth::MAYBE
            }
        }
        Asks::EitherPorts(ports) => {
            let mut truth = ports_seen(packet, meaning, ports)?;
            truth.or(&Truth::MAYBE);
            truth
        }
        Asks::TcpFlags(mask, set) => {
            Truth::of(packet.kind == Kind::Tcp && packet.flags() & mask == *set)
        }
        Asks::IcmpType(kind, code) => Truth::of(
            packet.kind == Kind::Echo
                && *kind == packet.icmp_type()
                && code.is_none_or(|code| code == 0),
        ),
        Asks::States(states) => Truth::of(states & packet.state() != 0),
        Asks::Status(status) => {
            let (mask, value) = packet.status();
            let masked = masked(&bits(mask, value), *status);
            meaning.compare(&masked, Comparison::NotEqual, &[0; 4])?
        }
        Asks::AskedPorts(first, last) => match packet.asked {
            AskedPort::Seen if packet.kind != Kind::Echo => meaning.of_ports(*first, *last)?,
            AskedPort::Seen | AskedPort::Unknown => Truth::MAYBE,
        },
        Asks::IsOriginal => Truth::of(!packet.is_answer),
        Asks::Mark { value, mask } => mark(&packet.mark, *value, *mask, meaning)?,
        Asks::ConnMark { value, mask } => mark(&packet.conn_mark(), *value, *mask, meaning)?,
        // An answer comes in by none.
        Asks::InInterface(_) if packet.is_answer => Truth::NO,
        Asks::InInterface(name) => interface(name, meaning)?,
        Asks::OutInterface(name) if packet.is_answer => interface(name, meaning)?,
        Asks::OutInterface(name) => match &packet.out {
            Some(out) => {
                let (name, mut out) = (pattern(name), out.clone().into_bytes());
                out.resize(NAME_LEN, 0);
                Truth::of(out.starts_with(&name))
            }
            None => Truth::MAYBE,
        },
        Asks::DestinationType(types) => Truth::of(types >> packet.destination_type() & 1 == 1),
        Asks::SourceType(types) => Truth::of(types >> packet.source_type() & 1 == 1),
    })
}

/// Whether the interface by which the other end is reached has this name.
fn interface(name: &str, meaning: &Meaning<'_>) -> Told {
    let name = pattern(name);
    let bytes = symbol(Symbol::InName, NAME_LEN);
    let bytes = bytes.get(..name.len()).unwrap_or_default();
    meaning.compare(bytes, Comparison::Equal, &name)
}

/// Whether its source, or destination, is among these.
fn at_end(packet: &Packet, is_source: bool, family: Family, range: &Sources) -> Truth {
    if family != packet.family {
        return Truth::NO;
    }
    if is_source != packet.is_answer {
        return Truth::sources(range.clone());
    }
    match packet.destination {
        Some(destination) => Truth::of(!range.and(&Sources::network(destination, 128)).is_none()),
        None if range.is_all(family) => Truth::YES,
        None => Truth::MAYBE,
    }
}

fn in_set(members: &Members, family: Family) -> Truth {
    let sources = match family {
        Family::V4 => &members.v4,
        Family::V6 => &members.v6,
    };
    let mut truth = Truth::sources(sources.clone());
    if members.is_partial {
        truth.or(&Truth::MAYBE);
    }
    truth
}

/// The bytes with which a name must begin.
fn pattern(name: &str) -> Vec<u8> {
    match name.strip_suffix('+') {
        Some(beginning) => beginning.as_bytes().to_vec(),
        None => {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(NAME_LEN, 0);
            bytes
        }
    }
}

fn ports_seen(packet: &Packet, meaning: &Meaning<'_>, ports: &[(u16, u16)]) -> Told {
    let mut truth = Truth::NO;
    if packet.kind == Kind::Echo {
        return Ok(truth);
    }
    let load = Load::Payload {
        base: 2,
        offset: if packet.is_answer { 0 } else { 2 },
        len: 2,
    };
    let seen = packet.load(load);
    for (first, last) in ports {
        truth.or(&meaning.is_between(&seen, &first.to_be_bytes(), &last.to_be_bytes())?);
    }
    Ok(truth)
}

fn mark(mark: &[Byte], value: u32, mask: u32, meaning: &Meaning<'_>) -> Told {
    let bytes = masked(mark, mask);
    // A value with bits that the mask takes away is never met.
    meaning.compare(&bytes, Comparison::Equal, &value.to_ne_bytes())
}

fn masked(bytes: &[Byte], mask: u32) -> Vec<Byte> {
    let bytes = bytes.iter().zip(mask.to_ne_bytes());
    bytes.map(|(byte, mask)| byte.masked(mask, 0)).collect()
}
