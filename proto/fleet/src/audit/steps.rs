//! What retention has emptied: each step says in the log, by a digest, which records those are.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::wire::Pruned;

/// The digest of what one step empties.
#[derive(Clone, Debug, Default)]
pub struct StepDigest {
    hash: Sha256,
    first: u64,
    last: u64,
    records: u64,
}

/// Steps whose records were read, and of which the log has not spoken yet.
#[derive(Debug, Default)]
pub(super) struct Steps {
    open: BTreeMap<u64, StepDigest>,
    /// Records that were emptied as the log says, and the latest time before which those were stored.
    pub(super) records: u64,
    pub(super) before_ms: u64,
}

// === impl StepDigest ===

impl StepDigest {
    /// The next record that is emptied, in the order of their numbers.
    pub fn add(&mut self, id: u64, body_digest: &[u8; 32]) {
        if self.records == 0 {
            self.first = id;
        }
        self.last = id;
        self.records += 1;
        self.hash.update(id.to_be_bytes());
        self.hash.update(body_digest);
    }

    /// How many there are.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What the log is to say of the step: records stored before `before_ms`.
    pub fn pruned(self, step: u64, before_ms: u64) -> Pruned {
        Pruned {
            step,
            digest: self.hash.finalize().to_vec(),
            first_id: self.first,
            last_id: self.last,
            records: self.records,
            before_ms,
        }
    }
}

// === impl Steps ===

impl Steps {
    /// A record that a step has emptied.
    pub(super) fn add(&mut self, step: u64, id: u64, body_digest: &[u8; 32]) {
        self.open.entry(step).or_default().add(id, body_digest);
    }

    /// The log speaks of a step. The first record that is emptied and should not be, where there is
    /// one.
    pub(super) fn said(&mut self, pruned: &Pruned) -> Result<(), u64> {
        // Of a step whose records are not emptied (any more) nothing is missing.
        let Some(found) = self.open.remove(&pruned.step) else {
            return Ok(());
        };
        let first = found.first;
        let found = found.pruned(pruned.step, pruned.before_ms);
        if found != *pruned {
            return Err(first);
        }
        self.records += pruned.records;
        self.before_ms = self.before_ms.max(pruned.before_ms);
        Ok(())
    }

    /// The first record that was emptied without a word, where there is one.
    pub(super) fn unsaid(&self) -> Option<u64> {
        self.open.values().map(|step| step.first).min()
    }
}
