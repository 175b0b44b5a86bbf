//! Which hosts share a static key: kept by text, not by host, since hosts with one text have all of
//! its keys.

use std::collections::HashMap;
use std::sync::Arc;

use super::Target;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// The hosts of each text that has static keys.
    groups: Vec<Vec<String>>,
    /// Positions in `groups` by replay domain, only where there are several hosts.
    by_domain: HashMap<[u8; 32], Vec<usize>>,
}

// === impl Sharing ===

impl Sharing {
    pub(super) fn new(by_host: &HashMap<String, Target>) -> Self {
        let mut positions = HashMap::new();
        let mut groups: Vec<Vec<String>> = Vec::new();
        let mut by_domain: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
        for (host, target) in by_host {
            if target.compiled.domains.is_empty() {
                continue;
            }
            let position = *positions
                .entry(Arc::as_ptr(&target.compiled))
                .or_insert_with(|| {
                    for domain in &target.compiled.domains {
                        by_domain.entry(*domain).or_default().push(groups.len());
                    }
                    groups.push(Vec::new());
                    groups.len() - 1
                });
            if let Some(group) = groups.get_mut(position) {
                group.push(host.clone());
            }
        }
        let is_alone = |position: &usize| groups.get(*position).is_none_or(|group| group.len() < 2);
        by_domain.retain(|_, held| held.len() > 1 || !held.iter().all(is_alone));
        for held in by_domain.values_mut() {
            held.shrink_to_fit();
        }
        Self { groups, by_domain }
    }

    /// The hosts that hold keys of this domain, when there are several.
    pub(super) fn hosts(&self, domain: &[u8; 32]) -> impl Iterator<Item = &str> {
        let held = self.by_domain.get(domain);
        let groups = held.into_iter().flatten();
        groups
            .filter_map(|position| self.groups.get(*position))
            .flatten()
            .map(String::as_str)
    }
}
