//! What the guard promises, whichever back end lays it: hidden is what is asked for, the owner's
//! rules have the last word, and time is the kernel's.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use agent::config::BackendChoice;
use agent::firewall::Holes as _;
use engine::Connection;
use harness::service::Reach;
use harness::{Node, Result, in_lab, wait};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use spa::Protocol;

use crate::support::{
    BACK_ENDS, PATIENCE, container, hole, laid, rule, run, timed, ways, ways_between,
};

#[test]
fn a_published_port_is_hidden_and_opened_by_the_number_that_was_asked_for() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let (container, inside) = container(lab, &host)?;
            let _service = container.serve_tcp(80)?;
            for (address, program) in inside.iter().zip(["iptables", "ip6tables"]) {
                let to = match address {
                    IpAddr::V4(v4) => format!("{v4}:80"),
                    IpAddr::V6(v6) => format!("[{v6}]:80"),
                };
                let words = "-w -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination";
                run(&host, &format!("{program} {words} {to}"));
            }
            for address in ways(&host) {
                assert_eq!(alice.reach(address, 8080)?, Reach::Open, "{address}");
            }
            let mut firewall = laid(&host, backend, &["tcp/8080"])?;
            for (address, from) in ways(&host).into_iter().zip(ways(&alice)) {
                assert_eq!(alice.reach(address, 8080)?, Reach::Silent, "{address}");

                firewall.holes.open(&[hole(from, "tcp/8080", 600)])?;

                assert_eq!(alice.reach(address, 8080)?, Reach::Open, "{address}");
                let mut session = alice.session(address, 8080)?;
                session.talk()?;
                let led_on = Connection {
                    protocol: Protocol::Tcp,
                    client: session.client(),
                    asked: session.server(),
                    server: (inside[usize::from(address.is_ipv6())], 80).into(),
                    zone: 0,
                };
                firewall.holes.close(&[rule(from, "tcp/8080")], &[led_on])?;
                assert!(session.is_dead(PATIENCE)?, "{address}");
                assert_eq!(alice.reach(address, 8080)?, Reach::Silent, "{address}");
            }
            Ok(())
        });
    }
}

#[test]
fn what_is_sent_to_another_machine_is_not_ours_to_hide() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let (container, inside) = container(lab, &host)?;
            let _services = (container.serve_tcp(22)?, container.serve_udp(53)?);
            let hidden = ["tcp/22", "udp/53", "icmp/echo"];
            let mut firewall = laid(&host, backend, &hidden)?;
            for (address, by) in inside.iter().zip(ways(&host)) {
                run(&alice, &format!("ip route add {address} via {by}"));
                assert_eq!(alice.reach(*address, 22)?, Reach::Open, "{address}");
                assert_eq!(alice.reach_udp(*address, 53)?, Reach::Open, "{address}");
                assert!(answers(&alice, *address), "{address}");

                let mut session = alice.session(*address, 22)?;
                let of_alice = ways(&alice)[usize::from(address.is_ipv6())];
                let rules = [rule(of_alice, "tcp/22"), rule(of_alice, "udp/53")];
                firewall.holes.close(&rules, &[])?;
                session.talk()?;
                assert_eq!(alice.reach_udp(*address, 53)?, Reach::Open, "{address}");
            }
            Ok(())
        });
    }
}

#[test]
fn ranges_networks_and_echo_are_hidden_and_opened_also_where_they_overlap() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let mallory = lab.node("mallory", 200)?;
            let _services = [host.serve_tcp(8000)?, host.serve_tcp(8010)?];
            let mut firewall = laid(&host, backend, &["tcp/8000-8010", "icmp/echo"])?;
            let seen = |node: &Node, address: IpAddr| -> Result<[bool; 3]> {
                let [first, last] = [8000, 8010].map(|port| node.reach(address, port));
                let is_open = |seen| seen == Reach::Open;
                Ok([is_open(first?), is_open(last?), answers(node, address)])
            };
            let networks = [
                ["192.0.2.0/25", "192.0.2.0/24"],
                ["2001:db8::/121", "2001:db8::/64"],
            ];
            for (address, [half, whole]) in ways(&host).into_iter().zip(networks) {
                assert_eq!(seen(&alice, address)?, [false; 3], "{address}");

                let open = |rule: String| timed(&rule, 600);
                firewall
                    .holes
                    .open(&[open(format!("{half} tcp/8000-8009"))])?;
                assert_eq!(seen(&alice, address)?, [true, false, false], "{address}");
                firewall.holes.open(&[
                    open(format!("{whole} tcp/8005-8010")),
                    open(format!("{half} icmp/echo")),
                ])?;
                assert_eq!(seen(&alice, address)?, [true, true, true], "{address}");
                assert_eq!(seen(&mallory, address)?, [false, true, false], "{address}");
                let closed = format!("{whole} tcp/8005-8010").parse()?;
                firewall.holes.close(&[closed], &[])?;
                assert_eq!(seen(&alice, address)?, [true, false, true], "{address}");
                assert_eq!(seen(&mallory, address)?, [false; 3], "{address}");
            }
            assert_eq!(firewall.holes.list()?.len(), 4);
            Ok(())
        });
    }
}

#[test]
fn a_hole_ends_within_twenty_milliseconds_of_its_deadline() {
    const SLACK: Duration = Duration::from_millis(20);
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let _service = host.serve_udp(53)?;
            let mut firewall = laid(&host, backend, &["udp/53"])?;
            // A port for each probe: what began goes on.
            let probes = alice.within(|| {
                let sockets = (0..400).map(|_| UdpSocket::bind((alice.v4, 0)));
                Ok(sockets.collect::<std::io::Result<Vec<_>>>()?)
            })?;
            let before = wait::now();
            firewall.holes.open(&[hole(alice.v4.into(), "udp/53", 1)])?;
            let deadlines = [before, wait::now()].map(|opened| opened + Duration::from_secs(1));
            wait::until_instant(deadlines[0] - 10 * SLACK);

            let mut sent = Vec::new();
            for probe in &probes {
                let begun = wait::now();
                probe.send_to(b"word", (host.v4, 53))?;
                sent.push((begun, wait::now()));
                wait::until_instant(begun + Duration::from_millis(1));
            }

            let mut seen = [0, 0];
            for (probe, (begun, ended)) in probes.iter().zip(sent) {
                probe.set_read_timeout(Some(Duration::from_millis(1)))?;
                let is_answered = probe.recv(&mut [0; 9]).is_ok();
                if ended + SLACK < deadlines[0] {
                    seen[0] += 1;
                    assert!(is_answered, "{:?} before its end", deadlines[0] - ended);
                }
                if begun > deadlines[1] + SLACK {
                    seen[1] += 1;
                    assert!(!is_answered, "{:?} after its end", begun - deadlines[1]);
                }
            }
            assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
            Ok(())
        });
    }
}

#[test]
fn what_is_hidden_stays_hidden_when_the_agent_is_killed_and_others_flush_what_is_theirs() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let _service = host.serve_tcp(22)?;
            let firewall = laid(&host, backend, &["tcp/22"])?;
            let flush = ["iptables -w -F", "iptables -w -X", "iptables -w -F INPUT"];
            let all_flush = ["nft flush ruleset"];
            let flushes = match backend {
                BackendChoice::Nftables => [&flush[..], &all_flush].concat(),
                BackendChoice::Auto | BackendChoice::Iptables => flush.to_vec(),
            };
            for flush in flushes {
                run(&host, flush);
                assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent, "{flush}");
            }
            // As the kernel does with what a process had that was killed.
            drop(firewall);
            assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
            Ok(())
        });
    }
}

#[test]
fn the_owners_rules_know_by_a_mark_what_came_through_a_hole_and_block_whom_they_block() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let _services = (
                host.serve_tcp(22)?,
                host.serve_tcp(80)?,
                host.serve_udp(53)?,
            );
            for rule in [
                "-A INPUT -m mark --mark 0x20000000/0x20000000 -j ACCEPT",
                "-P INPUT DROP",
            ] {
                run(&host, &format!("iptables -w {rule}"));
            }
            let mut firewall = laid(&host, backend, &["tcp/22"])?;
            let from = IpAddr::from(alice.v4);
            for port in [22, 80] {
                assert_eq!(alice.reach(host.v4, port)?, Reach::Silent, "{port}");
            }

            // Hidden by us, and not hidden by us.
            let ports = ["tcp/22", "tcp/80", "udp/53"];
            firewall
                .holes
                .open(&ports.map(|port| hole(from, port, 600)))?;

            assert_eq!(alice.reach_udp(host.v4, 53)?, Reach::Open);
            assert_eq!(alice.reach(host.v4, 80)?, Reach::Open);
            let mut session = alice.session(host.v4, 22)?;
            firewall.holes.flush()?;
            session.talk()?;
            assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
            firewall.holes.open(&[hole(from, "tcp/22", 600)])?;
            run(&host, &format!("iptables -w -I INPUT 1 -s {from} -j DROP"));
            assert!(session.is_dead(PATIENCE)?);
            assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
            Ok(())
        });
    }
}

#[test]
fn an_owner_who_finds_the_way_back_by_the_connection_mark_finds_it_also_for_what_came_by_a_hole() {
    // With iptables our bit stands in the connection mark, so all three lines say their mask.
    the_way_back(BackendChoice::Nftables, "", "--restore-mark");
    let masked = "--restore-mark --nfmask 0xffff --ctmask 0xffff";
    the_way_back(BackendChoice::Iptables, "/0xffff", masked);
}

fn the_way_back(backend: BackendChoice, mask: &str, restore: &str) {
    in_lab(|lab| {
        let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
        let _services = (host.serve_tcp(22)?, host.serve_udp(53)?);
        // Alice is behind a second uplink: only the route of that uplink's table leads to her.
        for words in [
            "ip route add default via 192.0.2.99",
            "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0",
            "ip route add 198.51.100.20 dev eth0 table 2",
            &format!("ip rule add fwmark 2{mask} lookup 2 pref 100"),
            "iptables -w -t mangle -A PREROUTING -i eth0 -m conntrack --ctstate NEW \
             -j CONNMARK --set-xmark 2/0xffff",
            &format!("iptables -w -t mangle -A OUTPUT -j CONNMARK {restore}"),
        ] {
            run(&host, words);
        }
        run(&alice, "ip addr add 198.51.100.20/32 dev eth0");
        let wire = "ip route replace 192.0.2.0/24 dev eth0 src 198.51.100.20";
        run(&alice, wire);
        assert_eq!(alice.reach(host.v4, 22)?, Reach::Open);
        let mut firewall = laid(&host, backend, &["tcp/22", "udp/53"])?;
        assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
        let ports = ["tcp/22", "udp/53"];
        let holes = ports.map(|port| timed(&format!("198.51.100.20 {port}"), 600));

        firewall.holes.open(&holes)?;

        assert_eq!(alice.reach_udp(host.v4, 53)?, Reach::Open);
        let mut session = alice.session(host.v4, 22)?;
        session.talk()?;
        firewall.holes.flush()?;
        session.talk()?;
        Ok(())
    });
}

#[test]
fn a_session_is_cut_in_the_zone_of_connection_tracking_that_the_owner_put_it_in() {
    // For both directions, and for what clients send alone.
    for [comes, leaves] in [["--zone 5", "--zone 5"], ["--zone-orig 5", "--zone 0"]] {
        for backend in BACK_ENDS {
            in_lab(|lab| {
                let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
                let service = host.serve_tcp(22)?;
                for program in ["iptables", "ip6tables"] {
                    let add = format!("{program} -w -t raw -A");
                    run(&host, &format!("{add} PREROUTING -i eth0 -j CT {comes}"));
                    run(&host, &format!("{add} OUTPUT -o eth0 -j CT {leaves}"));
                }
                let mut firewall = laid(&host, backend, &["tcp/22"])?;
                for (address, from) in ways_between(&host, &alice) {
                    firewall.holes.open(&[hole(from, "tcp/22", 600)])?;
                    let mut session = alice.session(address, 22)?;
                    session.talk()?;
                    assert!(entries(&host).contains("zone"), "{}", entries(&host));
                    let rules = [rule(from, "tcp/22")];
                    let connection =
                        Connection::direct(Protocol::Tcp, session.client(), session.server());
                    let connection = Connection {
                        zone: 5,
                        ..connection
                    };
                    firewall.holes.close(&rules, &[connection])?;

                    assert!(!entries(&host).contains("zone"), "{}", entries(&host));
                    let said = service.say_to(session.client());
                    assert!(!said || !session.hears(PATIENCE)?, "{address}");
                    assert!(session.is_dead(PATIENCE)?, "{address}");
                }
                Ok(())
            });
        }
    }
}

#[test]
fn what_the_owner_saves_holds_nothing_of_ours() {
    in_lab(|lab| {
        let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
        let mut firewall = laid(&host, BackendChoice::Nftables, &["tcp/22"])?;
        run(&host, "iptables -w -A INPUT -p tcp --dport 25 -j DROP");
        let from = IpAddr::from(alice.v4);
        firewall.holes.open(&[hole(from, "tcp/22", 600)])?;

        let saved = run(&host, "iptables-save");

        let rules = saved.lines().filter(|line| line.starts_with("-A "));
        let rules: Vec<_> = rules.collect();
        assert_eq!(rules, ["-A INPUT -p tcp -m tcp --dport 25 -j DROP"]);
        Ok(())
    });
}

/// Whether a machine answers echo requests.
fn answers(from: &Node, to: IpAddr) -> bool {
    run(from, "sysctl -w net.ipv4.ping_group_range=0\t0");
    let (family, protocol, kind) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    let asked = from.within(|| {
        let fd = socket(family, SockType::Datagram, SockFlag::empty(), protocol)?;
        let socket = UdpSocket::from(fd);
        socket.set_read_timeout(Some(PATIENCE))?;
        // The kernel numbers it and adds the sum.
        socket.send_to(&[kind, 0, 0, 0, 0, 0, 0, 1], (to, 0))?;
        Ok(socket.recv(&mut [0; 64]).is_ok())
    });
    asked.unwrap()
}

/// What connection tracking knows of port 22.
fn entries(host: &Node) -> String {
    let all = run(host, "cat /proc/net/nf_conntrack");
    let of_port = all.lines().filter(|line| line.contains("dport=22 "));
    of_port.collect::<Vec<_>>().join("\n")
}
