//! The database's files as the disk has them: whether they are still the ones that were opened, how
//! long the write-ahead log is, and what an error of the engine means for whoever runs the disk.

use std::fs;
use std::path::{Path, PathBuf};

use program::{Taken, WatchedFile};
use rusqlite::{Connection, ErrorCode};

use super::connection::LOG_BYTES_KEPT;
use crate::store::error::{EngineError, NotCommitted, StoreError, Trouble};

/// A disk with less room than this is full, in bytes.
const ROOM_MIN: u64 = 1024 * 1024;

/// The files of an open database.
#[derive(Debug)]
pub(super) struct Files {
    /// Only grows.
    database: WatchedFile,
    /// Made by the first transaction, and emptied now and then by us alone.
    log: WatchedFile,
}

// === impl Files ===

impl Files {
    /// Those of `connection`; `None` of a database in memory.
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        let path = connection.path().filter(|path| !path.is_empty())?;
        let mut files = Self {
            database: WatchedFile::new(PathBuf::from(path), u64::MAX),
            log: WatchedFile::new(PathBuf::from(format!("{path}-wal")), LOG_BYTES_KEPT),
        };
        // What is wrong already will be wrong at the first transaction.
        let _ = files.check_database();
        let _ = files.check_log();
        Some(files)
    }

    /// Looks whether the database is still what was opened. What is written into a file that was
    /// removed is lost at the next start, without any error.
    pub(super) fn check_database(&mut self) -> Result<(), Trouble> {
        check(&mut self.database)
    }

    /// The same for the log.
    pub(super) fn check_log(&mut self) -> Result<(), Trouble> {
        check(&mut self.log)
    }

    /// Whether the log holds all that the engine believes to be in it: one that was emptied by another
    /// process (`postern-controller token`) does, and one that was cut by hand does not. Never to be
    /// asked of a database that was cut: the engine moves the log into it, and makes it long again.
    pub(super) fn log_is_whole(&self, connection: &Connection) -> bool {
        const HEADER_BYTES: u64 = 32;
        const FRAME_HEADER_BYTES: u64 = 24;
        let ask =
            |pragma, column| connection.query_row(pragma, [], |row| row.get::<_, i64>(column));
        let frames = ask("PRAGMA wal_checkpoint(PASSIVE)", 1);
        let page = ask("PRAGMA page_size", 0);
        let (Ok(frames), Ok(page)) = (frames.map(u64::try_from), page.map(u64::try_from)) else {
            return false;
        };
        let (Ok(frames), Ok(page)) = (frames, page) else {
            return false;
        };
        let needed = frames.saturating_mul(FRAME_HEADER_BYTES.saturating_add(page));
        frames == 0 || self.log_bytes() >= HEADER_BYTES.saturating_add(needed)
    }

    /// We have moved the log into the database, and perhaps emptied it.
    pub(super) fn log_was_emptied(&mut self) {
        self.log.was_cut_by_owner();
    }

    /// How long the write-ahead log is, in bytes.
    pub(super) fn log_bytes(&self) -> u64 {
        fs::metadata(self.log.path()).map_or(0, |log| log.len())
    }
}

fn check(file: &mut WatchedFile) -> Result<(), Trouble> {
    match file.look() {
        Ok(None) => Ok(()),
        Ok(Some(Taken::Deleted)) => Err(Trouble::Removed),
        Ok(Some(Taken::Replaced)) => Err(Trouble::Replaced),
        Ok(Some(Taken::Cut)) => Err(Trouble::Truncated),
        Err(_) => Err(Trouble::Failing),
    }
}

/// Whether a run left a write-ahead log behind, which one that closed its database does not.
pub(super) fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

// === errors ===

/// Names the file, and its disk, in an error that is theirs.
pub(super) fn named(error: StoreError, path: &Path) -> StoreError {
    let (trouble, source) = match error {
        StoreError::Engine(cause) => match trouble_of(&cause, path) {
            Some(trouble) => (trouble, Some(cause)),
            None => return StoreError::Engine(cause),
        },
        StoreError::NotCommitted(NotCommitted::Refused(cause)) => match trouble_of(&cause, path) {
            Some(trouble) => (trouble, Some(cause)),
            None => return StoreError::NotCommitted(NotCommitted::Refused(cause)),
        },
        StoreError::NotCommitted(NotCommitted::Disk(trouble)) => (trouble, None),
        StoreError::NotCommitted(NotCommitted::RolledBack) if is_full(path) => {
            (Trouble::Full, None)
        }
        other @ (StoreError::NotCommitted(
            NotCommitted::RolledBack | NotCommitted::Unreachable(_) | NotCommitted::Unknown,
        )
        | StoreError::Unreachable { .. }
        | StoreError::Postgres(_)
        | StoreError::HalfCopied
        | StoreError::InUse(_)
        | StoreError::OtherSealKey { .. }
        | StoreError::Closed
        | StoreError::Panicked
        | StoreError::Damaged { .. }
        | StoreError::Disk { .. }
        | StoreError::Newer { .. }
        | StoreError::Copy { .. }
        | StoreError::Altered { .. }
        | StoreError::Unproven { .. }
        | StoreError::Mark { .. }
        | StoreError::Seal(_)) => return other,
    };
    StoreError::Disk {
        trouble,
        path: path.to_owned(),
        disk: program::disk::of(path),
        source,
    }
}

/// What an error of the engine means.
fn trouble_of(error: &EngineError, path: &Path) -> Option<Trouble> {
    let code = error
        .downcast_ref::<rusqlite::Error>()?
        .sqlite_error_code()?;
    let trouble = trouble_of_code(code)?;
    if trouble == Trouble::Failing && is_full(path) {
        return Some(Trouble::Full);
    }
    Some(trouble)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other code is about a statement, not about the disk"
)]
fn trouble_of_code(code: ErrorCode) -> Option<Trouble> {
    match code {
        ErrorCode::DiskFull => Some(Trouble::Full),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Some(Trouble::ReadOnly),
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => Some(Trouble::Failing),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(Trouble::Damaged),
        _ => None,
    }
}

fn is_full(path: &Path) -> bool {
    let Some(dir) = path.parent() else {
        return false;
    };
    nix::sys::statvfs::statvfs(dir)
        .is_ok_and(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()) < ROOM_MIN)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn watched(dir: &TempDir) -> (PathBuf, WatchedFile) {
        let path = dir.path().join("file");
        fs::write(&path, "1234").unwrap();
        let mut watched = WatchedFile::new(path.clone(), u64::MAX);
        assert_eq!(check(&mut watched), Ok(()));
        (path, watched)
    }

    #[test]
    fn a_file_that_was_removed_replaced_or_cut_is_noticed() {
        let dir = TempDir::new().unwrap();
        let (path, mut removed) = watched(&dir);
        fs::write(&path, "123456").unwrap();
        assert_eq!(check(&mut removed), Ok(()), "it may grow");
        fs::write(&path, "12345").unwrap();
        assert_eq!(check(&mut removed), Err(Trouble::Truncated));
        let moved = dir.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        assert_eq!(check(&mut removed), Err(Trouble::Removed));
        fs::write(&path, "1234567").unwrap();
        assert_eq!(check(&mut removed), Err(Trouble::Replaced));
        fs::rename(&moved, &path).unwrap();
        fs::write(&path, "1234567").unwrap();
        assert_eq!(check(&mut removed), Ok(()), "it is back, whole");
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_not_missing() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file-wal");
        let mut log = WatchedFile::new(path.clone(), LOG_BYTES_KEPT);

        assert_eq!(check(&mut log), Ok(()));
        fs::write(&path, "1234").unwrap();
        assert_eq!(check(&mut log), Ok(()));
        fs::write(&path, "").unwrap();
        log.was_cut_by_owner();
        assert_eq!(check(&mut log), Ok(()), "a checkpoint empties it");
        fs::write(&path, "1234").unwrap();
        assert_eq!(check(&mut log), Ok(()));
        fs::write(&path, "12").unwrap();
        assert_eq!(check(&mut log), Err(Trouble::Truncated), "nobody else does");
        fs::remove_file(&path).unwrap();
        assert_eq!(check(&mut log), Err(Trouble::Removed));
    }
}
