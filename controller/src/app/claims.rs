//! The shared replay list: of all hosts that hold a key, one grants a message.

use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Claim, ClaimOutcome};
use crate::timestamp::Timestamp;

/// Claims of one domain that a host is told of when it connects.
const KNOWN_CLAIMS_MAX: usize = 10_000;

/// A claim before it is known whose it is: the host that calls is the claimant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NewClaim {
    pub(crate) domain: [u8; 32],
    pub(crate) digest: [u8; 32],
    /// The claimant's own number for the packet: the same host with the same number is a retry.
    pub(crate) seq: u64,
    /// Until when it must be remembered; 0 for ever.
    pub(crate) forget_after_secs: u64,
}

/// Claims a message for the host that calls. What is won is told to the hosts that share the
/// domain.
pub(crate) async fn claim(
    context: &Context,
    caller: &Caller,
    new: NewClaim,
) -> Result<ClaimOutcome, Error> {
    let NewClaim {
        domain,
        digest,
        seq,
        forget_after_secs,
    } = new;
    let claim = Claim {
        domain,
        digest,
        host: caller.name.clone(),
        seq,
        forget_after_secs,
    };
    let outcome = context.store.claim(claim.clone()).await?;
    if outcome == ClaimOutcome::Won {
        // A full queue costs siblings the news, not the fleet its answer.
        let _ = context.won.try_send(claim);
    }
    Ok(outcome)
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
    let domains = target.compiled.domains.clone();
    let host = caller.name.clone();
    let known = context
        .store
        .claims_of_others(domains, host, now.secs(), KNOWN_CLAIMS_MAX)
        .await?;
    Ok(known)
}

#[cfg(test)]
mod tests;
