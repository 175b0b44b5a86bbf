//! From the fleet's policy to each host's: which text a host should have, and whether it has changed.
//!
//! Two hosts that the same stanzas select have the same text, so a text is compiled once for each
//! different selection and shared, not once for each host.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::{HostFacts, Policy};
use spa::ExchangePublic;

use crate::store::model::Member;

/// The users' public keys, by name.
pub(crate) type Users = BTreeMap<String, ExchangePublic>;

/// What one text says, shared by all hosts that have it.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// For `policy::Dialect::Compiled`. Contains static keys, so it has no `Debug` of its own.
    pub(crate) text: Secret,
    pub(crate) digest: [u8; 32],
    pub(crate) stanzas: u32,
    /// Replay domains of its static keys.
    pub(crate) domains: Vec<[u8; 32]>,
}

/// A text that is never printed.
pub(crate) struct Secret(pub(crate) String);

/// What one host should have.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The generation at which this host's text last changed.
    pub(crate) generation: u64,
    pub(crate) compiled: Arc<Compiled>,
}

/// Compiles the policy for every host, by name. A host whose text is as in `before` keeps its target.
pub(crate) fn targets(
    policy: &Policy,
    generation: u64,
    hosts: &[Arc<Member>],
    users: &Users,
    before: &HashMap<String, Target>,
) -> HashMap<String, Target> {
    let mut selections: HashMap<Vec<usize>, Arc<Compiled>> = HashMap::new();
    let mut targets = HashMap::with_capacity(hosts.len());
    for host in hosts {
        let facts = facts(host);
        let selection = selection(policy, &facts);
        let compiled = selections
            .entry(selection)
            .or_insert_with_key(|selection| Arc::new(compile(policy, selection, &facts, users)));
        let target = match before.get(&host.name) {
            Some(target) if target.compiled.digest == compiled.digest => target.clone(),
            Some(_) | None => Target {
                generation,
                compiled: Arc::clone(compiled),
            },
        };
        targets.insert(host.name.clone(), target);
    }
    targets
}

/// What policy selects a host by.
pub(crate) fn facts(host: &Member) -> HostFacts {
    HostFacts {
        name: host.name.clone(),
        labels: host.labels.clone(),
    }
}

fn selection(policy: &Policy, facts: &HostFacts) -> Vec<usize> {
    let stanzas = policy.stanzas.iter().enumerate();
    stanzas
        .filter(|(_, stanza)| stanza.selects(facts))
        .map(|(position, _)| position)
        .collect()
}

fn compile(policy: &Policy, selection: &[usize], facts: &HostFacts, users: &Users) -> Compiled {
    let policy::HostPolicy {
        text,
        digest,
        stanzas,
    } = policy::compile(policy, facts, users);
    let mut domains: Vec<_> = selection
        .iter()
        .filter_map(|position| policy.stanzas.get(*position))
        .flat_map(|stanza| stanza.static_keys())
        .map(spa::Keys::domain)
        .collect();
    domains.sort_unstable();
    domains.dedup();
    Compiled {
        text: Secret(text),
        digest,
        stanzas: u32::try_from(stanzas).unwrap_or(u32::MAX),
        domains,
    }
}

// === impl Secret ===

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
