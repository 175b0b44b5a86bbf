//! Changing where a host is reached, its labels and its name, while it works.
//!
//! Policy selects hosts by labels and names, so a change of either is a change of policy for this
//! host: what comes and goes is said before, and what would become public needs an operator's word.

mod addresses;

use std::collections::{BTreeMap, BTreeSet};

use fleet::Role;
use policy::{AccessChange, Exposure, HostFacts, Policy, PortSet, Stanza};
use spa::Service;

use self::addresses::checked;
use super::hosts::{self, HostView};
use super::near::{self, did_you_mean};
use super::policy::{HostDifference, HostExposure, Public};
use super::{check, tokens, trust};
use crate::access::caller::Caller;
use crate::becomes_public::{BecomesPublic, Names};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Change, HostEdit, HostEdited, Member, Scope, Whom};
use crate::targets::facts;
use crate::timestamp::Timestamp;

/// What is to be otherwise; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Empty for another address than those that it has.
    pub(crate) addresses: Vec<String>,
    pub(crate) spa_port: Option<u16>,
    pub(crate) set_labels: BTreeMap<String, String>,
    pub(crate) remove_labels: Vec<String>,
    pub(crate) name: Option<String>,
}

/// What the caller says is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consent {
    pub(crate) public: Public,
    /// Say what would be, and do nothing.
    pub(crate) is_dry: bool,
}

/// What came of it, or would.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) host: HostView,
    /// Stanzas that come to it and leave it; `None` when its policy stays as it is.
    pub(crate) difference: Option<HostDifference>,
    pub(crate) exposure: Option<HostExposure>,
    /// What people gain and lose by it.
    pub(crate) access: Vec<AccessChange>,
    pub(crate) warnings: Vec<String>,
}

/// Changes a host. When this returns, it is in force here and on its way to the host.
pub(crate) async fn change(
    context: &Context,
    caller: &Caller,
    (name, wanted): (&str, Wanted),
    consent: Consent,
    now: Timestamp,
) -> Result<Changed, Error> {
    let before = near::host(context, caller, name)?;
    caller.check_manages(&before)?;
    let after = after(context, &before, wanted)?;
    caller.check_labels(&after.labels)?;
    let policy = &context.rollout.in_force().policy;
    let difference = difference(policy, &before, &after);
    let exposure = exposure(context, policy, &before, &after).await?;
    permit(exposure.as_ref(), consent.public)?;
    let access = access(context, policy, (&before, &after), now);
    let mut warnings = doubts(context, policy, &before, &after);
    if !consent.is_dry {
        warnings.extend(store(context, caller, (&before, &after), now).await?);
        take_effect(context, &before, &after).await?;
    }
    let mut host = hosts::show(
        context,
        caller,
        if consent.is_dry { name } else { &after.name },
        now,
    )
    .await?;
    if consent.is_dry {
        host.member = after;
    }
    Ok(Changed {
        host,
        difference,
        exposure,
        access,
        warnings,
    })
}

/// What people gain and lose on it: all who have joined, locked ones too, since a lock is not policy.
fn access(
    context: &Context,
    policy: &Policy,
    (before, after): (&Member, &Member),
    now: Timestamp,
) -> Vec<AccessChange> {
    let all = context.roster.all();
    let users = all.iter().filter(|member| member.role == Role::User);
    let users = users.map(|user| user.name.clone()).collect();
    let facts = (&facts(before), &facts(after));
    policy::access_changes_of_host(policy, facts, &users, now.secs())
}

/// The host as it is to be.
fn after(context: &Context, before: &Member, wanted: Wanted) -> Result<Member, Error> {
    let Wanted {
        addresses,
        spa_port,
        set_labels,
        remove_labels,
        name,
    } = wanted;
    let mut after = before.clone();
    if let Some(name) = name {
        check::member_name(Role::Host, &name)?;
        if name != before.name && context.roster.find(Role::Host, &name).is_some() {
            let role = Role::Host;
            return Err(Error::NameTaken { role, name });
        }
        after.name = name;
    }
    let mut addresses = checked(addresses)?.into_iter();
    if let Some(first) = addresses.next() {
        after.address = first;
        after.more_addresses = addresses.collect();
    }
    after.spa_port = spa_port.unwrap_or(before.spa_port);
    for label in remove_labels {
        if set_labels.contains_key(&label) {
            let problem = format!("`{label}` is set and taken away at once");
            return Err(Error::invalid("remove_labels", problem));
        }
        if after.labels.remove(&label).is_none() {
            let near = did_you_mean(&label, before.labels.keys());
            let host = &before.name;
            return Err(Error::not_found(format!(
                "label of host {host} is called `{label}`{near}"
            )));
        }
    }
    after.labels.extend(set_labels);
    tokens::check_labels("labels", &after.labels)?;
    if after == *before {
        let host = &before.name;
        return Err(Error::Conflict(format!("host {host} is so already")));
    }
    Ok(after)
}

/// Stanzas that select it and did not, or did and do not. One whose text names the host may differ
/// although it selects both.
fn difference(policy: &Policy, before: &Member, after: &Member) -> Option<HostDifference> {
    let selected = |host: &HostFacts| -> BTreeSet<String> {
        let stanzas = policy.stanzas.iter();
        let selected = stanzas.filter(|stanza| stanza.selects(host));
        selected.map(Stanza::label).collect()
    };
    let (was, is) = (selected(&facts(before)), selected(&facts(after)));
    (was != is).then(|| HostDifference {
        host: after.name.clone(),
        added: is.difference(&was).cloned().collect(),
        removed: was.difference(&is).cloned().collect(),
        ..HostDifference::default()
    })
}

/// What becomes public on it, and what becomes hidden.
async fn exposure(
    context: &Context,
    policy: &Policy,
    before: &Member,
    after: &Member,
) -> Result<Option<HostExposure>, Error> {
    let host = context.store.host(before.id, u64::MAX).await?;
    let word = host.map(|(_, state, _)| state.word).unwrap_or_default();
    // What it hides by its own configuration stays hidden, whatever policy says.
    let own = word.own_protected_ports.iter();
    let own: PortSet = own
        .filter_map(|port| port.parse::<Service>().ok())
        .collect();
    let with_own = |ports: &PortSet| -> PortSet { ports.iter().chain(own.iter()).collect() };
    let exposure = Exposure::between(
        &with_own(&policy.hides_on(&facts(before))),
        &with_own(&policy.hides_on(&facts(after))),
    );
    Ok((!exposure.is_empty()).then(|| HostExposure {
        host: after.name.clone(),
        exposure,
    }))
}

fn permit(exposure: Option<&HostExposure>, public: Public) -> Result<(), Error> {
    let Some(HostExposure { host, exposure }) = exposure else {
        return Ok(());
    };
    let ports = exposure.becomes_public.iter();
    let ports: BTreeMap<_, _> = ports.map(|port| (port, vec![host.clone()])).collect();
    if ports.is_empty() || public == Public::Allowed {
        return Ok(());
    }
    Err(Error::BecomesPublic(BecomesPublic(ports)))
}

/// What the policy in force says of it that is worth a look.
fn doubts(context: &Context, policy: &Policy, before: &Member, after: &Member) -> Vec<String> {
    let mut doubts = Vec::new();
    if before.name != after.name {
        let (old, new) = (&before.name, &after.name);
        for (name, what) in [
            (old, "selects it no longer; write the new name there"),
            (new, "selects it now"),
        ] {
            let stanzas = policy.stanzas.iter();
            let naming = stanzas.filter(|stanza| {
                let mut hosts = stanza.hosts.iter();
                hosts.any(|selector| selector.host_name() == Some(name))
            });
            let naming: Vec<String> = naming.map(Stanza::label).collect();
            if !naming.is_empty() {
                let stanzas = Names(&naming);
                doubts.push(format!(
                    "the policy in force names {name} (HOSTS of {stanzas}), and {what}"
                ));
            }
        }
    }
    let mut new_labels = after.labels.clone();
    new_labels.retain(|label, value| before.labels.get(label) != Some(value));
    let named = (Role::Host, after.name.as_str());
    doubts.extend(trust::unknown_to(
        context,
        named,
        &new_labels,
        &Scope::default(),
    ));
    doubts
}

/// Stores it; returns what is to be said of that.
async fn store(
    context: &Context,
    caller: &Caller,
    (before, after): (&Member, &Member),
    now: Timestamp,
) -> Result<Vec<String>, Error> {
    let change = Change {
        whom: Whom::host(before.name.clone()),
        reason: said(before, after),
        origin: caller.origin(),
        at_ms: now.ms(),
    };
    let edit = HostEdit {
        host: before.id,
        name: after.name.clone(),
        address: after.address.clone(),
        more_addresses: after.more_addresses.clone(),
        spa_port: after.spa_port,
        labels: after.labels.clone(),
        change,
    };
    match context.store.edit_host(edit).await? {
        HostEdited::Done { revoked_tokens, .. } if revoked_tokens.is_empty() => Ok(Vec::new()),
        HostEdited::Done { revoked_tokens, .. } => {
            let (name, ids) = (&before.name, revoked_tokens.join(", "));
            Ok(vec![format!(
                "open tokens for host {name} are revoked: {ids}"
            )])
        }
        HostEdited::Unknown => Err(near::no_host_of_now(context, &caller.scope, &before.name)),
        HostEdited::NameTaken => Err(Error::NameTaken {
            role: Role::Host,
            name: after.name.clone(),
        }),
    }
}

/// What is recorded: `called web-2 from now on, env=stage instead of env=prod`.
fn said(before: &Member, after: &Member) -> String {
    let mut said = Vec::new();
    if before.name != after.name {
        said.push(format!("called {} from now on", after.name));
    }
    let at = |host: &Member| host.addresses().collect::<Vec<_>>().join(" and ");
    if at(before) != at(after) {
        said.push(format!("at {} instead of {}", at(after), at(before)));
    }
    if before.spa_port != after.spa_port {
        let (old, new) = (before.spa_port, after.spa_port);
        said.push(format!("SPA port {new} instead of {old}"));
    }
    if before.labels != after.labels {
        let labels = |host: &Member| match host.labels.is_empty() {
            true => "no labels".to_owned(),
            false => Scope(host.labels.clone()).to_string(),
        };
        said.push(format!("{} instead of {}", labels(after), labels(before)));
    }
    said.join(", ")
}

/// Puts in force, and on its way, what is stored.
async fn take_effect(context: &Context, before: &Member, after: &Member) -> Result<(), Error> {
    let (old, new) = (before.name.as_str(), after.name.as_str());
    if old == new {
        let refreshed = context.roster.refresh(&context.store, Role::Host, old);
        refreshed.await?;
    } else {
        context.claim_quotas.rename(old, new);
        context.roster.rename_host(&context.store, old, new).await?;
        // Its session has the old name in it; it comes back at once, by the certificate that it has.
        context.sessions.end(old);
    }
    tracing::info!(host = old, now_called = new, "host changed");
    context.rollout.publish_hosts(&[old, new]).await
}

#[cfg(test)]
mod tests;
