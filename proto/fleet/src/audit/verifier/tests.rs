use super::*;
use crate::audit::{AuditSigner, StepDigest, Succession};
use crate::wire::Event;

/// A log of two hosts, with a checkpoint after each tenth record, in version 1 up to record 20.
struct Log {
    rows: Vec<LogRow>,
    notes: Vec<(u64, String)>,
}

const SIZE: u64 = 50;

fn signer() -> AuditSigner {
    AuditSigner::new("prod", &[7; 32])
}

impl Log {
    fn new(name: &str) -> Self {
        let mut log = Self {
            rows: Vec::new(),
            notes: Vec::new(),
        };
        for id in 1..=SIZE {
            let mut event = Event::new(EventKind::GrantOpened, id);
            event.user = format!("{name}-{id}");
            log.append(event, 1 + id % 2);
            if id % 10 == 0 {
                log.sign();
            }
        }
        log
    }

    fn append(&mut self, event: Event, journal: u64) {
        let id = self.rows.len() as u64 + 1;
        let of_journal = self.rows.iter().rev().find(|row| row.journal == journal);
        let end = of_journal.and_then(|row| row.record.clone());
        let (seq, chain) = end.map_or((0, [0; 32]), |end| {
            (end.seq, end.chain.as_slice().try_into().unwrap())
        });
        let host = if journal == 9 { CONTROLLER } else { "web" };
        self.rows.push(LogRow {
            id,
            host: host.to_owned(),
            epoch: format!("epoch-{journal}"),
            journal,
            record: Some(EventRecord::after(seq, &chain, event)),
            stored_at_ms: id,
            log_version: if id <= 20 { 1 } else { 2 },
            ..LogRow::default()
        });
        self.rechain(id);
    }

    /// As whoever has the database, but not the key, can do it.
    fn rechain(&mut self, from: u64) {
        for at in usize::try_from(from).unwrap() - 1..self.rows.len() {
            let previous = match at.checked_sub(1) {
                Some(before) => self.rows[before].log_chain.as_slice().try_into().unwrap(),
                None => [0; 32],
            };
            let row = &self.rows[at];
            let version = LogVersion::of_number(row.log_version).unwrap();
            let linked = Linked::of_row(row, row.record.as_ref().unwrap()).unwrap();
            self.rows[at].log_chain = version.link(&previous, &linked).to_vec();
        }
    }

    fn sign(&mut self) {
        let last = self.rows.last().unwrap();
        let checkpoint = Checkpoint {
            size: last.id,
            root: last.log_chain.as_slice().try_into().unwrap(),
            at_ms: last.id,
        };
        self.notes.push((last.id, checkpoint.sign(&signer())));
    }

    fn renumber(&mut self) {
        for (row, id) in self.rows.iter_mut().zip(1..) {
            row.id = id;
        }
    }

    fn row(&mut self, id: u64) -> &mut LogRow {
        self.rows.iter_mut().find(|row| row.id == id).unwrap()
    }

    fn edit(&mut self, id: u64) {
        let record = self.row(id).record.as_mut().unwrap();
        let mut event = record.event().unwrap();
        event.user = "mallory".to_owned();
        record.body = prost::Message::encode_to_vec(&event);
    }

    /// Empties records as a step of retention does, without a word of it.
    fn empty(&mut self, step: u64, ids: &[u64]) -> StepDigest {
        let mut digest = StepDigest::default();
        for id in ids {
            let row = self.row(*id);
            row.pruned_by = step;
            let record = row.record.as_mut().unwrap();
            let body = super::super::body_digest(&record.body);
            digest.add(*id, &body);
            record.body = body.to_vec();
        }
        digest
    }

    fn say(&mut self, digest: StepDigest, step: u64) {
        let mut event = Event::new(EventKind::Retention, 99);
        event.pruned = Some(digest.pruned(step, 99));
        self.append(event, 9);
        self.sign();
    }

    fn verdict_beside(&self, witness: Option<&str>) -> Verdict {
        let mut verifier = Verifier::new(Some(signer().public()));
        if let Some(note) = witness {
            verifier.checkpoint("you saw last", note);
        }
        let mut notes = self.notes.iter().peekable();
        for row in &self.rows {
            verifier.row(row);
            while let Some((_, note)) = notes.next_if(|(size, _)| *size <= row.id) {
                verifier.checkpoint("the log keeps", note);
            }
        }
        for (_, note) in notes {
            verifier.checkpoint("the log keeps", note);
        }
        verifier.finish()
    }

    fn verdict(&self) -> Verdict {
        self.verdict_beside(None)
    }

    fn first(&self) -> (u64, FaultKind) {
        let verdict = self.verdict();
        let first = verdict.first().unwrap();
        (first.record, first.kind)
    }
}

#[test]
fn a_log_that_is_as_it_was_is_proven_up_to_its_last_checkpoint() {
    let log = Log::new("a");
    let verdict = log.verdict();

    assert_eq!((verdict.first(), verdict.faults_count), (None, 0));
    assert_eq!((verdict.records, verdict.checkpoints), (SIZE, 5));
    assert_eq!(verdict.proven.unwrap().size, SIZE);
}

#[test]
fn every_record_that_was_edited_is_counted_and_the_first_is_named() {
    for first in [3, 23] {
        let mut log = Log::new("a");
        for id in first..first + 20 {
            log.edit(id);
        }
        let verdict = log.verdict();
        assert_eq!(verdict.faults_count, 20, "{verdict:?}");
        assert_eq!(log.first(), (first, FaultKind::Changed));
    }
}

#[test]
fn what_else_stands_in_a_row_cannot_be_edited_either() {
    let edits: [fn(&mut LogRow); 6] = [
        |row| row.host = "other".to_owned(),
        |row| row.epoch = "other".to_owned(),
        |row| row.stored_at_ms += 1,
        |row| row.flaw = "not mine".to_owned(),
        |row| row.log_chain = vec![1; 32],
        |row| row.index_fault = "user: mallory instead of alice".to_owned(),
    ];
    for edit in edits {
        let mut log = Log::new("a");
        edit(log.row(33));
        assert_eq!(log.first(), (33, FaultKind::Changed));
        assert_eq!(log.verdict().faults_count, 1);
    }
}

#[test]
fn records_that_were_removed_are_named_by_their_numbers() {
    let mut log = Log::new("a");
    log.rows.retain(|row| !(24..=25).contains(&row.id));
    assert_eq!(log.first(), (24, FaultKind::Removed));
    assert_eq!(log.verdict().faults_count, 1);

    let mut log = Log::new("a");
    log.rows.truncate(46);
    assert_eq!(log.first(), (47, FaultKind::Removed));

    // Whoever numbers the rest anew names the place by that.
    let mut log = Log::new("a");
    log.rows.remove(23);
    log.renumber();
    assert_eq!(log.first(), (24, FaultKind::Changed));
}

#[test]
fn a_record_that_was_put_in_is_named_whatever_chain_value_it_was_given() {
    for good_chain in [false, true] {
        let mut log = Log::new("a");
        let mut forged = log.row(30).clone();
        forged.log_chain = vec![5; 32];
        log.rows.insert(29, forged);
        log.renumber();
        if good_chain {
            let whole = Log::new("a");
            log.rechain(30);
            log.rows.truncate(30);
            log.rows.extend(whole.rows[29..].iter().cloned());
            log.renumber();
        }
        assert_eq!(log.first(), (30, FaultKind::Inserted));
    }
}

#[test]
fn rows_of_another_log_do_not_fit() {
    let mut log = Log::new("a");
    let other = Log::new("b");
    log.rows[29..35].clone_from_slice(&other.rows[29..35]);
    assert_eq!(log.first(), (30, FaultKind::Changed));

    // Its end, whole, with its checkpoints, which the same key has signed.
    let mut log = Log::new("a");
    log.rows.truncate(30);
    log.rows.extend(other.rows[30..].iter().cloned());
    log.notes.truncate(3);
    log.notes.extend(other.notes[3..].iter().cloned());
    assert_eq!(log.first(), (31, FaultKind::Changed));
}

#[test]
fn a_log_that_was_chained_anew_contradicts_its_checkpoints() {
    let mut log = Log::new("a");
    log.edit(34);
    // All that can be computed without the key: the host's chain, and the log's.
    for id in [34_u64, 36, 38, 40, 42, 44, 46, 48, 50] {
        let before = log.row(id - 2).record.clone().unwrap();
        let event = log.row(id).record.as_ref().unwrap().event().unwrap();
        let chain = before.chain.as_slice().try_into().unwrap();
        log.row(id).record = Some(EventRecord::after(before.seq, &chain, event));
    }
    log.rechain(34);

    let verdict = log.verdict();
    assert_eq!(log.first(), (31, FaultKind::Changed));
    assert!(verdict.first().unwrap().words.contains("between 31 and 40"));
    assert_eq!(verdict.proven.unwrap().size, 30);
}

#[test]
fn without_its_checkpoints_a_cut_or_rewritten_log_is_found_by_what_somebody_keeps() {
    let kept = Log::new("a").notes[4].1.clone();
    let mut log = Log::new("a");
    log.rows.truncate(46);
    log.notes.truncate(4);
    assert_eq!(log.verdict().first(), None);
    let verdict = log.verdict_beside(Some(&kept));
    let first = verdict.first().unwrap();
    assert_eq!((first.record, first.kind), (47, FaultKind::Removed));

    let mut other = Log::new("b");
    other.notes.clear();
    let verdict = other.verdict_beside(Some(&kept));
    assert_eq!(verdict.first().unwrap().record, 1);
}

#[test]
fn a_checkpoint_that_another_key_signed_proves_nothing() {
    let mut log = Log::new("a");
    let last = log.rows.last().unwrap();
    let checkpoint = Checkpoint {
        size: SIZE,
        root: last.log_chain.as_slice().try_into().unwrap(),
        at_ms: 1,
    };
    log.notes[4].1 = checkpoint.sign(&AuditSigner::new("prod", &[8; 32]));

    assert_eq!(log.first(), (SIZE, FaultKind::Unproven));
    assert_eq!(log.verdict().proven.unwrap().size, 40);
}

#[test]
fn what_retention_has_emptied_is_proven_by_what_the_log_says_of_it() {
    let mut log = Log::new("a");
    let (first, second) = (log.empty(1, &[2, 4, 30]), log.empty(2, &[5, 31]));
    log.say(first, 1);
    log.say(second, 2);

    let verdict = log.verdict();
    assert_eq!(verdict.first(), None, "{verdict:?}");
    assert_eq!((verdict.pruned, verdict.pruned_before_ms), (5, 99));
}

#[test]
fn what_was_emptied_without_a_word_or_beside_what_was_said_is_found() {
    let mut log = Log::new("a");
    let _ = log.empty(1, &[7, 8]);
    assert_eq!(log.first(), (7, FaultKind::Changed));

    let mut log = Log::new("a");
    let step = log.empty(1, &[2, 4]);
    let _ = log.empty(1, &[31]);
    log.say(step, 1);
    assert_eq!(log.first(), (2, FaultKind::Changed));

    // What stands in the place of an emptied body is its digest.
    let mut log = Log::new("a");
    let step = log.empty(1, &[31]);
    log.say(step, 1);
    log.row(31).record.as_mut().unwrap().body = vec![0; 32];
    assert_eq!(log.first(), (31, FaultKind::Changed));
}

#[test]
fn what_a_host_sent_broken_is_no_fault_where_that_was_said_when_it_came() {
    let mut log = Log::new("a");
    let row = log.row(40);
    row.flaw = "the chain is broken here".to_owned();
    row.record.as_mut().unwrap().chain = vec![1; 32];
    log.rechain(40);
    log.notes.truncate(3);

    let verdict = log.verdict();
    // The next of its journal does not follow either, and was stored so.
    assert_eq!(verdict.flawed, 1);
    assert_eq!(verdict.first().unwrap().record, 42);
}

/// The keys of a log whose first key, that of all notes, ended at `size`.
fn ended_at(log: &Log, size: u64) -> KeyChain {
    let root = log.rows[usize::try_from(size).unwrap() - 1]
        .log_chain
        .as_slice();
    let last = Checkpoint {
        size,
        root: root.try_into().unwrap(),
        at_ms: size,
    };
    let next = AuditSigner::new("prod", &[8; 32]);
    let note = Succession::sign(&last, &signer(), &next);
    KeyChain::of(next.public(), [note.as_str()]).unwrap()
}

fn verdict_by(log: &Log, keys: KeyChain) -> Verdict {
    let mut verifier = Verifier::with_keys(Some(keys));
    for row in &log.rows {
        verifier.row(row);
        for (_, note) in log.notes.iter().filter(|(size, _)| *size == row.id) {
            verifier.checkpoint("the log keeps", note);
        }
    }
    verifier.finish()
}

#[test]
fn the_last_checkpoint_of_each_key_is_compared_with_the_log_and_what_it_signs_later_proves_nothing()
{
    let log = Log::new("a");
    let verdict = verdict_by(&log, ended_at(&log, 50));
    assert_eq!((verdict.first(), verdict.checkpoints), (None, 6));

    let later = verdict_by(&log, ended_at(&log, 35));
    let first = later.first().unwrap();
    assert_eq!((first.record, first.kind), (40, FaultKind::Unproven));
    assert!(first.words.contains("had ended before"), "{first:?}");

    // Cut, and rewritten, before it ended; with all other notes gone.
    let keys = ended_at(&log, 50);
    let mut cut = Log::new("a");
    cut.rows.truncate(30);
    cut.notes.clear();
    let first = verdict_by(&cut, keys.clone()).first().cloned().unwrap();
    assert_eq!((first.record, first.kind), (31, FaultKind::Removed));
    let mut rewritten = Log::new("b");
    rewritten.notes.clear();
    let first = verdict_by(&rewritten, keys).first().cloned().unwrap();
    assert_eq!((first.record, first.kind), (1, FaultKind::Changed));
}
