//! Whether the journal is still where it was: what is written into a file that nobody finds again is
//! not recorded.

use std::io;
use std::path::{Path, PathBuf};

use program::{Taken, WatchedFile};

use super::FILE_NAME;

/// How a file of the journal was taken away under the running agent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Loss {
    /// The file, or its directory.
    #[error("{} was deleted", .0.display())]
    Deleted(PathBuf),
    /// Another file has its name.
    #[error("{} was replaced", .0.display())]
    Replaced(PathBuf),
    /// It has less in it than was written.
    #[error("{} was cut", .0.display())]
    Cut(PathBuf),
    /// It is there, and what is in it does not fit together.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
}

/// The files of the journal as they were opened.
#[derive(Debug)]
pub(super) struct Place([WatchedFile; 3]);

/// The write-ahead log is cut to this when it is begun anew: see `journal_size_limit`.
pub(super) const LOG_BYTES_KEPT: u64 = 16 * 1024 * 1024;

// === impl Loss ===

impl Loss {
    /// Whether all that was recorded can still be read from the file that is open.
    pub(super) fn is_open_file_whole(&self) -> bool {
        match self {
            Self::Deleted(_) | Self::Replaced(_) => true,
            Self::Cut(_) | Self::Damaged(_) => false,
        }
    }
}

// === impl Place ===

impl Place {
    /// The files in `dir` that have just been opened.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let watch = |suffix, kept| open(dir.join(format!("{FILE_NAME}{suffix}")), kept);
        Ok(Self([
            // A database never becomes shorter.
            watch("", u64::MAX)?,
            watch("-wal", LOG_BYTES_KEPT)?,
            watch("-shm", u64::MAX)?,
        ]))
    }

    /// Looks whether they are there as they were: three system calls, no disk.
    pub(super) fn look(&mut self) -> Option<Loss> {
        self.0.iter_mut().find_map(look)
    }

    /// We have emptied the log, and filled it anew.
    pub(super) fn log_was_emptied(&mut self) {
        let [_, log, _] = &mut self.0;
        log.was_cut_by_owner();
    }

    /// Whether the file that is at the journal's path is the one that was opened.
    pub(super) fn is_ours(&self) -> bool {
        let [database, ..] = &self.0;
        database.is_there()
    }
}

fn open(path: PathBuf, kept: u64) -> io::Result<WatchedFile> {
    let mut file = WatchedFile::new(path, kept);
    file.look()?;
    if file.is_there() {
        Ok(file)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn look(file: &mut WatchedFile) -> Option<Loss> {
    let loss = match file.look() {
        Ok(Some(Taken::Deleted)) => Loss::Deleted,
        Ok(Some(Taken::Replaced)) => Loss::Replaced,
        Ok(Some(Taken::Cut)) => Loss::Cut,
        Ok(None) => return None,
        // Something else has the name of its directory.
        Err(cause) if cause.kind() == io::ErrorKind::NotADirectory => Loss::Deleted,
        // Whoever cannot look knows nothing; a disk that is in trouble fails the commit.
        Err(_) => return None,
    };
    Some(loss(file.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn whatever_happens_to_a_file_is_noticed_and_growing_is_no_loss() {
        let dir = TempDir::new().unwrap();
        let database = dir.path().join(FILE_NAME);
        let log = dir.path().join(format!("{FILE_NAME}-wal"));
        let new = || {
            fs::write(&database, [7; 100]).unwrap();
            fs::write(&log, [7; 100]).unwrap();
            fs::write(dir.path().join(format!("{FILE_NAME}-shm")), [7; 100]).unwrap();
            Place::of(dir.path()).unwrap()
        };

        let mut place = new();
        assert_eq!(place.look(), None);
        fs::write(&log, [7; 200]).unwrap();
        assert_eq!(place.look(), None);
        fs::write(&log, [7; 199]).unwrap();
        assert_eq!(place.look(), Some(Loss::Cut(log.clone())));

        let mut place = new();
        fs::write(dir.path().join("other"), [7; 100]).unwrap();
        fs::rename(dir.path().join("other"), &database).unwrap();
        assert_eq!(place.look(), Some(Loss::Replaced(database.clone())));
        assert!(!place.is_ours());

        let mut place = new();
        fs::remove_file(&log).unwrap();
        assert_eq!(place.look(), Some(Loss::Deleted(log)));
        assert!(place.is_ours());
        fs::remove_dir_all(dir.path()).unwrap();
        assert_eq!(place.look(), Some(Loss::Deleted(database)));
    }
}
