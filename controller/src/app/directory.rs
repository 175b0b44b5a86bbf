//! The directory: the hosts that a user may open.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use fleet::Role;
use policy::{Policy, Stanza, StanzaKey};

use crate::access::caller::Caller;
use crate::context::Context;
use crate::store::model::Member;
use crate::targets::facts;
use crate::timestamp::Timestamp;

/// What one user may open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Directory {
    pub(crate) fleet: String,
    /// The policy that says so.
    pub(crate) generation: u64,
    pub(crate) at: Timestamp,
    pub(crate) user: String,
    pub(crate) entries: Vec<Entry>,
    /// The same of hosts that can do nothing now.
    pub(crate) locked: Vec<Entry>,
}

/// One pairwise stanza that selects a host and permits the user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) host: String,
    /// Every address by which it is reached; never empty.
    pub(crate) addresses: Vec<String>,
    pub(crate) spa_port: u16,
    /// The host's X25519 public key.
    pub(crate) exchange_key: [u8; 32],
    /// What it opens, each as `tcp/22`; empty for what the packet asks for.
    pub(crate) ports: Vec<String>,
    pub(crate) stanza: String,
    /// By which she may ask for several hosts at once.
    pub(crate) labels: BTreeMap<String, String>,
    /// When the stanza ends by itself, seconds since the Unix epoch.
    pub(crate) expires_at_secs: Option<u64>,
}

/// The directory of the user that calls.
pub(crate) fn directory(context: &Context, caller: &Caller, now: Timestamp) -> Directory {
    let in_force = context.rollout.in_force();
    let mut hosts = context.roster.all();
    hosts.retain(|member| member.role == Role::Host);
    let of = |hosts: &[Arc<Member>]| {
        let entries = hosts
            .iter()
            .flat_map(|host| entries(&in_force.policy, host, &caller.name));
        entries.collect()
    };
    let (active, locked): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|host| host.is_active());
    Directory {
        fleet: context.settings.fleet.clone(),
        generation: in_force.generation,
        at: now,
        user: caller.name.clone(),
        entries: of(&active),
        locked: of(&locked),
    }
}

/// What a user may open on one host: one entry for each pairwise stanza that selects the host and
/// permits her.
fn entries(policy: &Policy, host: &Member, user: &str) -> Vec<Entry> {
    let facts = facts(host);
    let Some(exchange_key) = host.exchange_key() else {
        return Vec::new();
    };
    let stanzas = policy.stanzas.iter();
    stanzas
        .filter(|stanza| permits(stanza, user) && stanza.selects(&facts))
        .map(|stanza| Entry {
            host: host.name.clone(),
            addresses: host.addresses().map(str::to_owned).collect(),
            spa_port: stanza
                .spa_server_port
                .map_or(host.spa_port, NonZeroU16::get),
            exchange_key,
            ports: stanza.open_ports.as_ref().map_or_else(Vec::new, |ports| {
                // What is restricted opens for nobody; something is left, or the policy has a mistake.
                let ports = ports.without(&stanza.restrict_ports);
                ports.spelled_out().map(|port| port.to_string()).collect()
            }),
            stanza: stanza.label(),
            labels: host.labels.clone(),
            expires_at_secs: stanza.expire_at_secs,
        })
        .collect()
}

fn permits(stanza: &Stanza, user: &str) -> bool {
    match &stanza.key {
        StanzaKey::Pairwise => {
            stanza.require_username.is_empty() || stanza.require_username.contains(user)
        }
        // A shared key is handed out by other ways than the directory.
        StanzaKey::Static(_) | StanzaKey::User { .. } => false,
    }
}

#[cfg(test)]
mod tests;
