//! What is shown of a host.

use std::collections::BTreeMap;

use fleet::wire::{Commands, Host};
use serde::Serialize;

/// A host in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) address: &'a str,
    pub(super) addresses: Vec<&'a str>,
    pub(super) spa_port: u32,
    pub(super) labels: BTreeMap<&'a str, &'a str>,
    pub(super) target_generation: u64,
    pub(super) applied_generation: u64,
    pub(super) in_sync: bool,
    pub(super) connected: bool,
    pub(super) last_seen_ms: u64,
    pub(super) drift: &'a str,
    pub(super) audit_fault: &'a str,
    pub(super) rejected: &'a [String],
    pub(super) banned: bool,
    pub(super) agent_version: &'a str,
    pub(super) stanzas: u32,
    pub(super) joined_at_ms: u64,
    pub(super) protected_ports: &'a [String],
    pub(super) own_protected_ports: &'a [String],
    pub(super) commands: Option<bool>,
    pub(super) warnings: &'a [String],
    pub(super) clock_offset_ms: Option<i64>,
    pub(super) floor_secs: u64,
    pub(super) backend: &'a str,
    pub(super) grants_open: Option<u32>,
    pub(super) agent_old: bool,
    pub(super) controller: &'a str,
}

impl<'a> From<&'a Host> for Row<'a> {
    fn from(host: &'a Host) -> Self {
        let Host {
            name,
            address,
            spa_port,
            labels,
            target_generation,
            applied_generation,
            in_sync,
            connected,
            last_seen_ms,
            drift,
            rejected,
            banned,
            agent_version,
            stanzas,
            joined_at_ms,
            audit_fault,
            protected_ports,
            own_protected_ports,
            commands: _,
            warnings,
            clock_offset_ms,
            floor_secs,
            addresses,
            backend,
            grants_open,
            agent_old,
            controller,
        } = host;
        Self {
            name,
            address,
            addresses: match addresses.as_slice() {
                // Of a controller that knows one only.
                [] => vec![address],
                all => all.iter().map(String::as_str).collect(),
            },
            spa_port: *spa_port,
            labels: labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            target_generation: *target_generation,
            applied_generation: *applied_generation,
            in_sync: *in_sync,
            connected: *connected,
            last_seen_ms: *last_seen_ms,
            drift,
            audit_fault,
            rejected,
            banned: *banned,
            agent_version,
            stanzas: *stanzas,
            joined_at_ms: *joined_at_ms,
            protected_ports,
            own_protected_ports,
            commands: match host.commands() {
                Commands::Unspecified => None,
                Commands::Off => Some(false),
                Commands::On => Some(true),
            },
            warnings,
            clock_offset_ms: *clock_offset_ms,
            floor_secs: *floor_secs,
            backend,
            grants_open: *grants_open,
            agent_old: *agent_old,
            controller,
        }
    }
}

impl Row<'_> {
    /// How it is, in one word or a few.
    pub(super) fn state(&self) -> &str {
        match self {
            Row { banned: true, .. } => "locked",
            Row {
                connected: false, ..
            } => "away",
            Row { rejected, .. } if !rejected.is_empty() => "policy rejected",
            Row { drift, .. } if !drift.is_empty() => "drift",
            Row { audit_fault, .. } if !audit_fault.is_empty() => "events refused",
            Row { in_sync: false, .. } => "behind",
            Row { .. } => "in sync",
        }
    }

    /// What is hidden, and whether policy could lift that.
    pub(super) fn hidden(&self) -> String {
        let own = |port: &String| self.own_protected_ports.contains(port);
        let word = |port: &String| match own(port) {
            true => format!("{port} (by its own configuration)"),
            false => port.clone(),
        };
        let words: Vec<String> = self.protected_ports.iter().map(word).collect();
        words.join(", ")
    }

    /// Grants open there, where it says so.
    pub(super) fn open(&self) -> String {
        self.grants_open
            .map_or_else(|| "-".to_owned(), |count| count.to_string())
    }

    /// The version of its agent, marked where that is older than the controller.
    pub(super) fn agent(&self) -> String {
        match (self.agent_version, self.agent_old) {
            ("", _) => "-".to_owned(),
            (version, false) => version.to_owned(),
            (version, true) => format!("{version} (old)"),
        }
    }

    /// Whether it runs commands, as far as it says.
    pub(super) fn commands(&self) -> &str {
        match self.commands {
            None => "",
            Some(true) => "on",
            Some(false) => "off (its own configuration would have to say `commands = true`)",
        }
    }

    pub(super) fn labels(&self) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        labels.join(" ")
    }
}
