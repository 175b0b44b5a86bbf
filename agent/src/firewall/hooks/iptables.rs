//! The chains of iptables, of either kind and either family.
//!
//! One look reads the whole table `filter`, and one script puts all of its lines right. The old kind
//! tells nobody of changes; it is asked now and then, where it has rules at all.

use std::fmt::Write as _;
use std::path::Path;

use super::super::FirewallError;
use super::super::changes::Change;
use super::super::family::Family;
use super::super::hook_place::{Correction, HookPlace};
use super::super::xtables::{self, RuleText, TableText, Variant};
use super::position::{self, DOCKER_USER, OUTPUT, Spot};
use crate::config::{FirewallConfig, Hooks};

/// Our lines are known by it, whatever the bit was.
const COMMENT: &str = "postern";
const TABLE: &str = "filter";
/// The chains in which a line may stand, or in those that they lead to.
const CHAINS: [&str; 4] = ["INPUT", "FORWARD", DOCKER_USER, OUTPUT];

/// The table `filter` of one kind and family.
#[derive(Debug)]
struct Filter {
    kind: Kind,
    /// The programs that change it.
    variant: Variant,
    family: Family,
    mark: u32,
    wanted: Wanted,
    laid: Vec<String>,
    /// The chains that dropped, at the last look, all that they did not let in.
    dropping: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Nft,
    Legacy,
}

/// Which chains get a line.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Wanted {
    /// Those where it makes a difference; that for what goes out only where answers have our mark.
    Needed { outwards: bool },
    /// These; a line of ours in another goes.
    Named(Vec<String>),
}

/// Whether an entry of the configuration names a chain of iptables, which is kept here.
pub(super) fn is_own(entry: &str) -> bool {
    let words: Vec<&str> = entry.split(' ').collect();
    matches!(words.as_slice(), ["ip" | "ip6", TABLE, chain] if CHAINS.contains(chain))
}

/// All of this host, of both kinds.
pub(super) fn places(config: &FirewallConfig) -> Vec<Box<dyn HookPlace>> {
    let Some(default) = xtables::default_kind() else {
        return Vec::new();
    };
    let has_v6 = Path::new("/proc/thread-self/net/if_inet6").exists();
    let mut places: Vec<Box<dyn HookPlace>> = Vec::new();
    for (kind, own) in [(Kind::Nft, Variant::Nft), (Kind::Legacy, Variant::Legacy)] {
        let variant = if own == default {
            Variant::Default
        } else {
            own
        };
        for family in Family::ALL {
            let wanted = wanted(config, family);
            if family == Family::V6 && !has_v6 {
                continue;
            }
            places.push(Box::new(Filter {
                kind,
                variant,
                family,
                mark: config.mark,
                wanted,
                laid: Vec::new(),
                dropping: Vec::new(),
            }));
        }
    }
    places
}

fn wanted(config: &FirewallConfig, family: Family) -> Wanted {
    let of_family = match family {
        Family::V4 => "ip ",
        Family::V6 => "ip6 ",
    };
    match &config.hooks {
        Hooks::Auto => Wanted::Needed {
            outwards: config.answers,
        },
        Hooks::None => Wanted::Named(Vec::new()),
        Hooks::Chains(entries) => {
            let own = entries.iter().filter(|entry| is_own(entry));
            let own = own.filter(|entry| entry.starts_with(of_family));
            let chains = own.filter_map(|entry| entry.rsplit(' ').next());
            Wanted::Named(chains.map(str::to_owned).collect())
        }
    }
}

// === impl Filter ===

impl Filter {
    fn table(&self) -> Result<Option<TableText>, FirewallError> {
        if self.kind == Kind::Legacy && !xtables::legacy_has(self.family, TABLE) {
            return Ok(None);
        }
        match xtables::list(self.variant, self.family, TABLE) {
            Ok(table) => Ok(Some(table)),
            // A host need not have the programs of both kinds.
            Err(FirewallError::Spawn { .. }) if self.variant != Variant::Default => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

impl HookPlace for Filter {
    fn name(&self) -> &'static str {
        match (self.kind, self.family) {
            (Kind::Nft, Family::V4) => "iptables (nf_tables) IPv4",
            (Kind::Nft, Family::V6) => "iptables (nf_tables) IPv6",
            (Kind::Legacy, Family::V4) => "iptables (legacy) IPv4",
            (Kind::Legacy, Family::V6) => "iptables (legacy) IPv6",
        }
    }

    fn concerns(&self, change: &Change<'_>) -> bool {
        let is_here = self.kind == Kind::Nft
            && change.family == self.family.number()
            && change.table == TABLE;
        // A rule about some packets, in a chain of somebody's own that lets others through, moves no
        // line, if it leads nowhere.
        let moves = |chain: &str| {
            CHAINS.contains(&chain) || self.dropping.iter().any(|dropping| dropping == chain)
        };
        is_here
            && change
                .chain
                .is_none_or(|chain| !change.is_conditional || change.leads || moves(chain))
    }

    fn is_silent(&self) -> bool {
        self.kind == Kind::Legacy
    }

    fn look(&mut self) -> Result<Option<Correction>, FirewallError> {
        let Some(table) = self.table()? else {
            self.laid.clear();
            self.dropping.clear();
            return Ok(None);
        };
        self.dropping = position::dropping(&table, &is_ours);
        let (correction, laid) = correction(&table, &self.wanted, self.mark);
        self.laid = laid;
        Ok(correction)
    }

    fn correct(&mut self, correction: &Correction) -> Result<(), FirewallError> {
        xtables::restore(self.variant, self.family, &correction.script)?;
        self.laid.clone_from(&correction.chains);
        Ok(())
    }

    fn laid(&self) -> Vec<String> {
        let place = |chain: &String| format!("{} {chain}", self.name());
        self.laid.iter().map(place).collect()
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.wanted = Wanted::Named(Vec::new());
        match self.look() {
            Ok(Some(correction)) => self.correct(&correction),
            // A table that iptables cannot read has no line that it laid.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

/// What is to be changed in a table, and the chains that have a line, or will.
fn correction(table: &TableText, wanted: &Wanted, mark: u32) -> (Option<Correction>, Vec<String>) {
    let own = format!("{mark:#x}/{mark:#x}");
    let is_same = |rule: &RuleText| {
        let words: Vec<&str> = rule.conditions.iter().map(String::as_str).collect();
        words == ["-m", "mark", "--mark", own.as_str()] && rule.text.ends_with("-j ACCEPT")
    };
    let named = match wanted {
        Wanted::Needed { outwards } => {
            let needed = CHAINS.iter().filter(|chain| *outwards || **chain != OUTPUT);
            needed.map(|chain| (*chain).to_owned()).collect()
        }
        Wanted::Named(chains) => chains.clone(),
    };
    let mut spots: Vec<(Spot, String)> = Vec::new();
    for chain in &named {
        let spot = position::spot(table, chain, &is_ours, &is_same);
        let spot = spot.filter(|spot| spot.is_needed || matches!(wanted, Wanted::Named(_)));
        let verdict = if chain == DOCKER_USER {
            "RETURN"
        } else {
            "ACCEPT"
        };
        let line = format!("-m mark --mark {own} -m comment --comment {COMMENT} -j {verdict}");
        let has = |other: &(Spot, String)| spot.as_ref().is_some_and(|s| s.chain == other.0.chain);
        if !spots.iter().any(has) {
            spots.extend(spot.map(|spot| (spot, line)));
        }
    }
    let mut script = String::new();
    for (chain, rules) in table.chains() {
        let spot = spots.iter().find(|(spot, _)| spot.chain == chain);
        render(&mut script, chain, rules, spot);
    }
    let chains: Vec<String> = spots.into_iter().map(|(spot, _)| spot.chain).collect();
    let correction = (!script.is_empty()).then(|| Correction {
        script: format!("*{TABLE}\n{script}COMMIT\n"),
        chains: chains.clone(),
    });
    (correction, chains)
}

/// The commands by which a chain has the line that it should have, and no other of ours.
fn render(script: &mut String, chain: &str, rules: &[RuleText], spot: Option<&(Spot, String)>) {
    let found: Vec<(usize, &RuleText)> = rules
        .iter()
        .filter(|rule| is_ours(rule))
        .zip(positions(rules))
        .map(|(rule, at)| (at, rule))
        .collect();
    if let (Some((spot, line)), [(at, rule)]) = (spot, found.as_slice())
        && (spot.first..=spot.last).contains(at)
        && rule.text == *line
    {
        return;
    }
    for (_, rule) in &found {
        let _ = writeln!(script, "-D {chain} {}", rule.text);
    }
    if let Some((spot, line)) = spot {
        if spot.last + found.len() == rules.len() {
            let _ = writeln!(script, "-A {chain} {line}");
        } else {
            let _ = writeln!(script, "-I {chain} {} {line}", spot.last + 1);
        }
    }
}

/// How many rules of others stand above each of ours.
fn positions(rules: &[RuleText]) -> Vec<usize> {
    let mut others = 0;
    let mut positions = Vec::new();
    for rule in rules {
        if is_ours(rule) {
            positions.push(others);
        } else {
            others += 1;
        }
    }
    positions
}

/// Whether it is a line of ours, of whatever bit.
fn is_ours(rule: &RuleText) -> bool {
    let mut words = rule.conditions.iter().map(String::as_str);
    let is_of_mark = words.by_ref().take(3).eq(["-m", "mark", "--mark"]) && words.count() == 1;
    is_of_mark
        && rule
            .text
            .contains(&format!("-m comment --comment {COMMENT} -j "))
}

#[cfg(test)]
mod tests;
