//! Grants that wait for the controller's word.

use std::collections::BTreeMap;
use std::time::Duration;

use gate::Pending;
use tokio::sync::mpsc;

use crate::orders::ClaimAsk;

/// For how long the gate waits for an answer. A little longer than the link tries, so that its
/// "unreachable" comes first.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Grants that may wait at once; the next one is treated as if nobody could be asked.
const WAITING_MAX: usize = 4096;

/// Grants that wait, in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Claims {
    asks: Option<mpsc::Sender<ClaimAsk>>,
    waiting: BTreeMap<u64, (Duration, Pending)>,
    next_seq: u64,
}

// === impl Claims ===

impl Claims {
    /// `asks` leads to the link; without it nobody can be asked. Numbers begin at `first_seq`, which
    /// must be greater than all of earlier runs.
    pub(super) fn new(asks: Option<mpsc::Sender<ClaimAsk>>, first_seq: u64) -> Self {
        Self {
            asks,
            waiting: BTreeMap::new(),
            next_seq: first_seq,
        }
    }

    /// Asks for `pending`. Gives it back when nobody can be asked now.
    pub(super) fn ask(&mut self, pending: Pending, steady: Duration) -> Result<(), Box<Pending>> {
        let seq = self.next_seq;
        let ask = ClaimAsk {
            seq,
            domain: pending.domain(),
            digest: pending.digest().0,
            forget_after_secs: pending.forget_after_secs(),
        };
        let has_room = self.waiting.len() < WAITING_MAX;
        let asks = self.asks.as_ref().filter(|_| has_room);
        if asks.is_none_or(|asks| asks.try_send(ask).is_err()) {
            return Err(Box::new(pending));
        }
        self.next_seq += 1;
        self.waiting.insert(seq, (steady + PATIENCE, pending));
        Ok(())
    }

    /// The grant that an answer is for; `None` for one that came too late.
    pub(super) fn answered(&mut self, seq: u64) -> Option<Pending> {
        self.waiting.remove(&seq).map(|(_, pending)| pending)
    }

    /// The next grant that has waited long enough.
    pub(super) fn take_overdue(&mut self, steady: Duration) -> Option<Pending> {
        // Asked in this order, and all with the same patience.
        let first = self.waiting.first_entry()?;
        (first.get().0 <= steady).then(|| first.remove().1)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|(_, (at, _))| *at)
    }

    /// Ends the way to the link, so that it knows that nothing more will be asked.
    pub(super) fn close(&mut self) {
        self.asks = None;
        self.waiting.clear();
    }
}
