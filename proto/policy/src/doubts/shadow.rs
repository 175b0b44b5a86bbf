//! Stanzas that never decide, because an earlier one permits whatever they permit.
//!
//! The first stanza of a key that permits a packet decides about it. Only what is certain from the two
//! stanzas alone is said.

use std::collections::HashMap;

use crate::host::Selector;
use crate::keyword::Keyword;
use crate::network::Networks;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::stanza::{Stanza, StanzaKey, Usernames};

/// Stanzas of more text than this are not compared: every one would be with every other.
const STANZAS_MAX: usize = 5_000;

/// Each stanza that an earlier one leaves nothing to decide.
pub(super) fn shadowed(policy: &Policy) -> Vec<(usize, Keyword, Problem)> {
    if policy.stanzas.len() > STANZAS_MAX {
        return Vec::new();
    }
    // Only stanzas of one key are tried one after the other.
    let mut earlier: HashMap<Option<String>, Vec<(usize, &Stanza)>> = HashMap::new();
    let mut said = Vec::new();
    for (position, stanza) in policy.stanzas.iter().enumerate() {
        let keys = keys(stanza);
        let before = keys.first().and_then(|key| earlier.get(key));
        let mut before = before.into_iter().flatten();
        if let Some((first, by)) = before.find(|(_, before)| covers(before, stanza)) {
            said.push(sentence(policy, (position, stanza), (*first, by)));
        }
        for key in keys {
            earlier.entry(key).or_default().push((position, stanza));
        }
    }
    said
}

fn sentence(
    policy: &Policy,
    (position, stanza): (usize, &Stanza),
    (first, by): (usize, &Stanza),
) -> (usize, Keyword, Problem) {
    let place = policy.origin(first);
    let place = place.map_or_else(String::new, |place| format!(" ({place})"));
    let problem = Problem::new(format!(
        "stanza {} never decides: stanza {}{place} comes first and permits all that it permits",
        stanza.label(),
        by.label()
    ));
    let keyword = if stanza.name.is_some() {
        Keyword::Name
    } else {
        Keyword::Source
    };
    let hint = "put the narrower one first, or take it out";
    (position, keyword, problem.hint(hint))
}

/// What names the keys of a stanza; `None` is every user's own.
fn keys(stanza: &Stanza) -> Vec<Option<String>> {
    match &stanza.key {
        StanzaKey::Static(keys) => {
            let keys = keys.iter();
            keys.map(|keys| Some(keys.fingerprint().to_string()))
                .collect()
        }
        StanzaKey::Pairwise | StanzaKey::User { .. } => vec![None],
    }
}

/// Whether `first` permits every packet that `later` permits.
fn covers(first: &Stanza, later: &Stanza) -> bool {
    let keys_are_in = match (&first.key, &later.key) {
        (StanzaKey::Pairwise, StanzaKey::Pairwise) => true,
        (StanzaKey::Static(first), StanzaKey::Static(later)) => {
            later.iter().all(|key| first.contains(key))
        }
        (StanzaKey::User { .. }, _)
        | (_, StanzaKey::User { .. })
        | (StanzaKey::Static(_), StanzaKey::Pairwise)
        | (StanzaKey::Pairwise, StanzaKey::Static(_)) => false,
    };
    // Without DESTINATION a stanza is for what is sent to the host, wherever that is.
    let destinations_are_in = match (&first.destination, &later.destination) {
        (Networks::Any, Networks::Only(_)) => false,
        (first, later) => networks_are_in(first, later),
    };
    let opens = later.open_ports.clone();
    let opens = opens.unwrap_or_else(crate::ports::PortSet::everything);
    let opens = opens.without(&later.restrict_ports);
    keys_are_in
        && first.max_fw_timeout_secs > 0
        && (first.fw_access_timeout_secs > 0 || later.fw_access_timeout_secs == 0)
        && first.spa_server_port == later.spa_server_port
        && first.nat == later.nat
        && (first.command.is_some() || later.command.is_none())
        && (!first.require_source_address || later.require_source_address)
        && (first.os.is_none() || first.os == later.os)
        && (first.knock_sequence || !later.knock_sequence)
        && outlives(first.expire_at_secs, later.expire_at_secs)
        && hosts_are_in(&first.hosts, &later.hosts)
        && users_are_in(&first.require_username, &later.require_username)
        && networks_are_in(&first.source, &later.source)
        && destinations_are_in
        && opens.without(&first.opens_of(&opens)).is_empty()
}

fn outlives(first: Option<u64>, later: Option<u64>) -> bool {
    match (first, later) {
        (None, _) => true,
        (Some(first), Some(later)) => first >= later,
        (Some(_), None) => false,
    }
}

fn users_are_in(first: &Usernames, later: &Usernames) -> bool {
    first.is_empty() || (!later.is_empty() && later.iter().all(|name| first.contains(name)))
}

fn hosts_are_in(first: &[Selector], later: &[Selector]) -> bool {
    let is_in = |line: &Selector| first.iter().any(|first| line_is_in(first, line));
    first.is_empty()
        || first.iter().any(|line| matches!(line, Selector::Any))
        || (!later.is_empty() && later.iter().all(is_in))
}

/// Whether the first line has no label that the later one has not.
fn line_is_in(first: &Selector, later: &Selector) -> bool {
    match (first, later) {
        (Selector::Any, _) => true,
        (Selector::Labels(_), Selector::Any) => false,
        (Selector::Labels(first), Selector::Labels(later)) => {
            first.iter().all(|label| later.contains(label))
        }
    }
}

fn networks_are_in(first: &Networks, later: &Networks) -> bool {
    match (first, later) {
        (Networks::Any, _) => true,
        (Networks::Only(_), Networks::Any) => false,
        (Networks::Only(first), Networks::Only(later)) => later
            .iter()
            .all(|network| first.iter().any(|first| first.contains(network))),
    }
}
