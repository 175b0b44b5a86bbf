//! From the fleet's policy to the policy of one host.
//!
//! What a host gets depends on nothing but the stanzas that select it and the public keys of their
//! users, so that a change elsewhere leaves its digest as it is.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};
use spa::ExchangePublic;

use crate::host::HostFacts;
use crate::policy::Policy;
use crate::print::{Printer, Scope};
use crate::stanza::{Stanza, StanzaKey, is_username};

/// The policy of one host, as its agent gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct HostPolicy {
    /// Canonical text for [`Dialect::Compiled`](crate::Dialect::Compiled). Contains static keys.
    pub text: String,
    /// SHA-256 of the text.
    pub digest: [u8; 32],
    /// How many stanzas there are in it.
    pub stanzas: usize,
}

/// Compiles the policy of one host: the stanzas that select it, and for each pairwise stanza one
/// for every key of every user it permits that is in `users`, in the order of that list.
///
/// A stanza without REQUIRE_USERNAME permits all of `users`. PROTECT of the selected stanzas joins
/// that of every host, also when no user of the stanza has a key yet: a port is hidden before it
/// can be opened.
#[must_use]
pub fn compile(
    policy: &Policy,
    host: &HostFacts,
    users: &BTreeMap<String, Vec<ExchangePublic>>,
) -> HostPolicy {
    let selected = policy.stanzas.iter().filter(|stanza| stanza.selects(host));
    compile_selected(policy, &selected.collect::<Vec<_>>(), users)
}

/// The same of stanzas that are known to be those that select the host, in the order of `policy`.
#[must_use]
pub fn compile_selected(
    policy: &Policy,
    selected: &[&Stanza],
    users: &BTreeMap<String, Vec<ExchangePublic>>,
) -> HostPolicy {
    let mut printer = Printer::compiled();
    let mut stanzas = 0;

    let hides = selected.iter().flat_map(|stanza| stanza.protect.iter());
    printer.protect(&policy.protect.iter().chain(hides).collect());
    for stanza in selected {
        match &stanza.key {
            StanzaKey::Static(_) | StanzaKey::User { .. } => {
                printer.stanza(stanza, Scope::ForHost(None));
                stanzas += 1;
            }
            StanzaKey::Pairwise => {
                for user in permitted(stanza, users) {
                    printer.stanza(stanza, Scope::ForHost(Some(user)));
                    stanzas += 1;
                }
            }
        }
    }

    let text = printer.finish();
    HostPolicy {
        digest: Sha256::digest(&text).into(),
        text,
        stanzas,
    }
}

/// The users of a pairwise stanza with each of their keys, by name. A name that cannot stand in a
/// policy cannot get into one this way either.
fn permitted<'a>(
    stanza: &'a Stanza,
    users: &'a BTreeMap<String, Vec<ExchangePublic>>,
) -> Box<dyn Iterator<Item = (&'a str, &'a ExchangePublic)> + 'a> {
    let each = |(name, keys): (&'a str, &'a Vec<ExchangePublic>)| {
        keys.iter().map(move |public| (name, public))
    };
    if stanza.require_username.is_empty() {
        let named = users.iter().map(|(name, keys)| (name.as_str(), keys));
        return Box::new(named.filter(|(name, _)| is_username(name)).flat_map(each));
    }
    let names = stanza.require_username.iter();
    Box::new(
        names
            .filter_map(|name| Some((name, users.get(name)?)))
            .flat_map(each),
    )
}

// === impl HostPolicy ===

impl fmt::Debug for HostPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostPolicy")
            .field("text_bytes", &self.text.len())
            .field("stanzas", &self.stanzas)
            .finish_non_exhaustive()
    }
}
