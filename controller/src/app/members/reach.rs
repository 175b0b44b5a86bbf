//! Which hosts and stanzas a user reaches, by the policy in force.

use std::collections::{BTreeMap, BTreeSet};

use fleet::Role;
use policy::{Policy, Selector, Stanza, StanzaKey};

use crate::context::Context;
use crate::error::Error;
use crate::store::model::Whom;
use crate::targets::facts;

/// The stanzas that permit a user by name or because they permit everybody, each with the hosts
/// where it does: `web-ssh on web-1, web-2`.
pub(super) fn stanzas(context: &Context, user: &str) -> Vec<String> {
    let in_force = context.rollout.in_force();
    let stanzas = in_force.policy.stanzas.iter();
    stanzas
        .filter(|stanza| permits(stanza, user))
        .filter_map(|stanza| on_hosts(context, stanza))
        .collect()
}

/// Whether a user may open anything on a host that `is_meant` does not hold for, now or when one
/// joins: what HOSTS lines say counts, not only who is there.
pub(in crate::app) fn reaches_other(
    context: &Context,
    user: &str,
    is_meant: impl Fn(&Selector) -> bool,
) -> bool {
    let in_force = context.rollout.in_force();
    let mut stanzas = in_force.policy.stanzas.iter();
    stanzas.any(|stanza| {
        permits(stanza, user) && (stanza.hosts.is_empty() || !stanza.hosts.iter().all(&is_meant))
    })
}

/// The hosts whose text names a user, or may name her still: those that a stanza gives her, and
/// `behind`.
pub(super) fn concerned(context: &Context, user: &str, behind: BTreeSet<String>) -> Vec<String> {
    let in_force = context.rollout.in_force();
    let mut concerned = behind;
    for host in context.roster.active(Role::Host) {
        let facts = facts(&host);
        let mut stanzas = in_force.policy.stanzas.iter();
        if stanzas.any(|stanza| is_compiled_for(stanza, user) && stanza.selects(&facts)) {
            concerned.insert(host.name.clone());
        }
    }
    concerned.into_iter().collect()
}

/// Hosts that enforce another text than they should; it may be one that permits more.
pub(super) async fn behind(context: &Context) -> Result<BTreeSet<String>, Error> {
    let (hosts, states) = context.store.hosts().await?;
    let targets = context.rollout.targets();
    let is_behind = |host: &crate::store::model::Member| {
        let applied = states.get(&host.id).map(|state| &state.applied_digest);
        let target = targets.get(&host.name);
        match (applied, target) {
            (Some(applied), Some(target)) => {
                !applied.is_empty() && **applied != target.compiled.digest
            }
            // It has nothing, or is to have nothing.
            (None, _) | (_, None) => false,
        }
    };
    let behind = hosts.into_iter().filter(is_behind);
    Ok(behind.map(|host| host.name).collect())
}

/// Hosts that a user may open and that have not acknowledged yet the text that they should have, where that
/// is not the same as having none.
pub(in crate::app) async fn not_heard(context: &Context, user: &str) -> Result<Vec<String>, Error> {
    let (hosts, states) = context.store.hosts().await?;
    let hosts = hosts.iter().map(|host| (&*host.name, host.id));
    let hosts: BTreeMap<&str, u64> = hosts.collect();
    let targets = context.rollout.targets();
    let has_heard = |name: &str| {
        let applied = hosts.get(name).and_then(|id| states.get(id));
        targets.get(name).is_none_or(|target| {
            applied.is_some_and(|state| state.applied_digest == target.compiled.digest)
        })
    };
    let mut waits = concerned(context, user, BTreeSet::new());
    waits.retain(|host| !has_heard(host));
    Ok(waits)
}

/// What a user who knows keys that stand in the policy's text can still do with them, one sentence
/// for each stanza. That she knows them is guessed from where she is, or was, permitted.
pub(super) fn shared_keys(context: &Context, whom: &Whom) -> Vec<String> {
    let in_force = context.rollout.in_force();
    let policy = &in_force.policy;
    let known = known_domains(policy, &whom.name);
    let barred = context.roster.barred();
    let opens = |stanza: &&Stanza| {
        let mut names = stanza.require_username.iter();
        stanza.require_username.is_empty() || names.any(|name| !barred.contains(name))
    };
    let stanzas = policy.stanzas.iter().filter(opens);
    stanzas
        .filter(|stanza| domains(stanza).any(|domain| known.contains(&domain)))
        .filter_map(|stanza| {
            let stanza = on_hosts(context, stanza)?;
            Some(format!(
                "stanza {stanza} still opens for whoever holds its KEY, under any name that it \
                 permits; if {} {} knows that key, rotate it: apply a policy with another",
                whom.role, whom.name
            ))
        })
        .collect()
}

/// The keys in the policy's text that a user must know to use what it permits her.
fn known_domains(policy: &Policy, user: &str) -> BTreeSet<[u8; 32]> {
    let stanzas = policy.stanzas.iter();
    stanzas
        .filter(|stanza| permits(stanza, user))
        .flat_map(domains)
        .collect()
}

fn domains(stanza: &Stanza) -> impl Iterator<Item = [u8; 32]> {
    stanza.static_keys().iter().map(spa::Keys::domain)
}

fn permits(stanza: &Stanza, user: &str) -> bool {
    stanza.require_username.is_empty() || stanza.require_username.contains(user)
}

/// Whether the text of a stanza's hosts depends on whether the user is locked.
fn is_compiled_for(stanza: &Stanza, user: &str) -> bool {
    match &stanza.key {
        StanzaKey::Pairwise | StanzaKey::User { .. } => permits(stanza, user),
        StanzaKey::Static(_) => stanza.require_username.contains(user),
    }
}

/// `web-ssh on web-1, web-2`; nothing where it selects no host.
fn on_hosts(context: &Context, stanza: &Stanza) -> Option<String> {
    let hosts = context.roster.active(Role::Host);
    let hosts: Vec<&str> = hosts
        .iter()
        .filter(|host| stanza.selects(&facts(host)))
        .map(|host| host.name.as_str())
        .collect();
    (!hosts.is_empty()).then(|| format!("{} on {}", stanza.label(), hosts.join(", ")))
}
