//! The messages of the kernel's ipset subsystem for sets with a timeout of the types `hash:ip,port`
//! and `hash:net,port`: writing them, and reading what it answers. Pure. Numbers:
//! linux/netfilter/ipset/ip_set.h.
//!
//! A range of ports is one attribute more in a message; the kernel makes an element of each port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use engine::{Hole, HoleTimeout, Rule};
use ipnet::IpNet;
use spa::{ProtoPort, Protocol, Service};

use super::super::family::Family;
use super::super::numbers::ipset as kernel;
use crate::netlink::{Attributes, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, Requests};

/// Adding what is there renews its timeout; deleting what is not there is no error: neither says
/// `NLM_F_EXCL`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Add,
    Delete,
}

/// What the elements of a set are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SetKind {
    /// One address and one port, found and changed the fastest.
    Address,
    /// The same, where new ones take the place of others once it is full.
    Newest,
    /// A network and a port.
    Network,
}

/// Revision of `hash:ip,port` that every kernel since 3.18 knows.
const ADDRESS_REVISION: u8 = 5;
/// The same of `hash:net,port`.
const NETWORK_REVISION: u8 = 7;
/// Numbers of protocols (linux/in.h, linux/in6.h).
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ICMPV6: u8 = 58;
/// What stands for the port in an element of ICMP: type (linux/icmp.h, linux/icmpv6.h) and code.
const ECHO_V4: u16 = 8 << 8;
const ECHO_V6: u16 = 128 << 8;

pub(super) const ENOENT: i32 = 2;
const EPERM: i32 = 1;

/// Elements that one set can hold. More than the grants that the agent allows to be open at once,
/// so that the set is never the first to be full; of wide rules, as many as 4,096 of the widest.
const ADDRESSES_MAX: u32 = 131_072;
const NETWORKS_MAX: u32 = 4 << 20;
/// For an element that names no timeout, which this agent never makes.
const DEFAULT_TIMEOUT_SECS: u32 = 30;

/// One message that makes a set, or finds it there already.
pub(super) fn create(requests: &mut Requests, set: &str, kind: SetKind, family: Family) {
    let (name, revision, elements_max) = match kind {
        SetKind::Address | SetKind::Newest => ("hash:ip,port", ADDRESS_REVISION, ADDRESSES_MAX),
        SetKind::Network => ("hash:net,port", NETWORK_REVISION, NETWORKS_MAX),
    };
    begin(requests, kernel::CMD_CREATE, NLM_F_ACK | NLM_F_CREATE, set);
    requests.text(kernel::ATTR_TYPENAME, name);
    requests.attribute(kernel::ATTR_REVISION, &[revision]);
    requests.attribute(kernel::ATTR_FAMILY, &[family.number()]);
    let data = requests.nest(kernel::ATTR_DATA);
    requests.attribute_be(kernel::ATTR_TIMEOUT, &DEFAULT_TIMEOUT_SECS.to_be_bytes());
    requests.attribute_be(kernel::ATTR_MAXELEM, &elements_max.to_be_bytes());
    if kind == SetKind::Newest {
        let flags = kernel::WITH_FORCEADD.to_be_bytes();
        requests.attribute_be(kernel::ATTR_FLAGS, &flags);
    }
    requests.end_nest(data);
    requests.end();
}

/// One message that asks whether there is such a set: an error if not.
pub(super) fn header(requests: &mut Requests, set: &str) {
    begin(requests, kernel::CMD_HEADER, NLM_F_ACK, set);
    requests.end();
}

/// One message that removes a set with its elements.
pub(super) fn destroy(requests: &mut Requests, set: &str) {
    begin(requests, kernel::CMD_DESTROY, NLM_F_ACK, set);
    requests.end();
}

/// One message that removes all elements of a set.
pub(super) fn flush(requests: &mut Requests, set: &str) {
    begin(requests, kernel::CMD_FLUSH, NLM_F_ACK, set);
    requests.end();
}

/// One message that asks for all elements of a set.
pub(super) fn list(requests: &mut Requests, set: &str) {
    begin(requests, kernel::CMD_LIST, NLM_F_ACK | NLM_F_DUMP, set);
    requests.end();
}

/// One message that adds or deletes many elements, or none for no elements. Each is a rule and, to
/// be added, for how many seconds.
pub(super) fn change(
    requests: &mut Requests,
    change: Change,
    set: &str,
    elements: impl Iterator<Item = (Rule, Option<u32>)>,
) {
    let mut elements = elements.peekable();
    if elements.peek().is_none() {
        return;
    }
    let command = match change {
        Change::Add => kernel::CMD_ADD,
        Change::Delete => kernel::CMD_DEL,
    };
    begin(requests, command, NLM_F_ACK, set);
    requests.attribute(kernel::ATTR_LINENO, &0_u32.to_ne_bytes());
    let list = requests.nest(kernel::ATTR_ADT);
    for (line, (rule, timeout_secs)) in elements.enumerate() {
        // What asks for everything was refused before.
        let Some(service) = rule.asked() else {
            continue;
        };
        let from = rule.from();
        let data = requests.nest(kernel::ATTR_DATA);
        let ip = requests.nest(kernel::ATTR_IP);
        match from.network() {
            IpAddr::V4(v4) => requests.attribute_be(kernel::ATTR_IPADDR_IPV4, &v4.octets()),
            IpAddr::V6(v6) => requests.attribute_be(kernel::ATTR_IPADDR_IPV6, &v6.octets()),
        }
        requests.end_nest(ip);
        if from.prefix_len() != from.max_prefix_len() {
            requests.attribute(kernel::ATTR_CIDR, &[from.prefix_len()]);
        }
        let (protocol, first, last) = numbers(service, from);
        requests.attribute_be(kernel::ATTR_PORT, &first.to_be_bytes());
        if first != last {
            requests.attribute_be(kernel::ATTR_PORT_TO, &last.to_be_bytes());
        }
        requests.attribute(kernel::ATTR_PROTO, &[protocol]);
        if let Some(secs) = timeout_secs {
            requests.attribute_be(kernel::ATTR_TIMEOUT, &secs.to_be_bytes());
        }
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        requests.attribute_be(kernel::ATTR_LINENO, &line.to_be_bytes());
        requests.end_nest(data);
    }
    requests.end_nest(list);
    requests.end();
}

/// The elements in one message of the answer to [`list`]. What is no element of ours is left out.
pub(super) fn elements(message: Attributes<'_>, each: &mut dyn FnMut(Hole)) {
    let Some(list) = message.find(kernel::ATTR_ADT) else {
        return;
    };
    for (_, data) in Attributes::inside(list).filter(|(kind, _)| *kind == kernel::ATTR_DATA) {
        if let Some(hole) = hole_of(Attributes::inside(data)) {
            each(hole);
        }
    }
}

fn hole_of(element: Attributes<'_>) -> Option<Hole> {
    let ip = Attributes::inside(element.find(kernel::ATTR_IP)?);
    let address = match (
        ip.find(kernel::ATTR_IPADDR_IPV4),
        ip.find(kernel::ATTR_IPADDR_IPV6),
    ) {
        (Some(v4), _) => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(v4).ok()?)),
        (None, Some(v6)) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(v6).ok()?)),
        (None, None) => return None,
    };
    let port = u16::from_be_bytes(element.find(kernel::ATTR_PORT)?.try_into().ok()?);
    let protocol = match (element.find(kernel::ATTR_PROTO)?, port) {
        ([IPPROTO_TCP], _) => Some(Protocol::Tcp),
        ([IPPROTO_UDP], _) => Some(Protocol::Udp),
        ([IPPROTO_ICMP], ECHO_V4) | ([IPPROTO_ICMPV6], ECHO_V6) => None,
        _ => return None,
    };
    let to = match protocol {
        None => Service::Echo,
        Some(protocol) => Service::from(ProtoPort {
            protocol,
            port: NonZeroU16::new(port)?,
        }),
    };
    let from = match element.find(kernel::ATTR_CIDR) {
        Some([prefix_len]) => IpNet::new(address, *prefix_len).ok()?,
        Some(_) => return None,
        None => IpNet::from(address),
    };
    let secs = u32::from_be_bytes(element.find(kernel::ATTR_TIMEOUT)?.try_into().ok()?);
    Some(Hole {
        rule: Rule::Accept { from, to },
        timeout: HoleTimeout::clamped(secs),
    })
}

/// Protocol, and first and last port, as elements have them.
fn numbers(service: Service, from: IpNet) -> (u8, u16, u16) {
    match (service, from) {
        (Service::Ports(range), _) => {
            let protocol = match range.protocol() {
                Protocol::Tcp => IPPROTO_TCP,
                Protocol::Udp => IPPROTO_UDP,
            };
            (protocol, range.first().get(), range.last().get())
        }
        (Service::Echo, IpNet::V4(_)) => (IPPROTO_ICMP, ECHO_V4, ECHO_V4),
        (Service::Echo, IpNet::V6(_)) => (IPPROTO_ICMPV6, ECHO_V6, ECHO_V6),
    }
}

fn begin(requests: &mut Requests, command: u8, flags: u16, set: &str) {
    requests.begin(kernel::SUBSYSTEM, command, flags, Family::V4.number());
    requests.attribute(kernel::ATTR_PROTOCOL, &[kernel::PROTOCOL]);
    requests.text(kernel::ATTR_SETNAME, set);
}

/// What the kernel's error numbers mean for sets (ip_set.h, `ipset_errno`).
pub(super) fn kernel_reason(code: i32) -> String {
    match code {
        EPERM => "not permitted (root or CAP_NET_ADMIN is needed)".to_owned(),
        ENOENT => "there is no such set".to_owned(),
        22 => "this kernel has no ipset (module ip_set)".to_owned(),
        4097 => "protocol error".to_owned(),
        4098 => "this kernel has no sets of types hash:ip,port and hash:net,port (modules \
             ip_set_hash_ipport, ip_set_hash_netport)"
            .to_owned(),
        4100 => "a rule refers to it".to_owned(),
        4103 => "a set of this name is of another kind; `ipset destroy` it".to_owned(),
        4352 => "the set is full".to_owned(),
        other => std::io::Error::from_raw_os_error(other).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hole() -> impl Strategy<Value = Hole> {
        let service =
            (any::<Option<bool>>(), 1..=u16::MAX).prop_map(|(is_tcp, port)| match is_tcp {
                None => Service::Echo,
                Some(is_tcp) => Service::from(ProtoPort {
                    protocol: if is_tcp { Protocol::Tcp } else { Protocol::Udp },
                    port: NonZeroU16::new(port).unwrap(),
                }),
            });
        let from = (any::<IpAddr>(), 0_u8..=128).prop_map(|(address, prefix_len)| {
            IpNet::new(address, prefix_len).map_or_else(|_| IpNet::from(address), |net| net.trunc())
        });
        (from, service, any::<u32>()).prop_map(|(from, to, secs)| Hole {
            rule: Rule::Accept { from, to },
            timeout: HoleTimeout::clamped(secs),
        })
    }

    proptest! {
        #[test]
        fn a_hole_that_was_added_is_listed_as_the_same(
            holes in prop::collection::vec(hole(), 1..600),
        ) {
            let mut requests = Requests::default();
            let timed = holes.iter().map(|hole| (hole.rule, Some(hole.timeout.secs())));
            change(&mut requests, Change::Add, "PT_4", timed);

            let mut listed = Vec::new();
            // The kernel's answer has the form of a request.
            for message in requests.sent() {
                elements(message, &mut |hole| listed.push(hole));
            }

            prop_assert_eq!(listed, holes);
        }

        #[test]
        fn whatever_the_kernel_answers_no_element_is_made_up(
            bytes in prop::collection::vec(
                prop_oneof![Just(0_u8), 1..=24_u8, Just(0x80), any::<u8>()],
                0..400,
            ),
        ) {
            let mut listed = 0;
            elements(Attributes::inside(&bytes), &mut |_| listed += 1);

            // The smallest element: address, port, protocol and timeout in their headers.
            prop_assert!(listed <= bytes.len() / 32);
        }
    }
}
