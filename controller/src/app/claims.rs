//! The shared replay list: of all hosts that hold a key, one grants a message.

use fleet::claims::{KEPT_MAX_SECS, MAX_FUTURE_SECS, kept_until};
use fleet::{EventKind, Outcome};

pub(crate) use self::recent::RecentClaims;
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Claim, ClaimOutcome};
use crate::timestamp::Timestamp;

/// A claim before it is known whose it is: the host that calls is the claimant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NewClaim {
    pub(crate) domain: [u8; 32],
    pub(crate) digest: [u8; 32],
    /// The claimant's own number for the packet: the same host with the same number is a retry.
    pub(crate) seq: u64,
    /// Until when it must be remembered; 0 for ever.
    pub(crate) forget_after_secs: u64,
    /// The date inside the message; 0 when its host does not say.
    pub(crate) dated_secs: u64,
}

/// Claims a message for the host that calls, under a key that its own policy holds. What is won is
/// told to the hosts that share the domain.
pub(crate) async fn claim(
    context: &Context,
    caller: &Caller,
    new: NewClaim,
    now: Timestamp,
) -> Result<ClaimOutcome, Error> {
    if !holds(context, caller, &new.domain) {
        return refuse(context, caller, Error::ForeignDomain, now).await;
    }
    if !context.claim_quotas.has_room(&caller.name) {
        return refuse(context, caller, Error::ClaimsFull, now).await;
    }
    let NewClaim {
        domain,
        digest,
        seq,
        forget_after_secs,
        dated_secs,
    } = new;
    let until = kept_until(forget_after_secs, now.secs());
    let claim = Claim {
        domain,
        digest,
        host: caller.name.clone(),
        seq,
        forget_after_secs: until,
        dated_secs,
        capped: forget_after_secs == 0 || forget_after_secs > until,
    };
    let outcome = context.store.claim(claim.clone()).await?;
    if outcome == ClaimOutcome::Won {
        context.claim_quotas.note_stored(&caller.name);
        context.sessions.note_active(&caller.name);
        // A full queue costs siblings the news, not the fleet its answer.
        let _ = context.won.try_send(claim);
    }
    Ok(outcome)
}

/// Whether the host's policy holds a key of this domain. After a restore from an older copy it is not
/// known which policy the host has: then it may claim what it asks for, within its quota.
fn holds(context: &Context, caller: &Caller, domain: &[u8; 32]) -> bool {
    let target = context.rollout.target(&caller.name);
    target.is_some_and(|target| target.compiled.domains.binary_search(domain).is_ok())
        || context.fleet.borrow().set_back.is_some()
}

/// Messages dated at or before this may have been forgotten, when claims are that were remembered until
/// `forget_after_secs` because they may be remembered no longer.
pub(crate) fn floor_after(forget_after_secs: u64) -> u64 {
    forget_after_secs
        .saturating_sub(KEPT_MAX_SECS)
        .saturating_add(MAX_FUTURE_SECS)
}

/// Counts again what each host has stored, where other controllers store and forget claims, too.
pub(crate) async fn recount(context: &Context) -> Result<(), Error> {
    if context.store.is_shared() {
        let stored = context.store.claims_by_host().await?;
        context.claim_quotas.recount(stored);
    }
    Ok(())
}

/// Counts a claim that is not taken; once an hour it is an event.
async fn refuse(
    context: &Context,
    caller: &Caller,
    error: Error,
    now: Timestamp,
) -> Result<ClaimOutcome, Error> {
    if let Some(count) = context.claim_quotas.note_refused(caller.id, now.ms()) {
        let host = &caller.name;
        tracing::error!(host, count, %error, "a host claims what it may not");
        let mut event = caller.origin().done(EventKind::Refused, now.ms());
        event.reason = format!("claims of host {host}: {error}");
        event.count = count;
        event.set_outcome(Outcome::Denied);
        context.store.record(event).await?;
    }
    Err(error)
}

/// What hosts that share a domain with this one claimed before it connected.
pub(crate) async fn known(
    context: &Context,
    caller: &Caller,
    now: Timestamp,
) -> Result<Vec<Claim>, Error> {
    let Some(target) = context.rollout.target(&caller.name) else {
        return Ok(Vec::new());
    };
    if target.compiled.domains.is_empty() {
        return Ok(Vec::new());
    }
    let asks = (caller.name.as_str(), target.compiled.domains.as_slice());
    let known = context.recent_claims.of_others(&context.store, asks, now);
    Ok(known.await?)
}

mod recent;
#[cfg(test)]
mod tests;
