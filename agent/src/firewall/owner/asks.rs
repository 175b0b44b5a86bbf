//! Whether a match of iptables holds for a packet. Pure.

use std::net::IpAddr;

use super::super::family::Family;
use super::bytes::{Byte, Meaning, Symbol, Told, bits, symbol};
use super::matches::{Asks, Match, STATE_NEW};
use super::packet::{AskedPort, Kind, Packet, RTN_UNICAST, SYN};
use super::routes::NAME_LEN;
use super::ruleset::{Comparison, Load};
use super::sources::Sources;
use super::truth::Truth;

/// For whom the match holds.
pub(super) fn holds(asked: &Match, packet: &Packet, meaning: &Meaning<'_>) -> Told {
    Ok(truth(&asked.asks, packet, meaning)?.inverted_if(asked.is_inverted))
}

fn truth(asks: &Asks, packet: &Packet, meaning: &Meaning<'_>) -> Told {
    Ok(match asks {
        Asks::Anything => Truth::YES,
        Asks::Unknown(_) | Asks::SourceInSet(_) | Asks::SourcePorts(_) => Truth::MAYBE,
        Asks::Source(address, prefix_len) => {
            let is_ours = Family::of(*address) == packet.family;
            let network = || Truth::sources(Sources::network(*address, *prefix_len));
            if is_ours { network() } else { Truth::NO }
        }
        Asks::Destination(address, prefix_len) => destination(packet, *address, *prefix_len),
        Asks::Protocol(number) => Truth::of(*number == packet.protocol()),
        Asks::DestinationPorts(ports) => ports_seen(packet, meaning, ports)?,
        Asks::EitherPorts(ports) => {
            let mut truth = ports_seen(packet, meaning, ports)?;
            truth.or(&Truth::MAYBE);
            truth
        }
        Asks::TcpFlags(mask, set) => Truth::of(packet.kind == Kind::Tcp && SYN & mask == *set),
        Asks::IcmpType(kind, code) => Truth::of(
            packet.kind == Kind::Echo
                && *kind == packet.icmp_type()
                && code.is_none_or(|code| code == 0),
        ),
        Asks::States(states) => Truth::of(states & STATE_NEW != 0),
        Asks::Status(status) => {
            let (mask, value) = packet.status();
            let masked = masked(&bits(mask, value), *status);
            meaning.compare(&masked, Comparison::NotEqual, &[0; 4])?
        }
        Asks::AskedPorts(first, last) => match packet.asked {
            AskedPort::Seen if packet.kind != Kind::Echo => meaning.of_ports(*first, *last)?,
            AskedPort::Seen | AskedPort::Unknown => Truth::MAYBE,
        },
        Asks::IsOriginal => Truth::YES,
        Asks::Mark { value, mask } => mark(&packet.mark, *value, *mask, meaning)?,
        Asks::ConnMark { value, mask } => mark(&packet.conn_mark(), *value, *mask, meaning)?,
        Asks::InInterface(name) => {
            let name = pattern(name);
            let bytes = symbol(Symbol::InName, NAME_LEN);
            let bytes = bytes.get(..name.len()).unwrap_or_default();
            meaning.compare(bytes, Comparison::Equal, &name)?
        }
        Asks::OutInterface(name) => match &packet.out {
            Some(out) => {
                let (name, mut out) = (pattern(name), out.clone().into_bytes());
                out.resize(NAME_LEN, 0);
                Truth::of(out.starts_with(&name))
            }
            None => Truth::MAYBE,
        },
        Asks::DestinationType(types) => Truth::of(types >> packet.destination_type() & 1 == 1),
        Asks::SourceType(types) => Truth::of(types >> RTN_UNICAST & 1 == 1),
    })
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

fn destination(packet: &Packet, address: IpAddr, prefix_len: u8) -> Truth {
    if Family::of(address) != packet.family {
        return Truth::NO;
    }
    match packet.destination {
        Some(destination) => {
            let network = Sources::network(address, prefix_len);
            let one = Sources::network(destination, 128);
            Truth::of(!network.and(&one).is_none())
        }
        None if prefix_len == 0 => Truth::YES,
        None => Truth::MAYBE,
    }
}

fn ports_seen(packet: &Packet, meaning: &Meaning<'_>, ports: &[(u16, u16)]) -> Told {
    let mut truth = Truth::NO;
    if packet.kind == Kind::Echo {
        return Ok(truth);
    }
    let load = Load::Payload {
        base: 2,
        offset: 2,
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
