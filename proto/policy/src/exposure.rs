//! What strangers reach on a host: what a change of policy hides, and what it makes public.

#[cfg(test)]
mod tests;

use spa::ProtoPort;

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
        let without = |some: &PortSet, others: &PortSet| {
            some.iter().filter(|port| !others.contains(*port)).collect()
        };
        Self {
            becomes_public: without(before, after),
            becomes_hidden: without(after, before),
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

    /// Whether some stanza opens this port on a host for somebody: a static key, or a user of whom
    /// `is_user` says that she has keys.
    pub fn opens_on(
        &self,
        host: &HostFacts,
        port: ProtoPort,
        is_user: impl Fn(&Usernames) -> bool,
    ) -> bool {
        let opens = |stanza: &Stanza| {
            let open = stanza.open_ports.as_ref();
            open.is_none_or(|open| open.contains(port)) && !stanza.restrict_ports.contains(port)
        };
        let has_somebody = |stanza: &Stanza| match &stanza.key {
            StanzaKey::Static(_) | StanzaKey::User { .. } => true,
            StanzaKey::Pairwise => is_user(&stanza.require_username),
        };
        let mut selected = self.stanzas.iter().filter(|stanza| stanza.selects(host));
        selected.any(|stanza| opens(stanza) && has_somebody(stanza))
    }
}
