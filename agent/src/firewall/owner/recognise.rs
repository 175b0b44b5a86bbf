//! Whose rules are there: programs are known by the names that they give. Pure.

use std::fmt;

use super::ruleset::{Chain, Ruleset, Step, Table};

/// Who keeps rules in the packet filter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Owner {
    Calico,
    Cilium,
    CrowdSec,
    Docker,
    Fail2ban,
    Firewalld,
    Iptables,
    IptablesLegacy,
    Kubernetes,
    Libvirt,
    Nftables,
    Ufw,
}

/// What the chains of a program begin with.
const CHAINS: [(&str, Owner); 12] = [
    ("cali-", Owner::Calico),
    ("CILIUM_", Owner::Cilium),
    ("OLD_CILIUM_", Owner::Cilium),
    ("CROWDSEC", Owner::CrowdSec),
    ("crowdsec", Owner::CrowdSec),
    ("DOCKER", Owner::Docker),
    ("f2b-", Owner::Fail2ban),
    ("KUBE-", Owner::Kubernetes),
    ("LIBVIRT_", Owner::Libvirt),
    ("ufw-", Owner::Ufw),
    ("ufw6-", Owner::Ufw),
    ("INPUT_ZONES", Owner::Firewalld),
];

/// What their tables are called.
const TABLES: [(&str, Owner); 8] = [
    ("calico", Owner::Calico),
    ("crowdsec", Owner::CrowdSec),
    ("crowdsec6", Owner::CrowdSec),
    ("docker-bridges", Owner::Docker),
    ("f2b-table", Owner::Fail2ban),
    ("firewalld", Owner::Firewalld),
    ("kube-proxy", Owner::Kubernetes),
    ("libvirt_network", Owner::Libvirt),
];

// === impl Owner ===

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calico => "Calico",
            Self::Cilium => "Cilium",
            Self::CrowdSec => "CrowdSec",
            Self::Docker => "Docker",
            Self::Fail2ban => "fail2ban",
            Self::Firewalld => "firewalld",
            Self::Iptables => "iptables",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Kubernetes => "Kubernetes",
            Self::Libvirt => "libvirt",
            Self::Nftables => "nftables",
            Self::Ufw => "ufw",
        })
    }
}

/// Everybody who has rules here, in alphabetical order.
pub(super) fn all(ruleset: &Ruleset) -> Vec<Owner> {
    let mut found = Vec::new();
    for table in ruleset.tables.iter().filter(|table| has_rules(table)) {
        found.push(of_table(table));
        for name in table.chains.keys() {
            found.extend(by_chain(name));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whose a chain is. A base chain of iptables is ufw's where that has chains in the table, since it
/// sets the policies.
pub(super) fn of_chain(table: &Table, chain: &str) -> Owner {
    if let Some(owner) = by_chain(chain) {
        return owner;
    }
    let is_base = table
        .chains
        .get(chain)
        .is_some_and(|chain| chain.base.is_some());
    let has_ufw = || {
        table
            .chains
            .keys()
            .any(|name| by_chain(name) == Some(Owner::Ufw))
    };
    let owner = of_table(table);
    let is_iptables = matches!(owner, Owner::Iptables | Owner::IptablesLegacy);
    if is_iptables && is_base && has_ufw() {
        Owner::Ufw
    } else {
        owner
    }
}

fn by_chain(name: &str) -> Option<Owner> {
    let known = CHAINS.iter().find(|(begin, _)| name.starts_with(begin));
    known.map(|(_, owner)| *owner)
}

fn of_table(table: &Table) -> Owner {
    let known = TABLES.iter().find(|(name, _)| *name == table.name);
    match known {
        Some((_, owner)) => *owner,
        None if table.is_legacy => Owner::IptablesLegacy,
        None if is_of_iptables(table) => Owner::Iptables,
        None => Owner::Nftables,
    }
}

/// iptables' chains have names in capitals, and its rules matches of its own.
pub(super) fn is_of_iptables(table: &Table) -> bool {
    let names = ["filter", "nat", "mangle", "raw", "security"];
    let capitals = |name: &String| name.chars().all(|c| c.is_ascii_uppercase());
    let base = |(name, chain): (&String, &Chain)| chain.base.is_some() && capitals(name);
    let from_xt = |step: &Step| matches!(step, Step::Match(_));
    let chains = || table.chains.values();
    names.contains(&table.name.as_str())
        && (table.chains.iter().any(base)
            || chains().any(|chain| {
                chain
                    .rules
                    .iter()
                    .any(|rule| rule.steps.iter().any(from_xt))
            }))
}

fn has_rules(table: &Table) -> bool {
    let decides =
        |chain: &Chain| !chain.rules.is_empty() || chain.base.is_some_and(|base| base.drops);
    table.chains.values().any(decides)
}
