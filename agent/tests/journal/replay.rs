//! What is remembered of messages, by the date inside them.

use std::fs;

use agent::journal::{FILE_NAME, FloorReason, Journal};
use gate::ReplayLog as _;
use tempfile::TempDir;

use crate::support::{NOW_SECS, WINDOW, at, digest, digests_on_disk, open, open_with};

#[test]
fn what_was_seen_before_a_crash_is_a_replay_after_it() {
    let dir = TempDir::new().unwrap();
    let mut first = open(dir.path());
    first
        .journal
        .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
        .unwrap();
    first.journal.commit().unwrap();
    drop(first); // no close: as after kill -9

    let mut second = open(dir.path());

    assert!(!second.clean);
    assert_eq!(second.floor.why, FloorReason::Known);
    assert!(
        second
            .journal
            .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
            .is_err()
    );
    assert!(
        second
            .journal
            .check_and_insert(digest(2), NOW_SECS, NOW_SECS)
            .is_ok()
    );
}

#[test]
fn commits_write_into_room_that_was_made_before_and_do_not_grow_the_log() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join(format!("{FILE_NAME}-wal"));
    for start in 0..2_u8 {
        let mut journal = open(dir.path()).journal;
        let made = fs::metadata(&log).unwrap().len();
        for number in 0..20 {
            let digest = digest(start * 20 + number);
            // Looking at the disk, below, takes the log away: that is a loss.
            let dated_secs = NOW_SECS + u64::from(start);
            journal
                .check_and_insert(digest, dated_secs, NOW_SECS)
                .unwrap();
            journal.commit().unwrap();
        }

        assert!(made >= 1024 * 1024, "{made}");
        assert_eq!(fs::metadata(&log).unwrap().len(), made);
        drop(journal); // no close: the log is read again, up to where it means something
        assert_eq!(digests_on_disk(dir.path()), i64::from(start + 1) * 20);
    }
}

#[test]
fn a_message_seen_twice_within_one_batch_is_a_replay() {
    let dir = TempDir::new().unwrap();
    for window in [WINDOW, None] {
        let mut start = open_with(dir.path(), window);

        start
            .journal
            .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
            .unwrap();

        assert!(
            start
                .journal
                .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
                .is_err()
        );
    }
}

#[test]
fn without_ageing_messages_are_remembered_for_ever_on_disk() {
    let dir = TempDir::new().unwrap();
    let mut first = open_with(dir.path(), None);
    first
        .journal
        .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
        .unwrap();
    first.journal.commit().unwrap();
    first.journal.tidy(at(NOW_SECS * 2), true);
    first.journal.commit().unwrap();
    drop(first);

    // Also when packets age again.
    for window in [None, WINDOW] {
        let mut later = open_with(dir.path(), window);
        assert!(
            later
                .journal
                .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
                .is_err()
        );
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_make_a_forgotten_message_new() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let ask = |journal: &mut Journal, n, dated_secs, now_secs| {
        journal.check_and_insert(digest(n), dated_secs, now_secs)
    };
    ask(&mut start.journal, 1, NOW_SECS, NOW_SECS).unwrap();
    start.journal.commit().unwrap();
    start.journal.tidy(at(NOW_SECS + 1_000_000), true);
    start.journal.commit().unwrap();
    assert_eq!(digests_on_disk(dir.path()), 0);

    // Whatever the clock says then, the same message is refused by its own date, also after a start;
    // another that cannot have been seen is not.
    for clock in [NOW_SECS, NOW_SECS + 60, NOW_SECS + 1_000_000] {
        assert!(ask(&mut start.journal, 1, NOW_SECS, clock).is_err());
    }
    assert!(ask(&mut start.journal, 2, NOW_SECS + 1, NOW_SECS).is_ok());
    drop(start);
    let mut again = open(dir.path());
    for clock in [NOW_SECS, NOW_SECS + 60, NOW_SECS + 1_000_000] {
        assert!(ask(&mut again.journal, 1, NOW_SECS, clock).is_err());
    }
}

#[test]
fn by_a_clock_that_nobody_vouches_for_nothing_is_forgotten() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    start
        .journal
        .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
        .unwrap();

    start.journal.tidy(at(NOW_SECS + 3_600), false);
    start.journal.commit().unwrap();

    assert_eq!(digests_on_disk(dir.path()), 1);
    assert!(start.journal.floor_over(NOW_SECS + 1).is_none());
}
