//! A directory that is being made.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use super::{DataDir, DataDirError};

/// What is in it goes again, unless somebody says that it is to stay: whoever was refused tries again with other words,
/// and no keys of nobody lie about.
#[derive(Debug)]
pub(crate) struct Begun {
    dir: DataDir,
    was_there: bool,
    stays: Cell<bool>,
}

// === impl Begun ===

impl Begun {
    /// See `DataDir::create`.
    ///
    /// # Errors
    ///
    /// [`DataDirError`]; then nothing was changed.
    pub(crate) fn create(path: &Path) -> Result<Self, DataDirError> {
        let was_there = path.symlink_metadata().is_ok();
        Ok(Self {
            dir: DataDir::create(path)?,
            was_there,
            stays: Cell::new(false),
        })
    }

    pub(crate) fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// From now on it stays, whatever comes.
    pub(crate) fn keep(&self) {
        self.stays.set(true);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.stays.get() {
            return;
        }
        // What cannot be removed is named by the next attempt.
        let entries = fs::read_dir(self.dir.path()).into_iter().flatten();
        for entry in entries.flatten() {
            let _ = fs::remove_file(entry.path());
        }
        if !self.was_there {
            let _ = fs::remove_dir(self.dir.path());
        }
    }
}
