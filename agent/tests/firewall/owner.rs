//! What is said of the owner's rules, against what becomes of real packets: rulesets as their owners
//! write them, loaded by the owners' programs, and a guard of ours before them.

use std::net::IpAddr;

use agent::config::{BackendChoice, FirewallConfig, Hooks};
use agent::firewall::{self, Outlook, look};
use engine::Rule;
use harness::service::{Reach, TcpService};
use harness::{Lab, Node, Result, in_lab, wait};

use crate::CHAIN;
use crate::support::config;

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

#[test]
fn what_is_dropped_at_ingress_and_what_answers_are_dropped_is_foretold() {
    let ingress = "table netdev t { chain i { type filter hook ingress device \"eth0\" priority 0;
        ip saddr 192.0.2.30 tcp dport 22 drop; ip6 saddr 2001:db8::1e tcp dport 22 drop; }
        chain lo { type filter hook ingress device \"lo\" priority 0; tcp dport 80 drop; }
        }";
    let inet = "table inet t { chain i { type filter hook ingress device \"eth0\" priority 0;
        ip saddr 192.0.2.30 tcp dport 22 drop; ip6 saddr 2001:db8::1e tcp dport 22 drop; }
        }";
    let answers = "table inet t { chain o { type filter hook output priority 0;
        ip daddr 192.0.2.30 tcp sport 22 drop; ip6 daddr 2001:db8::1e tcp sport 22 reject; }
        }";
    let closed = "table inet t { chain o { type filter hook output priority 0; policy drop;
        meta l4proto ipv6-icmp accept; oif lo accept; tcp sport 80 accept; }
        }";
    let open = "table inet t { chain o { type filter hook output priority 0; policy drop;
        meta l4proto ipv6-icmp accept; ct state established,related accept; }
        }";
    let mallory: &[_] = &[
        ("alice", 22, Passes),
        ("mallory", 22, Blocked),
        ("mallory", 80, Passes),
    ];
    let all: &[_] = &[("alice", 22, Blocked), ("alice", 80, Passes)];
    let none: &[_] = &[("alice", 22, Passes), ("mallory", 22, Passes)];
    each(
        By::Nft,
        &[
            ("ingress", ingress, mallory),
            ("inet ingress", inet, mallory),
            ("answers", answers, mallory),
            ("closed", closed, all),
            ("open", open, none),
        ],
    );
}

#[test]
fn what_iptables_drops_of_answers_and_by_range_and_set_is_foretold() {
    let dropped = [
        "-A OUTPUT -d 192.0.2.30/32 -j DROP",
        "-A OUTPUT -d 192.0.2.30/32 -o eth+ -p tcp -m tcp --sport 22 -j REJECT",
        "-A INPUT -m iprange --src-range 192.0.2.25-192.0.2.35 -j DROP",
        "-A OUTPUT -m iprange --dst-range 192.0.2.25-192.0.2.35 -j DROP",
        "-A INPUT -m set --match-set bad src -j DROP",
        "-A INPUT -m set --match-set nets src -p tcp -m tcp --dport 22 -j DROP",
        "-A OUTPUT -m set --match-set bad dst -j DROP",
    ];
    let policy = "-A OUTPUT -o lo -j ACCEPT\n-A OUTPUT -p tcp -m tcp --sport 80 -j ACCEPT
-A OUTPUT -j DROP";
    let cured = policy.replace("--sport 80", "--sport 22");
    for by in [By::Iptables, By::Legacy] {
        in_lab(|lab| {
            let place = Place::new(lab)?;
            place.load(By::Nft, MARKS)?;
            place.run("ipset create bad hash:ip timeout 0")?;
            place.run("ipset create nets hash:net")?;
            place.run("ipset add bad 192.0.2.30 timeout 600")?;
            place.run("ipset add nets 192.0.2.28/30")?;
            let load = |rules: &str| {
                let text = format!("*filter\n-F\n{rules}\nCOMMIT\n");
                place.load(by, &text)
            };
            for rule in dropped {
                load(rule)?;
                place.compare_v4(rule, &[("alice", 22, Passes), ("mallory", 22, Blocked)])?;
            }
            place.run("ipset del bad 192.0.2.30")?;
            place.compare_v4("pardoned", &[("mallory", 22, Passes)])?;
            load(policy)?;
            place.compare_v4("policy", &[("alice", 22, Blocked), ("alice", 80, Passes)])?;
            load(&cured)?;
            place.compare_v4("cured", &[("alice", 22, Passes)])
        });
    }
}

#[test]
fn what_may_drop_and_cannot_be_told_is_no_obstacle_and_is_listed() {
    in_lab(|lab| {
        let place = Place::new(lab)?;
        place.load(By::Nft, MARKS)?;
        let rules = [
            "-p tcp -m tcp --dport 22 -m connlimit --connlimit-above 0 -j DROP",
            "-p tcp -m tcp --dport 22 -j NFQUEUE --queue-num 5",
            "-p tcp -m tcp --dport 22 -m limit --limit 1/day --limit-burst 100 -j DROP",
        ];
        for rule in rules {
            place.load(
                By::Iptables,
                &format!("*filter\n-F\n-A INPUT {rule}\nCOMMIT\n"),
            )?;
            place.compare_v4(rule, &[("alice", 22, Untold)])?;
            let listed = place.outlook()?.report.obstacles;
            let uncertain = listed.iter().filter(|one| !one.is_certain);
            assert_eq!((uncertain.count(), listed.len()), (1, 1), "{listed:?}");
        }
        Ok(())
    });
}

#[test]
fn rules_of_routing_that_ask_for_the_whole_mark_are_warned_of() {
    in_lab(|lab| {
        let place = Place::new(lab)?;
        place.run("ip rule add fwmark 2/0xffff lookup 2")?;
        // As wg-quick has it: what is not marked goes into the tunnel, with our bit or without.
        place.run("ip rule add not fwmark 51820 lookup 51820")?;
        assert_eq!(place.outlook()?.warnings, [""; 0]);
        place.run("ip -6 rule add fwmark 3 lookup 2")?;
        let outlook = place.outlook()?;
        let cure = "write fwmark 0x3/0xdfffffff";
        assert!(outlook.warnings[0].contains(cure), "{outlook:#?}");
        assert!(outlook.report.marks[0].contains(cure), "{outlook:#?}");
        Ok(())
    });
}

#[test]
fn rules_that_keep_the_whole_mark_in_connections_are_warned_of_where_our_bit_stands_there() {
    in_lab(|lab| {
        let place = Place::new(lab)?;
        let with = |backend| -> Result<Vec<String>> {
            let config = config(backend);
            place.host.within(|| Ok(look(&config)?.warnings))
        };
        let both = [BackendChoice::Nftables, BackendChoice::Iptables];
        let native = "table inet theirs { chain out { type route hook output priority -150;
            meta mark set ct mark; }
            }";
        let masked = "table inet theirs { chain out { type route hook output priority -150;
            meta mark set ct mark and 0xff; ct mark set ct mark and 0xffffff00 or 0x2; }
            }";
        let saves = "table inet theirs { chain out { type route hook output priority -150;
            ct mark set meta mark; }
            }";
        let restore = "*mangle\n-A OUTPUT -j CONNMARK --restore-mark\nCOMMIT\n";
        let restore_masked =
            "*mangle\n-A OUTPUT -j CONNMARK --restore-mark --mask 0xffff\nCOMMIT\n";
        let set = "*mangle\n-A PREROUTING -j CONNMARK --set-mark 2\nCOMMIT\n";
        let wipes = "*mangle\n-A PREROUTING -i lo -j MARK --set-mark 2\nCOMMIT\n";
        let wipes_masked = "*mangle\n-A PREROUTING -j MARK --set-mark 2/0xff\nCOMMIT\n";
        let behind = "sets the whole mark of packets, and that behind us";
        let gives = "gives packets the whole mark of their connection";
        let writes = "writes the whole mark of connections";
        let cases = [
            (By::Nft, native, gives),
            (By::Nft, masked, ""),
            (By::Nft, saves, writes),
            (By::Iptables, restore, gives),
            (By::Iptables, restore_masked, ""),
            (By::Iptables, set, writes),
            (By::Iptables, wipes, behind),
            (By::Iptables, wipes_masked, ""),
            (By::Legacy, wipes, behind),
            (By::Legacy, restore, gives),
            (By::Legacy, restore_masked, ""),
        ];
        for (by, rules, expected) in cases {
            place.run("nft flush ruleset")?;
            place.run("iptables-legacy -t mangle -F")?;
            place.load(by, rules)?;
            assert_eq!(with(both[0])?, [""; 0], "{rules}");
            let said = with(both[1])?;
            let is_said = said.iter().any(|said| said.contains(expected));
            assert_eq!(is_said, !expected.is_empty(), "{rules}: {said:#?}");
        }
        // What is saved and given back brings our bit with either.
        place.run("nft flush ruleset")?;
        place.run("iptables-legacy -t mangle -F")?;
        place.load(By::Nft, native)?;
        place.load(
            By::Iptables,
            "*mangle\n-A INPUT -j CONNMARK --save-mark\nCOMMIT\n",
        )?;
        assert!(with(both[0])?[0].contains(gives));
        Ok(())
    });
}

#[test]
fn our_line_in_a_native_chain_stands_below_what_the_owner_blocks_and_comes_back_after_a_reload() {
    let rules = "table inet filter {
        chain early { ip saddr 192.0.2.30 drop; ip6 saddr 2001:db8::1e drop; }
        chain input { type filter hook input priority 0; policy accept;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iif lo accept; meta l4proto ipv6-icmp accept; jump early; tcp dport 25 accept
        reject; }
        chain other { ip saddr 192.0.2.99 drop; }
        }";
    in_lab(|lab| {
        let place = Place::new(lab)?;
        place.load(By::Nft, MARKS)?;
        place.load(By::Nft, rules)?;
        let text = || -> Result<String> {
            let ran = place
                .host
                .run(&["nft", "list", "table", "inet", "filter"])?
                .ok()?;
            Ok(ran.stdout)
        };
        let before = text()?;
        let config = FirewallConfig {
            hooks: Hooks::Chains(vec![
                "inet filter input".to_owned(),
                "inet nowhere input".to_owned(),
            ]),
            ..FirewallConfig::of_chain(CHAIN)
        };
        place.compare("before", &[("alice", 22, Blocked)])?;
        place.host.within(|| {
            let mut hooks = firewall::Hooks::new(&config);
            hooks.keep();
            assert_eq!(hooks.laid(), ["inet filter input"]);
            let well = [("alice", 22, Passes), ("mallory", 22, Blocked)];
            place.compare("laid", &well)?;
            assert_eq!(place.outlook()?.report.hooks, ["inet filter input"]);
            let laid = text()?;
            hooks.keep();
            assert_eq!(text()?, laid);

            // The owner loads the rules anew, and blocks at the end.
            place.run("nft delete table inet filter")?;
            place.load(By::Nft, rules)?;
            let is_back = || {
                hooks.keep();
                Ok(text()? == laid)
            };
            wait::until("our line is back", wait::SOON, is_back)?;
            place.compare("again", &well)?;
            firewall::Hooks::remove(&config)?;
            assert_eq!(text()?, before);
            Ok(())
        })
    });
}

#[test]
fn what_docker_publishes_is_followed_to_the_container_and_docker_user_can_block_it() {
    let nat = "*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -i eth1 -j RETURN
-A DOCKER ! -i eth1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 198.51.100.40:80
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o eth1 -j DOCKER
-A FORWARD -i eth1 ! -o eth1 -j ACCEPT
-A FORWARD -i eth1 -o eth1 -j ACCEPT
-A DOCKER -d 198.51.100.40/32 ! -i eth1 -o eth1 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i eth1 ! -o eth1 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o eth1 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
@-A DOCKER-USER -j RETURN
COMMIT
";
    let block = "-A DOCKER-USER -i eth0 -m conntrack --ctstate NEW -j DROP\n";
    in_lab(|lab| {
        let place = Place::new(lab)?;
        let container = lab.node("container", 40)?;
        lab.second_wire(&place.host, &container)?;
        place.run("sysctl -qw net.ipv4.ip_forward=1")?;
        container
            .run(&["ip", "link", "set", "eth0", "down"])?
            .ok()?;
        let route = ["ip", "route", "add", "default", "via", "198.51.100.10"];
        container.run(&route)?.ok()?;
        let _service = container.serve_tcp(80)?;
        place.load(By::Nft, MARKS)?;

        place.load(By::Iptables, &nat.replace('@', ""))?;
        let expected = [("alice", 8080, Passes), ("alice", 80, Blocked)];
        place.compare_v4("published", &expected)?;
        let published = place.outlook()?.report.published;
        assert_eq!(
            published,
            ["tcp/8080 leads to 198.51.100.40 port 80, not hidden"]
        );

        place.run("nft flush ruleset")?;
        place.load(By::Nft, MARKS)?;
        place.load(By::Iptables, &nat.replace('@', block))?;
        place.compare_v4("blocked", &[("alice", 8080, Blocked)])
    });
}
