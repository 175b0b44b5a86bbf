//! A file that somebody has open and that must stay where it is: what is written into one that nobody
//! finds again is lost at the next start, without any error.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How a file was taken away from whoever has it open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// Nothing has its name any more.
    Deleted,
    /// Another file has its name.
    Replaced,
    /// It has less in it than was seen.
    Cut,
}

/// A file as it was when it was last looked at.
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    /// Device and inode, once it was there.
    file: Option<(u64, u64)>,
    /// In bytes.
    length: u64,
    kept: u64,
}

// === impl WatchedFile ===

impl WatchedFile {
    /// The file at `path`, also one that is still to be made. Its owner may cut it to `kept` bytes and
    /// no less; `u64::MAX` where it only grows, 0 where any length is right.
    pub fn new(path: PathBuf, kept: u64) -> Self {
        Self {
            path,
            file: None,
            length: 0,
            kept,
        }
    }

    /// Its owner has cut it to whatever length it has now.
    pub const fn was_cut_by_owner(&mut self) {
        self.length = 0;
    }

    /// Where it should be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether it is there as it was: one system call, no disk.
    ///
    /// # Errors
    ///
    /// When the system does not say. Then it is not known to be gone.
    pub fn look(&mut self) -> io::Result<Option<Taken>> {
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(self.file.map(|_| Taken::Deleted));
            }
            Err(cause) => return Err(cause),
        };
        let file = (found.dev(), found.ino());
        if *self.file.get_or_insert(file) != file {
            return Ok(Some(Taken::Replaced));
        }
        if found.len() < self.length.min(self.kept) {
            return Ok(Some(Taken::Cut));
        }
        self.length = found.len();
        Ok(None)
    }

    /// Whether the file that has its name is the one that was seen first.
    pub fn is_there(&self) -> bool {
        let found = fs::metadata(&self.path);
        found.is_ok_and(|found| Some((found.dev(), found.ino())) == self.file)
    }
}
