//! Damage, a full disk, and who may use the directory.

use std::fs;
use std::path::Path;

use agent::journal::{FILE_NAME, Journal, JournalError};
use fleet::EventKind;
use gate::ReplayLog as _;
use harness::in_lab;
use tempfile::TempDir;

use crate::support::{NOW_SECS, WINDOW, digest, event, grant, open, options, reader};

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
