//! Policy: from an operator's text to a stored generation, and looking at what is stored.

use std::collections::{BTreeSet, HashMap};

use fleet::wire::{
    ApplyPolicyRequest, ApplyPolicyResponse, DiffPolicyResponse, Generation, HostChange,
    RenderPolicyResponse, RollbackPolicyRequest, RollbackPolicyResponse, ShowPolicyResponse,
};
use fleet::{Event, EventKind, Role};
use policy::{Change, Dialect, NoIncludes, Policy, PolicyDiff, Secrets};
use zeroize::Zeroizing;

use super::hosts::unknown;
use crate::authorize::Caller;
use crate::clock;
use crate::compile::{Target, facts};
use crate::context::Context;
use crate::error::Error;
use crate::publisher::{self, InForce};
use crate::store::model::{self, ApplyOutcome, Member, NewPolicy};

/// What is to become the next generation.
struct Draft {
    text: Zeroizing<String>,
    policy: Policy,
    author: String,
    message: String,
    /// `None`: whatever is current at the moment of storing.
    base: Option<u64>,
    /// 0 unless it restores an older generation.
    rollback_of: u64,
}

/// Stores a new generation, based on the one the operator had seen, and publishes it.
pub(super) async fn apply(
    context: &Context,
    operator: &Caller,
    request: ApplyPolicyRequest,
) -> Result<ApplyPolicyResponse, Error> {
    let ApplyPolicyRequest {
        text,
        base_generation,
        message,
        file,
    } = request;
    let text = Zeroizing::new(text);
    let policy = parse(file, &text).await?;
    let warnings = warnings(context, &policy);
    let draft = Draft {
        text,
        policy,
        author: operator.name.clone(),
        message,
        base: Some(base_generation),
        rollback_of: 0,
    };
    let generation = store(context, draft).await?;
    Ok(ApplyPolicyResponse {
        generation,
        changed_hosts: context.publisher.changed_at(generation),
        warnings,
    })
}

/// Stores an older text again, as a new generation.
pub(super) async fn rollback(
    context: &Context,
    operator: &Caller,
    request: RollbackPolicyRequest,
) -> Result<RollbackPolicyResponse, Error> {
    let RollbackPolicyRequest {
        generation: rollback_of,
        message,
    } = request;
    let text = publisher::text(&context.store, rollback_of).await?;
    let policy = parse(format!("generation {rollback_of}"), &text).await?;
    let draft = Draft {
        text,
        policy,
        author: operator.name.clone(),
        message,
        base: None,
        rollback_of,
    };
    let generation = store(context, draft).await?;
    Ok(RollbackPolicyResponse {
        generation,
        changed_hosts: context.publisher.changed_at(generation),
    })
}

/// Which hosts and stanzas another text would change.
pub(super) async fn diff(
    context: &Context,
    file: String,
    text: String,
) -> Result<DiffPolicyResponse, Error> {
    let new = parse(file, &Zeroizing::new(text)).await?;
    let warnings = warnings(context, &new);
    let in_force = context.publisher.in_force();
    let targets = context.publisher.try_out(new.clone()).await?;
    let difference = policy::diff(&in_force.policy, &new);
    let hosts = context.roster.active(Role::Host);
    let changes = hosts
        .iter()
        .filter(|host| is_changed(context, &targets, &host.name))
        .map(|host| host_change(host, &in_force.policy, &new, &difference))
        .collect();
    Ok(DiffPolicyResponse {
        base_generation: in_force.generation,
        hosts: changes,
        warnings,
    })
}

/// A stored generation, secrets redacted; 0 is the current one.
pub(super) async fn show(context: &Context, generation: u64) -> Result<ShowPolicyResponse, Error> {
    let generation = match generation {
        0 => context.publisher.in_force().generation,
        generation => generation,
    };
    if generation == 0 {
        return Err(Error::not_found("policy has been applied yet"));
    }
    let text = publisher::text(&context.store, generation).await?;
    let found = context.store.generation(generation).await?;
    Ok(ShowPolicyResponse {
        generation: found.map(shown),
        text: policy::redact_text(&text),
    })
}

/// Newest first.
pub(super) async fn history(context: &Context, limit: u32) -> Result<Vec<Generation>, Error> {
    let generations = context.store.policy_history(limit).await?;
    Ok(generations.into_iter().map(shown).collect())
}

/// What one host is to have, secrets redacted.
pub(super) fn render(context: &Context, host: &str) -> Result<RenderPolicyResponse, Error> {
    let target = context.publisher.target(host).ok_or_else(|| {
        match context.roster.find(Role::Host, host) {
            Some(member) if !member.banned => Error::not_found("policy has been applied yet"),
            Some(_) | None => unknown(host),
        }
    })?;
    let text = &target.compiled.text.0;
    let compiled = policy::parse_as(Dialect::Compiled, host, text, &NoIncludes)
        .map_err(Error::InvalidPolicy)?;
    Ok(RenderPolicyResponse {
        generation: target.generation,
        text: compiled.print(Secrets::Redact),
    })
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

/// One transaction: the base checked, the text sealed and stored, the audit row. Then it is published.
async fn store(context: &Context, draft: Draft) -> Result<u64, Error> {
    let Draft {
        text,
        policy,
        author,
        message,
        base,
        rollback_of,
    } = draft;
    let at_ms = clock::now_ms();
    let stanzas = u32::try_from(policy.stanzas.len()).unwrap_or(u32::MAX);
    let new = NewPolicy {
        event: stored_event(&author, &message, at_ms, rollback_of),
        text,
        author: author.clone(),
        message,
        at_ms,
        rollback_of,
        stanzas,
    };
    let generation = match base {
        Some(base) => match context.store.apply_policy(base, new).await? {
            ApplyOutcome::Applied { generation } => generation,
            ApplyOutcome::Stale { current } => return Err(Error::StaleBase { base, current }),
        },
        None => context.store.rollback_policy(new).await?,
    };
    tracing::info!(operator = author, generation, stanzas, "policy stored");
    let parsed = InForce { generation, policy };
    context.publisher.publish(Some(parsed)).await?;
    Ok(generation)
}

fn stored_event(author: &str, message: &str, at_ms: u64, rollback_of: u64) -> Event {
    let mut event = Event::new(EventKind::PolicyApplied, at_ms);
    author.clone_into(&mut event.user);
    message.clone_into(&mut event.reason);
    if rollback_of != 0 {
        event.reason = format!("rollback to {rollback_of}: {message}");
    }
    event
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

fn is_changed(context: &Context, targets: &HashMap<String, Target>, host: &str) -> bool {
    let digest = |target: &Target| target.compiled.digest;
    let now = context.publisher.target(host);
    targets.get(host).map(digest) != now.as_ref().map(digest)
}

/// The stanzas that come to a host, leave it, or change on it.
fn host_change(host: &Member, old: &Policy, new: &Policy, difference: &PolicyDiff) -> HostChange {
    let facts = facts(host);
    let selected = |policy: &Policy| -> BTreeSet<String> {
        let stanzas = policy
            .stanzas
            .iter()
            .filter(|stanza| stanza.selects(&facts));
        stanzas.map(policy::Stanza::label).collect()
    };
    let (before, after) = (selected(old), selected(new));
    let mut change = HostChange {
        host: host.name.clone(),
        ..HostChange::default()
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

fn shown(generation: model::Generation) -> Generation {
    let model::Generation {
        generation,
        author,
        message,
        at_ms,
        rollback_of,
        stanzas,
    } = generation;
    Generation {
        generation,
        author,
        message,
        at_ms,
        rollback_of,
        stanzas,
    }
}
