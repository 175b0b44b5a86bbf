//! More than one address and more than one port in a grant.

use std::net::SocketAddr;

use engine::{Capabilities, Connection, Kernel, Limits};
use fleet::EventKind;
use gate::SharedKeys;
use spa::Protocol;

use crate::connections::begin;
use crate::host::{Host, restarted};
use crate::packets::{PORTS_AND_COMMANDS, close_of, knock, knock_for};

/// The stanza of the ports with these lines more.
fn access(lines: &str) -> String {
    let ports = "OPEN_PORTS tcp/22,tcp/80,tcp/8000-8010,icmp/echo\n";
    PORTS_AND_COMMANDS.replacen("OPEN_PORTS tcp/22,tcp/80\n", &format!("{ports}{lines}"), 1)
}

fn host(lines: &str) -> Host {
    Host::with(&access(lines), SharedKeys::None, Limits::default())
}

fn neighbour() -> Connection {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Connection::direct(
        Protocol::Tcp,
        address("203.0.113.200:40000"),
        address("192.0.2.100:22"),
    )
}

#[test]
fn what_is_open_for_a_network_and_the_packets_source_is_in_the_record_and_taken_back_whole() {
    let wide = "OPEN_PREFIX 24\nOPEN_PACKET_SOURCE Y\n";
    for narrower in [
        "OPEN_PREFIX 24\n",
        "OPEN_PREFIX 25\nOPEN_PACKET_SOURCE Y\n",
        "",
    ] {
        for restarts in [false, true] {
            let mut host = host(wide);
            host.arrive(1, &knock_for("203.0.113.7", 1, "tcp/22"));
            begin(&mut host, neighbour());

            assert_eq!(
                host.open_rules(),
                ["192.0.2.0/24 tcp/22", "203.0.113.0/24 tcp/22"]
            );
            let opened = host.event(EventKind::GrantOpened);
            assert_eq!(opened.opened, "203.0.113.0/24");
            assert_eq!(opened.also_opened, ["192.0.2.0/24"]);
            if restarts {
                host = restarted(host);
                let saved = host.live.values().cloned().collect();
                let now = host.now();
                host.engine
                    .recover(saved, Kernel::Unknown, &[neighbour()], now);
                host.turn();
            }
            host.replace_policy(&access(wide), 2);
            assert_eq!(host.open_rules().len(), 2);

            host.replace_policy(&access(narrower), 3);

            assert_eq!(host.open_rules(), Vec::<String>::new(), "{narrower}");
            assert_eq!(host.cut, [neighbour()]);
            let revoked = host.event(EventKind::GrantRevoked);
            assert_eq!(revoked.also_opened, ["192.0.2.0/24"]);
        }
    }
}

#[test]
fn ranges_and_echo_are_one_rule_each_and_named_in_the_record() {
    let mut host = host("");

    host.arrive(1, &knock(1, "tcp/8000-8010,icmp/echo", 0, 0));

    assert_eq!(
        host.open_rules(),
        ["192.0.2.1 tcp/8000-8010", "192.0.2.1 icmp/echo"]
    );
    assert_eq!(host.journal[0].ports, ["tcp/8000-8010", "icmp/echo"]);
    host.replace_policy(&access(""), 2);
    assert_eq!(host.open_rules().len(), 2);
    host.arrive(1, &close_of("alice", 2, "tcp/8005", false, 0));
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn an_address_inside_an_opened_network_is_closed_with_it() {
    let mut host = host("OPEN_PREFIX 24\n");
    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    host.arrive(9, &close_of("alice", 2, "", false, 0));

    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn a_packet_filter_without_networks_or_ranges_refuses_the_request_by_name() {
    let poor = Capabilities {
        networks: false,
        ports_max: 1,
        ..Capabilities::ALL
    };
    let access = access("OPEN_PREFIX 24\n");
    let mut host = Host::on(poor, &access, SharedKeys::None, Limits::default());

    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    assert_eq!(host.open_rules(), Vec::<String>::new());
    let [reason] = host.reasons(EventKind::Refused)[..] else {
        panic!("{:?}", host.journal);
    };
    assert!(reason.contains("single addresses only"), "{reason}");
}
