//! What these tests share.

use std::fs;
use std::path::Path;
use std::time::Duration;

use agent::journal::{FILE_NAME, Journal, JournalOptions, Retention, Start};
use fleet::{Event, EventKind};
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
    journal
        .check_and_insert(digest(number), Some(NOW_SECS + secs + 240))
        .unwrap();
}

pub(crate) fn log_bytes(dir: &Path) -> u64 {
    let log = dir.join(format!("{FILE_NAME}-wal"));
    fs::metadata(log).map_or(0, |log| log.len())
}
