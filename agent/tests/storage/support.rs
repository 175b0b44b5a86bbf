//! What these tests share.

use std::fs;
use std::path::Path;
use std::time::Duration;

use agent::journal::{
    FILE_NAME, Journal, JournalOptions, JournalReader, LiveGrant, Retention, Start,
};
use fleet::{Event, EventKind, GrantId};
use gate::ReplayLog as _;
use spa::ReplayDigest;

pub(crate) const NOW_SECS: u64 = 1_800_000_000;

/// A disk, not memory.
pub(crate) fn on_disk() -> tempfile::TempDir {
    tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub(crate) fn options(dir: &Path) -> JournalOptions {
    JournalOptions {
        state_dir: dir.to_owned(),
        retention: Retention::UntilAcknowledged,
        window: Some(Duration::from_secs(120)),
        max_future: Duration::from_secs(120),
        witness_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("run")),
    }
}

pub(crate) fn open(dir: &Path) -> Start {
    Journal::open(&options(dir), NOW_SECS).unwrap()
}

pub(crate) fn event() -> Event {
    Event::new(EventKind::Refused, NOW_SECS * 1_000)
}

/// Digests as messages have them: spread evenly.
pub(crate) fn digest(number: u64) -> ReplayDigest {
    use sha2::{Digest as _, Sha256};

    ReplayDigest(Sha256::digest(number.to_be_bytes()).into())
}

/// Stages a message of this number that was judged in this second.
pub(crate) fn remember(journal: &mut Journal, number: u64, secs: u64) {
    check(journal, digest(number), secs).unwrap();
}

pub(crate) fn log_bytes(dir: &Path) -> u64 {
    let log = dir.join(format!("{FILE_NAME}-wal"));
    fs::metadata(log).map_or(0, |log| log.len())
}

/// Judges a message as it is when it comes in this second.
pub(crate) fn check(
    journal: &mut Journal,
    digest: ReplayDigest,
    secs: u64,
) -> Result<(), gate::Replayed> {
    journal.check_and_insert(digest, NOW_SECS + secs, NOW_SECS + secs)
}

pub(crate) fn grant() -> LiveGrant {
    LiveGrant {
        id: GrantId([7; 16]),
        until_ms: 9_000,
        rules: vec!["2001:db8::7 tcp/22".parse().unwrap()],
    }
}

/// All that are there.
pub(crate) fn events(dir: &Path) -> Vec<Event> {
    let reader = JournalReader::open(&dir.join(FILE_NAME)).unwrap();
    let records = reader.events_after(0, 100_000).unwrap();
    records
        .iter()
        .map(|record| record.event().unwrap())
        .collect()
}
