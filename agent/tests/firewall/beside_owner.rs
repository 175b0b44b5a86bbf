//! What must hold beside an owner's rules, of every back end that changes a kernel: what passes
//! through a hole is let in by one line in the owner's chains, and all else is the owner's.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use agent::config::{BackendChoice, FirewallConfig};
use agent::firewall::{self, Backend, BaseRules as _, Holes as _, Hooks};
use harness::service::{Reach, TcpService};
use harness::{Lab, Node, Result, in_lab, wait};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::CHAIN;
use crate::support::{PATIENCE, config, run, timed};

/// A host that serves TCP 22, 80 and 8080, and its neighbours.
struct Host {
    host: Node,
    alice: Node,
    mallory: Node,
    config: FirewallConfig,
    backend: Backend,
    hooks: Hooks,
    _services: [TcpService; 4],
}

/// The machine behind the host, which serves TCP 80.
const INNER: &str = "198.51.100.50";

/// Makes one test of every sentence, for one back end.
macro_rules! owned_suite {
    ($backend:ident, $choice:expr) => {
        mod $backend {
            use super::*;

            owned_suite! { @tests $choice;
                past_a_default_drop_a_hole_lets_in_and_its_session_outlives_it
                what_began_without_a_hole_ends_where_the_owner_drops_it
                past_a_default_drop_of_what_goes_out_answers_to_a_hole_get_and_nothing_else
                a_block_put_first_holds_for_every_port_and_every_session_while_a_hole_is_open
                a_chain_of_bans_holds_for_new_and_old_connections_while_a_hole_is_open
                a_block_put_last_holds_when_the_line_has_moved_below_it
                what_the_owner_puts_above_our_line_stands
                who_is_blocked_by_a_chain_that_is_also_the_last_word_stays_blocked
                a_rule_that_sets_the_whole_mark_before_translation_wipes_no_bit_of_the_guard
                a_port_that_the_owner_closes_opens_by_a_hole_and_only_so
                flushing_and_replacing_the_owners_rules_opens_nothing
                a_published_port_is_hidden_by_the_number_that_is_asked_for_and_opens_by_a_hole
                what_goes_on_to_another_machine_is_not_judged
                the_lines_go_with_the_agent_and_nothing_else_does
                a_range_for_a_network_opens_what_it_names_and_no_more
                of_two_ranges_that_share_a_port_neither_closes_it_for_the_other
                a_range_that_is_taken_back_is_closed_and_opens_again_for_one_of_its_addresses
                echo_is_hidden_and_opened_as_a_port_is
            }
        }
    };
    (@tests $choice:expr; $($sentence:ident)*) => {
        $(
            #[test]
            fn $sentence() {
                on_host($choice, super::$sentence);
            }
        )*
    };
}

owned_suite!(iptables, BackendChoice::Iptables);
owned_suite!(nftables, BackendChoice::Nftables);

fn past_a_default_drop_a_hole_lets_in_and_its_session_outlives_it(it: &mut Host) -> Result<()> {
    it.owner_drops_by_default();
    it.lay(&["tcp/22"]);
    it.opens_for_alice("tcp/22", 2);

    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);
    assert_eq!(it.alice.reach(it.host.v6, 22)?, Reach::Open);
    assert_eq!(it.mallory.reach(it.host.v4, 22)?, Reach::Silent);
    let mut sessions = [
        it.alice.session(it.host.v4, 22)?,
        it.alice.session(it.host.v6, 22)?,
    ];
    wait::until_instant(wait::now() + Duration::from_millis(2_100));
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    for session in &mut sessions {
        session.talk()?;
    }
    Ok(())
}

fn what_began_without_a_hole_ends_where_the_owner_drops_it(it: &mut Host) -> Result<()> {
    let mut before = it.alice.session(it.host.v4, 22)?;
    let mut other = it.alice.session(it.host.v4, 80)?;
    it.lay(&["tcp/22"]);
    before.talk()?;
    it.opens_for_alice("tcp/22", 600);

    it.owner_drops_by_default();
    it.hooks.keep();

    assert!(before.is_dead(PATIENCE)? && other.is_dead(PATIENCE)?);
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);
    Ok(())
}

fn past_a_default_drop_of_what_goes_out_answers_to_a_hole_get_and_nothing_else(
    it: &mut Host,
) -> Result<()> {
    it.owner_drops_by_default();
    it.owner("-P OUTPUT DROP");
    // Without it no neighbour is found.
    run(&it.host, "ip6tables -w -A OUTPUT -p ipv6-icmp -j ACCEPT");
    it.lay(&["tcp/22", "icmp/echo"]);
    it.opens_for_alice("tcp/22", 2);
    it.opens_for_alice("icmp/echo", 2);

    assert_eq!(firewall::look(&it.config)?.report.obstacles, []);
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);
    assert_eq!(it.alice.reach(it.host.v6, 22)?, Reach::Open);
    assert!(pings(&it.alice, it.host.v4.into()));
    assert_eq!(it.mallory.reach(it.host.v4, 22)?, Reach::Silent);
    // Nobody listens there: what this host begins does not get so far as to hear it.
    assert_ne!(it.host.reach(it.alice.v4, 7).ok(), Some(Reach::Refused));
    let mut session = it.alice.session(it.host.v4, 22)?;
    let mut other = it.alice.session(it.host.v6, 22)?;
    wait::until_instant(wait::now() + Duration::from_millis(2_100));
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    session.talk()?;
    other.talk()?;

    it.owner_v4(&format!("-I OUTPUT 1 -d {} -j DROP", it.alice.v4));
    it.is_kept();
    assert!(session.is_dead(PATIENCE)?);
    other.talk()
}

fn a_block_put_first_holds_for_every_port_and_every_session_while_a_hole_is_open(
    it: &mut Host,
) -> Result<()> {
    it.owner_drops_by_default();
    it.owner("-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT");
    it.owner("-A INPUT -p tcp --dport 80 -j ACCEPT");
    it.lay(&["tcp/22"]);
    it.opens_for_alice("tcp/22", 600);
    let mut sessions = [
        it.alice.session(it.host.v4, 22)?,
        it.alice.session(it.host.v4, 80)?,
    ];
    for session in &mut sessions {
        session.talk()?;
    }

    it.blocks_alice("-I INPUT 1");

    for session in &mut sessions {
        assert!(session.is_dead(PATIENCE)?);
    }
    for port in [22, 80] {
        assert_eq!(it.alice.reach(it.host.v4, port)?, Reach::Silent, "{port}");
    }
    assert_eq!(it.backend.base_rules.check(), Ok(None));
    it.blocks_alice("-D INPUT");
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);
    Ok(())
}

fn a_chain_of_bans_holds_for_new_and_old_connections_while_a_hole_is_open(
    it: &mut Host,
) -> Result<()> {
    it.owner_drops_by_default();
    it.lay(&["tcp/22"]);
    it.opens_for_alice("tcp/22", 600);
    let mut session = it.alice.session(it.host.v4, 22)?;
    session.talk()?;

    // As fail2ban does.
    it.owner("-N f2b-sshd");
    it.owner("-A f2b-sshd -j RETURN");
    it.owner("-I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd");
    it.hooks.keep();
    session.talk()?;
    it.blocks_alice("-I f2b-sshd 1");

    assert!(session.is_dead(PATIENCE)?);
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    Ok(())
}

fn a_block_put_last_holds_when_the_line_has_moved_below_it(it: &mut Host) -> Result<()> {
    it.owner_drops_by_default();
    it.lay(&["tcp/22"]);
    it.opens_for_alice("tcp/22", 600);
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);

    it.blocks_alice("-A INPUT");
    wait::until_instant(wait::now() + Duration::from_millis(50));

    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    Ok(())
}

fn what_the_owner_puts_above_our_line_stands(it: &mut Host) -> Result<()> {
    it.owner_drops_by_default();
    it.owner("-A INPUT -i lo -j ACCEPT");
    it.owner("-N PANIC");
    it.owner("-A PANIC -j DROP");
    it.lay(&["tcp/22"]);
    it.opens_for_alice("tcp/22", 600);

    for order in [
        "INPUT -j DROP",
        "INPUT -p tcp -j DROP",
        "INPUT -p tcp --dport 22 -j DROP",
        "INPUT -i eth0 -j DROP",
        "INPUT -j PANIC",
    ] {
        it.is_kept();
        let mut session = it.alice.session(it.host.v4, 22)?;
        session.talk()?;
        it.owner(&format!("-I {order}"));
        it.is_kept();
        // A start of the agent is no other occasion.
        let config = FirewallConfig::of_chain(CHAIN);
        it.hooks = it.host.within(|| Ok(Hooks::new(&config)))?;
        it.is_kept();

        assert!(session.is_dead(PATIENCE)?, "{order}");
        for host in [IpAddr::from(it.host.v4), it.host.v6.into()] {
            assert_eq!(it.alice.reach(host, 22)?, Reach::Silent, "{order}");
        }
        it.owner(&format!("-D {order}"));
        it.is_kept();
        assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open, "{order}");
    }
    // A save that is restored is what it was.
    it.owner("-I INPUT -p tcp -j DROP");
    let saved = run(&it.host, "iptables-save -t filter");
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), saved)?;
    run(
        &it.host,
        &format!("iptables-restore {}", file.path().display()),
    );
    it.is_kept();
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    Ok(())
}

fn who_is_blocked_by_a_chain_that_is_also_the_last_word_stays_blocked(it: &mut Host) -> Result<()> {
    let alice = it.alice.v4;
    it.owner_v4("-N REFUSED");
    it.owner_v4("-A REFUSED -s 192.0.2.77 -j DROP");
    it.owner_v4("-A REFUSED -j DROP");
    it.owner_v4("-A INPUT -j REFUSED");
    it.lay(&["tcp/22"]);
    it.opens_for_alice("tcp/22", 600);
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);

    it.owner_v4(&format!("-I INPUT 1 -s {alice} -j REFUSED"));
    it.is_kept();

    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    it.owner_v4("-N OUTER");
    it.owner_v4(&format!("-A OUTER -s {alice} -j REFUSED"));
    it.owner_v4("-I INPUT 1 -j OUTER");
    it.owner_v4("-D INPUT 2");
    it.is_kept();
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    it.owner_v4("-F OUTER");
    it.is_kept();
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);
    it.owner_v4(&format!("-A OUTER -s {alice} -j REFUSED"));
    it.is_kept();
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    it.owner_v4("-F OUTER");
    it.owner_v4("-D REFUSED 1");
    it.is_kept();
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);
    it.owner_v4(&format!("-I REFUSED 1 -s {alice} -j DROP"));
    it.is_kept();
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    Ok(())
}

fn a_rule_that_sets_the_whole_mark_before_translation_wipes_no_bit_of_the_guard(
    it: &mut Host,
) -> Result<()> {
    it.owner_drops_by_default();
    // As recipes for several uplinks have it: above our jump with iptables, and in a table of the
    // same priority that was there before ours with nftables.
    it.owner("-t mangle -A PREROUTING -i eth0 -j MARK --set-mark 1");
    it.lay(&["tcp/22"]);
    it.opens_for_alice("tcp/22", 600);

    if it.backend.name == "iptables" {
        it.owner("-t mangle -D PREROUTING -i eth0 -j MARK --set-mark 1");
        it.owner("-t mangle -I PREROUTING -i eth0 -j MARK --set-mark 1");
    }
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);
    assert_eq!(it.alice.reach(it.host.v6, 22)?, Reach::Open);
    assert_eq!(it.mallory.reach(it.host.v4, 22)?, Reach::Silent);
    Ok(())
}

fn a_port_that_the_owner_closes_opens_by_a_hole_and_only_so(it: &mut Host) -> Result<()> {
    it.owner("-A INPUT -p tcp --dport 80 -j DROP");
    it.lay(&["tcp/22"]);

    assert_eq!(it.alice.reach(it.host.v4, 80)?, Reach::Silent);
    it.opens_for_alice("tcp/80", 600);

    assert_eq!(it.alice.reach(it.host.v4, 80)?, Reach::Open);
    assert_eq!(it.mallory.reach(it.host.v4, 80)?, Reach::Silent);
    Ok(())
}

fn flushing_and_replacing_the_owners_rules_opens_nothing(it: &mut Host) -> Result<()> {
    it.owner_drops_by_default();
    it.lay(&["tcp/22"]);
    it.opens_for_alice("tcp/22", 600);

    for change in ["-P INPUT ACCEPT", "-F INPUT", "-F", "-X"] {
        it.owner(change);
        assert_eq!(it.mallory.reach(it.host.v4, 22)?, Reach::Silent, "{change}");
        assert_eq!(it.mallory.reach(it.host.v6, 22)?, Reach::Silent, "{change}");
    }
    assert_eq!(it.backend.base_rules.check(), Ok(None));
    it.owner_drops_by_default();
    it.hooks.keep();
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Open);
    Ok(())
}

fn a_published_port_is_hidden_by_the_number_that_is_asked_for_and_opens_by_a_hole(
    it: &mut Host,
) -> Result<()> {
    // As Docker does for `-p 8080:80`, and an owner in the chain that is theirs.
    it.leads_on(&[
        "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 8080 -j DNAT --to INNER:80",
        "-P FORWARD DROP",
        "-N DOCKER-USER",
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -d INNER/32 ! -i eth1 -o eth1 -p tcp --dport 80 -j ACCEPT",
    ]);
    let v4 = it.host.v4;
    assert_eq!(it.alice.reach(v4, 8080)?, Reach::Open);

    it.lay(&["tcp/8080"]);

    assert_eq!(it.alice.reach(v4, 8080)?, Reach::Silent);
    it.opens_for_alice("tcp/8080", 600);
    assert_eq!(it.alice.reach(v4, 8080)?, Reach::Open);
    assert_eq!(it.mallory.reach(v4, 8080)?, Reach::Silent);
    it.owner_v4("-A DOCKER-USER -i eth0 -m conntrack --ctstate NEW -j DROP");
    wait::until_instant(wait::now() + Duration::from_millis(50));
    it.hooks.keep();
    assert_eq!(it.alice.reach(v4, 8080)?, Reach::Open);
    it.blocks_alice("-I DOCKER-USER 1");
    assert_eq!(it.alice.reach(v4, 8080)?, Reach::Silent);
    Ok(())
}

fn what_goes_on_to_another_machine_is_not_judged(it: &mut Host) -> Result<()> {
    let inner: Ipv4Addr = INNER.parse()?;
    it.leads_on(&[]);
    run(
        &it.alice,
        &format!("ip route add {INNER}/32 via {}", it.host.v4),
    );
    it.lay(&["tcp/80"]);

    assert_eq!(it.alice.reach(it.host.v4, 80)?, Reach::Silent);
    assert_eq!(it.alice.reach(inner, 80)?, Reach::Open);
    Ok(())
}

fn the_lines_go_with_the_agent_and_nothing_else_does(it: &mut Host) -> Result<()> {
    it.owner_drops_by_default();
    let before = run(&it.host, "iptables -w -S");
    it.lay(&["tcp/22"]);
    assert!(!it.hooks.laid().is_empty());
    assert_ne!(run(&it.host, "iptables -w -S"), before);

    Hooks::remove(&FirewallConfig::of_chain(CHAIN))?;

    assert_eq!(run(&it.host, "iptables -w -S"), before);
    Hooks::remove(&FirewallConfig::of_chain(CHAIN))?;
    Ok(())
}

fn a_range_for_a_network_opens_what_it_names_and_no_more(it: &mut Host) -> Result<()> {
    it.owner_drops_by_default();
    it.lay(&["tcp/1-65535"]);

    // Alice is 192.0.2.20, Mallory 192.0.2.30.
    it.opens("192.0.2.16/29 tcp/22-80", 600);
    it.opens("2001:db8::10/124 tcp/22-80", 600);

    for port in [22, 80] {
        assert_eq!(it.alice.reach(it.host.v4, port)?, Reach::Open, "{port}");
        assert_eq!(it.mallory.reach(it.host.v4, port)?, Reach::Silent, "{port}");
    }
    assert_eq!(it.alice.reach(it.host.v4, 8080)?, Reach::Silent);
    let listed = it.backend.holes.list()?;
    let listed: Vec<String> = listed.iter().map(|hole| hole.rule.to_string()).collect();
    assert!(
        listed.contains(&"192.0.2.16/29 tcp/22-80".to_owned()),
        "{listed:?}"
    );
    assert_eq!(listed.len(), 2);
    Ok(())
}

fn of_two_ranges_that_share_a_port_neither_closes_it_for_the_other(it: &mut Host) -> Result<()> {
    it.lay(&["tcp/22", "tcp/80"]);
    let sees = |it: &Host, port| it.alice.reach(it.host.v4, port);
    it.opens("192.0.2.20 tcp/22-100", 600);
    it.opens("192.0.2.20 tcp/80-1000", 2);
    assert_eq!([sees(it, 22)?, sees(it, 80)?], [Reach::Open; 2]);

    wait::until_instant(wait::now() + Duration::from_millis(2_100));

    assert_eq!([sees(it, 22)?, sees(it, 80)?], [Reach::Open; 2]);
    it.opens("192.0.2.20 tcp/80-90", 600);
    let first = "192.0.2.20 tcp/22-100".parse()?;
    it.backend.holes.close(&[first], &[])?;
    // Held up until what had just begun is known.
    wait::until_instant(wait::now() + Duration::from_millis(5_100));
    assert_eq!([sees(it, 22)?, sees(it, 80)?], [Reach::Silent, Reach::Open]);
    Ok(())
}

fn a_range_that_is_taken_back_is_closed_and_opens_again_for_one_of_its_addresses(
    it: &mut Host,
) -> Result<()> {
    it.lay(&["tcp/22", "tcp/80"]);
    it.opens("192.0.2.0/24 tcp/22-80", 600);
    let mut session = it.alice.session(it.host.v4, 22)?;
    session.talk()?;

    let range = "192.0.2.0/24 tcp/22-80".parse()?;
    it.backend.holes.close(&[range], &[])?;

    assert!(session.is_dead(PATIENCE)?);
    for port in [22, 80] {
        assert_eq!(it.alice.reach(it.host.v4, port)?, Reach::Silent, "{port}");
    }
    it.opens("192.0.2.20 tcp/80", 600);
    assert_eq!(it.alice.reach(it.host.v4, 80)?, Reach::Open);
    assert_eq!(it.alice.reach(it.host.v4, 22)?, Reach::Silent);
    assert_eq!(it.backend.holes.list()?.len(), 1);
    Ok(())
}

fn echo_is_hidden_and_opened_as_a_port_is(it: &mut Host) -> Result<()> {
    let hosts = [IpAddr::from(it.host.v4), IpAddr::from(it.host.v6)];
    assert!(hosts.iter().all(|host| pings(&it.alice, *host)));
    it.owner_drops_by_default();

    it.lay(&["icmp/echo"]);

    assert!(!hosts.iter().any(|host| pings(&it.alice, *host)));
    it.opens_for_alice("icmp/echo", 2);
    assert!(hosts.iter().all(|host| pings(&it.alice, *host)));
    assert!(!hosts.iter().any(|host| pings(&it.mallory, *host)));
    wait::until_instant(wait::now() + Duration::from_millis(2_100));
    assert!(!hosts.iter().any(|host| pings(&it.alice, *host)));
    Ok(())
}

// === impl Host ===

impl Host {
    fn new(lab: &Lab, choice: BackendChoice) -> Result<Self> {
        let host = lab.node("host", 10)?;
        let inner = lab.node("inner", 50)?;
        let (gateway, _) = lab.second_wire(&host, &inner)?;
        run(&inner, "ip link set eth0 down");
        run(&inner, &format!("ip route add default via {gateway}"));
        let [ssh, web, other] = [
            host.serve_tcp(22)?,
            host.serve_tcp(80)?,
            host.serve_tcp(8080)?,
        ];
        let config = FirewallConfig {
            answers: true,
            protect: vec!["tcp/22".parse()?],
            ..config(choice)
        };
        let (backend, hooks) =
            host.within(|| Ok((firewall::open(&config)?, Hooks::new(&config))))?;
        Ok(Self {
            alice: lab.node("alice", 20)?,
            mallory: lab.node("mallory", 30)?,
            host,
            config,
            backend,
            hooks,
            _services: [ssh, web, other, inner.serve_tcp(80)?],
        })
    }

    /// As the monitor does at the start.
    fn lay(&mut self, ports: &[&str]) {
        let ports: Vec<_> = ports.iter().map(|port| port.parse().unwrap()).collect();
        self.backend.base_rules.lay(&ports).unwrap();
        self.hooks.keep();
    }

    /// What watches the rules has seen what was changed, and done what it does.
    fn is_kept(&mut self) {
        wait::until_instant(wait::now() + Duration::from_millis(50));
        self.hooks.keep();
    }

    fn opens(&mut self, rule: &str, secs: u32) {
        self.backend.holes.open(&[timed(rule, secs)]).unwrap();
    }

    fn opens_for_alice(&mut self, port: &str, secs: u32) {
        for address in [self.alice.v4.to_string(), self.alice.v6.to_string()] {
            self.opens(&format!("{address} {port}"), secs);
        }
    }

    /// The owner changes rules of both families.
    fn owner(&self, change: &str) {
        for program in ["iptables", "ip6tables"] {
            run(&self.host, &format!("{program} -w {change}"));
        }
    }

    fn owner_v4(&self, change: &str) {
        run(&self.host, &format!("iptables -w {change}"));
    }

    fn owner_drops_by_default(&self) {
        self.owner("-P INPUT DROP");
        run(&self.host, "ip6tables -w -I INPUT -p ipv6-icmp -j ACCEPT");
    }

    /// The owner blocks Alice by her address, and what watches the rules sees it.
    fn blocks_alice(&mut self, how: &str) {
        let alice = self.alice.v4;
        self.owner_v4(&format!("{how} -s {alice} -j DROP"));
        wait::until_instant(wait::now() + Duration::from_millis(50));
        self.hooks.keep();
    }

    /// Rules in which `INNER` is the address of the machine behind the host, to which packets are
    /// led on.
    fn leads_on(&self, rules: &[&str]) {
        run(&self.host, "sysctl -qw net.ipv4.ip_forward=1");
        for rule in rules {
            self.owner_v4(&rule.replace("INNER", INNER));
        }
    }
}

/// Whether a host answers to an echo request from this node.
fn pings(node: &Node, host: IpAddr) -> bool {
    let (family, protocol, request, answer_at, answer) = match host {
        // The head of IPv4 comes with the answer.
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8_u8, 20, 0),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 0, 129),
    };
    // Type, code, sum (only of IPv4; of IPv6 the kernel makes it), number and count of nothing.
    let sum = 0xffff - (u16::from(request) << 8);
    let [high, low] = sum.to_be_bytes();
    let message = [request, 0, high, low, 0, 0, 0, 0];
    let asked = node.within(|| {
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        // Only so far as both are sockets that send to an address.
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.send_to(&message, (host, 0))?;
        let mut heard = [0; 128];
        for _ in 0..5 {
            if socket.recv(&mut heard).is_ok() && heard.get(answer_at) == Some(&answer) {
                return Ok(true);
            }
        }
        Ok(false)
    });
    asked.unwrap()
}

fn on_host(choice: BackendChoice, sentence: fn(&mut Host) -> Result<()>) {
    in_lab(|lab| {
        let mut it = Host::new(lab, choice)?;
        let namespace = it.host.clone();
        namespace.within(|| sentence(&mut it))
    });
}
