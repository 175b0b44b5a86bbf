//! What is said of the owner's rules, against what becomes of real packets: rulesets as their owners
//! write them, loaded by the owners' programs, and a guard of ours before them.

use std::net::IpAddr;

use agent::config::FirewallConfig;
use agent::firewall::{Outlook, look};
use engine::Rule;
use harness::service::{Reach, TcpService};
use harness::{Lab, Node, Result, in_lab};

use crate::CHAIN;

/// What the guard does to what a grant lets in.
const MARKS: &str = "
table inet guard {
    chain prerouting {
        type filter hook prerouting priority -150; policy accept;
        iif lo accept
        meta mark set meta mark or 0x20000000 ct mark set ct mark or 0x20000000
    }
}
";

/// How somebody loads rules.
#[derive(Clone, Copy, Debug)]
enum By {
    Nft,
    Iptables,
    Legacy,
}

/// What is expected of one sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    /// It is let in, and nothing is claimed.
    Passes,
    /// It is dropped, and that is said.
    Blocked,
    /// It is dropped, but that cannot be told.
    Untold,
}
use Expected::{Blocked, Passes, Untold};

/// Its name, the rules, and what becomes of whom at which port.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, u16, Expected)]);

/// A host with services at these ports, and two neighbours.
struct Place {
    host: Node,
    alice: Node,
    mallory: Node,
    _services: Vec<TcpService>,
}

const PORTS: [u16; 2] = [22, 80];

// === impl Place ===

impl Place {
    fn new(lab: &Lab) -> Result<Self> {
        let host = lab.node("host", 10)?;
        let services = PORTS.iter().map(|port| host.serve_tcp(*port));
        Ok(Self {
            _services: services.collect::<Result<_>>()?,
            alice: lab.node("alice", 20)?,
            mallory: lab.node("mallory", 30)?,
            host,
        })
    }

    fn load(&self, by: By, text: &str) -> Result<()> {
        let file = self.host.write("rules", text)?;
        let file = file.to_str().unwrap();
        let words: &[&str] = match by {
            By::Nft => &["nft", "-f", file],
            By::Iptables => &["iptables-restore", "--noflush", file],
            By::Legacy => &["iptables-legacy-restore", "--noflush", file],
        };
        self.host.run(words)?.ok()?;
        Ok(())
    }

    fn run(&self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.host.run(&words)?.ok()?;
        Ok(())
    }

    fn outlook(&self) -> Result<Outlook> {
        let config = FirewallConfig::of_chain(CHAIN);
        self.host.within(|| Ok(look(&config)?))
    }

    /// Compares what is said with what becomes of packets.
    fn compare(&self, name: &str, expected: &[(&str, u16, Expected)]) -> Result<()> {
        self.compare_families(2, name, expected)
    }

    /// The same for IPv4 alone.
    fn compare_v4(&self, name: &str, expected: &[(&str, u16, Expected)]) -> Result<()> {
        self.compare_families(1, name, expected)
    }

    fn compare_families(
        &self,
        families: usize,
        name: &str,
        expected: &[(&str, u16, Expected)],
    ) -> Result<()> {
        let outlook = self.outlook()?;
        for (who, port, expected) in expected {
            let from = match *who {
                "alice" => &self.alice,
                _ => &self.mallory,
            };
            let both = [
                (IpAddr::from(from.v4), IpAddr::from(self.host.v4)),
                (IpAddr::from(from.v6), IpAddr::from(self.host.v6)),
            ];
            for (source, to) in both.into_iter().take(families) {
                let rule: Rule = format!("{source} tcp/{port}").parse()?;
                let said = outlook.obstacles.of(&rule);
                let really = from.reach(to, *port)?;
                let what = format!("{name}: {rule}, really {really:?}: {outlook:#?}");
                assert_eq!(really == Reach::Open, *expected == Passes, "{what}");
                assert_eq!(said.is_some(), *expected == Blocked, "{what}");
            }
        }
        Ok(())
    }
}

/// Each of these is a ruleset of its own.
fn each(by: By, cases: &[Case<'_>]) {
    in_lab(|lab| {
        let place = Place::new(lab)?;
        for (name, rules, expected) in cases {
            place.run("nft flush ruleset")?;
            place.load(By::Nft, MARKS)?;
            place.load(by, rules)?;
            place.compare(name, expected)?;
        }
        Ok(())
    });
}

#[test]
fn what_native_chains_drop_is_foretold_and_what_they_let_pass_is_not_claimed() {
    let policy = "table inet filter { chain input { type filter hook input priority 0; policy drop;
        ct state established,related accept; iif lo accept; meta l4proto ipv6-icmp accept
        udp dport 62201 accept; tcp dport 80 accept; }
        }";
    let mark = "table inet filter { chain input { type filter hook input priority 0; policy drop;
        ct state established,related accept; iif lo accept; meta l4proto ipv6-icmp accept
        ip saddr 192.0.2.30 drop; ip6 saddr 2001:db8::1e drop
        meta mark & 0x20000000 == 0x20000000 accept; }
        }";
    let sets = "table inet filter {
        set banned4 { type ipv4_addr; flags interval; elements = { 192.0.2.24/29, 198.51.100.0/24 } }
        set banned6 { type ipv6_addr; flags timeout; elements = { 2001:db8::1e timeout 1h } }
        chain ssh { ip saddr @banned4 reject; ip6 saddr @banned6 drop; accept; }
        chain input { type filter hook input priority 0; policy accept;
        meta nfproto vmap { ipv4 : jump both, ipv6 : goto both }; }
        chain both { tcp dport vmap { 22 : jump ssh, 70-90 : drop }; }
        }";
    let later = "table inet firewalld {
        chain a { type filter hook input priority 0; accept; }
        chain input { type filter hook input priority 10; ct state { established, related } accept
        iifname \"lo\" accept; meta l4proto ipv6-icmp accept; iifname \"eth0\" goto zone; reject; }
        chain zone { tcp dport 80 ct state { new, untracked } accept; reject; }
        }";
    let early = "table ip raw { chain prerouting { type filter hook prerouting priority -300
        iifname \"eth*\" ip saddr 192.0.2.30 tcp dport { 22, 443 } drop; }
        }
        table ip6 raw { chain prerouting { type filter hook prerouting priority -300
        iifname != \"wg0\" ip6 saddr . tcp dport { 2001:db8::1e . 22 } drop; }
        }";
    each(
        By::Nft,
        &[
            (
                "nothing",
                "",
                &[("alice", 22, Passes), ("alice", 80, Passes)],
            ),
            (
                "policy",
                policy,
                &[("alice", 22, Blocked), ("alice", 80, Passes)],
            ),
            (
                "mark",
                mark,
                &[("alice", 22, Passes), ("mallory", 22, Blocked)],
            ),
            (
                "sets",
                sets,
                &[
                    ("alice", 22, Passes),
                    ("mallory", 22, Blocked),
                    ("alice", 80, Blocked),
                ],
            ),
            (
                "later",
                later,
                &[("alice", 22, Blocked), ("alice", 80, Passes)],
            ),
            (
                "early",
                early,
                &[
                    ("alice", 22, Passes),
                    ("mallory", 22, Blocked),
                    ("mallory", 80, Passes),
                ],
            ),
        ],
    );
}

#[test]
fn what_the_rules_of_iptables_drop_is_foretold() {
    let rules = "*filter
:INPUT DROP [0:0]
:f2b-sshd - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m multiport --dports 22,443,8000:8010 -j f2b-sshd
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i wg0 -j ACCEPT
-A INPUT -p tcp -m conntrack --ctstate NEW -m tcp --dport 80 -m comment --comment \"the web\" -j ACCEPT
MARK-A INPUT -p tcp -m tcp --dport 25 -j ACCEPT
-A f2b-sshd -s 192.0.2.30/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-sshd -j RETURN
COMMIT
";
    let marked = rules.replace(
        "MARK",
        "-A INPUT -m mark --mark 0x20000000/0x20000000 -j ACCEPT\n",
    );
    let closed = rules.replace("MARK", "");
    let unknown = "*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -m length --length 0:65535 -j DROP
-A INPUT -s 192.0.2.30/32 -p tcp ! --syn -j ACCEPT
-A INPUT -s 192.0.2.30/32 -p tcp -m state --state NEW -m tcp --dport 1:79 -j LOG
COMMIT
";
    for by in [By::Iptables, By::Legacy] {
        in_lab(|lab| {
            let place = Place::new(lab)?;
            place.load(By::Nft, MARKS)?;
            place.load(by, &closed)?;
            place.compare_v4("closed", &[("alice", 22, Blocked), ("alice", 80, Passes)])?;
            place.load(
                by,
                &marked.replacen(":INPUT DROP [0:0]", ":INPUT DROP [0:0]\n-F INPUT", 1),
            )?;
            place.compare_v4("marked", &[("alice", 22, Passes), ("mallory", 22, Blocked)])?;
            place.load(by, &unknown.replace("[0:0]", "[0:0]\n-F INPUT"))?;
            place.compare_v4("unknown", &[("alice", 22, Untold), ("alice", 80, Passes)])
        });
    }
}
