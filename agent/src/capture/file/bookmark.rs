//! How far a followed file was read, kept across starts of the agent.
//!
//! What an earlier run has judged is not shown again, where it would look like a replay, and what was
//! written while no agent ran is read. Written at most once a second and not synced: a mark that is
//! behind shows some records again, which the replay check refuses, and one that is damaged is none.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// The place behind the last record that was read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Bookmark {
    /// The name that is configured.
    pub(super) name: String,
    /// Which file that was.
    pub(super) file: Identity,
    /// Bytes of it.
    pub(super) offset: u64,
    /// The last bytes in front of that.
    pub(super) before: Vec<u8>,
    /// The header that says what its records are like.
    pub(super) header: Vec<u8>,
}

/// Where the bookmark is kept.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    kept: Option<Bookmark>,
    next_write: Duration,
}

/// Between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(1);

// === impl Identity ===

impl Identity {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// What an earlier run has kept there of the file of this name, if that can be read.
    pub(super) fn open(path: &Path, name: &str) -> Self {
        let text = fs::read(path).unwrap_or_default();
        let kept = of(&text);
        Self {
            path: path.to_owned(),
            kept: kept.filter(|kept: &Bookmark| kept.name == name),
            next_write: Duration::ZERO,
        }
    }

    /// What was kept last.
    pub(super) fn kept(&self) -> Option<&Bookmark> {
        self.kept.as_ref()
    }

    /// Keeps this if it is another one; not again at once, unless it is the last.
    pub(super) fn keep(&mut self, mark: impl FnOnce() -> Option<Bookmark>, when: When) {
        match when {
            When::Now(steady) if steady < self.next_write => return,
            When::Now(steady) => self.next_write = steady.saturating_add(WRITE_EVERY),
            When::AtTheEnd => {}
        }
        let mark = mark();
        if mark.is_none() || mark == self.kept {
            return;
        }
        let text = serde_json::to_vec(&mark).unwrap_or_default();
        let draft = self.path.with_extension("new");
        let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.path));
        match written {
            Ok(()) => self.kept = mark,
            Err(cause) => {
                let error = program::one_line(&cause);
                tracing::debug!(%error, "how far the capture file was read is not kept");
            }
        }
    }
}

/// Reads a bookmark; what is damaged is none.
pub(super) fn of(text: &[u8]) -> Option<Bookmark> {
    serde_json::from_slice(text).ok()
}

/// When a bookmark is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// The steady time.
    Now(Duration),
    /// Nothing is read after it.
    AtTheEnd,
}
