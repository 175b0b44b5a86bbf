//! What the owner can do, so that what a grant opens is not dropped: one line, for each kind of owner
//! in its own words. Pure.

use spa::Service;

use super::recognise::{Owner, of_chain};
use super::ruleset::{Hook, Ruleset, Table};
use super::walk::{Cause, Stage};

/// The ways, best first.
pub(super) fn cures(
    ruleset: &Ruleset,
    cause: &Cause<'_>,
    bit: u32,
    asked: &[Service],
) -> Vec<String> {
    let Some(table) = ruleset.tables.get(cause.table) else {
        return Vec::new();
    };
    let chain = cause.chain;
    let mark = format!("{bit:#x}");
    match cause.stage {
        Stage::Before => return early(),
        Stage::Answer => return answers(table, cause),
        Stage::Behind => {}
    }
    match of_chain(table, chain) {
        Owner::Ufw => ufw(table, chain, &mark, asked),
        Owner::Firewalld => firewalld(table, chain, asked),
        Owner::Iptables | Owner::IptablesLegacy => iptables(table, chain, &mark),
        Owner::Docker => vec![format!(
            "{} -I DOCKER-USER -m mark --mark {mark}/{mark} -j RETURN",
            program(table)
        )],
        Owner::Calico
        | Owner::Cilium
        | Owner::CrowdSec
        | Owner::Fail2ban
        | Owner::Kubernetes
        | Owner::Libvirt
        | Owner::Nftables => nftables(table, cause, &mark),
    }
}

/// Before our guard, nothing is marked.
fn early() -> Vec<String> {
    vec![
        "it stands before our guard, where nothing tells a hole: take it out, or move it to a chain \
         at input"
            .to_owned(),
    ]
}

/// What a connection is answered must be let out.
fn answers(table: &Table, cause: &Cause<'_>) -> Vec<String> {
    if table.is_legacy || super::recognise::is_of_iptables(table) {
        let line = format!(
            "{} -t {} -I {} -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            program(table),
            table.name,
            cause.chain
        );
        return vec![line, "or, in agent.toml: accept_answers = true".to_owned()];
    }
    vec![format!(
        "and in the file from which the rules are loaded: {}",
        command(table, cause, "ct state established accept")
    )]
}

fn nftables(table: &Table, cause: &Cause<'_>, mark: &str) -> Vec<String> {
    if table.is_legacy || super::recognise::is_of_iptables(table) {
        return iptables(table, cause.chain, mark);
    }
    let (family, name, chain) = (table.family.word(), &table.name, cause.chain);
    let line = format!("meta mark & {mark} == {mark} accept");
    let command = command(table, cause, &line);
    vec![
        format!("in agent.toml: hooks = [\"{family} {name} {chain}\"]"),
        format!("or, and in the file from which the rules are loaded: {command}"),
    ]
}

/// Puts a line before the one that drops.
fn command(table: &Table, cause: &Cause<'_>, line: &str) -> String {
    let (family, name, chain) = (table.family.word(), &table.name, cause.chain);
    let rules = table.chains.get(chain).map(|chain| chain.rules.as_slice());
    let handle = cause.rule.and_then(|at| Some(rules?.get(at)?.handle));
    match handle {
        Some(handle) => {
            format!("nft insert rule {family} {name} {chain} position {handle} {line}")
        }
        None => format!("nft add rule {family} {name} {chain} {line}"),
    }
}

fn iptables(table: &Table, chain: &str, mark: &str) -> Vec<String> {
    let (program, name, family) = (program(table), &table.name, table.family.word());
    vec![
        format!("in agent.toml: hooks = [\"{family} {name} {chain}\"]"),
        format!(
            "or, before the rule that drops: {program} -t {name} -I {chain} -m mark --mark \
             {mark}/{mark} -j ACCEPT"
        ),
    ]
}

/// What its user denies goes with its own command. For all else, the line goes into the file of what
/// stands behind the user's rules, so that `ufw deny from ADDRESS` holds, now and later.
fn ufw(table: &Table, chain: &str, mark: &str, asked: &[Service]) -> Vec<String> {
    let is_v6 = table.family == super::ruleset::TableFamily::Ip6;
    let (file, prefix) = if is_v6 {
        ("/etc/ufw/after6.rules", "ufw6")
    } else {
        ("/etc/ufw/after.rules", "ufw")
    };
    let base = table.chains.get(chain).and_then(|chain| chain.base);
    let is_forward = base.is_some_and(|base| base.hook == Hook::Forward)
        || chain.to_ascii_lowercase().contains("forward")
        || chain.contains("route");
    let after = if is_forward { "forward" } else { "input" };
    let mut lines = Vec::new();
    if chain.contains("-user-") {
        let denied = asked.iter().map(|service| match service {
            Service::Ports(range) if range.first() == range.last() => {
                format!("ufw delete deny {}/{}", range.first(), range.protocol())
            }
            Service::Ports(range) => format!(
                "ufw delete deny {}:{}/{}",
                range.first(),
                range.last(),
                range.protocol()
            ),
            Service::Echo => "see `ufw status numbered`".to_owned(),
        });
        lines.extend(denied);
        lines.push(
            "(or reject, or limit, as `ufw status` shows it; the port stays hidden by the guard, \
             and where it still drops:)"
                .to_owned(),
        );
    }
    lines.push(format!(
        "in {file}, as the last line before COMMIT: -A {prefix}-after-{after} -m mark --mark \
         {mark}/{mark} -j ACCEPT"
    ));
    lines.push("then: ufw reload".to_owned());
    lines
}

/// Its rich rules ask for no mark, and what comes through its direct rules is still dropped by its own
/// table. So the port is opened in its zone: for whoever has no hole, it is hidden before. Zones
/// block by source before they let in, also before our line at the end of a zone.
fn firewalld(table: &Table, chain: &str, asked: &[Service]) -> Vec<String> {
    let zone = ["filter_IN_", "IN_"]
        .iter()
        .find_map(|begin| chain.strip_prefix(begin));
    let option = zone
        .map(|zone| format!(" --zone={zone}"))
        .unwrap_or_default();
    let ports = asked.iter().map(|service| match service {
        Service::Ports(range) if range.first() == range.last() => {
            format!(" --add-port={}/{}", range.first(), range.protocol())
        }
        Service::Ports(range) => format!(
            " --add-port={}-{}/{}",
            range.first(),
            range.last(),
            range.protocol()
        ),
        Service::Echo => " --remove-icmp-block=echo-request".to_owned(),
    });
    let ports: String = ports.collect();
    let ports = if ports.is_empty() {
        " --add-port=PORT/tcp".to_owned()
    } else {
        ports
    };
    let family = table.family.word();
    let owned = if table.is_owned {
        ", with NftablesTableOwner=no in /etc/firewalld/firewalld.conf"
    } else {
        ""
    };
    vec![
        format!("firewall-cmd --permanent{option}{ports} && firewall-cmd --reload"),
        "(a port that is protected stays hidden from whoever has no hole; protect it first)"
            .to_owned(),
        format!(
            "or in agent.toml{owned}: hooks = [\"{family} {} {chain}\"]",
            table.name
        ),
    ]
}

/// The program that changes this table.
fn program(table: &Table) -> &'static str {
    let is_v6 = table.family == super::ruleset::TableFamily::Ip6;
    match (table.is_legacy, is_v6) {
        (true, true) => "ip6tables-legacy",
        (true, false) => "iptables-legacy",
        (false, true) => "ip6tables",
        (false, false) => "iptables",
    }
}
