//! A journal that was lost or put back, and the floors that follow.

use std::fs;
use std::time::Duration;

use agent::journal::{FloorReason, Journal, JournalOptions, KEPT_EVENTS};
use fleet::EventKind;
use gate::{ReplayLog as _, Replayed};
use tempfile::TempDir;

use crate::support::{
    NOW_SECS, WINDOW, assert_chained, at, copy_state, digest, event, open, open_with, options,
    reader, witness_dir,
};

#[test]
fn a_journal_put_back_to_an_older_copy_is_noticed_and_grants_nothing_again() {
    let dir = TempDir::new().unwrap();
    let mut first = open(dir.path());
    first.journal.stage(event(EventKind::AgentStarted, 1));
    first.journal.commit().unwrap();
    let epoch = first.journal.epoch().to_owned();
    first.journal.close().unwrap();
    let backup = TempDir::new().unwrap();
    copy_state(dir.path(), backup.path());

    // Granted after the backup, dated as far ahead as is accepted.
    let mut second = open(dir.path());
    let dated_secs = NOW_SECS + 120;
    second
        .journal
        .check_and_insert(digest(1), dated_secs, NOW_SECS)
        .unwrap();
    second.journal.stage(event(EventKind::GrantOpened, 2));
    second.journal.commit().unwrap();
    second.journal.close().unwrap();
    for name in [
        "journal.db",
        "journal.db-wal",
        "journal.db-shm",
        "journal.epoch",
    ] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    copy_state(backup.path(), dir.path());

    let mut restored = open(dir.path());

    assert_eq!(restored.floor.why, FloorReason::SetBack);
    assert_ne!(restored.journal.epoch(), epoch);
    let again = restored
        .journal
        .check_and_insert(digest(1), dated_secs, NOW_SECS);
    let floor_secs = dated_secs;
    assert_eq!(again, Err(Replayed::BeforeFloor { floor_secs }));
    // What nobody has acknowledged is carried over, numbered and chained anew.
    let records = reader(dir.path()).events_after(0, 10).unwrap();
    assert_eq!(records.len(), 1);
    assert_chained(&records);
    // And whoever knocks afterwards gets in.
    let later = restored
        .journal
        .check_and_insert(digest(2), dated_secs + 1, NOW_SECS + 1);
    assert_eq!(later, Ok(()));
    restored.journal.commit().unwrap();
    restored.journal.close().unwrap();
    assert_eq!(open(dir.path()).floor.why, FloorReason::Known);
}

#[test]
fn a_state_directory_that_vanished_whole_is_noticed_until_the_next_boot() {
    let dir = TempDir::new().unwrap();
    let run = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let options = JournalOptions {
        witness_dir: Some(run.path().to_owned()),
        ..options(&state, WINDOW)
    };
    let mut first = Journal::open(&options, NOW_SECS).unwrap();
    let dated_secs = NOW_SECS + 100;
    first
        .journal
        .check_and_insert(digest(1), dated_secs, NOW_SECS)
        .unwrap();
    first.journal.commit().unwrap();
    drop(first);
    fs::remove_dir_all(&state).unwrap();

    let mut second = Journal::open(&options, NOW_SECS + 1).unwrap();

    assert_eq!(second.floor.why, FloorReason::Lost);
    let mut ask = |n, dated_secs| {
        let asked = second
            .journal
            .check_and_insert(digest(n), dated_secs, NOW_SECS + 1);
        asked.is_ok()
    };
    assert!(!ask(1, dated_secs));
    assert!(ask(2, dated_secs + 1));
}

#[test]
fn after_a_boot_whatever_might_have_been_granted_is_refused_until_somebody_proves_the_journal() {
    let dir = TempDir::new().unwrap();
    let mut first = open(dir.path());
    first.journal.stage(event(EventKind::AgentStarted, 1));
    first.journal.commit().unwrap();
    first.journal.close().unwrap();
    fs::remove_dir_all(witness_dir(dir.path())).unwrap();

    let mut booted = open(dir.path());

    assert_eq!(booted.floor.why, FloorReason::Unproven);
    assert_eq!(booted.floor.not_before_secs, NOW_SECS + 121);
    let head = reader(dir.path()).events_after(0, 10).unwrap().pop();
    let chain = head.unwrap().chain.as_slice().try_into().unwrap();
    let epoch = booted.journal.epoch().to_owned();
    assert!(!booted.journal.prove(&epoch, 2, &chain));
    assert!(!booted.journal.prove(&epoch, 1, &[7; 32]));
    assert!(!booted.journal.prove("another", 1, &chain));
    assert_eq!(booted.journal.floor_over(NOW_SECS), Some(NOW_SECS + 120));

    assert!(booted.journal.prove(&epoch, 1, &chain));

    // Still below what stood before it: the first start.
    assert_eq!(booted.journal.floor_over(NOW_SECS), None);
    assert_eq!(booted.journal.floor_over(NOW_SECS - 1), Some(NOW_SECS - 1));
}

#[test]
fn a_journal_is_proven_also_when_what_was_acknowledged_of_it_is_deleted() {
    for (is_same, expected) in [(true, true), (false, false)] {
        let dir = TempDir::new().unwrap();
        let mut first = open(dir.path());
        for n in 1..=KEPT_EVENTS + 2 {
            first.journal.stage(event(EventKind::Refused, n));
        }
        first.journal.commit().unwrap();
        let second = reader(dir.path()).events_after(1, 1).unwrap().remove(0);
        let mut chain: [u8; 32] = second.chain.as_slice().try_into().unwrap();
        let epoch = first.journal.epoch().to_owned();
        first.journal.acknowledged(&epoch, 2);
        first.journal.commit().unwrap();
        first.journal.close().unwrap();
        fs::remove_dir_all(witness_dir(dir.path())).unwrap();

        let mut booted = open(dir.path());
        assert_eq!(booted.floor.why, FloorReason::Unproven);
        let left = reader(dir.path()).events_after(0, 1).unwrap();
        assert_eq!(left[0].seq, 3);
        // Nothing of it, or the beginning that all journals have, proves nothing.
        assert!(!booted.journal.prove(&epoch, 0, &[0; 32]));
        if !is_same {
            chain[0] ^= 1;
        }

        assert_eq!(booted.journal.prove(&epoch, 2, &chain), expected);

        assert_eq!(booted.journal.floor_over(NOW_SECS).is_none(), expected);
    }
}

#[test]
fn a_first_start_with_a_clock_that_is_ahead_locks_nobody_out_once_it_is_right_also_across_starts() {
    for restarts in [false, true] {
        let dir = TempDir::new().unwrap();
        let ahead_secs = NOW_SECS + 86_400;
        let mut start = Journal::open(&options(dir.path(), WINDOW), ahead_secs).unwrap();
        assert!(start.journal.floor_over(NOW_SECS).is_some());
        start
            .journal
            .check_and_insert(digest(1), ahead_secs, ahead_secs)
            .unwrap();
        start.journal.commit().unwrap();

        if restarts {
            start.journal.close().unwrap();
            start = open(dir.path());
        } else {
            start.journal.tidy(at(NOW_SECS), false);
        }

        let mut ask = |n, dated_secs| {
            let asked = start
                .journal
                .check_and_insert(digest(n), dated_secs, NOW_SECS);
            asked.is_ok()
        };
        assert!(ask(2, NOW_SECS));
        assert!(!ask(1, ahead_secs));
    }
}

#[test]
fn a_floor_that_a_clock_set_which_was_ahead_goes_on_evidence_or_an_operators_word_only() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    fs::remove_dir_all(witness_dir(dir.path())).unwrap();
    let ahead_secs = NOW_SECS + 86_400;
    let mut start = Journal::open(&options(dir.path(), WINDOW), ahead_secs).unwrap();
    assert_eq!(start.floor.why, FloorReason::Unproven);

    assert_eq!(start.journal.tidy(at(NOW_SECS), false), None);
    assert!(start.journal.floor_over(NOW_SECS + 3_600).is_some());
    let floor = start.journal.tidy(at(NOW_SECS), true).unwrap();
    assert_eq!(floor.through_secs, NOW_SECS + 120);

    start
        .journal
        .raise_floor(ahead_secs, FloorReason::Lost, NOW_SECS);
    assert_eq!(start.journal.tidy(at(NOW_SECS), true), None);
    let floor = start.journal.reset_floor(NOW_SECS).unwrap();
    assert_eq!(floor.through_secs, NOW_SECS + 120);
    start.journal.commit().unwrap();
    drop(start);
    assert_eq!(open(dir.path()).journal.floor(), floor);
}

#[test]
fn a_new_journal_refuses_what_is_dated_before_it_for_as_long_as_it_lives() {
    let dir = TempDir::new().unwrap();

    let first = open(dir.path());
    let (why, secs) = (first.floor.why, first.floor.not_before_secs);
    first.journal.close().unwrap();

    assert_eq!((why, secs), (FloorReason::New, NOW_SECS));
    let second = Journal::open(&options(dir.path(), WINDOW), NOW_SECS + 50).unwrap();
    assert_eq!(second.floor.why, FloorReason::Known);
    assert_eq!(second.floor.not_before_secs, NOW_SECS);
    assert!(second.clean);
}

#[test]
fn a_lost_journal_refuses_the_current_second_too_even_without_ageing() {
    let dir = TempDir::new().unwrap();
    let unguarded = open_with(dir.path(), None);
    assert_eq!(unguarded.floor.why, FloorReason::Unguarded);
    assert_eq!(unguarded.floor.not_before_secs, 0);
    drop(unguarded);
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    fs::remove_dir_all(witness_dir(dir.path())).unwrap();

    let start = open_with(dir.path(), None);

    assert_eq!(start.floor.why, FloorReason::Lost);
    assert_eq!(start.floor.not_before_secs, NOW_SECS + 121);
}

#[test]
fn a_log_that_vanished_after_a_crash_counts_as_lost() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let copy = TempDir::new().unwrap();
    // As a crash leaves it, but without its write-ahead log.
    for name in ["journal.db", "journal.epoch"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }

    let start = open(copy.path());

    assert_eq!(start.floor.why, FloorReason::Lost);
}

#[test]
fn a_wider_window_raises_the_floor_to_the_time_of_the_change() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).journal.close().unwrap();
    let wider = Some(Duration::from_secs(600));

    let start = Journal::open(&options(dir.path(), wider), NOW_SECS + 70).unwrap();

    assert_eq!(start.floor.why, FloorReason::Widened);
    assert_eq!(start.floor.not_before_secs, NOW_SECS + 70);
    start.journal.close().unwrap();
    let narrower = Journal::open(&options(dir.path(), WINDOW), NOW_SECS + 80).unwrap();
    assert_eq!(narrower.floor.why, FloorReason::Known);
}
