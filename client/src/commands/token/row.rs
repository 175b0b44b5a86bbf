//! What is shown of a token. Its secret is not known any more.

use std::collections::BTreeMap;

use fleet::Role;
use fleet::wire::{TokenEntry, TokenState};
use serde::Serialize;

/// A token in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    pub(super) id: &'a str,
    pub(super) role: &'static str,
    pub(super) name: &'a str,
    pub(super) key: &'a str,
    pub(super) replace: bool,
    pub(super) labels: BTreeMap<&'a str, &'a str>,
    pub(super) scope: BTreeMap<&'a str, &'a str>,
    pub(super) state: &'static str,
    pub(super) created_by: &'a str,
    pub(super) created_at_ms: u64,
    pub(super) expires_at_ms: u64,
    pub(super) redeemed_by: &'a str,
    pub(super) redeemed_at_ms: u64,
}

impl<'a> From<&'a TokenEntry> for Row<'a> {
    fn from(token: &'a TokenEntry) -> Self {
        let TokenEntry {
            id,
            role,
            name,
            key_name,
            labels,
            created_by,
            created_at_ms,
            expires_at_secs,
            state: _,
            redeemed_by,
            redeemed_at_ms,
            replace,
            scope,
        } = token;
        Self {
            id,
            role: Role::try_from(*role).map_or("unknown", Role::as_str),
            name,
            key: key_name,
            replace: *replace,
            labels: labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            scope: scope
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            state: match token.state() {
                TokenState::Unspecified => "unknown",
                TokenState::Open => "open",
                TokenState::Redeemed => "redeemed",
                TokenState::Expired => "expired",
                TokenState::Revoked => "revoked",
            },
            created_by,
            created_at_ms: *created_at_ms,
            expires_at_ms: expires_at_secs.saturating_mul(1000),
            redeemed_by,
            redeemed_at_ms: *redeemed_at_ms,
        }
    }
}

// === impl Row ===

impl Row<'_> {
    /// For whom it is.
    pub(super) fn bearer(&self) -> String {
        let mut bearer = match self.name {
            "" => format!("any {}", self.role),
            name => format!("{} {name}", self.role),
        };
        if !self.key.is_empty() {
            bearer += &format!(", key {}", self.key);
        }
        if self.replace {
            bearer += ", replaces";
        }
        for (key, value) in &self.scope {
            bearer += &format!(", for {key}={value}");
        }
        bearer
    }
}
