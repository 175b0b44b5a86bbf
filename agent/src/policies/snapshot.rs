//! From a snapshot on the wire, or one saved in the journal, to a policy that the gate can enforce.
//!
//! What does not verify is rejected with reasons, and the policy in force stays. Parsing and
//! compiling happen off the gate thread: ten thousand stanzas take longer than a user should wait.

use std::error::Error;
use std::sync::Arc;

use engine::{Rejected, Status};
use fleet::wire::PolicySnapshot;
use gate::{CompiledPolicy, Now, SharedKeys};
use policy::{Dialect, NoIncludes, Policy};
use sha2::{Digest as _, Sha256};
use spa::ExchangeSecret;

use super::{AdoptedPolicy, Origin, PolicyText, PolicyVersion};
use crate::accounts;

/// Where the mistakes of a compiled policy are, as far as a reader of the reasons is concerned.
const FILE: &str = "policy from the controller";
/// A reason is for people; a text with ten thousand mistakes says enough with the first ones.
const REASONS_MAX: usize = 20;

/// What a snapshot comes to.
#[derive(Debug)]
pub enum Verdict {
    /// In force already, in the same version.
    Known,
    /// Rejected before, for the same text; the controller is told again by the report.
    RejectedBefore,
    /// The gate is to enforce it.
    Adopt(Box<AdoptedPolicy>),
    /// It cannot be used.
    Reject(Rejected),
}

/// Judges a snapshot: digest, direction, text, in this order.
///
/// `status` is what is in force, `ordered` the version of the snapshot that was ordered last.
pub fn judge<'k, I: IntoIterator<Item = &'k ExchangeSecret>>(
    snapshot: PolicySnapshot,
    status: &Status,
    ordered: PolicyVersion,
    exchange: I,
    now: Now,
) -> Verdict {
    let PolicySnapshot {
        generation,
        text,
        digest,
        not_after_secs,
        replay_floor_secs,
        ..
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
    let newest = status.generation.max(ordered.generation);
    if generation < newest {
        return reject(vec![format!(
            "generation {generation} is older than {newest}, which was adopted before"
        )]);
    }
    let version = PolicyVersion {
        generation,
        digest: actual,
        not_after_secs,
        replay_floor_secs,
    };
    if version == ordered && (status.generation, status.digest) == (generation, actual) {
        return Verdict::Known;
    }
    if let Some(rejected) = &status.rejected
        && (rejected.generation, rejected.digest) == (generation, actual)
    {
        return Verdict::RejectedBefore;
    }
    let text = PolicyText {
        version,
        text: text.into(),
    };
    match compile(text, exchange, now) {
        Ok(policy) => {
            if status.host.commands {
                warn_of_accounts(policy.policy());
            }
            Verdict::Adopt(Box::new(policy))
        }
        Err(reasons) => reject(reasons),
    }
}

/// Says as whom commands of this policy cannot run here. They are refused one by one; the rest of the
/// policy, with all that it takes away, does not wait for a user of one host.
fn warn_of_accounts(policy: &Policy) {
    if let Err(unknown) = policy.require_accounts(accounts::exists) {
        for mistake in unknown.mistakes.iter().take(REASONS_MAX) {
            tracing::warn!("commands cannot run: {mistake}");
        }
    }
}

/// Parses a host's policy as the controller compiled it, and compiles it for the gate. `exchange` are the
/// host's own exchange keys.
///
/// # Errors
///
/// Every reason why it cannot be enforced, one a line.
pub fn compile<'k, I: IntoIterator<Item = &'k ExchangeSecret>>(
    text: PolicyText,
    exchange: I,
    now: Now,
) -> Result<AdoptedPolicy, Vec<String>> {
    let version = text.version;
    let policy = policy::parse_as(Dialect::Compiled, FILE, &text.text, &NoIncludes)
        .map_err(|invalid| reasons(&invalid))?;
    let policy = Arc::new(policy);
    let shared = SharedKeys::AllStatic;
    let compiled = CompiledPolicy::new(&policy, exchange, version.generation, shared, now)
        .map_err(|invalid| reasons(&invalid))?
        .with_not_after_secs(version.not_after_secs)
        .with_claim_floor_secs(version.replay_floor_secs);
    Ok(AdoptedPolicy {
        version,
        origin: Origin::Controller(text),
        compiled: Arc::new(compiled),
    })
}

/// The error and its causes in words, one reason a line.
fn reasons(error: &dyn Error) -> Vec<String> {
    let text = program::one_line(error).to_string();
    let mut reasons: Vec<_> = text.lines().take(REASONS_MAX).map(str::to_owned).collect();
    let more = text.lines().count().saturating_sub(REASONS_MAX);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    reasons
}
