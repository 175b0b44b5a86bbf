//! From the fleet's policy to each host's: which text a host should have, and whether it has
//! changed.
//!
//! Two hosts that the same stanzas select have the same text, so a text is compiled once for each
//! different selection and shared, not once for each host.

mod compiled;
mod hosts;
mod sharing;
mod texts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy::{HostFacts, Policy, StanzaKey};
use spa::ExchangePublic;

pub(crate) use self::compiled::{Compiled, Packed};
use self::sharing::Sharing;
use self::texts::{Compiling, Texts};
use crate::store::model::Member;

/// For whom hosts may open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    /// The users' public keys, by name; those that may do something only.
    pub(crate) keys: BTreeMap<String, Vec<ExchangePublic>>,
    /// Names for which nothing opens, whatever the policy says.
    pub(crate) barred: BTreeSet<String>,
}

/// What one host should have.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The generation at which this host's text last changed.
    pub(crate) generation: u64,
    pub(crate) compiled: Arc<Compiled>,
}

/// What every host should have, and which hosts share a static key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    by_host: HashMap<Arc<str>, Target>,
    sharing: Sharing,
    texts: Arc<Texts>,
}

// === impl Targets ===

impl Targets {
    /// Compiles the policy for every host. A host whose text is as in `before` keeps its generation,
    /// and a text that is as in `before` is kept.
    pub(crate) fn compile(
        policy: &Arc<Policy>,
        generation: u64,
        hosts: &[Arc<Member>],
        users: &Users,
        before: &Self,
    ) -> Self {
        let policy = without(policy, &users.barred);
        let mut texts = Compiling::new(&policy, users, &before.texts);
        let mut by_host = HashMap::with_capacity(hosts.len());
        let mut sharing = Sharing::default();
        for host in hosts {
            let compiled = texts.of(host);
            let known = before.get(&host.name);
            let known = known.filter(|known| known.compiled.digest == compiled.digest);
            let target = Target {
                generation: known.map_or(generation, |known| known.generation),
                compiled,
            };
            let name: Arc<str> = host.name.as_str().into();
            sharing.add(&name, &target.compiled);
            by_host.insert(name, target);
        }
        Self {
            texts: Arc::new(texts.finish()),
            sharing,
            by_host,
        }
    }

    /// The texts for nobody: compiled on top of this, every host has a new generation.
    pub(crate) fn for_nobody(&self) -> Self {
        Self {
            texts: Arc::clone(&self.texts),
            ..Self::default()
        }
    }

    pub(crate) fn get(&self, host: &str) -> Option<&Target> {
        self.by_host.get(host)
    }

    /// Hosts whose text is another than it was, or that had none.
    pub(crate) fn others_than<'t>(&'t self, before: &'t Self) -> impl Iterator<Item = &'t str> {
        let is_other = |host: &str, target: &Target| {
            let was = before.get(host);
            was.is_none_or(|was| was.compiled.digest != target.compiled.digest)
        };
        let targets = self.by_host.iter();
        let others = targets.filter(move |(host, target)| is_other(host, target));
        others.map(|(host, _)| &**host)
    }

    /// Hosts whose text changed at this generation, sorted.
    pub(crate) fn changed_at(&self, generation: u64) -> Vec<String> {
        let targets = self.by_host.iter();
        let mut changed: Vec<_> = targets
            .filter(|(_, target)| target.generation == generation)
            .map(|(host, _)| host.to_string())
            .collect();
        changed.sort();
        changed
    }

    /// The hosts that hold static keys of this replay domain, when there are several.
    pub(crate) fn sharing(&self, domain: &[u8; 32]) -> impl Iterator<Item = &str> {
        self.sharing.hosts(domain)
    }
}

/// The policy without these names: pairwise stanzas lose them with their keys, stanzas with a key in
/// their text here. Where nobody is left, the stanza opens nothing; what it hides stays hidden.
pub(crate) fn without(policy: &Arc<Policy>, barred: &BTreeSet<String>) -> Arc<Policy> {
    let names_barred = |stanza: &policy::Stanza| {
        let is_static = !stanza.static_keys().is_empty();
        is_static
            && stanza
                .require_username
                .iter()
                .any(|name| barred.contains(name))
    };
    if !policy.stanzas.iter().any(names_barred) {
        return Arc::clone(policy);
    }
    let mut policy = Policy::clone(policy);
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
    Arc::new(policy)
}

/// What policy selects a host by.
pub(crate) fn facts(host: &Member) -> HostFacts {
    HostFacts {
        name: host.name.clone(),
        labels: host.labels.clone(),
    }
}

#[cfg(test)]
mod tests;
