//! A journal in a directory, and what is put into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::journal::{
    FILE_NAME, Journal, JournalOptions, JournalReader, LiveGrant, Retention, Start,
};
use fleet::event::Continuity;
use fleet::{Event, EventKind, EventRecord, GrantId};
use gate::Now;
use spa::ReplayDigest;

pub(crate) const NOW_SECS: u64 = 1_800_000_000;
pub(crate) const WINDOW: Option<Duration> = Some(Duration::from_secs(120));

pub(crate) fn options(dir: &Path, window: Option<Duration>) -> JournalOptions {
    JournalOptions {
        state_dir: dir.to_owned(),
        retention: Retention::UntilAcknowledged,
        window,
        max_future: Duration::from_secs(120),
        witness_dir: Some(witness_dir(dir)),
    }
}

pub(crate) fn open(dir: &Path) -> Start {
    open_with(dir, WINDOW)
}

pub(crate) fn open_with(dir: &Path, window: Option<Duration>) -> Start {
    Journal::open(&options(dir, window), NOW_SECS).unwrap()
}

pub(crate) fn reader(dir: &Path) -> JournalReader {
    JournalReader::open(&dir.join(FILE_NAME)).unwrap()
}

pub(crate) fn grant() -> LiveGrant {
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
pub(crate) fn assert_chained(records: &[EventRecord]) {
    let mut before = [0; 32];
    for record in records {
        assert_eq!(record.follows(&before), Continuity::Follows, "{record:?}");
        before = record.chain.as_slice().try_into().unwrap();
    }
}

pub(crate) fn seqs(reader: &JournalReader) -> Vec<u64> {
    let events = reader.events_after(0, 100).unwrap();
    events.iter().map(|record| record.seq).collect()
}

pub(crate) fn digests_on_disk(dir: &Path) -> i64 {
    let connection = rusqlite::Connection::open(dir.join(FILE_NAME)).unwrap();
    let count = "SELECT count(*) FROM seen";
    connection.query_row(count, [], |row| row.get(0)).unwrap()
}

pub(crate) fn digest(n: u8) -> ReplayDigest {
    ReplayDigest([n; 32])
}

/// As a boot leaves it when it is removed.
pub(crate) fn witness_dir(dir: &Path) -> PathBuf {
    dir.join("run")
}

/// A backup of a state directory, or its way back.
pub(crate) fn copy_state(from: &Path, to: &Path) {
    for name in ["journal.db", "journal.db-wal", "journal.epoch"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

pub(crate) fn at(wall_secs: u64) -> Now {
    Now {
        wall_secs,
        ..Now::default()
    }
}

pub(crate) fn event(kind: EventKind, at_ms: u64) -> Event {
    Event::new(kind, at_ms)
}
