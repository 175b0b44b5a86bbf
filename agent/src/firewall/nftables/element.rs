//! Rules as elements of our sets, and elements as rules. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use engine::{Hole, HoleTimeout, Rule};
use ipnet::IpNet;
use spa::{PortRange, Protocol, Service};

use super::super::family::Family;
use super::super::numbers::nf_tables as nf;
use super::message::{self, Element, Key};
use super::steps::{echo_of, protocol_number};
use crate::netlink::Attributes;

/// An element of any of our sets, as the kernel lists it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Listed<'a> {
    pub(super) first: &'a [u8],
    /// The same in a set without intervals.
    pub(super) last: &'a [u8],
    /// Until it ends by itself, in milliseconds.
    pub(super) left_ms: Option<u64>,
    /// What is said of it.
    pub(super) note: Option<&'a str>,
}

/// Whether a rule is for one address and one service: such a rule has its place in the sets without
/// intervals.
pub(super) fn is_narrow(rule: &Rule) -> bool {
    let from = rule.from();
    let is_single = match rule.asked() {
        Some(Service::Echo) => true,
        Some(Service::Ports(range)) => range.count() == 1,
        None => false,
    };
    is_single && from.prefix_len() == from.max_prefix_len()
}

/// The element for a rule; `None` for one that leads on to another place.
pub(super) fn of_rule(rule: &Rule, timeout: Option<HoleTimeout>) -> Option<Element> {
    let Rule::Accept { from, to } = rule else {
        return None;
    };
    let (protocol, first, last) = match to {
        Service::Ports(range) => (
            protocol_number(range.protocol()),
            range.first().get(),
            range.last().get(),
        ),
        Service::Echo => {
            let (protocol, kind) = echo_of(Family::of(from.addr()));
            let first = u16::from_be_bytes([kind, 0]);
            let codes = if is_narrow(rule) { 0 } else { 0xff };
            (protocol, first, first | codes)
        }
    };
    let key = |address: IpAddr, port: u16| match address {
        IpAddr::V4(v4) => Key::of(&[&v4.octets(), &[protocol], &port.to_be_bytes()]),
        IpAddr::V6(v6) => Key::of(&[&v6.octets(), &[protocol], &port.to_be_bytes()]),
    };
    Some(Element {
        first: key(from.network(), first),
        last: (!is_narrow(rule)).then(|| key(from.broadcast(), last)),
        timeout_ms: timeout.map(millis),
    })
}

/// A time as the kernel is told it.
pub(super) fn millis(timeout: HoleTimeout) -> u64 {
    u32::from(timeout).into()
}

/// The elements in one message of a listing.
pub(super) fn listed<'a>(message: Attributes<'a>, each: &mut dyn FnMut(Listed<'a>)) {
    let value = |element: Attributes<'a>, kind| {
        Attributes::inside(element.find(kind)?).find(nf::DATA_VALUE)
    };
    let list = message.find(nf::ELEMENTS).unwrap_or_default();
    for (_, element) in Attributes::inside(list).filter(|(kind, _)| *kind == nf::LIST_ITEM) {
        let element = Attributes::inside(element);
        let Some(first) = value(element, nf::ELEMENT_KEY) else {
            continue;
        };
        let left = element.find(nf::ELEMENT_EXPIRATION);
        each(Listed {
            first,
            last: value(element, nf::ELEMENT_KEY_END).unwrap_or(first),
            note: message::comment_of(element),
            left_ms: left.and_then(|left| Some(u64::from_be_bytes(left.try_into().ok()?))),
        });
    }
}

/// The hole that an element stands for; `None` for what none of ours can be.
pub(super) fn hole(element: &Listed<'_>, family: Family) -> Option<Hole> {
    let (from, protocol, first) = split(element.first, family)?;
    let (to, last_protocol, last) = split(element.last, family)?;
    if protocol != last_protocol {
        return None;
    }
    let (echo, kind) = echo_of(family);
    let to_service = if protocol == echo && first == u16::from_be_bytes([kind, 0]) {
        Service::Echo
    } else {
        let protocol = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|known| protocol_number(*known) == protocol)?;
        let (first, last) = (NonZeroU16::new(first)?, NonZeroU16::new(last)?);
        Service::Ports(PortRange::new(protocol, first, last)?)
    };
    Some(Hole {
        rule: Rule::Accept {
            from: network(from, to)?,
            to: to_service,
        },
        timeout: HoleTimeout::lasting(Duration::from_millis(element.left_ms?)),
    })
}

/// Address, protocol and port of a key.
fn split(key: &[u8], family: Family) -> Option<(IpAddr, u8, u16)> {
    let (address, rest): (IpAddr, _) = match family {
        Family::V4 => {
            let (octets, rest) = key.split_first_chunk::<4>()?;
            (Ipv4Addr::from(*octets).into(), rest)
        }
        Family::V6 => {
            let (octets, rest) = key.split_first_chunk::<16>()?;
            (Ipv6Addr::from(*octets).into(), rest)
        }
    };
    let [protocol, _, _, _, high, low, ..] = *rest else {
        return None;
    };
    Some((address, protocol, u16::from_be_bytes([high, low])))
}

/// The network of all addresses from the first to the last; `None` when they are not one.
fn network(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let common = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let network = IpNet::new(first, u8::try_from(common).ok()?).ok()?;
    (network.network() == first && network.broadcast() == last).then_some(network)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::Change;
    use super::*;
    use crate::netlink::Requests;

    fn any_rule() -> impl Strategy<Value = Rule> {
        let service = prop_oneof![
            Just(Service::Echo),
            (any::<bool>(), 1..=u16::MAX, 0_u16..3).prop_map(|(is_tcp, first, more)| {
                let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
                let last = NonZeroU16::new(first.saturating_add(more)).unwrap();
                let first = NonZeroU16::new(first).unwrap();
                Service::Ports(PortRange::new(protocol, first, last).unwrap())
            }),
        ];
        (any::<IpAddr>(), any::<u8>(), any::<bool>(), service).prop_map(
            |(address, prefix, whole, to)| {
                let whole_len = IpNet::from(address).max_prefix_len();
                let prefix = if whole {
                    whole_len
                } else {
                    prefix % (whole_len + 1)
                };
                let from = IpNet::new(address, prefix).unwrap().trunc();
                Rule::Accept { from, to }
            },
        )
    }

    proptest! {
        #[test]
        fn a_hole_that_was_added_is_listed_as_the_same(
            rules in prop::collection::vec(any_rule(), 1..40),
            ms in HoleTimeout::MIN_MILLIS..=HoleTimeout::MAX_SECS * 1_000,
        ) {
            let timeout = HoleTimeout::try_from(ms).unwrap();
            for rule in rules {
                let family = Family::of(rule.from().addr());
                let element = of_rule(&rule, Some(timeout)).unwrap();
                prop_assert_eq!(element.last.is_none(), is_narrow(&rule));
                let mut requests = Requests::default();
                message::change_elements(&mut requests, Change::Add, "t", "s", &[element]);

                let mut found = Vec::new();
                // The kernel's answer has the form of a request.
                for message in requests.sent() {
                    listed(message, &mut |element| found.extend(hole(&element, family)));
                }

                prop_assert_eq!(found, [Hole { rule, timeout }]);
            }
        }

        #[test]
        fn whatever_the_kernel_answers_reading_it_ends(
            bytes in prop::collection::vec(prop_oneof![0..=24_u8, any::<u8>()], 0..400),
        ) {
            listed(Attributes::inside(&bytes), &mut |element| {
                let _ = (hole(&element, Family::V4), hole(&element, Family::V6));
            });
        }
    }
}
