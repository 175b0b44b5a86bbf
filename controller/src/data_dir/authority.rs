//! The authorities in the directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{DataDir, DataDirError};
use crate::ca::Credentials;
use crate::ca::kept::Kept;

/// The authorities with their keys.
const AUTHORITY: &str = "authority.json";

impl DataDir {
    /// Of their file.
    pub(crate) fn authority_path(&self) -> PathBuf {
        self.0.join(AUTHORITY)
    }

    /// What is kept of the authorities; `None` in a directory of before, which has one in `ca.pem`.
    pub(crate) fn authority(&self) -> Result<Option<Kept>, DataDirError> {
        let path = self.authority_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataDirError::file(&path, error)),
        };
        let kept = Kept::parse(&text);
        kept.map(Some).map_err(|error| {
            let error = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
            DataDirError::file(&path, error)
        })
    }

    /// Keeps it, in the place of what was, and `ca.pem` with its key as it says.
    pub(crate) fn write_authority(&self, kept: &Kept) -> Result<(), DataDirError> {
        let path = self.authority_path();
        let text = kept.text();
        let text = text.map_err(|error| DataDirError::file(&path, error.into()))?;
        self.replace(&path, 0o600, text.as_bytes())?;
        self.replace_identity("ca", &kept.current.credentials())
    }

    /// Which version of the file there is: it is replaced by every change.
    pub(crate) fn authority_version(&self) -> Option<(u64, i64, i64)> {
        let file = fs::metadata(self.authority_path()).ok()?;
        Some((file.ino(), file.mtime(), file.mtime_nsec()))
    }

    /// Keeps others from changing the authorities, for as long as the file lives. What writers have left that
    /// were killed is removed.
    pub(crate) fn hold_authority(&self) -> Result<File, DataDirError> {
        let path = self.0.join("authority.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let held = file.and_then(|file| file.lock().map(|()| file));
        let held = held.map_err(|error| DataDirError::file(&path, error))?;
        self.discard_drafts()?;
        Ok(held)
    }

    /// Writes both files anew. The key stands there first: a certificate without its key is found to be
    /// that, and made again.
    pub(crate) fn replace_identity(
        &self,
        name: &str,
        identity: &Credentials,
    ) -> Result<(), DataDirError> {
        let [certificate, key] = self.identity_paths(name);
        for (path, mode, text) in [
            (key, 0o600, &identity.key_pem),
            (certificate, 0o644, &identity.certificate_pem),
        ] {
            self.replace(&path, mode, text.as_bytes())?;
        }
        Ok(())
    }
}
