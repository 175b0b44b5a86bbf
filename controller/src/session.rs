//! One host's session: everything the controller has to say to it, in one stream.

use std::sync::Arc;
use std::time::Duration;

use fleet::wire::directive::Directive as Kind;
use fleet::wire::{ClaimedDigest, ClaimedDigests, Directive, PolicySnapshot};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::Status;

use crate::clock;
use crate::compile::Target;
use crate::publisher::{Lease, Publisher, Subscription};

/// Directives on their way to one host at most; a new policy waits in its slot, not here.
pub(crate) const QUEUE_MAX: usize = 2;
/// Claims told in one directive at most.
const CLAIMED_MAX: usize = 1_000;

/// How one host is served.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) host: String,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) subscription: Subscription,
    pub(crate) directives: mpsc::Sender<Result<Directive, Status>>,
    /// How long a policy is good for without a word from the controller; `None` for ever.
    pub(crate) policy_valid: Option<Duration>,
    pub(crate) replay_floor_secs: u64,
    /// SHA-256 of the text the host says it has.
    pub(crate) has_digest: Vec<u8>,
}

// === impl Session ===

impl Session {
    /// Serves the host until it goes, is banned, or opens another session.
    pub(crate) async fn run(mut self, known_claims: Vec<ClaimedDigest>) {
        let ended = self.subscription.ended.clone();
        let directives = self.directives.clone();
        tokio::select! {
            () = ended.cancelled() => {
                // Room for this one word is not waited for: the host may be the one that is stuck.
                let _ = directives.try_send(Err(Status::aborted("this session was ended")));
            }
            () = directives.closed() => {}
            _ = self.serve(known_claims) => {}
        }
        self.publisher.unsubscribe(&self.host, self.subscription.id);
    }

    /// Ends when nobody reads any more.
    async fn serve(&mut self, known_claims: Vec<ClaimedDigest>) -> Option<()> {
        let mut refresh = self.first_policy().await?;
        for digests in known_claims.chunks(CLAIMED_MAX) {
            self.send(claimed(digests.to_vec())).await?;
        }
        loop {
            tokio::select! {
                changed = self.subscription.targets.changed() => {
                    changed.ok()?;
                    refresh = self.policy().await?;
                }
                digests = self.subscription.claimed.recv() => {
                    self.send(claimed(digests?)).await?;
                }
                () = sleep(refresh) => refresh = self.policy().await?,
            }
        }
    }

    /// Sends the policy, unless the host has it and its lease is known to be young.
    async fn first_policy(&mut self) -> Option<Duration> {
        let target = self.subscription.targets.borrow_and_update().clone();
        let Some(target) = target else {
            return Some(Duration::MAX);
        };
        let digest = target.compiled.digest;
        let lease = self.publisher.lease(&self.host);
        let lease = lease.filter(|lease| lease.digest == digest && self.has_digest == digest);
        match lease.map(|lease| self.refresh_in(lease)) {
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
        let lease = self.new_lease(&target);
        self.publisher
            .note_sent(&self.host, self.subscription.id, lease);
        let snapshot = PolicySnapshot {
            generation: target.generation,
            text: target.compiled.text.0.clone(),
            digest: target.compiled.digest.to_vec(),
            not_after_secs: lease.not_after_secs,
            replay_floor_secs: self.replay_floor_secs,
        };
        self.send(Kind::Policy(snapshot)).await?;
        Some(self.refresh_in(lease))
    }

    fn new_lease(&self, target: &Target) -> Lease {
        Lease {
            digest: target.compiled.digest,
            not_after_secs: self
                .policy_valid
                .map_or(0, |valid| clock::now_secs().saturating_add(valid.as_secs())),
        }
    }

    /// How long until half of a lease has passed, counted from its beginning.
    fn refresh_in(&self, lease: Lease) -> Duration {
        let Some(valid) = self.policy_valid else {
            return Duration::MAX;
        };
        let left = lease.not_after_secs.saturating_sub(clock::now_secs());
        Duration::from_secs(left).saturating_sub(valid / 2)
    }

    async fn send(&self, directive: Kind) -> Option<()> {
        let directive = Directive {
            directive: Some(directive),
        };
        self.directives.send(Ok(directive)).await.ok()
    }
}

fn claimed(digests: Vec<ClaimedDigest>) -> Kind {
    Kind::Claimed(ClaimedDigests { digests })
}

#[cfg(test)]
mod tests;
