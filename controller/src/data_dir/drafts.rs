//! The one way in which a file of the directory is replaced. Whoever is killed in it leaves a draft, with a
//! private key in it as it may be; a lock tells that from one that is being written, so the next who writes, or
//! begins to serve, removes it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{DataDir, DataDirError};

/// How the name of a copy of the database begins that a backup packs.
const COPY: &str = ".backup.";

impl DataDir {
    /// Replaces a file, or makes it: afterwards there is the new one whole, or the old one.
    pub(super) fn replace(&self, path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DataDirError> {
        let _writing = self.hold_writing()?;
        let replaced = program::files::replace(path, mode, bytes);
        replaced.map_err(|error| DataDirError::file(path, error))
    }

    /// Removes what writers have left that were killed, whatever they wrote.
    pub(crate) fn discard_drafts(&self) -> Result<(), DataDirError> {
        let _writing = self.hold_writing()?;
        for draft in self.listed()? {
            tracing::info!(
                path = %draft.display(),
                "removed: whoever wrote it was killed before it was whole"
            );
            fs::remove_file(&draft).map_err(|error| DataDirError::file(&draft, error))?;
        }
        Ok(())
    }

    /// Where a backup copies the database to before it is packed, and what shows that it does.
    pub(crate) fn begin_backup(&self) -> Result<(PathBuf, File), DataDirError> {
        let path = self.path().join("backup.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let held = lock.and_then(|file| file.lock_shared().map(|()| file));
        let held = held.map_err(|error| DataDirError::file(&path, error))?;
        let copy = format!("{COPY}{}.db", std::process::id());
        Ok((self.path().join(copy), held))
    }

    /// What would be removed.
    pub(crate) fn drafts(&self) -> Result<Vec<PathBuf>, DataDirError> {
        // Whoever only looks writes nothing, not even a lock.
        let _writing = match File::open(self.writing()) {
            Ok(file) => Some(file.lock_shared().map(|()| file)),
            Err(_) => None,
        };
        self.listed()
    }

    fn listed(&self) -> Result<Vec<PathBuf>, DataDirError> {
        let found = program::files::drafts(self.path());
        let mut found = found.map_err(|error| DataDirError::file(self.path(), error))?;
        found.extend(self.copies()?);
        Ok(found)
    }

    /// Copies of the database of backups that were killed.
    fn copies(&self) -> Result<Vec<PathBuf>, DataDirError> {
        let failed = |error| DataDirError::file(self.path(), error);
        let Ok(lock) = File::open(self.path().join("backup.lock")) else {
            return Ok(Vec::new());
        };
        // While one is made, nobody knows which is whose.
        if lock.try_lock().is_err() {
            return Ok(Vec::new());
        }
        let mut copies = Vec::new();
        for entry in fs::read_dir(self.path()).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(COPY) {
                copies.push(path);
            }
        }
        copies.sort_unstable();
        Ok(copies)
    }

    fn hold_writing(&self) -> Result<File, DataDirError> {
        let path = self.writing();
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let held = options
            .open(&path)
            .and_then(|file| file.lock().map(|()| file));
        held.map_err(|error| DataDirError::file(&path, error))
    }

    fn writing(&self) -> PathBuf {
        self.path().join("write.lock")
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const LEFT: &str = ".authority.json.4711.0.new";

    #[test]
    fn what_somebody_writes_now_is_not_removed() {
        let temp = TempDir::new().unwrap();
        let dir = DataDir(temp.path().to_owned());
        fs::write(temp.path().join(LEFT), "a private key").unwrap();
        let writing = dir.hold_writing().unwrap();
        let other = dir.clone();
        let removing = std::thread::spawn(move || other.discard_drafts().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(dir.listed().unwrap(), [temp.path().join(LEFT)]);

        drop(writing);
        removing.join().unwrap();
        assert!(dir.listed().unwrap().is_empty());
    }

    #[test]
    fn the_copy_of_a_backup_that_was_killed_is_removed_and_of_one_that_is_made_it_is_not() {
        let temp = TempDir::new().unwrap();
        let dir = DataDir(temp.path().to_owned());
        let (copy, making) = dir.begin_backup().unwrap();
        fs::write(&copy, "a database").unwrap();
        dir.discard_drafts().unwrap();
        assert!(copy.exists());

        drop(making);
        assert_eq!(dir.drafts().unwrap(), std::slice::from_ref(&copy));
        dir.discard_drafts().unwrap();
        assert!(!copy.exists());
    }
}
