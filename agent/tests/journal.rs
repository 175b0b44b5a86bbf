//! The journal across starts, crashes, damage and a full disk.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::journal::{
    FILE_NAME, FloorReason, Journal, JournalError, JournalOptions, JournalReader, LiveGrant,
    Retention, Start,
};
use fleet::event::{BODY_BYTES_MAX, ChainVersion, Continuity};
use fleet::{Event, EventKind, EventRecord, GrantId};
use gate::{Now, ReplayLog as _, Replayed};
use harness::in_lab;
use spa::ReplayDigest;
use tempfile::TempDir;

const NOW_SECS: u64 = 1_800_000_000;
const WINDOW: Option<Duration> = Some(Duration::from_secs(120));

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
        for n in 1..=3 {
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
        let left = reader(dir.path()).events_after(0, 10).unwrap();
        assert_eq!(left.len(), 1);
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

#[test]
fn a_damaged_truncated_or_emptied_journal_is_an_error_that_names_it() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    for n in 0..200 {
        start
            .journal
            .check_and_insert(digest(n), NOW_SECS, NOW_SECS)
            .unwrap();
    }
    start.journal.commit().unwrap();
    start.journal.close().unwrap();
    let path = dir.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let scrambled = |from: usize, to: usize| {
        let mut bytes = whole.clone();
        bytes[from..to].fill(0xa5);
        bytes
    };
    let damages = [
        whole[..whole.len() / 2].to_vec(),
        whole[..100].to_vec(),
        Vec::new(),
        b"not a database, and longer than its header would be".repeat(9),
        scrambled(0, 100),
        scrambled(4096, whole.len()),
    ];

    for damage in damages {
        fs::write(&path, damage).unwrap();

        let error = Journal::open(&options(dir.path(), WINDOW), NOW_SECS).unwrap_err();

        assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("journal.db"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn two_agents_cannot_use_one_state_directory() {
    let dir = TempDir::new().unwrap();
    let _first = open(dir.path());

    let second = Journal::open(&options(dir.path(), WINDOW), NOW_SECS);

    assert!(matches!(second, Err(JournalError::InUse { .. })));
}

#[test]
fn events_are_numbered_without_gaps_and_chained_across_starts() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    for n in 1..=3 {
        assert_eq!(start.journal.stage(event(EventKind::Refused, n)), n);
    }
    start.journal.commit().unwrap();
    drop(start);
    let mut again = open(dir.path());
    assert_eq!(again.journal.stage(event(EventKind::Refused, 4)), 4);
    again.journal.commit().unwrap();

    let events = reader(dir.path()).events_after(0, 100).unwrap();

    for (n, record) in (1..).zip(&events) {
        assert_eq!((record.seq, record.event().unwrap().at_ms), (n, n));
    }
    assert_eq!(events.len(), 4);
    assert_chained(&events);
}

#[test]
fn an_event_of_any_length_is_kept_at_a_length_that_every_controller_takes() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let mut rejected = event(EventKind::PolicyRejected, 1);
    rejected.reason = "access.conf, line 7: KEY is missing\n".repeat(500);
    start.journal.stage(rejected);
    start.journal.commit().unwrap();

    let events = reader(dir.path()).events_after(0, 100).unwrap();

    assert!(events[0].body.len() <= BODY_BYTES_MAX);
    let reason = events[0].event().unwrap().reason;
    assert!(reason.starts_with("access.conf, line 7") && reason.ends_with("bytes cut]"));
}

#[test]
fn events_are_chained_as_the_controller_understands_and_for_good_once_it_understands_more() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    for version in [ChainVersion::V1, ChainVersion::V2, ChainVersion::V1] {
        start.journal.use_chain_version(version);
        start.journal.stage(event(EventKind::Refused, 1));
        start.journal.commit().unwrap();
    }
    drop(start);
    let mut again = open(dir.path());
    again.journal.stage(event(EventKind::Refused, 1));
    again.journal.commit().unwrap();

    let events = reader(dir.path()).events_after(0, 100).unwrap();
    let versions: Vec<u32> = events.iter().map(|record| record.chain_version).collect();
    assert_eq!(versions, [1, 2, 2, 2]);
    assert_chained(&events);
}

/// The journal lay in tests/data: postern-agent 0.1.0 wrote it.
#[test]
fn a_journal_of_the_version_before_goes_on_with_its_events_grants_and_chain() {
    let dir = TempDir::new().unwrap();
    let old = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    old.execute_batch(include_str!("data/journal-1.sql"))
        .unwrap();
    old.close().unwrap();
    fs::write(
        dir.path().join("journal.epoch"),
        "5cc2fae88495be6dc4acde3115cc0f59\n",
    )
    .unwrap();

    let mut start = open(dir.path());
    start.journal.stage(event(EventKind::AgentStarted, 6));
    start.journal.commit().unwrap();
    start.journal.use_chain_version(ChainVersion::V2);
    start.journal.stage(event(EventKind::AgentStarted, 7));
    start.journal.commit().unwrap();

    assert_eq!(start.floor.why, FloorReason::Known);
    let events = reader(dir.path()).events_after(0, 100).unwrap();
    assert_chained(&events);
    let versions: Vec<u32> = events.iter().map(|record| record.chain_version).collect();
    assert_eq!(versions, [1, 1, 1, 1, 1, 1, 2]);
    let found = &start.open_grants;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].opened.stanza, "sre-ssh");
    assert_eq!(
        found[0].grant,
        LiveGrant {
            id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            until_ms: 1_800_000_031_000,
            rules: vec![
                "192.0.2.7 tcp/22".parse().unwrap(),
                "192.0.2.7 udp/53".parse().unwrap()
            ],
        }
    );
}

#[test]
fn acknowledged_events_go_but_the_numbering_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    for n in 1..=3 {
        start.journal.stage(event(EventKind::Refused, n));
    }
    start.journal.commit().unwrap();
    let epoch = start.journal.epoch().to_owned();

    start.journal.acknowledged("another epoch", 3);
    assert!(!start.journal.has_staged());
    start.journal.acknowledged(&epoch, 99);
    start.journal.commit().unwrap();

    let reader = reader(dir.path());
    assert_eq!(reader.acknowledged().unwrap(), 3);
    assert_eq!(seqs(&reader), [3]);
    drop(start);
    let mut again = open(dir.path());
    assert_eq!(again.journal.stage(event(EventKind::Refused, 4)), 4);
}

#[test]
fn a_grant_that_lives_on_in_connections_is_found_until_it_is_forgotten() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let grant = grant();
    let opened = event(EventKind::GrantOpened, 7);
    start.journal.stage_opened(grant.clone(), opened);
    start.journal.commit().unwrap();
    let closed = event(EventKind::GrantClosed, 9);
    start.journal.stage_living_on(grant.id, closed);
    start.journal.commit().unwrap();
    drop(start);

    let mut again = open(dir.path());
    assert_eq!(again.open_grants.len(), 1);
    assert_eq!(again.open_grants[0].grant, grant);
    assert!(again.open_grants[0].is_closed);
    again.journal.stage_forgotten(grant.id);
    again.journal.commit().unwrap();
    drop(again);

    assert_eq!(open(dir.path()).open_grants, []);
}

#[test]
fn a_grant_that_is_asked_for_again_is_found_once_with_its_later_end() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let grant = grant();
    let until = |until_ms, at_ms| Event {
        until_ms,
        ..event(EventKind::GrantOpened, at_ms)
    };
    let opened = until(grant.until_ms, 7);
    start.journal.stage_opened(grant.clone(), opened);
    let later_ms = grant.until_ms + 5_000;
    start.journal.stage_extended(grant.id, until(later_ms, 8));
    start.journal.commit().unwrap();
    let latest_ms = later_ms + 5_000;
    start.journal.stage_extended(grant.id, until(latest_ms, 9));
    start.journal.commit().unwrap();
    drop(start);

    let again = open(dir.path());
    let [found] = again.open_grants.as_slice() else {
        panic!("{:?}", again.open_grants);
    };
    assert_eq!(
        (found.grant.until_ms, found.opened.until_ms),
        (latest_ms, latest_ms)
    );
    assert_eq!(
        (found.grant.rules.clone(), found.is_closed),
        (grant.rules, false)
    );
}

#[test]
fn a_host_that_was_locked_is_locked_at_its_next_start_until_it_is_unlocked() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    assert_eq!(start.locked, None);
    start.journal.stage_lock(Some("stolen".to_owned()));
    start.journal.commit().unwrap();
    drop(start);

    let mut again = open(dir.path());
    assert_eq!(again.locked.as_deref(), Some("stolen"));
    again.journal.stage_lock(None);
    again.journal.commit().unwrap();
    drop(again);

    assert_eq!(open(dir.path()).locked, None);
}

#[test]
fn a_grant_is_found_open_until_its_closing_is_recorded() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let grant = grant();
    let opened = event(EventKind::GrantOpened, 7);
    let seq = start.journal.stage_opened(grant.clone(), opened);
    start.journal.commit().unwrap();
    let epoch = start.journal.epoch().to_owned();
    start.journal.acknowledged(&epoch, seq);
    start.journal.commit().unwrap();
    drop(start);

    let mut again = open(dir.path());
    assert_eq!(again.open_grants.len(), 1);
    assert_eq!(again.open_grants[0].grant, grant);
    assert_eq!(again.open_grants[0].opened.at_ms, 7);
    again
        .journal
        .stage_closed(grant.id, event(EventKind::GrantClosed, 9));
    again.journal.commit().unwrap();
    drop(again);

    assert_eq!(open(dir.path()).open_grants, []);
}

#[test]
fn events_of_a_host_without_controller_go_after_their_days() {
    let dir = TempDir::new().unwrap();
    let day_ms = 24 * 60 * 60 * 1_000;
    let mut options = options(dir.path(), WINDOW);
    options.retention = Retention::Days(2);
    let mut start = Journal::open(&options, NOW_SECS).unwrap();
    for days in 0..5 {
        let at_ms = NOW_SECS * 1_000 - (5 - days) * day_ms;
        start.journal.stage(event(EventKind::Refused, at_ms));
    }
    start.journal.commit().unwrap();

    start.journal.tidy(at(NOW_SECS), false);
    start.journal.commit().unwrap();

    assert_eq!(seqs(&reader(dir.path())), [4, 5]);
}

#[test]
fn the_journal_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("state");
    let _start = open(&dir);

    for (path, mode) in [(dir.clone(), 0o700), (dir.join(FILE_NAME), 0o600)] {
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path:?}");
    }
}

#[test]
fn on_a_full_disk_no_grant_is_recorded_and_the_journal_recovers() {
    in_lab(|lab| {
        let disk = lab.small_disk(&lab.node("host", 10)?, "disk", 2 << 20)?;
        let mut start = open(&disk);
        fs::write(disk.join("ballast"), vec![7; 4 << 20]).unwrap_err();
        start
            .journal
            .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
            .unwrap();
        let opened = || event(EventKind::GrantOpened, 1);
        start.journal.stage_opened(grant(), opened());
        while start.journal.commit().is_ok() {
            start.journal.stage_closed(grant().id, opened());
            start.journal.stage_opened(grant(), opened());
        }
        assert!(
            start
                .journal
                .check_and_insert(digest(1), NOW_SECS, NOW_SECS)
                .is_err()
        );

        fs::remove_file(disk.join("ballast")).unwrap();
        let grants_before = recorded_grants(&disk);
        let mut refused = event(EventKind::Refused, 1);
        "the disk is full".clone_into(&mut refused.reason);
        start.journal.stage(refused);
        start.journal.commit().unwrap();

        let events = reader(&disk).events_after(0, 10_000).unwrap();
        let last = events.last().unwrap().event().unwrap();
        assert_eq!(last.kind(), EventKind::Refused);
        assert_eq!(last.reason, "the disk is full");
        assert_eq!(last.seq, events.len() as u64);
        assert_eq!(recorded_grants(&disk), grants_before);
        Ok(())
    });
}

fn recorded_grants(dir: &Path) -> usize {
    let records = reader(dir).events_after(0, 10_000).unwrap();
    let events = records.iter().map(|record| record.event().unwrap());
    events
        .filter(|event| event.kind() == EventKind::GrantOpened)
        .count()
}

fn options(dir: &Path, window: Option<Duration>) -> JournalOptions {
    JournalOptions {
        state_dir: dir.to_owned(),
        retention: Retention::UntilAcknowledged,
        window,
        max_future: Duration::from_secs(120),
        witness_dir: Some(witness_dir(dir)),
    }
}

fn open(dir: &Path) -> Start {
    open_with(dir, WINDOW)
}

fn open_with(dir: &Path, window: Option<Duration>) -> Start {
    Journal::open(&options(dir, window), NOW_SECS).unwrap()
}

fn reader(dir: &Path) -> JournalReader {
    JournalReader::open(&dir.join(FILE_NAME)).unwrap()
}

fn grant() -> LiveGrant {
    LiveGrant {
        id: GrantId([7; 16]),
        until_ms: 9_000,
        rules: vec![
            "2001:db8::7 tcp/22".parse().unwrap(),
            "2001:db8::7 udp/53".parse().unwrap(),
        ],
    }
}

/// Each follows from the one before, and the first from nothing.
fn assert_chained(records: &[EventRecord]) {
    let mut before = [0; 32];
    for record in records {
        assert_eq!(record.follows(&before), Continuity::Follows, "{record:?}");
        before = record.chain.as_slice().try_into().unwrap();
    }
}

fn seqs(reader: &JournalReader) -> Vec<u64> {
    let events = reader.events_after(0, 100).unwrap();
    events.iter().map(|record| record.seq).collect()
}

fn digests_on_disk(dir: &Path) -> i64 {
    let connection = rusqlite::Connection::open(dir.join(FILE_NAME)).unwrap();
    let count = "SELECT count(*) FROM seen";
    connection.query_row(count, [], |row| row.get(0)).unwrap()
}

fn digest(n: u8) -> ReplayDigest {
    ReplayDigest([n; 32])
}

/// As a boot leaves it when it is removed.
fn witness_dir(dir: &Path) -> PathBuf {
    dir.join("run")
}

/// A backup of a state directory, or its way back.
fn copy_state(from: &Path, to: &Path) {
    for name in ["journal.db", "journal.db-wal", "journal.epoch"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

fn at(wall_secs: u64) -> Now {
    Now {
        wall_secs,
        ..Now::default()
    }
}

fn event(kind: EventKind, at_ms: u64) -> Event {
    Event::new(kind, at_ms)
}
