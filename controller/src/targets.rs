//! From the fleet's policy to each host's: which text a host should have, and whether it has
//! changed.
//!
//! Two hosts that the same stanzas select have the same text, so a text is compiled once for each
//! different selection and shared, not once for each host.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy::{HostFacts, Policy, StanzaKey};
use spa::ExchangePublic;

use crate::store::model::Member;

/// For whom hosts may open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    /// The users' public keys, by name; those that may do something only.
    pub(crate) keys: BTreeMap<String, Vec<ExchangePublic>>,
    /// Names for which nothing opens, whatever the policy says.
    pub(crate) barred: BTreeSet<String>,
}

/// What one text says, shared by all hosts that have it.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// For `policy::Dialect::Compiled`. Contains static keys, so it has no `Debug` of its own.
    pub(crate) text: SecretText,
    pub(crate) digest: [u8; 32],
    pub(crate) stanzas: u32,
    /// Replay domains of its static keys.
    pub(crate) domains: Vec<[u8; 32]>,
}

/// A compiled text; it is never printed.
pub(crate) struct SecretText(pub(crate) String);

/// What one host should have.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The generation at which this host's text last changed.
    pub(crate) generation: u64,
    pub(crate) compiled: Arc<Compiled>,
}

/// What every host should have, and which hosts share a static key.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    by_host: HashMap<String, Target>,
    /// Hosts by replay domain, only where there are several.
    sharing: HashMap<[u8; 32], Vec<String>>,
}

// === impl Targets ===

impl Targets {
    /// Compiles the policy for every host. A host whose text is as in `before` keeps its target.
    pub(crate) fn compile(
        policy: &Policy,
        generation: u64,
        hosts: &[Arc<Member>],
        users: &Users,
        before: &Self,
    ) -> Self {
        let policy = &*without(policy, &users.barred);
        let mut selections: HashMap<Vec<usize>, Arc<Compiled>> = HashMap::new();
        let mut by_host = HashMap::with_capacity(hosts.len());
        for host in hosts {
            let facts = facts(host);
            let selection = selection(policy, &facts);
            let compiled = selections.entry(selection).or_insert_with_key(|selection| {
                Arc::new(compile(policy, selection, &facts, users))
            });
            let target = match before.get(&host.name) {
                Some(target) if target.compiled.digest == compiled.digest => target.clone(),
                Some(_) | None => Target {
                    generation,
                    compiled: Arc::clone(compiled),
                },
            };
            by_host.insert(host.name.clone(), target);
        }
        Self {
            sharing: sharing(&by_host),
            by_host,
        }
    }

    pub(crate) fn get(&self, host: &str) -> Option<&Target> {
        self.by_host.get(host)
    }

    /// Hosts whose text changed at this generation, sorted.
    pub(crate) fn changed_at(&self, generation: u64) -> Vec<String> {
        let targets = self.by_host.iter();
        let mut changed: Vec<_> = targets
            .filter(|(_, target)| target.generation == generation)
            .map(|(host, _)| host.clone())
            .collect();
        changed.sort();
        changed
    }

    /// The hosts that hold static keys of this replay domain, when there are several.
    pub(crate) fn sharing(&self, domain: &[u8; 32]) -> &[String] {
        self.sharing.get(domain).map_or(&[], Vec::as_slice)
    }
}

fn sharing(by_host: &HashMap<String, Target>) -> HashMap<[u8; 32], Vec<String>> {
    let mut sharing: HashMap<[u8; 32], Vec<String>> = HashMap::new();
    for (host, target) in by_host {
        for domain in &target.compiled.domains {
            sharing.entry(*domain).or_default().push(host.clone());
        }
    }
    sharing.retain(|_, hosts| hosts.len() > 1);
    sharing
}

/// The policy without these names: pairwise stanzas lose them with their keys, stanzas with a key in
/// their text here. Where nobody is left, the stanza opens nothing; what it hides stays hidden.
pub(crate) fn without<'a>(policy: &'a Policy, barred: &BTreeSet<String>) -> Cow<'a, Policy> {
    let names_barred = |stanza: &policy::Stanza| {
        let is_static = !stanza.static_keys().is_empty();
        is_static
            && stanza
                .require_username
                .iter()
                .any(|name| barred.contains(name))
    };
    if !policy.stanzas.iter().any(names_barred) {
        return Cow::Borrowed(policy);
    }
    let mut policy = policy.clone();
    for stanza in policy
        .stanzas
        .iter_mut()
        .filter(|stanza| names_barred(stanza))
    {
        let names = stanza.require_username.iter();
        let left: policy::Usernames = names.filter(|name| !barred.contains(*name)).collect();
        if left.is_empty() {
            // No list at all would admit everybody. A pairwise stanza admits those on its list who
            // have a key, and nobody who is barred has one here.
            stanza.key = StanzaKey::Pairwise;
        } else {
            stanza.require_username = left;
        }
    }
    Cow::Owned(policy)
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
    } = policy::compile(policy, facts, &users.keys);
    let mut domains: Vec<_> = selection
        .iter()
        .filter_map(|position| policy.stanzas.get(*position))
        .flat_map(|stanza| stanza.static_keys())
        .map(spa::Keys::domain)
        .collect();
    domains.sort_unstable();
    domains.dedup();
    Compiled {
        text: SecretText(text),
        digest,
        stanzas: u32::try_from(stanzas).unwrap_or(u32::MAX),
        domains,
    }
}

// === impl SecretText ===

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests;
