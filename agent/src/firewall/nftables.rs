//! A table of our own in nf_tables, over netlink; no process is run.
//!
//! | file | what it holds |
//! |---|---|
//! | `ruleset` | what stands in the table: sets, chains and rules; pure |
//! | `base_rules` | the table: laid, compared, repaired, taken away |
//! | `holes` | what is open and what is barred, as timed elements |
//! | `steps` | what rules of the table are made of; pure |
//! | `nat` | what leads on to other places, as timed maps |
//! | `layers` | wide rules that overlap, for sets that may not; pure |
//! | `element` | rules as elements and back; pure |
//! | `line` | a line of ours in somebody else's chain |
//! | `message`, `expression` | the messages of nf_tables; pure |
//! | `table` | the socket that owns the table, and asking about it |
//! | `notices` | hearing what others do to it, where they can |
//! | `probe` | what this kernel can do |

mod base_rules;
mod element;
mod expression;
mod holes;
mod layers;
pub(super) mod line;
mod message;
mod nat;
mod notices;
mod probe;
mod ruleset;
mod steps;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use base_rules::NftRules;
use holes::{Kernel, Lead, NftHoles};
use ruleset::Laid;
use table::{Ownership, Reader, Table};

use super::family::Family;
use super::lock::ChainLock;
use super::names::table_name;
use super::{Backend, BaseRules, FirewallError, iptables};
use crate::config::FirewallConfig;
use crate::netlink::Attributes;

/// For people.
pub(super) const NAME: &str = "nftables";

/// Takes a message for a list of elements.
pub(super) fn read_hostile(message: Attributes<'_>) {
    element::listed(message, &mut |listed| {
        for family in Family::ALL {
            let _ = element::hole(&listed, family);
        }
    });
}

/// Takes the table that belongs to the chain's name for this agent, and looks what the kernel can
/// do; changes nothing.
///
/// # Errors
///
/// [`FirewallError::NoNftables`] when the kernel cannot hold our table; when the chain's name cannot
/// be one, or another agent has it.
pub(super) fn open(config: &FirewallConfig, why: String) -> Result<Backend, FirewallError> {
    open_owned(config, why, None)
}

/// The same, as on a kernel where nobody owns a table.
pub(super) fn open_unowned(config: &FirewallConfig, why: String) -> Result<Backend, FirewallError> {
    open_owned(config, why, Some(Ownership::Anybodys))
}

fn open_owned(
    config: &FirewallConfig,
    why: String,
    ownership: Option<Ownership>,
) -> Result<Backend, FirewallError> {
    let chain = &config.chain;
    iptables::check_name(chain)?;
    let name = table_name(chain);
    // Several chains may mean the same table.
    let locks = [
        ChainLock::take(chain)?,
        ChainLock::take(&format!("table {name}"))?,
    ];
    iptables::check_former_lock(chain)?;
    let found = probe::probe(&name, config.mark, config.leads)?;
    let ownership = ownership.unwrap_or(found.ownership);
    let table = Arc::new(Table::connect(name, ownership)?);
    let kernel = Kernel {
        // The file exists exactly when the kernel has IPv6 in it.
        ipv6: Path::new("/proc/thread-self/net/if_inet6").exists(),
        renews: found.renews && ownership == Ownership::Ours,
    };
    let lead = match (config.leads, found.leads) {
        (true, true) => Lead::On,
        (true, false) => Lead::Cannot,
        (false, _) => Lead::Off,
    };
    let what = Laid {
        mark: config.mark,
        leads: lead == Lead::On,
        answers: config.answers,
    };
    Ok(Backend {
        name: NAME,
        marks_connections: false,
        why,
        holes: Box::new(NftHoles::new(Arc::clone(&table), kernel, lead)?),
        base_rules: Box::new(NftRules::new(table, what, Some(locks))?),
    })
}

/// What this back end left on a host where another one is used now; `None` when that is nothing.
pub(super) fn remains(config: &FirewallConfig) -> Option<Box<dyn BaseRules>> {
    let name = table_name(&config.chain);
    let found = Reader::connect(&name).and_then(|mut reader| reader.table());
    let flags = found.ok().flatten()?.flags;
    let ownership = Ownership::of(flags);
    let table = Table::connect(name, ownership).ok()?;
    let what = Laid {
        mark: config.mark,
        leads: config.leads,
        answers: config.answers,
    };
    let rules = NftRules::new(Arc::new(table), what, None).ok()?;
    Some(Box::new(rules))
}
