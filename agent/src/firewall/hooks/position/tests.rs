//! Where a line belongs in rules as people and programs write them.

use super::*;

/// Reads rules, marks the place with `>`: `CHAIN: rules before`, or that none is needed.
fn place(text: &str, chain: &str) -> String {
    let table = TableText::of(text);
    let none = |_: &RuleText| false;
    match spot(&table, chain, &none, &none) {
        Some(spot) if spot.is_needed => format!("{} {}..={}", spot.chain, spot.first, spot.last),
        Some(_) => "not needed".to_owned(),
        None => "no such chain".to_owned(),
    }
}

fn input(policy: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("-A {rule}\n")).collect();
    place(
        &format!("-P INPUT {policy}\n-N F2B\n-N CLOSED\n{rules}"),
        "INPUT",
    )
}

#[test]
fn where_nothing_drops_no_line_is_needed() {
    assert_eq!(input("ACCEPT", &[]), "not needed");
    assert_eq!(
        input("ACCEPT", &["INPUT -s 192.0.2.7/32 -j DROP"]),
        "not needed"
    );
    assert_eq!(
        input("DROP", &["INPUT -i lo -j ACCEPT", "INPUT -j ACCEPT"]),
        "not needed"
    );
    assert_eq!(place("", "INPUT"), "no such chain");
}

#[test]
fn in_what_goes_out_it_is_who_a_packet_goes_to_that_may_be_blocked() {
    let output = |rules: &[&str]| {
        let rules: String = rules
            .iter()
            .map(|rule| format!("-A OUTPUT {rule}\n"))
            .collect();
        place(&format!("-P OUTPUT DROP\n{rules}"), "OUTPUT")
    };
    assert_eq!(output(&[]), "OUTPUT 0..=0");
    for (rule, expected) in [
        ("-d 192.0.2.7/32 -j DROP", "OUTPUT 1..=1"),
        ("-p tcp -m tcp --dport 25 -j REJECT", "OUTPUT 1..=1"),
        ("-m set --match-set bans dst -j DROP", "OUTPUT 1..=1"),
        ("-m owner --uid-owner 33 -j DROP", "OUTPUT 1..=1"),
        ("-s 192.0.2.1/32 -o eth9 -j DROP", "OUTPUT 0..=0"),
        ("-p tcp -m tcp --sport 80 -j DROP", "OUTPUT 0..=0"),
        ("-m set --match-set ours src -j DROP", "OUTPUT 0..=0"),
    ] {
        assert_eq!(output(&[rule]), expected, "{rule}");
    }
}

#[test]
fn the_line_stands_before_the_last_word() {
    assert_eq!(input("DROP", &[]), "INPUT 0..=0");
    let own = [
        "INPUT -i lo -j ACCEPT",
        "INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    ];
    assert_eq!(input("DROP", &own), "INPUT 0..=2");
    let reject = [
        own[0],
        own[1],
        "INPUT -j REJECT --reject-with icmp-host-prohibited",
    ];
    assert_eq!(input("ACCEPT", &reject), "INPUT 0..=2");
    let chain = [own[0], "INPUT -j CLOSED", "CLOSED -j LOG", "CLOSED -j DROP"];
    assert_eq!(input("ACCEPT", &chain), "INPUT 0..=1");
}

#[test]
fn a_rule_that_drops_a_port_whoever_sends_is_policy_too() {
    let rules = [
        "INPUT -i lo -j ACCEPT",
        "INPUT -p tcp -m tcp --dport 8080 -j DROP",
    ];
    assert_eq!(input("ACCEPT", &rules), "INPUT 0..=1");
    let set = ["INPUT -m set --match-set closed dst -j DROP"];
    assert_eq!(input("ACCEPT", &set), "INPUT 0..=0");
}

#[test]
fn the_line_never_stands_above_what_may_drop_by_sender() {
    for block in [
        "INPUT -s 192.0.2.7/32 -j DROP",
        "INPUT ! -s 10.0.0.0/8 -j DROP",
        "INPUT -m set --match-set banned src -j DROP",
        "INPUT -m set --match-set pairs dst,src -j DROP",
        "INPUT -m recent --rcheck --name bad --rsource -j REJECT",
        "INPUT -p tcp -m multiport --dports 22 -j F2B",
        "INPUT -j F2B",
        "INPUT -m mark --mark 0x1/0x1 -j DROP",
        "INPUT -j NFQUEUE --queue-num 1",
        "INPUT -s 192.0.2.7/32 -j CLOSED",
    ] {
        let rules = ["INPUT -p tcp --dport 25 -j DROP", block, "CLOSED -j DROP"];
        assert_eq!(input("DROP", &rules), "INPUT 2..=2", "{block}");
        assert_eq!(input("ACCEPT", &rules), "not needed", "{block}");
    }
}

#[test]
fn a_chain_that_blocks_senders_and_then_drops_the_rest_has_the_line_itself() {
    let rules = [
        "INPUT -i lo -j ACCEPT",
        "INPUT -j CLOSED",
        "CLOSED -s 192.0.2.7/32 -j DROP",
        "CLOSED -p tcp -m tcp --dport 80 -j ACCEPT",
        "CLOSED -j DROP",
    ];
    assert_eq!(input("ACCEPT", &rules), "CLOSED 1..=2");
}

#[test]
fn no_line_stands_in_a_chain_to_which_some_are_sent_because_of_who_they_are() {
    let shared = [
        "INPUT -j CLOSED",
        "CLOSED -s 192.0.2.77/32 -j DROP",
        "CLOSED -j DROP",
    ];
    assert_eq!(input("ACCEPT", &shared), "CLOSED 1..=1");
    for ways in [
        &["INPUT -s 192.0.2.7/32 -j CLOSED"][..],
        &["INPUT -j F2B", "F2B -s 192.0.2.7/32 -j CLOSED"],
        &[
            "INPUT -j F2B",
            "F2B -s 192.0.2.0/24 -j RETURN",
            "F2B -j CLOSED",
        ],
        &["INPUT -s 192.0.2.7/32 -j F2B", "F2B -j CLOSED"],
    ] {
        let rules = [ways, &shared[..]].concat();
        assert_eq!(input("ACCEPT", &rules), "not needed", "{ways:?}");
        let in_input = rules
            .iter()
            .filter(|rule| rule.starts_with("INPUT"))
            .count();
        let end = format!("INPUT {in_input}..={in_input}");
        assert_eq!(input("DROP", &rules), end, "{ways:?}");
    }
}

#[test]
fn with_fail2ban_the_line_stands_below_its_chains() {
    // As fail2ban's iptables-multiport action makes them.
    let rules = [
        "INPUT -p tcp -m multiport --dports 22 -j f2b-sshd",
        "f2b-sshd -s 203.0.113.9/32 -j REJECT --reject-with icmp-port-unreachable",
        "f2b-sshd -j RETURN",
        "INPUT -i lo -j ACCEPT",
    ];
    assert_eq!(input("DROP", &rules), "INPUT 1..=2");
}

#[test]
fn with_ufw_the_line_is_the_last_of_input() {
    assert_eq!(place(UFW, "INPUT"), "INPUT 6..=6");
    assert_eq!(place(UFW, "FORWARD"), "FORWARD 6..=6");
}

#[test]
fn with_docker_the_line_is_the_last_of_forward_and_its_users_chain_has_one_before_what_it_drops() {
    assert_eq!(place(DOCKER, "FORWARD"), "FORWARD 4..=6");
    assert_eq!(place(DOCKER, "DOCKER-USER"), "not needed");
    let closed = DOCKER.replace(
        "-A DOCKER-USER -j RETURN",
        "-A DOCKER-USER -s 192.0.2.7/32 -j DROP\n\
         -A DOCKER-USER -i eth0 -m conntrack --ctstate NEW -j DROP\n\
         -A DOCKER-USER -j RETURN",
    );
    assert_eq!(place(&closed, "DOCKER-USER"), "DOCKER-USER 1..=1");
}

/// As ufw writes it for `ufw default deny; ufw allow 80/tcp; ufw deny from 203.0.113.9`, without
/// the rules of its chains that are alike.
const UFW: &str = "\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-logging-input - [0:0]
:ufw-before-input - [0:0]
:ufw-after-input - [0:0]
:ufw-after-logging-input - [0:0]
:ufw-reject-input - [0:0]
:ufw-track-input - [0:0]
:ufw-before-logging-forward - [0:0]
:ufw-before-forward - [0:0]
:ufw-after-forward - [0:0]
:ufw-after-logging-forward - [0:0]
:ufw-reject-forward - [0:0]
:ufw-track-forward - [0:0]
:ufw-logging-deny - [0:0]
:ufw-not-local - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-user-input - [0:0]
:ufw-user-forward - [0:0]
-A INPUT -j ufw-before-logging-input
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-after-logging-input
-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input
-A FORWARD -j ufw-before-logging-forward
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-after-logging-forward
-A FORWARD -j ufw-reject-forward
-A FORWARD -j ufw-track-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-skip-to-policy-input -j DROP
-A ufw-after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix \"[UFW BLOCK] \"
-A ufw-user-input -p tcp -m tcp --dport 80 -j ACCEPT
-A ufw-user-input -s 203.0.113.9/32 -j DROP
-A ufw-before-forward -j ufw-user-forward
COMMIT
";

/// As Docker 24 writes it for one container with a published port.
const DOCKER: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";
