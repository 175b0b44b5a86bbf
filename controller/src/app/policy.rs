//! Policy: from an operator's text to a stored generation, and looking at what is stored.

mod exposure;
mod scope;

use std::collections::BTreeSet;

use fleet::{EventKind, Role};
use policy::{Change, Dialect, NoIncludes, Policy, PolicyDiff, Secrets};
use zeroize::Zeroizing;

use super::{check, hosts};
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::rollout::InForce;
use crate::store::model::{AfterRestore, ApplyOutcome, Generation, Member, NewPolicy};
use crate::targets::{Target, Targets, facts};
use crate::timestamp::Timestamp;

use exposure::Before;
pub(crate) use exposure::{HostExposure, Public};

const HISTORY_DEFAULT: u32 = 100;

/// A text that is to become the policy in force.
#[derive(Debug)]
pub(crate) struct Draft {
    /// As access.conf. May hold static keys.
    pub(crate) text: Zeroizing<String>,
    /// What mistakes call it; empty for `policy`.
    pub(crate) file: String,
}

/// What applying a policy did.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) generation: u64,
    /// Hosts whose text changed, sorted.
    pub(crate) changed_hosts: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// What becomes public and what becomes hidden.
    pub(crate) exposure: Vec<HostExposure>,
}

/// What a text would change.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The generation that it was compared with.
    pub(crate) base_generation: u64,
    pub(crate) hosts: Vec<HostDifference>,
    pub(crate) warnings: Vec<String>,
    /// What would become public and what would become hidden.
    pub(crate) exposure: Vec<HostExposure>,
}

/// Stanzas that come to a host, leave it, or change on it.
#[derive(Debug, Default)]
pub(crate) struct HostDifference {
    pub(crate) host: String,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

/// A stored generation, secrets redacted.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) generation: Option<Generation>,
    pub(crate) text: String,
}

/// What one host is to have, secrets redacted.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// The generation at which it last changed.
    pub(crate) generation: u64,
    pub(crate) text: String,
}

/// What an operator says is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consent {
    pub(crate) public: Public,
    pub(crate) after_restore: AfterRestore,
}

impl From<Public> for Consent {
    fn from(public: Public) -> Self {
        Self {
            public,
            after_restore: AfterRestore::No,
        }
    }
}

/// Stores a new generation, based on the one the operator had seen, and publishes it.
pub(crate) async fn apply(
    context: &Context,
    caller: &Caller,
    draft: Draft,
    (base, message): (u64, String),
    consent: impl Into<Consent>,
    now: Timestamp,
) -> Result<Applied, Error> {
    check::at_most("message", &message, check::MESSAGE_BYTES_MAX)?;
    let consent = consent.into();
    not_set_back(context, consent)?;
    let Draft { text, file } = draft;
    let policy = parse(file, &text).await?;
    let current = context.store.current_generation().await?;
    if base != current {
        return Err(Error::StaleBase { base, current });
    }
    scope::check(context, caller, &policy).await?;
    let Planned { exposure, warnings } = plan(context, base, &policy).await?;
    exposure::permit(&exposure, consent.public)?;
    let new = new_policy(caller, text, &policy, message, now);
    let outcome = context
        .store
        .apply_policy((base, consent.after_restore), new);
    let generation = applied(base, outcome.await?)?;
    publish(context, caller, generation, policy).await?;
    Ok(Applied {
        generation,
        changed_hosts: context.rollout.targets().changed_at(generation),
        warnings,
        exposure,
    })
}

/// Stores an older text again, as a new generation on top of whatever is current, and publishes
/// it.
pub(crate) async fn rollback(
    context: &Context,
    caller: &Caller,
    (to, message): (u64, String),
    consent: impl Into<Consent>,
    now: Timestamp,
) -> Result<Applied, Error> {
    check::at_most("message", &message, check::MESSAGE_BYTES_MAX)?;
    let consent = consent.into();
    not_set_back(context, consent)?;
    let text = stored_text(context, to).await?;
    let policy = parse(format!("generation {to}"), &text).await?;
    let current = context.store.current_generation().await?;
    scope::check(context, caller, &policy).await?;
    let Planned { exposure, warnings } = plan(context, current, &policy).await?;
    exposure::permit(&exposure, consent.public)?;
    let mut new = new_policy(caller, text, &policy, message, now);
    new.event.reason = format!("rollback to {to}: {}", new.message);
    new.rollback_of = to;
    let outcome = context
        .store
        .rollback_policy(consent.after_restore, new)
        .await?;
    let generation = applied(to, outcome)?;
    publish(context, caller, generation, policy).await?;
    Ok(Applied {
        generation,
        changed_hosts: context.rollout.targets().changed_at(generation),
        warnings,
        exposure,
    })
}

/// Refuses early, before the text is judged; the store refuses whatever comes in between.
fn not_set_back(context: &Context, consent: Consent) -> Result<(), Error> {
    match context.fleet.borrow().set_back.clone() {
        Some(reason) if consent.after_restore == AfterRestore::No => Err(Error::SetBack { reason }),
        Some(_) | None => Ok(()),
    }
}

fn applied(base: u64, outcome: ApplyOutcome) -> Result<u64, Error> {
    match outcome {
        ApplyOutcome::Applied { generation } => Ok(generation),
        ApplyOutcome::Stale { current } => Err(Error::StaleBase { base, current }),
        ApplyOutcome::SetBack { reason } => Err(Error::SetBack { reason }),
    }
}

/// Which hosts and stanzas another text would change.
pub(crate) async fn diff(context: &Context, draft: Draft) -> Result<Difference, Error> {
    let new = parse(draft.file, &draft.text).await?;
    let in_force = context.rollout.in_force();
    let current = context.store.current_generation().await?;
    let Planned {
        exposure,
        mut warnings,
    } = plan(context, current, &new).await?;
    if let Some(reason) = context.fleet.borrow().set_back.clone() {
        // What hosts have now is not known here: the rest compares with the older copy.
        warnings.insert(0, Error::SetBack { reason }.to_string());
    }
    let now = context.rollout.targets();
    let then = context.rollout.try_out(new.clone()).await?;
    let difference = policy::diff(&in_force.policy, &new);
    let hosts = context.roster.active(Role::Host);
    let changes = hosts
        .iter()
        .filter(|host| is_changed(&now, &then, &host.name))
        .map(|host| host_difference(host, &in_force.policy, &new, &difference))
        .collect();
    Ok(Difference {
        base_generation: in_force.generation,
        hosts: changes,
        warnings,
        exposure,
    })
}

/// A stored generation, secrets redacted; 0 is the current one.
pub(crate) async fn show(context: &Context, generation: u64) -> Result<Shown, Error> {
    let generation = match generation {
        0 => context.rollout.in_force().generation,
        generation => generation,
    };
    if generation == 0 {
        return Err(none_yet());
    }
    let text = stored_text(context, generation).await?;
    Ok(Shown {
        generation: context.store.generation(generation).await?,
        text: policy::redact_text(&text),
    })
}

/// At most `limit` generations, newest first; 0 for the usual number.
pub(crate) async fn history(context: &Context, limit: u32) -> Result<Vec<Generation>, Error> {
    let limit = if limit == 0 { HISTORY_DEFAULT } else { limit };
    Ok(context.store.policy_history(limit).await?)
}

/// What one host is to have, secrets redacted.
pub(crate) fn render(context: &Context, host: &str) -> Result<Rendered, Error> {
    let target = context.rollout.target(host).ok_or_else(|| {
        match context.roster.find(Role::Host, host) {
            Some(member) if member.lock.is_none() => none_yet(),
            Some(_) | None => hosts::unknown(host),
        }
    })?;
    let text = &target.compiled.text.0;
    let compiled = policy::parse_as(Dialect::Compiled, host, text, &NoIncludes)
        .map_err(Error::InvalidPolicy)?;
    Ok(Rendered {
        generation: target.generation,
        text: compiled.print(Secrets::Redact),
    })
}

fn none_yet() -> Error {
    Error::not_found("policy has been applied yet")
}

async fn stored_text(context: &Context, generation: u64) -> Result<Zeroizing<String>, Error> {
    let text = context.store.policy_text(generation).await?;
    text.ok_or_else(|| Error::no_generation(generation))
}

/// Parsing ten thousand stanzas takes a while, so it is not done on the runtime's own threads.
async fn parse(file: String, text: &Zeroizing<String>) -> Result<Policy, Error> {
    let text = text.clone();
    let file = if file.is_empty() {
        "policy".to_owned()
    } else {
        file
    };
    tokio::task::spawn_blocking(move || policy::parse(&file, &text, &NoIncludes))
        .await?
        .map_err(Error::InvalidPolicy)
}

fn new_policy(
    caller: &Caller,
    text: Zeroizing<String>,
    policy: &Policy,
    message: String,
    now: Timestamp,
) -> NewPolicy {
    let mut event = caller.origin().done(EventKind::PolicyApplied, now.ms());
    event.user.clone_from(&caller.name);
    event.reason.clone_from(&message);
    NewPolicy {
        text,
        author: caller.name.clone(),
        message,
        at_ms: now.ms(),
        rollback_of: 0,
        stanzas: u32::try_from(policy.stanzas.len()).unwrap_or(u32::MAX),
        event,
    }
}

async fn publish(
    context: &Context,
    caller: &Caller,
    generation: u64,
    policy: Policy,
) -> Result<(), Error> {
    let stanzas = policy.stanzas.len();
    tracing::info!(operator = caller.name, generation, stanzas, "policy stored");
    if context.fleet.borrow().set_back.is_some() {
        // The operator has dealt with it. What hosts have is not known: all of them are told.
        context.refresh_fleet_state().await?;
        context.rollout.renumber().await?;
        context.sessions.retarget_all(&context.rollout.targets());
        return Ok(());
    }
    let parsed = InForce { generation, policy };
    context.rollout.publish(Some(parsed)).await
}

/// What another policy would mean.
#[derive(Debug)]
struct Planned {
    exposure: Vec<HostExposure>,
    warnings: Vec<String>,
}

/// What `new` means on top of generation `base`.
async fn plan(context: &Context, base: u64, new: &Policy) -> Result<Planned, Error> {
    let hosts = exposure::hosts(context).await?;
    let in_force = context.rollout.in_force();
    let other = if base == in_force.generation {
        None
    } else {
        let text = stored_text(context, base).await?;
        // A text of another version may be one that this one does not read.
        Some(parse(String::new(), &text).await.ok())
    };
    let was_set_back = context.fleet.borrow().set_back.is_some();
    let before = match &other {
        Some(None) => Before::Unread,
        None if was_set_back => Before::Older(&in_force.policy),
        Some(Some(policy)) if was_set_back => Before::Older(policy),
        None => Before::Policy(&in_force.policy),
        Some(Some(policy)) => Before::Policy(policy),
    };
    let exposure = exposure::between(&hosts, &before, new);
    let is_user = |name: &str| {
        let user = context.roster.find(Role::User, name);
        user.is_some_and(|user| user.is_active())
    };
    let mut warnings = warnings(context, new);
    warnings.extend(exposure::doubts(&hosts, &exposure, new, is_user));
    Ok(Planned { exposure, warnings })
}

/// The parser's warnings, and those that need to know the fleet.
fn warnings(context: &Context, policy: &Policy) -> Vec<String> {
    let hosts = context.roster.active(Role::Host);
    let facts: Vec<_> = hosts.iter().map(|host| facts(host)).collect();
    let shared = policy.shared_domains(&facts);
    let mut warnings: Vec<String> = policy.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(policy.stanzas.iter().filter_map(|stanza| {
        let keys = stanza.static_keys().iter();
        let hosts = keys.filter_map(|keys| shared.get(&keys.domain()));
        let count = hosts.map(BTreeSet::len).max()?;
        Some(format!(
            "stanza {}: its static key is valid on {count} hosts; whoever roots one of them can \
             forge its users on the others (a stanza without KEY is pairwise)",
            stanza.label()
        ))
    }));
    warnings
}

fn is_changed(now: &Targets, then: &Targets, host: &str) -> bool {
    let digest = |target: &Target| target.compiled.digest;
    then.get(host).map(digest) != now.get(host).map(digest)
}

/// The stanzas that come to a host, leave it, or change on it.
fn host_difference(
    host: &Member,
    old: &Policy,
    new: &Policy,
    difference: &PolicyDiff,
) -> HostDifference {
    let facts = facts(host);
    let selected = |policy: &Policy| -> BTreeSet<String> {
        let stanzas = policy
            .stanzas
            .iter()
            .filter(|stanza| stanza.selects(&facts));
        stanzas.map(policy::Stanza::label).collect()
    };
    let (before, after) = (selected(old), selected(new));
    let mut change = HostDifference {
        host: host.name.clone(),
        ..HostDifference::default()
    };
    for stanza in &difference.stanzas {
        let name = stanza.stanza.clone();
        let was = before.contains(&name) && stanza.change != Change::Added;
        let is = after.contains(&name) && stanza.change != Change::Removed;
        match (was, is) {
            (false, true) => change.added.push(name),
            (true, false) => change.removed.push(name),
            (true, true) => change.changed.push(name),
            (false, false) => {}
        }
    }
    change
}

#[cfg(test)]
mod tests;
