//! One host's session: everything the controller has to say to it, in one stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::registry::{Registry, Subscription};
use super::validity::Validity;
use crate::store::model::Claim;
use crate::targets::Target;
use crate::timestamp::Timestamp;

/// Directives on their way to one host at most; a new policy waits in its slot, not here.
pub(crate) const QUEUE_MAX: usize = 2;
/// Claims told in one directive at most.
const CLAIMED_MAX: usize = 1_000;

/// What the controller says to a host.
#[derive(Debug)]
pub(crate) enum Directive {
    /// What others have claimed in the host's replay domains.
    Claimed(Vec<Claim>),
    /// The session was ended; nothing follows.
    Ended,
    /// The policy to enforce, instead of what it has.
    Policy {
        target: Target,
        /// Seconds since the Unix epoch; 0 for ever.
        not_after_secs: u64,
        /// Packets dated before this cannot be claimed.
        replay_floor_secs: u64,
    },
}

/// How one host is served.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) host: String,
    pub(crate) registry: Arc<Registry>,
    pub(crate) subscription: Subscription,
    pub(crate) directives: mpsc::Sender<Directive>,
    /// How long a policy is good for without a word from the controller; `None` for ever.
    pub(crate) policy_valid: Option<Duration>,
    pub(crate) replay_floor_secs: u64,
    /// SHA-256 of the text the host says it has.
    pub(crate) has_digest: Vec<u8>,
    /// The clock, asked whenever a policy is sent.
    pub(crate) now: fn() -> Timestamp,
}

// === impl Session ===

impl Session {
    /// Serves the host until it goes, is banned, or opens another session.
    pub(crate) async fn run(mut self, known_claims: Vec<Claim>) {
        let ended = self.subscription.ended.clone();
        let directives = self.directives.clone();
        tokio::select! {
            // In this order: whoever ends a session also drops its entry, which `serve` notices
            // too.
            biased;
            () = ended.cancelled() => {
                // Room for this one word is not waited for: the host may be the one that is stuck.
                let _ = directives.try_send(Directive::Ended);
            }
            () = directives.closed() => {}
            _ = self.serve(known_claims) => {}
        }
    }

    /// Ends when nobody reads any more.
    async fn serve(&mut self, known_claims: Vec<Claim>) -> Option<()> {
        let mut refresh = self.first_policy().await?;
        for claims in known_claims.chunks(CLAIMED_MAX) {
            self.send(Directive::Claimed(claims.to_vec())).await?;
        }
        loop {
            tokio::select! {
                changed = self.subscription.targets.changed() => {
                    changed.ok()?;
                    refresh = self.policy().await?;
                }
                claims = self.subscription.claimed.recv() => {
                    self.send(Directive::Claimed(claims?)).await?;
                }
                () = sleep(refresh) => refresh = self.policy().await?,
            }
        }
    }

    /// Sends the policy, unless the host has it and its validity is known to be young.
    async fn first_policy(&mut self) -> Option<Duration> {
        let target = self.subscription.targets.borrow_and_update().clone();
        let Some(target) = target else {
            return Some(Duration::MAX);
        };
        let digest = target.compiled.digest;
        let applied = self.registry.applied(&self.host);
        let applied = applied.filter(|it| it.digest == digest && self.has_digest == digest);
        match applied.map(|applied| applied.refresh_in(self.policy_valid, (self.now)())) {
            Some(refresh) if !refresh.is_zero() => Some(refresh),
            Some(_) | None => self.policy().await,
        }
    }

    /// Sends the latest policy, and says when it is to be sent again.
    async fn policy(&mut self) -> Option<Duration> {
        let target = self.subscription.targets.borrow_and_update().clone();
        let Some(target) = target else {
            return Some(Duration::MAX);
        };
        let validity = Validity::new(target.compiled.digest, self.policy_valid, (self.now)());
        self.registry
            .note_sent(&self.host, self.subscription.id, validity);
        self.send(Directive::Policy {
            target,
            not_after_secs: validity.not_after_secs,
            replay_floor_secs: self.replay_floor_secs,
        })
        .await?;
        Some(validity.refresh_in(self.policy_valid, (self.now)()))
    }

    async fn send(&self, directive: Directive) -> Option<()> {
        self.directives.send(directive).await.ok()
    }
}

#[cfg(test)]
mod tests;
