//! Grants that wait for the controller's word.

use std::collections::BTreeMap;
use std::time::Duration;

use gate::Pending;

/// For how long an answer is waited for. A little longer than the link tries, so that its
/// "unreachable" comes first.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Grants that may wait at once; the next one is treated as if nobody could be asked.
const WAITING_MAX: usize = 4096;

/// A claim to make at the controller. The engine waits for the answer no longer than its own
/// deadline; a late answer is ignored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimAsk {
    /// Names it; the answer carries the same.
    pub seq: u64,
    /// The replay domain of the key.
    pub domain: [u8; 32],
    /// The replay digest of the message.
    pub digest: [u8; 32],
    /// Seconds since the Unix epoch; `None` means for ever.
    pub forget_after_secs: Option<u64>,
    /// The date inside the message, seconds since the Unix epoch.
    pub dated_secs: u64,
}

/// What the controller said about a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimAnswer {
    /// This host holds it now.
    Won,
    /// Another host holds it.
    Lost {
        /// That host's name.
        held_by: String,
    },
    /// No answer; the stanza's `ON_CONTROLLER_LOSS` decides.
    Unreachable,
}

/// Grants that wait, in the order in which they were asked for.
#[derive(Debug)]
pub(crate) struct Claims {
    waiting: BTreeMap<u64, (Duration, Pending)>,
    next_seq: u64,
}

// === impl Claims ===

impl Claims {
    pub(crate) fn new(first_seq: u64) -> Self {
        Self {
            waiting: BTreeMap::new(),
            next_seq: first_seq,
        }
    }

    /// Lets `pending` wait, and says what to ask. Gives it back when too many wait.
    pub(crate) fn ask(
        &mut self,
        pending: Pending,
        steady: Duration,
    ) -> Result<ClaimAsk, Box<Pending>> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(Box::new(pending));
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let ask = ClaimAsk {
            seq,
            domain: pending.domain(),
            digest: pending.digest().0,
            forget_after_secs: pending.forget_after_secs(),
            dated_secs: pending.identity().opened().message().timestamp_secs,
        };
        self.waiting.insert(seq, (steady + PATIENCE, pending));
        Ok(ask)
    }

    /// The grant that an answer is for; `None` for one that came too late.
    pub(crate) fn answered(&mut self, seq: u64) -> Option<Pending> {
        self.waiting.remove(&seq).map(|(_, pending)| pending)
    }

    /// The next grant that has waited long enough.
    pub(crate) fn take_overdue(&mut self, steady: Duration) -> Option<Pending> {
        // Asked in this order, and all with the same patience.
        let first = self.waiting.first_entry()?;
        (first.get().0 <= steady).then(|| first.remove().1)
    }

    /// All that wait, which wait no more.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Pending> + use<> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().map(|(_, pending)| pending)
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|(_, (at, _))| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
