//! The journal is taken away under the running agent, or found damaged at a start.

use std::fs;
use std::path::Path;

use agent::journal::{FILE_NAME, FloorReason, Journal, JournalReader};
use fleet::EventKind;

use crate::support::{
    NOW_SECS, check, digest, event, events, grant, on_disk, open, options, remember,
};

/// A journal with three events, a message and an open grant, and the directory that it is in.
fn with_something_in_it() -> (tempfile::TempDir, Journal) {
    let dir = on_disk();
    let mut journal = open(&dir.path().join("state")).journal;
    remember(&mut journal, 1, 0);
    journal.stage(event());
    journal.stage(event());
    journal.stage_opened(grant(), event());
    journal.commit().unwrap();
    (dir, journal)
}

fn assert_nothing_is_lost(state: &Path, epoch: &str) {
    let kinds: Vec<EventKind> = events(state).iter().map(fleet::Event::kind).collect();
    let refused = EventKind::Refused;
    let expected = [refused, refused, refused, EventKind::AuditGap, refused];
    assert_eq!(kinds, expected);
    let mut start = open(state);
    assert_eq!(start.journal.epoch(), epoch);
    assert_eq!(start.floor.why, FloorReason::Known);
    assert_eq!(start.open_grants.len(), 1);
    assert!(check(&mut start.journal, digest(1), 0).is_err());
}

#[test]
fn whatever_is_deleted_or_replaced_under_a_running_agent_is_written_anew_and_nothing_is_lost() {
    let takes: [fn(&Path); 5] = [
        |state| fs::remove_dir_all(state).unwrap(),
        |state| fs::remove_file(state.join(FILE_NAME)).unwrap(),
        |state| fs::remove_file(state.join("journal.db-wal")).unwrap(),
        |state| fs::remove_file(state.join("journal.db-shm")).unwrap(),
        |state| {
            let other = state.join("other");
            fs::write(&other, vec![7; 100_000]).unwrap();
            fs::rename(other, state.join(FILE_NAME)).unwrap();
        },
    ];
    for take in takes {
        let (dir, mut journal) = with_something_in_it();
        let state = dir.path().join("state");
        let epoch = journal.epoch().to_owned();

        take(&state);
        journal.mend(NOW_SECS).unwrap();
        journal.stage(event());

        assert_eq!(journal.commit().unwrap(), 5);
        drop(journal); // as after kill -9
        assert_nothing_is_lost(&state, &epoch);
    }
}

#[test]
fn a_loss_is_noticed_while_nothing_happens() {
    let (dir, mut journal) = with_something_in_it();
    let now = |wall_secs| gate::Now {
        wall_secs,
        ..gate::Now::default()
    };
    journal.tidy(now(NOW_SECS), false);
    journal.commit().unwrap();
    assert!(!journal.has_staged());

    fs::remove_dir_all(dir.path().join("state")).unwrap();
    journal.tidy(now(NOW_SECS + 5), false);

    assert!(journal.has_staged());
    journal.mend(NOW_SECS + 5).unwrap();
    journal.commit().unwrap();
    assert_eq!(events(&dir.path().join("state")).len(), 4);
}

#[test]
fn a_journal_that_was_cut_under_a_running_agent_is_kept_aside_and_older_packets_are_refused() {
    for name in ["journal.db-wal", FILE_NAME] {
        let (dir, mut journal) = with_something_in_it();
        let state = dir.path().join("state");
        let epoch = journal.epoch().to_owned();

        let cut = fs::File::options().write(true).open(state.join(name));
        cut.unwrap().set_len(0).unwrap();
        journal.mend(NOW_SECS).unwrap();
        journal.stage(event());
        journal.commit().unwrap();

        assert_ne!(journal.epoch(), epoch);
        drop(journal);
        let kinds: Vec<EventKind> = events(&state).iter().map(fleet::Event::kind).collect();
        assert_eq!(kinds, [EventKind::AuditGap, EventKind::Refused]);
        let floor = open(&state).floor;
        assert!(floor.not_before_secs > NOW_SECS, "{floor:?}");
        assert_eq!(set_aside(&state).len(), 1);
    }
}

#[test]
fn a_journal_that_cannot_be_written_anew_takes_nothing() {
    let (dir, mut journal) = with_something_in_it();
    let state = dir.path().join("state");
    fs::remove_dir_all(&state).unwrap();
    // Nothing can be made there.
    fs::write(&state, "not a directory").unwrap();

    for _ in 0..2 {
        journal.mend(NOW_SECS).unwrap_err();
        assert!(journal.has_staged());
    }
    assert!(journal.fault().is_some());

    fs::remove_file(&state).unwrap();
    let epoch = journal.epoch().to_owned();
    journal.mend(NOW_SECS).unwrap();
    journal.stage(event());
    journal.commit().unwrap();
    drop(journal);
    assert_nothing_is_lost(&state, &epoch);
}

#[test]
fn a_start_sets_a_damaged_journal_aside_with_a_floor_and_says_so() {
    let dir = on_disk();
    let state = dir.path();
    let mut journal = open(state).journal;
    for number in 0..200 {
        remember(&mut journal, number, 0);
    }
    journal.commit().unwrap();
    journal.close().unwrap();
    let path = state.join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let cut = whole.get(..whole.len() / 2).unwrap().to_vec();
    let scrambled = whole.get(..4096).unwrap().repeat(whole.len() / 4096);
    for (number, damage) in [cut, scrambled, Vec::new(), vec![7; 5_000]]
        .iter()
        .enumerate()
    {
        fs::write(&path, damage).unwrap();

        let mut start = Journal::open_or_begin_anew(&options(state), NOW_SECS).unwrap();

        assert!(start.floor.not_before_secs > NOW_SECS, "{:?}", start.floor);
        start.journal.commit().unwrap();
        start.journal.close().unwrap();
        let told = events(state).pop().unwrap();
        assert_eq!(told.kind(), EventKind::AuditGap);
        assert!(told.reason.contains("journal.db"), "{}", told.reason);
        let aside = set_aside(state);
        assert_eq!(aside.len(), number + 1, "{aside:?}");
        assert!(aside.iter().any(|kept| fs::read(kept).unwrap() == *damage));
    }
}

#[test]
fn a_reader_follows_a_journal_that_was_written_anew() {
    let (dir, mut journal) = with_something_in_it();
    let state = dir.path().join("state");
    let mut reader = JournalReader::open(&state.join(FILE_NAME)).unwrap();
    assert_eq!(reader.events_after(0, 10).unwrap().len(), 3);

    fs::remove_dir_all(&state).unwrap();
    journal.mend(NOW_SECS).unwrap();
    journal.commit().unwrap();

    reader.follow().unwrap();
    assert_eq!(reader.events_after(0, 10).unwrap().len(), 4);
}

/// The databases that were set aside.
fn set_aside(state: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(state).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_aside = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("journal.db.aside-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    paths.filter(is_aside).collect()
}
