//! The messages of the kernel's connection tracking (ctnetlink): writing them, and reading what it
//! says. Pure. Numbers: linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use engine::Connection;
use spa::Protocol;

use crate::netlink::{Attributes, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Nest, Requests};

/// Multicast groups of new and of ended entries.
pub(super) const GROUP_NEW: u32 = 1;
pub(super) const GROUP_DESTROY: u32 = 3;

/// What stands before the attributes of a message (`struct nfgenmsg`).
pub(super) const HEADER_LEN: usize = 4;

pub(super) const ENOENT: i32 = 2;
pub(super) const EEXIST: i32 = 17;

const NFNL_SUBSYS_CTNETLINK: u8 = 1;
const MSG_NEW: u8 = 0;
const MSG_GET: u8 = 1;
const MSG_DELETE: u8 = 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_ZONE: u16 = 18;

const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;

const TCP_ESTABLISHED: u8 = 3;
/// Flags and their mask: no packet is out of a window that nobody has seen.
const TCP_BE_LIBERAL: [u8; 2] = [8, 8];
const STATUS_SEEN_REPLY: u32 = 1 << 1;
const STATUS_ASSURED: u32 = 1 << 2;
/// It is in the table; the kernel refuses to have that changed, so it is said.
const STATUS_CONFIRMED: u32 = 1 << 3;
/// For how long the kernel itself remembers an idle session
/// (nf_conntrack_tcp_timeout_established).
const ESTABLISHED_SECS: u32 = 432_000;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// What a notice says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Notice {
    Began(Connection),
    Ended(Connection),
}

/// One message that enters a session that exists as one that conntrack has always known. Refused
/// with [`EEXIST`] when it does.
pub(super) fn insert(requests: &mut Requests, connection: &Connection) {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    begin(requests, MSG_NEW, flags, connection);
    let Connection {
        protocol,
        client,
        asked: _,
        server,
        zone: _,
    } = connection;
    name(requests, connection);
    tuple(requests, CTA_TUPLE_REPLY, *protocol, *server, *client);
    let status = STATUS_SEEN_REPLY | STATUS_ASSURED | STATUS_CONFIRMED;
    requests.attribute(CTA_STATUS, &status.to_be_bytes());
    requests.attribute(CTA_TIMEOUT, &ESTABLISHED_SECS.to_be_bytes());
    let info = requests.nest(CTA_PROTOINFO);
    let tcp = requests.nest(CTA_PROTOINFO_TCP);
    requests.attribute(CTA_PROTOINFO_TCP_STATE, &[TCP_ESTABLISHED]);
    requests.attribute(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &TCP_BE_LIBERAL);
    requests.attribute(CTA_PROTOINFO_TCP_FLAGS_REPLY, &TCP_BE_LIBERAL);
    requests.end_nest(tcp);
    requests.end_nest(info);
    requests.end();
}

/// One message that deletes an entry. Refused with [`ENOENT`] when there is none.
pub(super) fn delete(requests: &mut Requests, connection: &Connection) {
    begin(requests, MSG_DELETE, NLM_F_ACK, connection);
    name(requests, connection);
    requests.end();
}

/// One message that asks for an entry. Refused with [`ENOENT`] when there is none.
pub(super) fn get(requests: &mut Requests, connection: &Connection) {
    begin(requests, MSG_GET, NLM_F_ACK, connection);
    name(requests, connection);
    requests.end();
}

/// One message that asks for all entries.
pub(super) fn list(requests: &mut Requests) {
    let flags = NLM_F_ACK | NLM_F_DUMP;
    requests.begin(NFNL_SUBSYS_CTNETLINK, MSG_GET, flags, AF_UNSPEC);
    requests.end();
}

/// The connection that an entry stands for; `None` for what is neither TCP nor UDP.
pub(super) fn connection(entry: Attributes<'_>) -> Option<Connection> {
    let original = entry.find(CTA_TUPLE_ORIG)?;
    let (protocol, client, asked) = read_tuple(original)?;
    // Where packets go in the end, also where somebody has translated the address.
    let (_, server, _) = read_tuple(entry.find(CTA_TUPLE_REPLY)?)?;
    Some(Connection {
        protocol,
        client,
        asked,
        server,
        zone: read_zone(entry, original),
    })
}

/// What a notice of one of our groups says, from the type of its message.
pub(super) fn notice(kind: u16, entry: Attributes<'_>) -> Option<Notice> {
    let [message, subsystem] = kind.to_ne_bytes();
    match (subsystem, message) {
        (NFNL_SUBSYS_CTNETLINK, MSG_NEW) => connection(entry).map(Notice::Began),
        (NFNL_SUBSYS_CTNETLINK, MSG_DELETE) => connection(entry).map(Notice::Ended),
        _ => None,
    }
}

fn begin(requests: &mut Requests, message: u8, flags: u16, connection: &Connection) {
    let family = match connection.client {
        SocketAddr::V4(_) => AF_INET,
        SocketAddr::V6(_) => AF_INET6,
    };
    requests.begin(NFNL_SUBSYS_CTNETLINK, message, flags, family);
}

/// An entry is named by who began it and what was asked for, which is right also where either way is
/// translated, and by the zone in which that is looked for. A message without any tuple would mean
/// all entries.
fn name(requests: &mut Requests, connection: &Connection) {
    let Connection {
        protocol,
        client,
        asked,
        server: _,
        zone,
    } = connection;
    tuple(requests, CTA_TUPLE_ORIG, *protocol, *client, *asked);
    // A kernel without zones does not take one that is none.
    if *zone != 0 {
        requests.attribute(CTA_ZONE, &zone.to_be_bytes());
    }
}

fn tuple(requests: &mut Requests, kind: u16, protocol: Protocol, from: SocketAddr, to: SocketAddr) {
    let tuple: Nest = requests.nest(kind);
    let addresses = requests.nest(CTA_TUPLE_IP);
    for (address, v4, v6) in [
        (from.ip(), CTA_IP_V4_SRC, CTA_IP_V6_SRC),
        (to.ip(), CTA_IP_V4_DST, CTA_IP_V6_DST),
    ] {
        match address {
            IpAddr::V4(address) => requests.attribute(v4, &address.octets()),
            IpAddr::V6(address) => requests.attribute(v6, &address.octets()),
        }
    }
    requests.end_nest(addresses);
    let ports = requests.nest(CTA_TUPLE_PROTO);
    let number = match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
    };
    requests.attribute(CTA_PROTO_NUM, &[number]);
    requests.attribute(CTA_PROTO_SRC_PORT, &from.port().to_be_bytes());
    requests.attribute(CTA_PROTO_DST_PORT, &to.port().to_be_bytes());
    requests.end_nest(ports);
    requests.end_nest(tuple);
}

/// The zone of the original direction: that of the entry, or of this direction alone. The default one
/// is not said.
fn read_zone(entry: Attributes<'_>, original: &[u8]) -> u16 {
    let of_tuple = || Attributes::inside(original).find(CTA_TUPLE_ZONE);
    let zone = entry.find(CTA_ZONE).or_else(of_tuple);
    let zone = zone.and_then(|bytes| bytes.try_into().ok());
    zone.map(u16::from_be_bytes).unwrap_or_default()
}

/// Protocol, source and destination.
fn read_tuple(tuple: &[u8]) -> Option<(Protocol, SocketAddr, SocketAddr)> {
    let tuple = Attributes::inside(tuple);
    let addresses = Attributes::inside(tuple.find(CTA_TUPLE_IP)?);
    let address = |v4, v6| match (addresses.find(v4), addresses.find(v6)) {
        (Some(octets), _) => Some(IpAddr::V4(Ipv4Addr::from(
            <[u8; 4]>::try_from(octets).ok()?,
        ))),
        (None, Some(octets)) => Some(IpAddr::V6(Ipv6Addr::from(
            <[u8; 16]>::try_from(octets).ok()?,
        ))),
        (None, None) => None,
    };
    let ports = Attributes::inside(tuple.find(CTA_TUPLE_PROTO)?);
    let protocol = match ports.find(CTA_PROTO_NUM)? {
        [IPPROTO_TCP] => Protocol::Tcp,
        [IPPROTO_UDP] => Protocol::Udp,
        _ => return None,
    };
    let port = |kind| Some(u16::from_be_bytes(ports.find(kind)?.try_into().ok()?));
    Some((
        protocol,
        SocketAddr::new(
            address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
            port(CTA_PROTO_SRC_PORT)?,
        ),
        SocketAddr::new(
            address(CTA_IP_V4_DST, CTA_IP_V6_DST)?,
            port(CTA_PROTO_DST_PORT)?,
        ),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_connection()(
            is_tcp in any::<bool>(),
            addresses in prop_oneof![
                any::<[Ipv4Addr; 2]>().prop_map(|pair| pair.map(IpAddr::V4)),
                any::<[Ipv6Addr; 2]>().prop_map(|pair| pair.map(IpAddr::V6)),
            ],
            ports in any::<[u16; 2]>(),
            zone in any::<u16>(),
        ) -> Connection {
            let direct = Connection::direct(
                if is_tcp { Protocol::Tcp } else { Protocol::Udp },
                SocketAddr::new(addresses[0], ports[0]),
                SocketAddr::new(addresses[1], ports[1]),
            );
            Connection { zone, ..direct }
        }
    }

    proptest! {
        #[test]
        fn a_connection_that_was_entered_is_read_as_the_same(entered in any_connection()) {
            let mut requests = Requests::default();
            insert(&mut requests, &entered);

            let read: Vec<_> = requests.sent().into_iter().map(connection).collect();

            prop_assert_eq!(read, [Some(entered)]);
        }

        #[test]
        fn a_deletion_always_names_its_entry(entered in any_connection()) {
            let mut requests = Requests::default();
            delete(&mut requests, &entered);

            let sent = requests.sent();
            let named = sent[0].find(CTA_TUPLE_ORIG).and_then(read_tuple);

            prop_assert_eq!(named, Some((entered.protocol, entered.client, entered.asked)));
            prop_assert_eq!(read_zone(sent[0], &[]), entered.zone);
        }

        #[test]
        fn whatever_the_kernel_says_reading_it_ends(
            kind in any::<u16>(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = notice(kind, Attributes::inside(&bytes));
        }
    }
}
