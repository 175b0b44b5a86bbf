//! One agent at a time: who has the journal's lock has the journal.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::error::{JournalError, io as cannot};

pub(super) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("journal.lock")
}

pub(super) fn lock(dir: &Path, journal: &Path) -> Result<Flock<File>, JournalError> {
    let path = lock_path(dir);
    let file = private_file(&path).map_err(cannot(&path, "make"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| JournalError::InUse {
        path: journal.to_owned(),
    })
}

/// Holds the state against every agent, where one has ever kept its journal there.
///
/// # Errors
///
/// [`JournalError::InUse`] while an agent runs; otherwise what the disk says.
pub fn hold_state(dir: &Path) -> Result<Option<Flock<File>>, JournalError> {
    let path = lock_path(dir);
    // Who may not look does not know that there is none.
    if !path.try_exists().map_err(cannot(&path, "look for"))? {
        return Ok(None);
    }
    lock(dir, dir).map(Some)
}

pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path)
}
