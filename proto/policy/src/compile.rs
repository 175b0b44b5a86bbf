//! From the fleet's policy to the policy of one host.

use std::collections::BTreeMap;
use std::fmt;

use spa::ExchangePublic;

use crate::host::HostFacts;
use crate::policy::Policy;

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
/// for every user it permits whose public key is in `users`.
#[must_use]
pub fn compile(
    _policy: &Policy,
    _host: &HostFacts,
    _users: &BTreeMap<String, ExchangePublic>,
) -> HostPolicy {
    HostPolicy {
        text: String::new(),
        digest: [0; 32],
        stanzas: 0,
    }
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
