//! Values of every kind that travel, for tests.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use engine::{
    Capabilities, Connection, ConnectionChange, Destination, Forward, Hole, HoleTimeout, Obstacle,
    Obstacles, Rule, SeenSource, Unsupported, Way,
};
use ipnet::IpNet;
use proptest::prelude::*;
use spa::{PortRange, Protocol, Service};

use super::message::{Answered, Asked, Done, Hello, Request, Wish};
use crate::firewall::{FirewallError, Notice, Outlook};
use crate::report::FirewallReport;

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

fn port() -> impl Strategy<Value = NonZeroU16> {
    any::<NonZeroU16>()
}

pub(super) fn service() -> impl Strategy<Value = Service> {
    let range = (protocol(), port(), port()).prop_map(|(protocol, one, other)| {
        let range = PortRange::new(protocol, one.min(other), one.max(other));
        range.map_or(Service::Echo, Service::Ports)
    });
    // A few that are met often.
    let usual = prop_oneof![Just("tcp/22"), Just("tcp/443"), Just("udp/53")];
    let usual = usual.prop_map(|text| text.parse().unwrap());
    prop_oneof![range, usual, Just(Service::Echo)]
}

fn network() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), any::<u8>()).prop_map(|(address, length)| {
        let max = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length.min(max)).unwrap().trunc()
    })
}

fn forward() -> impl Strategy<Value = Forward> {
    let to = prop_oneof![
        (any::<IpAddr>(), proptest::option::of(port()))
            .prop_map(|(address, port)| Destination::Translated { address, port }),
        any::<IpAddr>().prop_map(|address| Destination::Untranslated { address }),
        port().prop_map(|port| Destination::Here { port }),
        Just(Destination::Anywhere),
    ];
    let source = prop_oneof![
        Just(SeenSource::Own),
        any::<IpAddr>().prop_map(SeenSource::Address),
        Just(SeenSource::Masquerade),
    ];
    let parts = (network(), proptest::option::of(service()), to, source);
    parts.prop_map(|(from, asked, to, source)| Forward {
        from,
        asked,
        to,
        source,
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let accept = (network(), service()).prop_map(|(from, to)| Rule::Accept { from, to });
    prop_oneof![4 => accept, 1 => forward().prop_map(Rule::Forward)]
}

fn hole() -> impl Strategy<Value = Hole> {
    (rule(), any::<u32>()).prop_map(|(rule, secs)| Hole {
        rule,
        timeout: HoleTimeout::clamped(secs),
    })
}

fn connection() -> impl Strategy<Value = Connection> {
    let end = || any::<SocketAddr>().prop_map(|end| SocketAddr::new(end.ip(), end.port()));
    let parts = (protocol(), end(), end(), end(), any::<u16>());
    parts.prop_map(|(protocol, client, asked, server, zone)| Connection {
        protocol,
        client,
        asked,
        server,
        zone,
    })
}

fn several<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(of, 0..4)
}

pub(super) fn request() -> impl Strategy<Value = Request<'static>> {
    prop_oneof![
        1 => several(rule()).prop_map(|rules| Request::Begin(rules.into())),
        1 => Just(Request::Start),
        6 => several(hole()).prop_map(|holes| Request::Open(holes.into())),
        3 => (several(rule()), several(connection()))
            .prop_map(|(rules, cut)| Request::Close(rules.into(), cut.into())),
        2 => several(rule()).prop_map(|rules| Request::End(rules.into())),
        1 => Just(Request::List),
        1 => Just(Request::Flush),
        1 => Just(Request::Beat),
    ]
}

pub(super) fn asked() -> impl Strategy<Value = Asked<'static>> {
    let parts = (any::<u64>(), any::<std::time::Duration>(), request());
    parts.prop_map(|(number, until, request)| Asked {
        number,
        until,
        request,
    })
}

fn error() -> impl Strategy<Value = FirewallError> {
    let text = || any::<String>();
    let two = || (text(), text());
    prop_oneof![
        two().prop_map(|(doing, reason)| FirewallError::Netlink {
            doing: doing.into(),
            reason
        }),
        (text(), text(), text()).prop_map(|(doing, set, reason)| FirewallError::Set {
            doing: doing.into(),
            set,
            reason
        }),
        two().prop_map(|(program, reason)| FirewallError::Spawn {
            program: program.into(),
            reason
        }),
        two().prop_map(|(program, stderr)| FirewallError::Refused {
            program: program.into(),
            stderr
        }),
        text().prop_map(FirewallError::NoIp6tables),
        text().prop_map(FirewallError::NoNftables),
        rule().prop_map(FirewallError::Overlapping),
        text().prop_map(|chain| FirewallError::Locked { chain }),
        text().prop_map(FirewallError::ChainName),
        (rule(), text()).prop_map(|(rule, reason)| FirewallError::Unsupported(Unsupported {
            rule,
            reason: reason.into()
        })),
        text().prop_map(FirewallError::Connections),
        text().prop_map(FirewallError::Thread),
        text().prop_map(FirewallError::Denied),
        Just(FirewallError::Lost),
        Just(FirewallError::Silent),
        Just(FirewallError::Fault),
    ]
}

pub(super) fn answered() -> impl Strategy<Value = Answered> {
    let done = prop_oneof![
        Just(Done::Nothing),
        several(connection()).prop_map(Done::Connections),
        several(hole()).prop_map(Done::Holes),
    ];
    let result = prop_oneof![done.prop_map(Ok), error().prop_map(Err)];
    (any::<u64>(), result).prop_map(|(number, result)| Answered { number, result })
}

pub(super) fn wish() -> impl Strategy<Value = Wish<'static>> {
    prop_oneof![
        several(service()).prop_map(|ports| Wish::Protect(ports.into())),
        several(connection()).prop_map(|of| Wish::LookAt(of.into())),
        Just(Wish::Announce),
        Just(Wish::Ready),
        Just(Wish::Alive),
    ]
}

fn outlook() -> impl Strategy<Value = Outlook> {
    let way = prop_oneof![Just(Way::Direct), Just(Way::Here), Just(Way::On)];
    let range = (any::<IpAddr>(), any::<IpAddr>());
    let parts = (
        several(range),
        any::<bool>(),
        several(service()),
        way,
        any::<bool>(),
        any::<String>(),
    );
    let obstacle = parts.prop_map(|(from, is_general, to, way, is_certain, text)| Obstacle {
        from,
        is_general,
        to,
        way,
        is_certain,
        text,
    });
    let parts = (
        several(obstacle),
        several(any::<IpAddr>()),
        several(any::<String>()),
        several(any::<String>()),
        any::<u64>(),
    );
    parts.prop_map(|(all, own, warnings, hooks, blocked_sources)| Outlook {
        obstacles: Obstacles::new(all, own),
        warnings,
        report: FirewallReport {
            hooks,
            blocked_sources,
            ..FirewallReport::default()
        },
    })
}

pub(super) fn notice() -> impl Strategy<Value = Notice> {
    let change = prop_oneof![
        connection().prop_map(ConnectionChange::Began),
        connection().prop_map(ConnectionChange::Found),
        connection().prop_map(ConnectionChange::Ended),
    ];
    prop_oneof![
        proptest::option::of(any::<String>()).prop_map(Notice::Drift),
        Just(Notice::Laid),
        outlook().prop_map(|outlook| Notice::Outlook(Box::new(outlook))),
        several(change).prop_map(Notice::Connections),
        several(any::<String>()).prop_map(Notice::Silent),
    ]
}

pub(super) fn hello() -> impl Strategy<Value = Hello> {
    let capabilities = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<u16>(),
    );
    let capabilities = capabilities.prop_map(
        |(ipv6, connections, forward, networks, ports_max)| Capabilities {
            ipv6,
            connections,
            forward,
            networks,
            ports_max,
        },
    );
    let parts = (
        any::<String>(),
        any::<String>(),
        capabilities,
        proptest::option::of(several(service())),
        proptest::option::of(any::<std::time::Duration>()),
    );
    parts.prop_map(|(backend, why, capabilities, hidden, watchdog)| Hello {
        backend,
        why,
        capabilities,
        hidden,
        watchdog,
    })
}
