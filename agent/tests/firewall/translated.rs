//! What is translated on its way, and what comes out of tunnels: hidden is hidden, and cut is cut.

use std::net::IpAddr;

use agent::firewall::Holes as _;
use engine::Connection;
use harness::service::Reach;
use harness::{Node, in_lab};
use spa::Protocol;

use crate::support::{BACK_ENDS, PATIENCE, PROGRAMS, container, hole, laid, rule, run, ways};

/// An address that no interface has, and that the neighbour sends to the host.
const ROUTED: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];

#[test]
fn a_session_through_a_published_port_that_was_cut_stays_cut_when_the_container_speaks() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let (container, inside) = container(lab, &host)?;
            let service = container.serve_tcp(8080)?;
            for (address, program) in inside.iter().zip(PROGRAMS) {
                publish(&host, program, *address);
            }
            let mut firewall = laid(&host, backend, &["tcp/8080"])?;
            for (address, from) in ways(&host).into_iter().zip(ways(&alice)) {
                firewall.holes.open(&[hole(from, "tcp/8080", 600)])?;
                let mut session = alice.session(address, 8080)?;
                session.talk()?;
                let led_on = Connection {
                    protocol: Protocol::Tcp,
                    client: session.client(),
                    asked: session.server(),
                    zone: 0,
                    server: (inside[usize::from(address.is_ipv6())], 8080).into(),
                };
                firewall.holes.close(&[rule(from, "tcp/8080")], &[led_on])?;

                assert!(service.say_to(session.client()), "{backend:?} {address}");
                assert!(!session.hears(PATIENCE)?, "{backend:?} {address}");
                assert!(session.is_dead(PATIENCE)?, "{backend:?} {address}");
                firewall.holes.open(&[hole(from, "tcp/8080", 600)])?;
                let mut next = alice.session(address, 8080)?;
                next.talk()?;
                assert!(service.say_to(next.client()));
                assert!(next.hears(PATIENCE)?, "{backend:?} {address}");
            }
            Ok(())
        });
    }
}

#[test]
fn a_hidden_port_is_hidden_under_every_address_and_number_that_is_translated_to_it() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let _services = [host.serve_tcp(2222)?, host.serve_tcp(80)?];
            for (program, routed) in PROGRAMS.into_iter().zip(ROUTED) {
                let redirect = |words: &str| {
                    let rule = "-w -t nat -A PREROUTING -p tcp";
                    run(&host, &format!("{program} {rule} {words}"));
                };
                redirect(&format!("-d {routed} --dport 2222 -j REDIRECT"));
                redirect(&format!("-d {routed} --dport 80 -j REDIRECT"));
                redirect("--dport 2200 -j REDIRECT --to-ports 2222");
            }
            let mut firewall = laid(&host, backend, &["tcp/2222"])?;
            for ((address, from), routed) in ways(&host).into_iter().zip(ways(&alice)).zip(ROUTED) {
                run(&alice, &format!("ip route add {routed} via {address}"));
                let routed: IpAddr = routed.parse().unwrap();
                let seen = || -> harness::Result<[Reach; 3]> {
                    let routed = alice.reach(routed, 2222)?;
                    Ok([
                        routed,
                        alice.reach(address, 2200)?,
                        alice.reach(address, 2222)?,
                    ])
                };
                assert_eq!(seen()?, [Reach::Silent; 3], "{backend:?} {address}");
                assert_eq!(
                    alice.reach(routed, 80)?,
                    Reach::Open,
                    "{backend:?} {address}"
                );

                firewall.holes.open(&[hole(from, "tcp/2222", 600)])?;
                let asked_for_it = [Reach::Open, Reach::Silent, Reach::Open];
                assert_eq!(seen()?, asked_for_it, "{backend:?} {address}");
                firewall.holes.open(&[hole(from, "tcp/2200", 600)])?;
                assert_eq!(seen()?, [Reach::Open; 3], "{backend:?} {address}");
                let mut session = alice.session(routed, 2222)?;
                session.talk()?;
                firewall.holes.flush()?;
                session.talk()?;
                assert_eq!(seen()?, [Reach::Silent; 3], "{backend:?} {address}");
            }
            Ok(())
        });
    }
}

#[test]
fn a_container_that_asks_for_a_hidden_port_of_its_host_needs_a_hole_as_any_stranger() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let host = lab.node("host", 10)?;
            let (container, inside) = container(lab, &host)?;
            let _services = [host.serve_tcp(22)?, container.serve_tcp(8080)?];
            for (address, program) in inside.iter().zip(PROGRAMS) {
                publish(&host, program, *address);
                // Its own answers come back by the way that they went.
                let words = "-w -t nat -A POSTROUTING -s";
                let rule = format!("{program} {words} {address} -d {address} -j MASQUERADE");
                run(&host, &rule);
            }
            let mut firewall = laid(&host, backend, &["tcp/22", "tcp/8080"])?;
            for (address, from) in ways(&host).into_iter().zip(inside) {
                for (port, name) in [(22, "tcp/22"), (8080, "tcp/8080")] {
                    let what = format!("{backend:?} {address} {port}");
                    assert_eq!(container.reach(address, port)?, Reach::Silent, "{what}");
                    firewall.holes.open(&[hole(from, name, 600)])?;
                    assert_eq!(container.reach(address, port)?, Reach::Open, "{what}");
                }
            }
            Ok(())
        });
    }
}

#[test]
fn what_comes_out_of_a_tunnel_has_no_mark_of_the_hole_that_the_tunnel_came_through() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let _service = host.serve_tcp(2222)?;
            for (node, peer, inner) in [(&host, &alice, 1), (&alice, &host, 2)] {
                let (own, other) = (node.v4, peer.v4);
                let link = "ip link add vx type vxlan id 5 dstport 4789";
                run(node, &format!("{link} local {own} remote {other} dev eth0"));
                run(node, &format!("ip addr add 198.51.100.{inner}/30 dev vx"));
                run(node, "ip link set vx up");
            }
            for rule in [
                "-A INPUT -m mark --mark 0x20000000/0x20000000 -j ACCEPT",
                "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
                "-P INPUT DROP",
            ] {
                run(&host, &format!("iptables -w {rule}"));
            }
            let mut firewall = laid(&host, backend, &["udp/4789"])?;
            firewall
                .holes
                .open(&[hole(alice.v4.into(), "udp/4789", 600)])?;

            let inner: IpAddr = "198.51.100.1".parse().unwrap();
            assert_eq!(alice.reach(inner, 2222)?, Reach::Silent, "{backend:?}");

            // What comes through the tunnel is the owner's to let in.
            run(&host, "iptables -w -A INPUT -i vx -j ACCEPT");
            assert_eq!(alice.reach(inner, 2222)?, Reach::Open, "{backend:?}");
            Ok(())
        });
    }
}

/// As Docker publishes a port under its own number.
fn publish(host: &Node, program: &str, container: IpAddr) {
    let to = std::net::SocketAddr::new(container, 8080);
    let words = "-w -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination";
    run(host, &format!("{program} {words} {to}"));
    let words = "-w -t nat -A POSTROUTING -s";
    run(
        host,
        &format!("{program} {words} {container} -o eth0 -j MASQUERADE"),
    );
}
