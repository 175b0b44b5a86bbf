//! What strangers reach on a host: what a change of policy hides, and what it makes public.

#[cfg(test)]
mod tests;

use crate::host::HostFacts;
use crate::policy::Policy;
use crate::ports::PortSet;
use crate::stanza::{Stanza, StanzaKey, Usernames};

/// What a change of policy does to the ports of one host, as far as strangers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Hidden before, and not hidden any more.
    pub becomes_public: PortSet,
    /// Not hidden before, and hidden from then on.
    pub becomes_hidden: PortSet,
}

// === impl Exposure ===

impl Exposure {
    /// From what was hidden before, and what is afterwards.
    #[must_use]
    pub fn between(before: &PortSet, after: &PortSet) -> Self {
        Self {
            becomes_public: before.without(after),
            becomes_hidden: after.without(before),
        }
    }

    /// Whether nothing changes for strangers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.becomes_public.is_empty() && self.becomes_hidden.is_empty()
    }
}

// === impl Policy ===

impl Policy {
    /// The ports that this policy hides on a host: PROTECT before the first stanza, and that of the
    /// stanzas that select it.
    #[must_use]
    pub fn hides_on(&self, host: &HostFacts) -> PortSet {
        // Few stanzas hide anything, and a fleet has many hosts.
        let hiding = self
            .stanzas
            .iter()
            .filter(|stanza| !stanza.protect.is_empty());
        let selected = hiding.filter(|stanza| stanza.selects(host));
        self.protect
            .iter()
            .chain(selected.flat_map(|stanza| stanza.protect.iter()))
            .collect()
    }

    /// What stanzas open on a host for somebody: a static key, or a user of whom `is_user` says that
    /// she has keys.
    pub fn opens_on(&self, host: &HostFacts, is_user: impl Fn(&Usernames) -> bool) -> PortSet {
        let opens = |stanza: &Stanza| {
            let open = stanza.open_ports.clone();
            let open = open.unwrap_or_else(PortSet::everything);
            open.without(&stanza.restrict_ports)
        };
        let has_somebody = |stanza: &&Stanza| match &stanza.key {
            StanzaKey::Static(_) | StanzaKey::User { .. } => true,
            StanzaKey::Pairwise => is_user(&stanza.require_username),
        };
        let selected = self.stanzas.iter().filter(|stanza| stanza.selects(host));
        let opened = selected.filter(has_somebody).map(opens);
        opened.fold(PortSet::default(), |all, more| {
            all.iter().chain(more.iter()).collect()
        })
    }
}
