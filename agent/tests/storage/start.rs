//! Starts with very much in the journal.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use agent::journal::{FILE_NAME, Journal};
use fleet::EventKind;
use harness::wait;

use crate::support::{NOW_SECS, event, events, on_disk, open, options};

/// Events of the size that a grant has.
const BODY_BYTES: usize = 350;

#[test]
fn a_start_with_a_million_events_takes_under_half_a_second() {
    let dir = on_disk();
    let events = std::env::var("POSTERN_SOAK_EVENTS").map_or(1_000_000, |n| n.parse().unwrap());
    spool(dir.path(), events);
    let length = fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
    // As kill -9 leaves it: the file is larger than what a start checks whole.
    let begun = wait::now();

    let mut journal = open(dir.path()).journal;

    let took = begun.elapsed();
    assert_eq!(journal.last_seq(), events);
    assert!(length > 16 << 20, "{length}");
    assert!(
        took < Duration::from_millis(500),
        "{took:?} for {length} bytes"
    );
    journal.stage(event());
    assert_eq!(journal.commit().unwrap(), events + 1);
}

#[test]
fn damage_among_very_many_events_is_found_beside_the_gate_and_a_new_journal_begins() {
    let dir = on_disk();
    spool(dir.path(), 60_000);
    let path = dir.path().join(FILE_NAME);
    let file = fs::File::options().write(true).open(&path).unwrap();
    let middle = file.metadata().unwrap().len() / 2 / 4096 * 4096;
    file.write_all_at(&[0xa5; 3 * 4096], middle).unwrap();

    let mut journal = open(dir.path()).journal;
    wait::until("the damage to be found", wait::SOON, || {
        journal.tidy(
            gate::Now {
                wall_secs: NOW_SECS,
                ..gate::Now::default()
            },
            true,
        );
        journal.mend(NOW_SECS)?;
        Ok(journal.last_seq() == 0)
    })
    .unwrap();
    journal.commit().unwrap();

    let told = events(dir.path()).pop().unwrap();
    assert_eq!(told.kind(), EventKind::AuditGap);
    assert!(told.reason.contains("is damaged"), "{}", told.reason);
}

/// Fills the spool with copies of one event: a million through the journal would take a minute.
fn spool(dir: &Path, count: u64) {
    let mut journal = Journal::open(&options(dir), NOW_SECS).unwrap().journal;
    let mut event = event();
    event.reason = "x".repeat(BODY_BYTES);
    journal.stage(event);
    journal.commit().unwrap();
    journal.close().unwrap();
    let connection = rusqlite::Connection::open(dir.join(FILE_NAME)).unwrap();
    let copies =
        "WITH RECURSIVE n(seq) AS (SELECT 2 UNION ALL SELECT seq + 1 FROM n WHERE seq < ?1)
        INSERT INTO event SELECT n.seq, at_ms, kind, body, chain, chain_version
        FROM n, event WHERE event.seq = 1";
    connection.execute(copies, [count.cast_signed()]).unwrap();
    connection.execute("UPDATE meta SET clean = 0", []).unwrap();
}
