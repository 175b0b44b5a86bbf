//! Names that policy trusts: whoever has one gets what the policy gives it.

use std::collections::BTreeMap;

use fleet::Role;
use policy::{Policy, Selector, StanzaKey};

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

/// What a token says that no stanza knows: probably a slip, one sentence each.
pub(super) fn unknown_to(
    policy: &Policy,
    role: Role,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Vec<String> {
    if policy.stanzas.is_empty() {
        return Vec::new();
    }
    let mut unknown = Vec::new();
    let open_to_all = |policy: &Policy| {
        let mut stanzas = policy.stanzas.iter();
        // A key in the text opens for whoever holds it, member or not.
        stanzas.any(|it| matches!(it.key, StanzaKey::Pairwise) && it.require_username.is_empty())
    };
    let is_named_user = role == Role::User && !name.is_empty();
    if is_named_user && !is_trusted(policy, Role::User, name) && !open_to_all(policy) {
        unknown.push(format!(
            "no stanza of the policy in force permits user {name} anything"
        ));
    }
    for (label, value) in labels {
        if !selectors(policy).any(|selector| names(selector, label, value)) {
            unknown.push(format!(
                "no HOSTS line of the policy in force names {label}={value}"
            ));
        }
    }
    unknown
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
