//! Policy: from an operator's text to a stored generation, and looking at what is stored.

mod difference;
mod exposure;
mod look;
mod plan;
mod scope;
mod text;

use std::sync::Arc;

use fleet::EventKind;
use policy::{AccessChange, Policy};
use zeroize::Zeroizing;

use super::check;
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::rollout::InForce;
use crate::store::model::{AfterRestore, ApplyOutcome, NewPolicy};
use crate::timestamp::Timestamp;

#[cfg(test)]
use difference::diff;
pub(crate) use difference::{Difference, HostDifference};
pub(crate) use exposure::{HostExposure, Public};
pub(crate) use look::{Rendered, Shown, history, render, show};
use plan::{Planned, must_hold, plan};
pub(crate) use plan::{TestResult, TestedLine, run_tests};
pub(crate) use scope::diff_for;
use text::is_in_force;
pub(crate) use text::{Draft, parse, stored_policy, stored_text, with_keys};

/// What applying a policy did.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) generation: u64,
    /// Hosts whose text changed, sorted.
    pub(crate) changed_hosts: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// What becomes public and what becomes hidden.
    pub(crate) exposure: Vec<HostExposure>,
    /// What people gain and lose.
    pub(crate) access: Vec<AccessChange>,
    pub(crate) tests: Vec<TestedLine>,
    /// The text was in force already, and no generation was made.
    pub(crate) unchanged: bool,
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

/// Stores a new generation, based on the one the operator had seen, and publishes it. A text that is
/// in force already makes none.
pub(crate) async fn apply(
    context: &Context,
    caller: &Caller,
    draft: Draft,
    (base, message): (u64, String),
    consent: impl Into<Consent>,
    now: Timestamp,
) -> Result<Applied, Error> {
    check::words("message", &message)?;
    check::at_most("file", &draft.file, check::FILE_BYTES_MAX)?;
    if draft.file.contains(char::is_control) {
        return Err(Error::invalid("file", "its name has a control character"));
    }
    if message.trim().is_empty() {
        return Err(Error::invalid(
            "message",
            "says nothing: say why, for the history",
        ));
    }
    let consent = consent.into();
    not_set_back(context, consent)?;
    let Draft { text, file } = with_keys(context, draft).await?;
    let policy = parse(file.clone(), &text).await?;
    let current = context.store.current_generation().await?;
    let is_in_force = is_in_force(context, current, &text).await?;
    if base != current && !is_in_force {
        return Err(Error::StaleBase { base, current });
    }
    scope::check(context, caller, &policy).await?;
    let planned = plan(context, current, &policy, now).await?;
    must_hold(&planned.tests)?;
    if is_in_force {
        return Ok(planned.unchanged(current));
    }
    exposure::permit(&planned.exposure, consent.public)?;
    let new = NewPolicy {
        file,
        ..new_policy(caller, text, &policy, message, now)
    };
    let outcome = context
        .store
        .apply_policy((base, consent.after_restore), new);
    let generation = applied(base, outcome.await?)?;
    publish(context, caller, generation, policy).await?;
    Ok(planned.done(context, generation))
}

/// Stores an older text again, as a new generation on top of whatever is current, and publishes
/// it. A text that is in force already makes none.
pub(crate) async fn rollback(
    context: &Context,
    caller: &Caller,
    (to, message): (u64, String),
    consent: impl Into<Consent>,
    now: Timestamp,
) -> Result<Applied, Error> {
    check::words("message", &message)?;
    let consent = consent.into();
    not_set_back(context, consent)?;
    let text = stored_text(context, to).await?;
    let (file, policy) = stored_policy(context, to, &text).await?;
    let current = context.store.current_generation().await?;
    scope::check(context, caller, &policy).await?;
    let planned = plan(context, current, &policy, now).await?;
    must_hold(&planned.tests)?;
    if is_in_force(context, current, &text).await? {
        return Ok(planned.unchanged(current));
    }
    exposure::permit(&planned.exposure, consent.public)?;
    let mut new = new_policy(caller, text, &policy, message, now);
    new.file = file;
    new.event.reason = format!("rollback to {to}: {}", new.message);
    new.rollback_of = to;
    let outcome = context
        .store
        .rollback_policy(consent.after_restore, new)
        .await?;
    let generation = applied(to, outcome)?;
    publish(context, caller, generation, policy).await?;
    Ok(planned.done(context, generation))
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
        file: String::new(),
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
    policy: Arc<Policy>,
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

// === impl Planned ===

impl Planned {
    fn done(self, context: &Context, generation: u64) -> Applied {
        Applied {
            changed_hosts: context.rollout.targets().changed_at(generation),
            unchanged: false,
            ..self.unchanged(generation)
        }
    }

    /// Nothing was stored: this generation is in force.
    fn unchanged(self, generation: u64) -> Applied {
        let Self {
            exposure,
            access,
            warnings,
            tests,
        } = self;
        Applied {
            generation,
            changed_hosts: Vec::new(),
            warnings,
            exposure,
            access,
            tests,
            unchanged: true,
        }
    }
}

#[cfg(test)]
mod tests;
