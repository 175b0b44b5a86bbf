//! Reads the log in its order, and names the first record that is not as it was.
//!
//! Pure, and of bounded memory: one chain value of the log, one for each journal, and what is still to
//! be compared. Whoever has the rows (a controller's database, an answer, a file) hands them in.

use std::collections::BTreeMap;

use super::checkpoint::Checkpoint;
use super::key::AuditKey;
use super::link::{Linked, LogVersion};
use super::steps::Steps;
use super::succession::KeyChain;
use crate::event::Continuity;
use crate::wire::{EventKind, EventRecord, LogRow};

/// Faults that are kept in words.
const FAULTS_MAX: usize = 10;
/// Whose journal has the log's own events.
const CONTROLLER: &str = "controller";

/// What was done to a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FaultKind {
    /// It is not what it was.
    Changed,
    /// It is not there.
    Removed,
    /// It was never in the log.
    Inserted,
    /// What covers it is not signed by the log's key, or contradicts it.
    Unproven,
}

/// A record that is not as it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Its number.
    pub record: u64,
    /// What was done.
    pub kind: FaultKind,
    /// In words.
    pub words: String,
}

/// What was found in the whole log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// Records that were read.
    pub records: u64,
    /// The chain value at the end.
    pub head: [u8; 32],
    /// The faults that come first, by their record, and how many there are.
    pub faults: Vec<Fault>,
    /// See [`faults`](Self::faults).
    pub faults_count: u64,
    faults_last: Option<u64>,
    /// The last checkpoint that the log agrees with, before any that it contradicts.
    pub proven: Option<Checkpoint>,
    /// Checkpoints that were compared.
    pub checkpoints: u64,
    /// Records that retention has emptied, as the log says, and the time before which all of them
    /// were stored (milliseconds since the Unix epoch).
    pub pruned: u64,
    /// See [`pruned`](Self::pruned).
    pub pruned_before_ms: u64,
    /// Records that were not as they should be when they came, and were stored with that said.
    pub flawed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Verifier {
    keys: Option<KeyChain>,
    verdict: Verdict,
    /// The number of the last row, and the chain value there and before it.
    last: u64,
    head: [u8; 32],
    before: [u8; 32],
    pending: Option<Pending>,
    /// Journals: the last event of each, with its chain value.
    journals: BTreeMap<u64, (u64, [u8; 32])>,
    steps: Steps,
    /// Checkpoints that the rows have not reached, by size: who has them, and what they say.
    ahead: BTreeMap<u64, Vec<(String, Checkpoint)>>,
    /// The first checkpoint that is contradicted; all that follow would be. What explains it may turn
    /// out with later rows.
    contradicted: Option<Contradiction>,
}

/// A row whose chain value is not what it should be: what it is turns out with the next.
#[derive(Debug)]
struct Pending {
    record: u64,
    /// The chain value before it, and what its own should be.
    before: [u8; 32],
    expected: [u8; 32],
}

/// A checkpoint of another log than this.
#[derive(Debug)]
struct Contradiction {
    /// The first and the last record of which one must have been changed.
    first: u64,
    last: u64,
    whose: String,
}

// === impl FaultKind ===

impl FaultKind {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Inserted => "inserted",
            Self::Unproven => "unproven",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// The first record that is not as it was.
    pub fn first(&self) -> Option<&Fault> {
        self.faults.first()
    }

    /// From this record on nothing is signed, and somebody needs it to be.
    pub fn unproven(&mut self, record: u64) {
        let words = "from here on there is no checkpoint that the log's key has signed".to_owned();
        self.fault(record, FaultKind::Unproven, words);
    }

    fn fault(&mut self, record: u64, kind: FaultKind, words: String) {
        // What is wrong with one record is said once.
        if let Some(known) = self.faults.iter_mut().find(|known| known.record == record) {
            // That it was never there explains all else that is wrong with it.
            if kind == FaultKind::Inserted {
                *known = Fault {
                    record,
                    kind,
                    words,
                };
            }
            return;
        }
        if self.faults_last == Some(record) {
            return;
        }
        self.faults_last = Some(record);
        self.faults_count += 1;
        let at = self.faults.partition_point(|known| known.record < record);
        let fault = Fault {
            record,
            kind,
            words,
        };
        self.faults.insert(at, fault);
        self.faults.truncate(FAULTS_MAX);
    }
}

// === impl Verifier ===

impl Verifier {
    /// Checkpoints are compared where there is a `key` that verifies them.
    pub fn new(key: Option<AuditKey>) -> Self {
        Self::with_keys(key.map(KeyChain::from))
    }

    /// The same where the log was signed by several keys, one after the other: the last checkpoint of
    /// each is compared, too.
    pub fn with_keys(keys: Option<KeyChain>) -> Self {
        let mut ahead: BTreeMap<u64, Vec<(String, Checkpoint)>> = BTreeMap::new();
        for ended in keys.iter().flat_map(KeyChain::successions) {
            let last = ended.checkpoint.clone();
            let whose = format!("key {} has signed last", ended.from.id_hex());
            ahead.entry(last.size).or_default().push((whose, last));
        }
        // An empty log is that of everybody.
        ahead.remove(&0);
        Self {
            keys,
            verdict: Verdict::default(),
            last: 0,
            head: [0; 32],
            before: [0; 32],
            pending: None,
            journals: BTreeMap::new(),
            steps: Steps::default(),
            ahead,
            contradicted: None,
        }
    }

    /// Records that were read until now.
    pub fn records(&self) -> u64 {
        self.verdict.records
    }

    /// A checkpoint that `whose` keeps, of any size; also in the middle of the rows.
    pub fn checkpoint(&mut self, whose: &str, note: &str) {
        let Some(keys) = &self.keys else {
            return;
        };
        match keys.open(note) {
            Ok(checkpoint) if checkpoint.size > self.last => {
                let ahead = self.ahead.entry(checkpoint.size).or_default();
                ahead.push((whose.to_owned(), checkpoint));
            }
            Ok(checkpoint) if checkpoint.size == self.last => self.compare(whose, &checkpoint),
            Ok(checkpoint) => self.late(whose, &checkpoint),
            Err(error) => {
                let words = format!("the checkpoint that {whose} proves nothing: {error}");
                self.verdict.fault(self.last, FaultKind::Unproven, words);
            }
        }
    }

    /// The next row.
    pub fn row(&mut self, row: &LogRow) {
        let Some(record) = &row.record else {
            let words = "the row holds no record".to_owned();
            return self.verdict.fault(row.id, FaultKind::Changed, words);
        };
        self.verdict.records += 1;
        if row.id <= self.last {
            let words = format!("record {} stands there after record {}", row.id, self.last);
            return self.verdict.fault(row.id, FaultKind::Inserted, words);
        }
        let follows_last = row.id == self.last + 1;
        if !follows_last {
            self.gap(row.id);
        }
        self.link(row, record, follows_last);
        self.body(row, record);
        self.last = row.id;
        if let Some(due) = self.ahead.remove(&row.id) {
            for (whose, checkpoint) in due {
                self.compare(&whose, &checkpoint);
            }
        }
    }

    /// What was found, now that there are no more rows.
    pub fn finish(mut self) -> Verdict {
        self.settle_pending(None);
        self.name_contradiction();
        if let Some((size, notes)) = self.ahead.pop_last() {
            let first = self.last + 1;
            let whose = notes.first().map_or("", |(whose, _)| whose.as_str());
            let words = format!(
                "the log ends at record {}, and the checkpoint that {whose} covers {size}: records \
                 {first} to {size} were removed",
                self.last
            );
            self.verdict.fault(first, FaultKind::Removed, words);
        }
        if let Some(record) = self.steps.unsaid() {
            let words = "it was emptied, and no retention event of the log says so".to_owned();
            self.verdict.fault(record, FaultKind::Changed, words);
        }
        self.verdict.head = self.head;
        self.verdict.pruned = self.steps.records;
        self.verdict.pruned_before_ms = self.steps.before_ms;
        self.verdict
    }

    fn gap(&mut self, id: u64) {
        self.settle_pending(None);
        let (first, last) = (self.last + 1, id - 1);
        let words = if first == last {
            "it is not there".to_owned()
        } else {
            format!("records {first} to {last} are not there")
        };
        self.verdict.fault(first, FaultKind::Removed, words);
        // Checkpoints of what is missing are not contradicted by that: nothing can be compared.
        let rest = self.ahead.split_off(&id);
        self.ahead = rest;
    }

    /// Whether the row follows from the one before it.
    fn link(&mut self, row: &LogRow, record: &EventRecord, follows_last: bool) {
        let stored: Option<[u8; 32]> = row.log_chain.as_slice().try_into().ok();
        let version = LogVersion::of_number(row.log_version);
        let linked = Linked::of_row(row, record);
        let (Some(stored), Some(version), Some(linked)) = (stored, version, linked) else {
            let words = "it is not a row of the log as this program knows it".to_owned();
            return self.verdict.fault(row.id, FaultKind::Changed, words);
        };
        if follows_last {
            let expected = version.link(&self.head, &linked);
            let was_pending = self.pending.is_some();
            let is_settled = self.settle_pending(Some((version, &linked, &stored)));
            if expected != stored && !is_settled {
                let before = std::mem::replace(&mut self.before, self.head);
                self.head = stored;
                let skips_one = version.link(&before, &linked) == stored;
                if skips_one && !was_pending {
                    let words = format!("record {} follows from the one before it", row.id);
                    let inserted = row.id - 1;
                    self.verdict.fault(inserted, FaultKind::Inserted, words);
                    return;
                }
                self.pending = Some(Pending {
                    record: row.id,
                    before: self.before,
                    expected,
                });
                return;
            }
        }
        self.before = self.head;
        self.head = stored;
    }

    /// Says what the row was whose chain value was wrong, by the one that follows it. Whether that
    /// one is as it should be.
    fn settle_pending(&mut self, next: Option<(LogVersion, &Linked<'_>, &[u8; 32])>) -> bool {
        let Some(pending) = self.pending.take() else {
            return false;
        };
        let Pending {
            record,
            before,
            expected,
        } = pending;
        let follows = |from: &[u8; 32]| {
            next.is_some_and(|(version, linked, stored)| version.link(from, linked) == *stored)
        };
        if follows(&before) {
            let words = format!("record {} follows from the one before it", record + 1);
            self.verdict.fault(record, FaultKind::Inserted, words);
            return true;
        }
        let words = "it is not what follows from the record before it: it was changed, or records \
                     before it were removed";
        self.verdict
            .fault(record, FaultKind::Changed, words.to_owned());
        follows(&expected)
    }

    /// Whether the body is what its host has chained, and what retention and the columns beside it
    /// say of it.
    fn body(&mut self, row: &LogRow, record: &EventRecord) {
        if !row.index_fault.is_empty() {
            let words = row.index_fault.clone();
            self.verdict.fault(row.id, FaultKind::Changed, words);
        }
        if !row.flaw.is_empty() {
            self.verdict.flawed += 1;
        }
        let chain = record.chain.as_slice().try_into().unwrap_or([0; 32]);
        let known = self.journals.get(&row.journal).copied();
        let (last, previous) = known.unwrap_or((0, [0; 32]));
        if row.pruned_by != 0 {
            if let Ok(digest) = record.body.as_slice().try_into() {
                self.steps.add(row.pruned_by, row.id, digest);
            }
        } else if record.seq == last + 1
            && row.flaw.is_empty()
            && record.follows(&previous) == Continuity::Broken
        {
            let words = format!("it is not what {} has as event {}", row.host, record.seq);
            self.verdict.fault(row.id, FaultKind::Changed, words);
        }
        if record.seq > last {
            self.journals.insert(row.journal, (record.seq, chain));
        }
        if row.host == CONTROLLER && row.pruned_by == 0 {
            self.retention(row.id, record);
        }
    }

    /// The log's own word on what it has emptied.
    fn retention(&mut self, id: u64, record: &EventRecord) {
        let Ok(event) = record.event() else {
            return;
        };
        if event.kind() != EventKind::Retention {
            return;
        }
        let said = event.pruned.as_ref().map(|pruned| self.steps.said(pruned));
        if let Some(Err(first)) = said {
            let words = format!(
                "it was emptied, and what record {id} says of the step of retention is another"
            );
            self.verdict.fault(first, FaultKind::Changed, words);
        }
    }

    fn compare(&mut self, whose: &str, checkpoint: &Checkpoint) {
        if self.contradicted.is_some() {
            return;
        }
        self.verdict.checkpoints += 1;
        let Checkpoint { size, root, .. } = checkpoint;
        let expected = self.pending.as_ref().map(|pending| pending.expected);
        if *root == self.head || Some(*root) == expected {
            self.verdict.proven = Some(checkpoint.clone());
            return;
        }
        let proven = self.verdict.proven.as_ref().map_or(0, |proven| proven.size);
        self.contradicted = Some(Contradiction {
            first: proven + 1,
            last: *size,
            whose: whose.to_owned(),
        });
    }

    /// Names a contradiction that no fault between its records explains.
    fn name_contradiction(&mut self) {
        let Some(Contradiction { first, last, whose }) = self.contradicted.take() else {
            return;
        };
        let explains = |fault: &Fault| (first..=last).contains(&fault.record);
        if self.verdict.faults.iter().any(explains) {
            return;
        }
        let words = format!(
            "the checkpoint that {whose} covers records up to {last} and is of another log than \
             this: somewhere between {first} and {last} it was rewritten"
        );
        self.verdict.fault(first, FaultKind::Changed, words);
    }

    /// A checkpoint of what has been read already: out of its order.
    fn late(&mut self, whose: &str, checkpoint: &Checkpoint) {
        let size = checkpoint.size;
        let words = format!("the checkpoint that {whose} for {size} records came too late");
        let is_empty_log = size == 0 && checkpoint.root == [0; 32];
        if !is_empty_log {
            self.verdict.fault(size, FaultKind::Unproven, words);
        }
    }
}

#[cfg(test)]
mod tests;
