//! From a snapshot on the wire, or one saved in the journal, to a policy that the gate can enforce.
//!
//! What does not verify is rejected with reasons, and the policy in force stays. Parsing and
//! compiling happen here, off the gate thread.

use std::error::Error;
use std::iter;
use std::sync::Arc;

use fleet::wire::PolicySnapshot;
use gate::{CompiledPolicy, SharedKeys};
use policy::{Dialect, NoIncludes};
use sha2::{Digest as _, Sha256};
use spa::ExchangeSecret;

use crate::clock;
use crate::journal::SavedPolicy;
use crate::orders::{Order, Rejected, Standing};
use crate::policies::NewPolicy;

/// Where the mistakes of a compiled policy are, as far as a reader of the reasons is concerned.
const FILE: &str = "policy from the controller";
/// A reason is for people; a text with ten thousand mistakes says enough with the first ones.
const REASONS_MAX: usize = 20;

/// What makes a snapshot more than its text, and what may change while the text stays.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Terms {
    pub(super) generation: u64,
    pub(super) digest: [u8; 32],
    pub(super) not_after_secs: u64,
    pub(super) replay_floor_secs: u64,
}

/// What a snapshot comes to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// In force already, on the same terms.
    Known,
    /// Rejected before, for the same text; the controller is told again by the report.
    RejectedBefore,
    /// The gate is to enforce it.
    Adopt(Box<NewPolicy>),
    /// It cannot be used.
    Reject(Rejected),
}

// === impl Verdict ===

impl Verdict {
    /// The terms on which a policy is adopted, if one is.
    pub(super) fn terms(&self) -> Option<Terms> {
        match self {
            Self::Known | Self::RejectedBefore | Self::Reject(_) => None,
            Self::Adopt(policy) => Some(Terms {
                generation: policy.generation,
                digest: policy.digest,
                not_after_secs: policy.not_after_secs,
                replay_floor_secs: policy.replay_floor_secs,
            }),
        }
    }

    /// The order that carries it out, if there is something to do.
    pub(super) fn into_order(self) -> Option<Order> {
        match self {
            Self::Known | Self::RejectedBefore => None,
            Self::Adopt(policy) => Some(Order::ReplacePolicy(policy)),
            Self::Reject(Rejected {
                generation,
                digest,
                reasons,
            }) => Some(Order::PolicyRejected {
                generation,
                digest,
                reasons,
            }),
        }
    }
}

// === impl Terms ===

impl Terms {
    pub(super) fn of(saved: &SavedPolicy) -> Self {
        Self {
            generation: saved.generation,
            digest: saved.digest,
            not_after_secs: saved.not_after_secs,
            replay_floor_secs: saved.replay_floor_secs,
        }
    }
}

/// Judges a snapshot: digest, direction, text, in this order.
///
/// `standing` is what is in force, `ordered` the terms of the snapshot that was ordered last.
pub(super) fn judge(
    snapshot: PolicySnapshot,
    standing: &Standing,
    ordered: Terms,
    exchange: Option<&ExchangeSecret>,
) -> Verdict {
    let PolicySnapshot {
        generation,
        text,
        digest,
        not_after_secs,
        replay_floor_secs,
    } = snapshot;
    let actual: [u8; 32] = Sha256::digest(&text).into();
    let reject = |reasons| {
        Verdict::Reject(Rejected {
            generation,
            digest: actual,
            reasons,
        })
    };
    if digest != actual {
        return reject(vec![
            "the text does not have the digest that came with it".to_owned(),
        ]);
    }
    let newest = standing.generation.max(ordered.generation);
    if generation < newest {
        return reject(vec![format!(
            "generation {generation} is older than {newest}, which was adopted before"
        )]);
    }
    let terms = Terms {
        generation,
        digest: actual,
        not_after_secs,
        replay_floor_secs,
    };
    if terms == ordered && (standing.generation, standing.digest) == (generation, actual) {
        return Verdict::Known;
    }
    if let Some(rejected) = &standing.rejected
        && (rejected.generation, rejected.digest) == (generation, actual)
    {
        return Verdict::RejectedBefore;
    }
    let saved = SavedPolicy {
        generation,
        text,
        digest: actual,
        not_after_secs,
        replay_floor_secs,
    };
    match compile(saved, exchange) {
        Ok(policy) => Verdict::Adopt(Box::new(policy)),
        Err(reasons) => reject(reasons),
    }
}

/// Parses a host's policy as the controller compiled it, and makes the gate's compiled policy of it.
///
/// # Errors
///
/// Every reason why it cannot be enforced, one a line.
pub fn compile(
    saved: SavedPolicy,
    exchange: Option<&ExchangeSecret>,
) -> Result<NewPolicy, Vec<String>> {
    let SavedPolicy {
        generation,
        text,
        digest,
        not_after_secs,
        replay_floor_secs,
    } = saved;
    let policy = policy::parse_as(Dialect::Compiled, FILE, &text, &NoIncludes)
        .map_err(|invalid| reasons(&invalid))?;
    let policy = Arc::new(policy);
    let shared = SharedKeys::AllStatic;
    let compiled = CompiledPolicy::new(&policy, exchange, generation, shared, clock::now())
        .map_err(|invalid| reasons(&invalid))?
        .with_not_after_secs(not_after_secs)
        .with_claim_floor_secs(replay_floor_secs);
    Ok(NewPolicy {
        generation,
        digest,
        text: Some(text),
        not_after_secs,
        replay_floor_secs,
        policy,
        compiled: Arc::new(compiled),
    })
}

/// The error and its causes in words, one reason a line.
fn reasons(error: &dyn Error) -> Vec<String> {
    let text = iter::successors(error.source(), |cause| (*cause).source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    let mut reasons: Vec<_> = text.lines().take(REASONS_MAX).map(str::to_owned).collect();
    let more = text.lines().count().saturating_sub(REASONS_MAX);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    reasons
}
