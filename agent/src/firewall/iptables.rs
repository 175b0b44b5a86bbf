//! Chains and kernel sets: iptables, ip6tables and ipset.
//!
//! Four chains per address family, in the table `mangle`. The one reached from PREROUTING drops what
//! asks for a hidden port without a hole, and marks what passes through one: see `chain`. The one
//! reached from INPUT does the same with what was translated to a hidden port. Those reached from
//! OUTPUT and FORWARD let neither this host nor a machine behind it go on with a session that was cut.
//! Their only last word is a drop: what passes goes on to the owner's rules, and it is for those to
//! let it in.
//!
//! | file | what it holds |
//! |---|---|
//! | `base_rules` | chain, jump and sets: laid, checked, repaired, removed |
//! | `chain` | what the chains should read like |
//! | `former` | what earlier versions laid, and its removal |
//! | `notices` | hearing of changes, and a glance at what is ours |
//! | `sets` | the kernel's sets over netlink; holes are their elements |
//! | `ledger` | what is open for networks and ranges; pure |
//! | `ipset` | the messages of that; pure |

mod base_rules;
mod chain;
mod former;
mod ipset;
mod ledger;
mod notices;
mod sets;

use std::path::Path;

use base_rules::{IptablesRules, Mark};
pub(super) use former::check_lock as check_former_lock;
use sets::{SetHoles, SetNames, Sets};

use super::family::Family;
use super::lock::ChainLock;
use super::{Backend, BaseRules, FirewallError};
use crate::config::FirewallConfig;

/// What this back end is called.
pub(super) const NAME: &str = "iptables";

/// Longest name of a chain: a set's name has at most 31 characters, and ours append three.
const CHAIN_LEN_MAX: usize = 24;

/// Takes the chain for this agent and looks at the host; changes nothing.
///
/// # Errors
///
/// When the chain's name cannot be one, another agent has it, iptables cannot be run, or IPv6 is on
/// but ip6tables does not work.
pub(super) fn open(config: &FirewallConfig, why: String) -> Result<Backend, FirewallError> {
    let chain = config.chain.as_str();
    check_name(chain)?;
    let lock = ChainLock::take(chain)?;
    former::check_lock(chain)?;
    let families = families()?;
    let names = SetNames::of_chain(chain);
    let holes = SetHoles::new(Sets::connect(names.clone())?, families);
    let sets = Sets::connect(names)?;
    Ok(Backend {
        name: NAME,
        marks_connections: true,
        why,
        base_rules: Box::new(IptablesRules::new(
            chain.to_owned(),
            Mark {
                bit: config.mark,
                on_answers: config.answers,
            },
            families,
            sets,
            Some(lock),
        )),
        holes: Box::new(holes),
    })
}

/// What this back end left on a host where another one is used now; `None` when that is nothing, or
/// cannot be reached.
pub(super) fn remains(config: &FirewallConfig) -> Option<Box<dyn BaseRules>> {
    let chain = config.chain.as_str();
    let mut sets = Sets::connect(SetNames::of_chain(chain)).ok()?;
    if !former::names(chain)
        .into_iter()
        .chain([chain])
        .any(|chain| sets.any_of(chain))
    {
        return None;
    }
    match families() {
        Ok(families) => Some(Box::new(IptablesRules::new(
            chain.to_owned(),
            Mark {
                bit: config.mark,
                on_answers: config.answers,
            },
            families,
            sets,
            None,
        ))),
        Err(cause) => {
            tracing::warn!(
                error = %program::one_line(&cause),
                "rules that were laid with iptables are there, and cannot be taken away"
            );
            None
        }
    }
}

/// Makes the sets of a chain; those that are there stay as they are.
///
/// # Errors
///
/// When this kernel has no such sets.
pub(super) fn make_sets(chain: &str) -> Result<(), FirewallError> {
    check_name(chain)?;
    Sets::connect(SetNames::of_chain(chain))?.create()
}

/// The families that this host has, and that must therefore be managed.
fn families() -> Result<&'static [Family], FirewallError> {
    chain::list(Family::V4)?;
    match chain::list(Family::V6) {
        Ok(_) => Ok(&Family::ALL),
        // The file exists exactly when the kernel has IPv6 in it.
        Err(cause) if Path::new("/proc/thread-self/net/if_inet6").exists() => {
            Err(FirewallError::NoIp6tables(cause.to_string()))
        }
        Err(_) => {
            tracing::info!("this kernel has no IPv6: only IPv4 is managed");
            Ok(&[Family::V4])
        }
    }
}

pub(super) fn check_name(chain: &str) -> Result<(), FirewallError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let fits = (1..=CHAIN_LEN_MAX).contains(&chain.len());
    if fits && chain.chars().all(plain) && !chain.starts_with('-') {
        Ok(())
    } else {
        Err(FirewallError::ChainName(chain.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_name_cannot_become_an_option_or_a_second_line() {
        for name in ["POSTERN", "a-b"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", "-j", "a b", "a\n-F", "A234567890123456789012345"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
