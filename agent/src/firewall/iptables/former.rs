//! What earlier versions laid: a chain at the top of filter INPUT, another of OUTPUT, and sets.
//!
//! It hides the same ports until ours is there, and goes then: an upgrade opens nothing and leaves
//! nothing.

use super::super::FirewallError;
use super::super::family::Family;
use super::super::lock::ChainLock;
use super::super::xtables::{self, RuleText, Variant};
use super::chain;
use super::sets::Sets;
use crate::config::{CHAIN, FORMER_CHAIN};

const TABLE: &str = "filter";

/// Removes their rules and sets of an agent that now has this chain. What is not there is no error.
///
/// # Errors
///
/// When the host refuses; nothing that is there is lost.
pub(super) fn remove(
    families: impl Iterator<Item = Family>,
    chain: &str,
    sets: &mut Sets,
) -> Result<(), FirewallError> {
    for family in families {
        for former in names(chain) {
            if rules(family, former).is_empty() {
                continue;
            }
            tracing::info!(chain = former, %family, "rules of an earlier version are taken away");
            let table = xtables::list(Variant::Default, family, TABLE)?;
            let stem = former.strip_suffix("_INPUT").unwrap_or(former);
            let chains = [
                ("INPUT", former.to_owned()),
                ("OUTPUT", format!("{stem}_OUT")),
            ];
            chain::remove(family, TABLE, &table, &chains)?;
        }
    }
    sets.destroy_former(&names(chain))
}

/// The rules by which they hide ports.
pub(super) fn hiding(family: Family, chain: &str) -> Vec<RuleText> {
    names(chain)
        .into_iter()
        .flat_map(|former| rules(family, former))
        .collect()
}

/// The rules of a chain of theirs; none if it is not there, or somebody else's.
fn rules(family: Family, former: &str) -> Vec<RuleText> {
    let listed = xtables::list_chain(Variant::Default, family, TABLE, former);
    let table = listed.ok().flatten().unwrap_or_default();
    let rules = table.rules(former).unwrap_or_default();
    let set = format!("--match-set {former}_R");
    let is_theirs = rules.iter().any(|rule| rule.text.contains(&set));
    if is_theirs {
        rules.to_vec()
    } else {
        Vec::new()
    }
}

/// An agent of an earlier version that still runs must not be undone.
///
/// # Errors
///
/// [`FirewallError::Locked`] while it does.
pub(crate) fn check_lock(chain: &str) -> Result<(), FirewallError> {
    if chain == CHAIN {
        ChainLock::take(FORMER_CHAIN)?;
    }
    Ok(())
}

/// The names that such a chain may have.
pub(super) fn names(chain: &str) -> Vec<&str> {
    let of_default = (chain == CHAIN).then_some(FORMER_CHAIN);
    [chain].into_iter().chain(of_default).collect()
}
