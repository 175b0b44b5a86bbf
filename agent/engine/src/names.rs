//! Grants that wait for a host name to be looked up.

use std::collections::BTreeMap;
use std::time::Duration;

use gate::Grant;

/// For how long an answer is waited for. A little longer than who looks up tries.
const PATIENCE: Duration = Duration::from_secs(6);
/// Grants that may wait at once; the next one is refused.
const WAITING_MAX: usize = 64;

/// A host name to look up. The engine waits for the answer no longer than its own deadline; a late
/// answer is ignored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NameAsk {
    /// Names it; the answer carries the same.
    pub seq: u64,
    /// The host name.
    pub name: String,
}

/// Grants that wait, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    waiting: BTreeMap<u64, (Duration, Grant)>,
    last_seq: u64,
}

// === impl Names ===

impl Names {
    /// Lets `grant` wait for its name, and says what to look up. Gives it back when too many wait.
    pub(crate) fn ask(
        &mut self,
        name: String,
        grant: Grant,
        steady: Duration,
    ) -> Result<NameAsk, Box<Grant>> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(Box::new(grant));
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        self.waiting.insert(seq, (steady + PATIENCE, grant));
        Ok(NameAsk { seq, name })
    }

    /// The grant that an answer is for; `None` for one that came too late.
    pub(crate) fn answered(&mut self, seq: u64) -> Option<Grant> {
        self.waiting.remove(&seq).map(|(_, grant)| grant)
    }

    /// The next grant that has waited long enough.
    pub(crate) fn take_overdue(&mut self, steady: Duration) -> Option<Grant> {
        // Asked in this order, and all with the same patience.
        let first = self.waiting.first_entry()?;
        (first.get().0 <= steady).then(|| first.remove().1)
    }

    /// Takes out all that `keep` does not keep.
    pub(crate) fn give_up(&mut self, keep: impl Fn(&Grant) -> bool) -> Vec<Grant> {
        let gone = self.waiting.extract_if(.., |_, (_, grant)| !keep(grant));
        gone.map(|(_, (_, grant))| grant).collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|(_, (at, _))| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
