//! Names that policy trusts: whoever has one gets what the policy gives it.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet::Role;
use policy::{Policy, Selector, StanzaKey};

use super::near::did_you_mean;
use crate::context::Context;
use crate::store::model::{Member, Scope};

/// Whether the policy gives something to this name, so that nobody may choose it for himself.
pub(super) fn is_trusted(policy: &Policy, role: Role, name: &str) -> bool {
    match role {
        Role::User => {
            let mut groups = policy.groups.values();
            let mut stanzas = policy.stanzas.iter();
            groups.any(|group| group.contains(name))
                || stanzas.any(|stanza| stanza.require_username.contains(name))
        }
        Role::Host => selectors(policy).any(|selector| selector.host_name() == Some(name)),
        // Policy names neither.
        Role::Auditor | Role::Helpdesk | Role::Owner | Role::Validator | Role::Operator => false,
    }
}

/// What a token says that nobody knows: probably a slip, one sentence each.
pub(super) fn unknown_to(
    context: &Context,
    (role, name): (Role, &str),
    labels: &BTreeMap<String, String>,
    scope: &Scope,
) -> Vec<String> {
    let in_force = context.rollout.in_force();
    let policy = &in_force.policy;
    // Only for what nobody seems to know: there may be very many.
    let hosts = LazyCell::new(|| context.roster.active(Role::Host));
    let known = LazyCell::new(|| Labels::of(policy, &hosts));
    let mut unknown: Vec<String> = unknown_user(policy, role, name).into_iter().collect();
    for (label, value) in labels {
        let is_named = selectors(policy).any(|selector| names(selector, label, value));
        if !policy.stanzas.is_empty() && !is_named {
            let near = known.near(label, value);
            unknown.push(format!(
                "no HOSTS line of the policy in force names {label}={value}{near}"
            ));
        }
    }
    if !scope.is_whole() && !hosts.iter().any(|host| scope.covers(&host.labels)) {
        let mut labels = scope.0.iter();
        let near = labels.find_map(|(label, value)| {
            Some(known.near(label, value)).filter(|near| !near.is_empty())
        });
        let near = near.unwrap_or_default();
        unknown.push(format!("no host that has joined has {scope}{near}"));
    }
    unknown
}

fn unknown_user(policy: &Policy, role: Role, name: &str) -> Option<String> {
    if role != Role::User || policy.stanzas.is_empty() {
        return None;
    }
    let open_to_all = policy.stanzas.iter().any(|stanza| {
        // A key in the text opens for whoever holds it, member or not.
        matches!(stanza.key, StanzaKey::Pairwise) && stanza.require_username.is_empty()
    });
    if open_to_all || is_trusted(policy, Role::User, name) {
        return None;
    }
    if name.is_empty() {
        return Some(
            "the token names nobody, and no stanza of the policy in force permits anything to a user \
             whom it does not name: with --name it carries the name"
                .to_owned(),
        );
    }
    let stanzas = policy.stanzas.iter();
    let named = stanzas.flat_map(|stanza| stanza.require_username.iter());
    let near = did_you_mean(name, named);
    Some(format!(
        "no stanza of the policy in force permits user {name} anything{near}"
    ))
}

/// Every label that somebody has used, each as `env=prod`.
struct Labels(BTreeSet<String>);

// === impl Labels ===

impl Labels {
    fn of(policy: &Policy, hosts: &[Arc<Member>]) -> Self {
        let mut known = BTreeSet::new();
        for host in hosts {
            let labels = host.labels.iter();
            known.extend(labels.map(|(label, value)| format!("{label}={value}")));
        }
        for selector in selectors(policy) {
            if let Selector::Labels(labels) = selector {
                let labels = labels.iter().filter(|(label, _)| &**label != "name");
                known.extend(labels.map(|(label, value)| format!("{label}={value}")));
            }
        }
        Self(known)
    }

    /// What may have been meant; empty when nothing is like it, or when it is known.
    fn near(&self, label: &str, value: &str) -> String {
        let pair = format!("{label}={value}");
        if self.0.contains(&pair) {
            return String::new();
        }
        did_you_mean(&pair, self.0.iter().map(String::as_str))
    }
}

fn selectors(policy: &Policy) -> impl Iterator<Item = &Selector> {
    policy.stanzas.iter().flat_map(|stanza| &stanza.hosts)
}

fn names(selector: &Selector, label: &str, value: &str) -> bool {
    match selector {
        Selector::Any => false,
        Selector::Labels(labels) => labels
            .iter()
            .any(|(own, its)| &**own == label && &**its == value),
    }
}
