//! What the tests of packet filters share: a back end on a host of a lab, and what it opens.

use std::net::IpAddr;
use std::time::Duration;

use agent::config::{BackendChoice, FirewallConfig};
use agent::firewall::{self, Backend, BaseRules as _};
use engine::{Hole, HoleTimeout, Rule};
use harness::{Lab, Node, Ran, Result, wait};
use spa::Service;

use crate::CHAIN;

/// Those that change a kernel.
pub(crate) const BACK_ENDS: [BackendChoice; 2] = [BackendChoice::Nftables, BackendChoice::Iptables];
/// The programs of iptables.
pub(crate) const PROGRAMS: [&str; 2] = ["iptables", "ip6tables"];
/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// This back end, with the chain of all tests.
pub(crate) fn config(backend: BackendChoice) -> FirewallConfig {
    FirewallConfig {
        backend,
        ..FirewallConfig::of_chain(CHAIN)
    }
}

/// A machine behind the host, with its addresses there: as a container has them.
pub(crate) fn container(lab: &Lab, host: &Node) -> Result<(Node, [IpAddr; 2])> {
    let container = lab.node("container", 40)?;
    let (v4, gateway) = lab.second_wire(&container, host)?;
    let v6 = "2001:db8:1::40".parse()?;
    run(&container, "ip link set eth0 down");
    run(&container, "ip addr add 2001:db8:1::40/64 dev eth1 nodad");
    run(host, "ip addr add 2001:db8:1::10/64 dev eth1 nodad");
    run(&container, &format!("ip route add default via {gateway}"));
    run(&container, "ip route add default via 2001:db8:1::10");
    run(host, "sysctl -w net.ipv4.ip_forward=1");
    run(host, "sysctl -w net.ipv6.conf.all.forwarding=1");
    // Neighbours are asked from addresses that the kernel must first have found to be free.
    for node in [&container, host] {
        wait::until("usable addresses", Duration::from_secs(10), || {
            Ok(run(node, "ip -6 addr show dev eth1 tentative").is_empty())
        })?;
    }
    Ok((container, [v4.into(), v6]))
}

/// The back end with these ports hidden, on this host.
pub(crate) fn laid(host: &Node, backend: BackendChoice, hidden: &[&str]) -> Result<Backend> {
    let config = config(backend);
    host.within(|| {
        let mut firewall = firewall::open(&config)?;
        let ports = hidden.iter().map(|port| port.parse().unwrap());
        firewall.base_rules.lay(&ports.collect::<Vec<Service>>())?;
        Ok(firewall)
    })
}

pub(crate) fn ways(to: &Node) -> [IpAddr; 2] {
    [to.v4.into(), to.v6.into()]
}

pub(crate) fn ways_between(host: &Node, alice: &Node) -> [(IpAddr, IpAddr); 2] {
    let [v4, v6] = ways(host);
    let [from_v4, from_v6] = ways(alice);
    [(v4, from_v4), (v6, from_v6)]
}

/// What a command prints that must succeed.
pub(crate) fn run(node: &Node, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    node.run(&words).and_then(|ran| ran.ok()).unwrap().stdout
}

/// A line of shell, as an administrator types it.
pub(crate) fn shell(node: &Node, line: &str) -> Ran {
    node.run(&["sh", "-c", line]).unwrap()
}

pub(crate) fn rule(from: IpAddr, service: &str) -> Rule {
    Rule::accept(from, service.parse::<Service>().unwrap())
}

pub(crate) fn hole(from: IpAddr, service: &str, secs: u32) -> Hole {
    timed(&format!("{from} {service}"), secs)
}

/// What a rule in words opens, for so long.
pub(crate) fn timed(rule: &str, secs: u32) -> Hole {
    Hole {
        rule: rule.parse().unwrap(),
        timeout: HoleTimeout::clamped(secs),
    }
}
