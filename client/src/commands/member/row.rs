//! What is shown of a member.

use std::collections::BTreeMap;

use fleet::Role;
use fleet::wire::{MemberEntry, MemberKey};
use serde::Serialize;

/// A member in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    pub(super) role: &'static str,
    pub(super) name: &'a str,
    pub(super) locked: bool,
    pub(super) locked_at_ms: u64,
    pub(super) lock_reason: &'a str,
    pub(super) joined_at_ms: u64,
    pub(super) renewed_at_ms: u64,
    pub(super) keys: Vec<Key<'a>>,
    pub(super) labels: BTreeMap<&'a str, &'a str>,
    pub(super) scope: BTreeMap<&'a str, &'a str>,
    pub(super) warnings: &'a [String],
}

/// One of its keys.
#[derive(Debug, Serialize)]
pub(super) struct Key<'a> {
    pub(super) name: &'a str,
    pub(super) fingerprint: &'a str,
    pub(super) joined_at_ms: u64,
    pub(super) locked: bool,
    pub(super) renewed_at_ms: u64,
    /// The name of the key that it is to replace; empty for none.
    pub(super) follows: &'a str,
    pub(super) rotation_asked_ms: u64,
}

impl<'a> From<&'a MemberEntry> for Row<'a> {
    fn from(member: &'a MemberEntry) -> Self {
        let MemberEntry {
            role,
            name,
            locked,
            locked_at_ms,
            lock_reason,
            joined_at_ms,
            renewed_at_ms,
            keys,
            labels,
            scope,
            warnings,
        } = member;
        Self {
            role: Role::try_from(*role).map_or("unknown", Role::as_str),
            name,
            locked: *locked,
            locked_at_ms: *locked_at_ms,
            lock_reason,
            joined_at_ms: *joined_at_ms,
            renewed_at_ms: *renewed_at_ms,
            keys: keys.iter().map(Key::from).collect(),
            labels: labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            scope: scope
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            warnings,
        }
    }
}

impl<'a> From<&'a MemberKey> for Key<'a> {
    fn from(key: &'a MemberKey) -> Self {
        let MemberKey {
            name,
            fingerprint,
            joined_at_ms,
            locked,
            renewed_at_ms,
            follows,
            rotation_asked_ms,
        } = key;
        Self {
            name,
            fingerprint,
            joined_at_ms: *joined_at_ms,
            locked: *locked,
            renewed_at_ms: *renewed_at_ms,
            follows,
            rotation_asked_ms: *rotation_asked_ms,
        }
    }
}

// === impl Row ===

impl Row<'_> {
    /// Whether it may do something, in one word.
    pub(super) fn state(&self) -> &'static str {
        if self.locked { "locked" } else { "active" }
    }

    /// Its keys by name, a locked one marked, and one that is to be rotated.
    pub(super) fn keys(&self) -> String {
        let keys = self.keys.iter().map(|key| {
            let mark = match (key.locked, key.rotation_asked_ms) {
                (true, _) => " (locked)",
                (false, 0) => "",
                (false, _) => " (asked for a new one)",
            };
            format!("{}{mark}", key.name)
        });
        keys.collect::<Vec<_>>().join(", ")
    }

    /// A host's labels; of others those of the hosts that are their business.
    pub(super) fn labels(&self) -> String {
        let pairs = |labels: &BTreeMap<&str, &str>| {
            let pairs: Vec<String> = labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            pairs.join(" ")
        };
        if self.scope.is_empty() {
            return pairs(&self.labels);
        }
        format!("hosts with {} only", pairs(&self.scope))
    }
}
