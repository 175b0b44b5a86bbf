//! What was claimed lately, read once for all the hosts that connect at the same time.
//!
//! After a restart hundreds of hosts with thousands of shared keys ask at once. Their questions
//! differ only in the keys, so what is stored is read once for those that wait together, and each
//! looks its own keys up in memory: the cost goes with the claims that exist, not with hosts times
//! keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Mutex;

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::Claim;
use crate::timestamp::Timestamp;

/// Claims of the whole fleet that are looked through, newest first.
const READ_MAX: usize = 100_000;
/// Claims that one host is told of when it connects, newest first. It hears of the rest when it
/// claims.
const TOLD_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RecentClaims {
    /// Questions so far.
    asked: AtomicU64,
    /// Questions without an answer.
    waiting: AtomicUsize,
    read: Mutex<Read>,
}

/// What was read last, while others wait for it too.
#[derive(Debug, Default)]
struct Read {
    /// The last question that came before the reading began.
    answers: u64,
    claims: Arc<Vec<Claim>>,
}

/// One question without an answer, also when whoever asked has gone.
struct Waiting<'a>(&'a AtomicUsize);

// === impl RecentClaims ===

impl RecentClaims {
    /// What others than `host` have claimed in these domains, newest first. `domains` are sorted.
    /// Everything is in it that was stored before the question, within the bounds above.
    pub(super) async fn of_others(
        &self,
        store: &Store,
        (host, domains): (&str, &[[u8; 32]]),
        now: Timestamp,
    ) -> Result<Vec<Claim>, StoreError> {
        let claims = self.read(store, now).await?;
        Ok(select(&claims, host, domains))
    }

    async fn read(&self, store: &Store, now: Timestamp) -> Result<Arc<Vec<Claim>>, StoreError> {
        let waiting = Waiting::begin(&self.waiting);
        let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut read = self.read.lock().await;
        if read.answers < question {
            let answers = self.asked.load(Ordering::SeqCst);
            let claims = store.recent_claims(now.secs(), READ_MAX).await?;
            *read = Read {
                answers,
                claims: Arc::new(claims),
            };
        }
        let claims = Arc::clone(&read.claims);
        if waiting.is_last() {
            // Nobody else wants it: the next question reads anew.
            *read = Read::default();
        }
        Ok(claims)
    }
}

// === impl Waiting ===

impl<'a> Waiting<'a> {
    fn begin(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::SeqCst);
        Self(all)
    }

    fn is_last(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 1
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Those of `claims` that another host made in one of these domains, in their order.
fn select(claims: &[Claim], host: &str, domains: &[[u8; 32]]) -> Vec<Claim> {
    let others = claims
        .iter()
        .filter(|claim| claim.host != host && domains.binary_search(&claim.domain).is_ok());
    others.take(TOLD_MAX).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(host: &str, domain: u8, digest: u8) -> Claim {
        Claim {
            domain: [domain; 32],
            digest: [digest; 32],
            host: host.to_owned(),
            seq: 1,
            forget_after_secs: 100,
            dated_secs: 0,
            capped: false,
        }
    }

    #[test]
    fn a_host_is_told_what_others_claimed_under_its_keys_and_nothing_else() {
        let claims = [
            claim("web-2", 7, 1),
            claim("web-1", 7, 2),
            claim("web-2", 8, 3),
            claim("web-3", 9, 4),
        ];

        let told = select(&claims, "web-1", &[[7; 32], [9; 32]]);

        assert_eq!(told, [claim("web-2", 7, 1), claim("web-3", 9, 4)]);
        assert_eq!(select(&claims, "web-1", &[]), []);
    }

    #[test]
    fn a_host_is_told_the_newest_when_there_are_too_many() {
        let claims: Vec<_> = (0..TOLD_MAX + 5).map(|_| claim("web-2", 7, 1)).collect();

        assert_eq!(select(&claims, "web-1", &[[7; 32]]).len(), TOLD_MAX);
    }
}
