//! The iptables back end, checked with the programs that administrators use: what is in the chain,
//! in the sets, and what drift is called.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use agent::config::{BackendChoice, FirewallConfig};
use agent::firewall::{self, Backend, BaseRules as _, FirewallError, Holes as _};
use engine::{Connection, Hole, Rule};
use harness::service::{Reach, Session};
use harness::{Node, in_lab};
use spa::Protocol;

use crate::CHAIN;
use crate::support::{run, timed};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn ipset_prints_what_netlink_added() {
    on_host(&[], |host, firewall| {
        let holes = [
            hole("192.0.2.7", "tcp/22", 30),
            hole("192.0.2.7", "udp/53", 2_147_483),
            hole("2001:db8::7", "tcp/22", 60),
        ];

        firewall.holes.open(&holes).unwrap();

        let expected = [
            "add PT_TEST_4 192.0.2.7,tcp:22 timeout 30",
            "add PT_TEST_4 192.0.2.7,udp:53 timeout 2147483",
            "add PT_TEST_6 2001:db8::7,tcp:22 timeout 60",
        ];
        assert_eq!(elements(host), expected.map(str::to_owned).into());
    });
}

#[test]
fn the_clients_of_connections_that_were_led_on_and_cut_are_kept_and_no_others() {
    on_host(&["tcp/22"], |host, firewall| {
        let led_on = |client: u16| Connection {
            protocol: Protocol::Tcp,
            client: ([192, 0, 2, 20], client).into(),
            asked: ([192, 0, 2, 10], 22).into(),
            server: ([172, 17, 0, 2], 80).into(),
            zone: 0,
        };
        let direct = Connection {
            server: ([192, 0, 2, 10], 22).into(),
            ..led_on(40_001)
        };

        firewall
            .holes
            .close(&[], &[led_on(40_000), direct])
            .unwrap();

        let kept = "add PT_TEST_C4 192.0.2.20,tcp:40000 timeout 432000";
        assert_eq!(elements(host), [kept.to_owned()].into());
    });
}

#[test]
fn a_rule_that_is_closed_is_barred_until_it_is_opened_again() {
    on_host(&[], |host, firewall| {
        firewall
            .holes
            .open(&[hole("192.0.2.7", "tcp/22", 30)])
            .unwrap();

        firewall
            .holes
            .close(
                &[rule("192.0.2.7", "tcp/22"), rule("192.0.2.7", "udp/53")],
                &[],
            )
            .unwrap();

        // TCP connections are ended one by one, and held up until all of them are known.
        let barred = [
            "add PT_TEST_B4 192.0.2.7,tcp:22 timeout 5",
            "add PT_TEST_B4 192.0.2.7,udp:53 timeout 432000",
        ];
        assert_eq!(elements(host), barred.map(str::to_owned).into());
        firewall
            .holes
            .open(&[
                hole("192.0.2.7", "tcp/22", 30),
                hole("192.0.2.7", "udp/53", 30),
            ])
            .unwrap();
        let open = [
            "add PT_TEST_4 192.0.2.7,tcp:22 timeout 30",
            "add PT_TEST_4 192.0.2.7,udp:53 timeout 30",
        ];
        assert_eq!(elements(host), open.map(str::to_owned).into());
    });
}

#[test]
fn what_accepts_above_our_chain_is_seen_at_a_glance_and_put_below_it_until_its_program_insists() {
    on_host(&["tcp/22"], |host, firewall| {
        let rules = &mut firewall.base_rules;
        let first = |host: &Node, how: &str| {
            let line = format!("iptables -w -t mangle {how} PREROUTING -p tcp -j ACCEPT");
            run(host, &line);
        };
        rules.noticed();
        for _ in 0..20 {
            first(host, "-I");
            assert!(rules.noticed());
            let drift = rules.glance().unwrap().unwrap();
            assert!(
                drift.to_string().contains("is only reached past"),
                "{drift}"
            );
            rules.repair().unwrap();
            assert_eq!(rules.yielded(), None);
            rules.noticed();
            assert_eq!(rules.glance(), Ok(None));
            first(host, "-D");
            rules.noticed();
        }

        first(host, "-I");
        assert!(rules.glance().unwrap().is_some());
        rules.repair().unwrap();
        let said = rules.yielded().unwrap();
        assert!(said.contains("insists on being first"), "{said}");
        assert!(said.contains("open"), "{said}");
        assert_eq!(rules.check(), Ok(None));
        assert!(rules.yielded().is_some());
        first(host, "-D");
        assert_eq!(rules.glance(), Ok(None));
        assert_eq!(rules.yielded(), None);
    });
}

#[test]
fn the_chains_read_as_they_should_and_laying_again_changes_nothing() {
    on_host(&["tcp/22"], |host, firewall| {
        let before = rules(host);

        firewall.base_rules.repair().unwrap();

        assert_eq!(rules(host), before);
        let expected = "\
-N PT_TEST
-A PT_TEST -j MARK --set-xmark 0x0/0x20000000
-A PT_TEST -i lo -j RETURN
-A PT_TEST -m addrtype --dst-type UNICAST -m addrtype ! --dst-type LOCAL,ANYCAST -j RETURN
-A PT_TEST -m set --match-set PT_TEST_B4 src,dst -j DROP
-A PT_TEST -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -m connmark --mark 0x20000000/0x20000000 -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p udp -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -m connmark --mark 0x20000000/0x20000000 -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m set --match-set PT_TEST_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m set --match-set PT_TEST_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p tcp -m conntrack --ctstate UNTRACKED -m set --match-set PT_TEST_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p tcp -m conntrack --ctstate UNTRACKED -m set --match-set PT_TEST_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p udp -m set --match-set PT_TEST_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p udp -m set --match-set PT_TEST_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p icmp -m icmp --icmp-type 8 -m set --match-set PT_TEST_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -p icmp -m icmp --icmp-type 8 -m set --match-set PT_TEST_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -m mark --mark 0x20000000/0x20000000 -j CONNMARK --set-xmark 0x20000000/0x20000000
-A PT_TEST -m mark --mark 0x20000000/0x20000000 -j RETURN
-A PT_TEST -p tcp -m tcp --dport 22 ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate ESTABLISHED -j RETURN
-A PT_TEST -p tcp -m tcp --dport 22 -j DROP
";
        assert_eq!(mangle(host, "iptables", CHAIN), expected);
        let out = "\
-N PT_TEST_OUT
-A PT_TEST_OUT -o lo -j RETURN
-A PT_TEST_OUT -p tcp -m tcp --sport 22 ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP
";
        assert_eq!(mangle(host, "iptables", "PT_TEST_OUT"), out);
        let translated = "\
-N PT_TEST_IN
-A PT_TEST_IN -m conntrack ! --ctstate DNAT -j RETURN
-A PT_TEST_IN -i lo -j RETURN
-A PT_TEST_IN -m conntrack --ctdir REPLY -j RETURN
-A PT_TEST_IN -m mark --mark 0x20000000/0x20000000 -j RETURN
-A PT_TEST_IN -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate ESTABLISHED -j RETURN
-A PT_TEST_IN -p udp -m conntrack --ctstate ESTABLISHED -j RETURN
-A PT_TEST_IN -p tcp -m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctorigdstport 22 -m set --match-set PT_TEST_4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST_IN -p tcp -m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctorigdstport 22 -m set --match-set PT_TEST_N4 src,dst -j MARK --set-xmark 0x20000000/0x20000000
-A PT_TEST_IN -m mark --mark 0x20000000/0x20000000 -j CONNMARK --set-xmark 0x20000000/0x20000000
-A PT_TEST_IN -m mark --mark 0x20000000/0x20000000 -j RETURN
-A PT_TEST_IN -p tcp -m tcp --dport 22 -j DROP
";
        assert_eq!(mangle(host, "iptables", "PT_TEST_IN"), translated);
        let led_on = "\
-N PT_TEST_FWD
-A PT_TEST_FWD -m conntrack ! --ctstate NEW -j RETURN
-A PT_TEST_FWD -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m set --match-set PT_TEST_C4 dst,dst -j DROP
-A PT_TEST_FWD -p udp -m set --match-set PT_TEST_C4 dst,dst -j DROP
";
        assert_eq!(mangle(host, "iptables", "PT_TEST_FWD"), led_on);
        let v6 = mangle(host, "ip6tables", CHAIN);
        assert!(v6.contains("--icmpv6-type 128 -m set --match-set PT_TEST_6 src,dst -j MARK"));
        assert_eq!(firewall.base_rules.check(), Ok(None));
    });
}

#[test]
fn a_session_that_was_idle_before_connection_tracking_goes_on_when_its_port_is_hidden() {
    for first_hidden in [&["tcp/22"][..], &[]] {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let service = host.serve_tcp(22)?;
            let addresses = [IpAddr::from(host.v4), IpAddr::from(host.v6)];
            let mut sessions = Vec::new();
            for address in addresses {
                for _ in 0..2 {
                    sessions.push(alice.session(address, 22)?);
                }
            }
            assert_eq!(run(&host, "conntrack -L"), "");

            let _firewall = host.within(|| {
                let mut firewall = firewall::open(&config_of(CHAIN))?;
                let ports = first_hidden.iter().map(|port| port.parse().unwrap());
                firewall.base_rules.lay(&ports.collect::<Vec<_>>())?;
                firewall.base_rules.protect(&["tcp/22".parse().unwrap()])?;
                Ok(firewall)
            })?;

            assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
            for (number, session) in sessions.iter_mut().enumerate() {
                // Every second one hears first, the others speak first.
                let hears = |session: &mut Session| {
                    service.say_to(session.client()) && session.hears(PATIENCE).unwrap()
                };
                if number % 2 == 0 {
                    assert!(hears(session), "{number}");
                }
                session.talk()?;
                assert!(hears(session), "{number}");
                session.talk()?;
            }
            Ok(())
        });
    }
}

#[test]
fn what_a_service_begins_from_a_hidden_udp_port_lets_nobody_in_once_the_hole_has_closed() {
    in_lab(|lab| {
        let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
        let bind = |node: &Node, port: u16| {
            node.within(|| {
                let socket = UdpSocket::bind((node.v4, port))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(socket)
            })
        };
        let service = bind(&host, 5353)?;
        let (first, second) = (bind(&alice, 7777)?, bind(&alice, 7778)?);
        let arrives = |from: &UdpSocket, to: &UdpSocket| {
            from.send_to(b"word", to.local_addr().unwrap()).unwrap();
            to.recv(&mut [0; 9]).is_ok()
        };
        let mut firewall = host.within(|| {
            let mut firewall = firewall::open(&config_of(CHAIN))?;
            firewall.base_rules.lay(&["udp/5353".parse().unwrap()])?;
            let address = alice.v4.to_string();
            firewall.holes.open(&[hole(&address, "udp/5353", 3)])?;
            Ok(firewall)
        })?;

        assert!(arrives(&first, &service) && arrives(&service, &first));
        // The kernel forgets it, as it does after a while, and the service speaks first.
        run(&host, "conntrack -D -p udp");
        assert!(arrives(&service, &first));
        assert!(arrives(&second, &service) && arrives(&service, &second));
        // Time passes in waiting for words that nobody says.
        assert!(first.recv(&mut [0; 9]).is_err() && first.recv(&mut [0; 9]).is_err());

        assert!(firewall.holes.list()?.is_empty());
        assert!(arrives(&second, &service), "what a user began lives on");
        assert!(
            !arrives(&first, &service),
            "what the service began does not"
        );
        Ok(())
    });
}

#[test]
fn what_was_cut_is_not_adopted_when_the_agent_starts_again() {
    in_lab(|lab| {
        let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
        let service = host.serve_tcp(22)?;
        let config = config_of(CHAIN);
        let ports = ["tcp/22".parse().unwrap()];
        let mut session = host.within(|| {
            let mut firewall = firewall::open(&config)?;
            firewall.base_rules.lay(&ports)?;
            let address = alice.v4.to_string();
            firewall.holes.open(&[hole(&address, "tcp/22", 600)])?;
            let session = alice.session(host.v4, 22)?;
            let connection = Connection::direct(Protocol::Tcp, session.client(), session.server());
            firewall.holes.close(&[], &[connection])?;
            Ok(session)
        })?;

        host.within(|| Ok(firewall::open(&config)?.base_rules.lay(&ports)?))?;

        service.say_to(session.client());
        assert!(session.is_dead(PATIENCE)?);
        Ok(())
    });
}

#[test]
fn the_owners_block_of_an_address_holds_for_ports_that_are_not_protected() {
    in_lab(|lab| {
        let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
        let _service = host.serve_tcp(9090)?;
        let _firewall = host.within(|| {
            let mut firewall = firewall::open(&config_of(CHAIN))?;
            firewall.base_rules.lay(&["tcp/22".parse().unwrap()])?;
            Ok(firewall)
        })?;
        let mut session = alice.session(host.v4, 9090)?;
        session.talk()?;

        let block = format!("iptables -w -A INPUT -s {} -j DROP", alice.v4);
        run(&host, &block);

        assert!(session.is_dead(PATIENCE)?);
        Ok(())
    });
}

#[test]
fn drift_is_found_named_and_repaired() {
    on_host(&["tcp/22"], |host, firewall| {
        let good = rules(host);
        let breakages = [
            (
                "iptables -w -t mangle -F PREROUTING",
                "PREROUTING does not lead to PT_TEST",
            ),
            (
                "iptables -w -t mangle -F PT_TEST",
                "the rules of PT_TEST were changed",
            ),
            (
                "iptables -w -t mangle -I PREROUTING 1 -i eth9 -j ACCEPT",
                "PT_TEST is only reached past `-i eth9 -j ACCEPT` of PREROUTING",
            ),
            (
                "iptables -w -t mangle -A PREROUTING -j PT_TEST",
                "PREROUTING leads to PT_TEST 2 times",
            ),
            (
                "iptables -w -t mangle -F OUTPUT",
                "OUTPUT does not lead to PT_TEST_OUT",
            ),
            (
                "iptables -w -t mangle -F INPUT",
                "INPUT does not lead to PT_TEST_IN",
            ),
            (
                "iptables -w -t mangle -D PT_TEST_IN 4",
                "the rules of PT_TEST_IN were changed",
            ),
            (
                "iptables -w -t mangle -F FORWARD",
                "FORWARD does not lead to PT_TEST_FWD",
            ),
            (
                "ip6tables -w -t mangle -F PT_TEST_OUT",
                "IPv6: the rules of PT_TEST_OUT were changed",
            ),
            (
                "iptables -w -t mangle -D PT_TEST 1",
                "the rules of PT_TEST were changed",
            ),
        ];

        for (breakage, finding) in breakages {
            run(host, breakage);

            let drift = firewall.base_rules.check().unwrap().unwrap().to_string();

            assert!(drift.contains(finding), "{drift}");
            firewall.base_rules.repair().unwrap();
            assert_eq!(firewall.base_rules.check(), Ok(None));
            let theirs = "iptables -w -t mangle -D PREROUTING -i eth9 -j ACCEPT";
            host.run(&theirs.split(' ').collect::<Vec<_>>()).unwrap();
            assert_eq!(rules(host), good);
        }
    });
}

#[test]
fn a_whole_table_thrown_away_is_found_and_repaired() {
    on_host(&["tcp/22"], |host, firewall| {
        let good = rules(host);
        for program in ["iptables", "ip6tables"] {
            run(host, &format!("{program} -w -t mangle -F"));
            run(host, &format!("{program} -w -t mangle -X"));
        }
        run(host, "ipset destroy");

        let drift = firewall.base_rules.check().unwrap().unwrap().to_string();
        firewall.base_rules.repair().unwrap();

        assert!(drift.contains("a kernel set is missing"), "{drift}");
        assert!(drift.contains("IPv6: chain PT_TEST is gone"), "{drift}");
        assert_eq!(rules(host), good);
        assert_eq!(firewall.base_rules.check(), Ok(None));
    });
}

#[test]
fn a_second_agent_with_the_same_chain_is_refused_until_the_first_has_gone() {
    on_host(&[], |_, firewall| {
        let config = config_of(CHAIN);
        let other = config_of("PT_OTHER");

        let second = firewall::open(&config).map(|_| ());

        let chain = CHAIN.to_owned();
        assert_eq!(second, Err(FirewallError::Locked { chain }));
        firewall::open(&other).unwrap();
        // Gone with both halves of it.
        *firewall = firewall::open(&other).unwrap();
        firewall::open(&config).unwrap();
    });
}

/// This back end, with a chain of this name.
fn config_of(chain: &str) -> FirewallConfig {
    FirewallConfig {
        backend: BackendChoice::Iptables,
        ..FirewallConfig::of_chain(chain)
    }
}

/// Calls `story` in the network of a host of its own, with our chain laid in it.
fn on_host(protect: &[&str], story: impl FnOnce(&Node, &mut Backend) + Send) {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        host.within(|| {
            let protect: Vec<_> = protect.iter().map(|port| port.parse().unwrap()).collect();
            let mut firewall = firewall::open(&config_of(CHAIN))?;
            firewall.base_rules.lay(&protect)?;
            story(&host, &mut firewall);
            Ok(())
        })
    });
}

fn rule(address: &str, port: &str) -> Rule {
    format!("{address} {port}").parse().unwrap()
}

fn hole(address: &str, port: &str, secs: u32) -> Hole {
    timed(&format!("{address} {port}"), secs)
}

/// What `ipset save` prints about elements. It may already have counted some seconds down.
fn elements(host: &Node) -> BTreeSet<String> {
    let text = run(host, "ipset save");
    let adds = text.lines().filter(|line| line.starts_with("add "));
    adds.map(as_it_was_added).collect()
}

fn as_it_was_added(line: &str) -> String {
    let (head, secs) = line.rsplit_once(' ').unwrap();
    let left: u32 = secs.parse().unwrap();
    // The kernel rounds the time left down, so even a fresh element shows one second less.
    let added = [5, 30, 60, 432_000, 2_147_483];
    let added = added
        .into_iter()
        .find(|added| (left..=left + 3).contains(added));
    format!("{head} {}", added.unwrap_or(left))
}

fn rules(host: &Node) -> String {
    let all = |program| run(host, &format!("{program} -w -t mangle -S"));
    all("iptables") + &all("ip6tables")
}

/// The rules of one of our chains.
fn mangle(host: &Node, program: &str, chain: &str) -> String {
    run(host, &format!("{program} -w -t mangle -S {chain}"))
}
