//! Which hosts share a static key: kept by text, not by host, since hosts with one text have all of
//! its keys.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::compiled::Compiled;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Sharing {
    /// The hosts of each text that has static keys, by its digest.
    groups: HashMap<[u8; 32], HashSet<Arc<str>>>,
    /// The texts that have keys of a replay domain.
    by_domain: HashMap<[u8; 32], BTreeSet<[u8; 32]>>,
}

// === impl Sharing ===

impl Sharing {
    pub(super) fn add(&mut self, host: &Arc<str>, compiled: &Compiled) {
        if compiled.domains.is_empty() {
            return;
        }
        let group = self.groups.entry(compiled.digest).or_default();
        if group.is_empty() {
            for domain in &compiled.domains {
                let texts = self.by_domain.entry(*domain).or_default();
                texts.insert(compiled.digest);
            }
        }
        group.insert(Arc::clone(host));
    }

    /// A host has this text no more.
    pub(super) fn remove(&mut self, host: &str, compiled: &Compiled) {
        let Some(group) = self.groups.get_mut(&compiled.digest) else {
            return;
        };
        group.remove(host);
        if !group.is_empty() {
            return;
        }
        self.groups.remove(&compiled.digest);
        for domain in &compiled.domains {
            if let Some(texts) = self.by_domain.get_mut(domain) {
                texts.remove(&compiled.digest);
                if texts.is_empty() {
                    self.by_domain.remove(domain);
                }
            }
        }
    }

    /// The hosts that hold keys of this domain, when there are several.
    pub(super) fn hosts(&self, domain: &[u8; 32]) -> impl Iterator<Item = &str> {
        let groups = || {
            let texts = self.by_domain.get(domain).into_iter().flatten();
            texts.filter_map(|digest| self.groups.get(digest))
        };
        let are_several = groups().map(HashSet::len).take(2).sum::<usize>() > 1;
        let groups = groups().take(if are_several { usize::MAX } else { 0 });
        groups.flatten().map(|host| &**host)
    }
}
