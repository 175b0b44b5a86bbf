//! The file of the seal key, and its two names while the key is rotated.
//!
//! The next key lies beside the old one, durably, before the database is sealed under it, and takes the
//! old one's place after that. Whoever dies in between leaves both, and the database says which is right.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{DataDir, DataDirError, hands};
use crate::settings::Settings;
use crate::store::seal::{KEY_LEN, SealKey};
use crate::store::{self, Place};

/// Of the key, where it is in the directory.
const FILE_NAME: &str = "seal.key";
/// Where systemd puts what `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// 64 digits and the end of the line, twice as many for what an editor adds.
const FILE_BYTES_MAX: u64 = 128;

type Key = Zeroizing<[u8; KEY_LEN]>;

// === impl DataDir ===

impl DataDir {
    /// The key under which the database is sealed.
    pub(crate) fn seal_key(&self) -> Result<SealKey, DataDirError> {
        Ok(SealKey::new(&*self.seal_key_bytes()?))
    }

    /// The same, as bytes.
    pub(crate) fn seal_key_bytes(&self) -> Result<Key, DataDirError> {
        hands::check(self.path())?;
        let path = self.seal_path();
        match self.rotated()? {
            Some(key) => Ok(key),
            None => read(&path),
        }
    }

    /// The same as text, as it stands in its file.
    pub(crate) fn seal_key_text(&self) -> Result<Zeroizing<String>, DataDirError> {
        Ok(text(&*self.seal_key_bytes()?))
    }

    /// Writes the first key.
    pub(crate) fn write_seal_key(&self, key: &[u8; KEY_LEN]) -> Result<(), DataDirError> {
        let path = self.path().join(FILE_NAME);
        super::write_new(&path, 0o600, text(key).as_bytes())
    }

    /// Puts this key in the place of the one that is there, if any. Whoever asks serves from the directory.
    pub(crate) fn replace_seal_key(&self, key: &[u8; KEY_LEN]) -> Result<(), DataDirError> {
        self.replace(&self.seal_path(), 0o600, text(key).as_bytes())
    }

    /// Puts the next key beside the one of now. Whoever asks serves from the directory.
    pub(crate) fn begin_rotation(&self, next: &[u8; KEY_LEN]) -> Result<(), DataDirError> {
        super::write_new(&self.next_seal_path(), 0o600, text(next).as_bytes())
    }

    /// Brings a rotation to its end, or undoes one that has not reached the database. Nothing happens
    /// where there is none. Whoever asks serves from the directory.
    pub(crate) fn end_rotation(&self) -> Result<(), DataDirError> {
        let (path, next) = (self.seal_path(), self.next_seal_path());
        // Where the key is elsewhere, its drafts are there, too. Nobody else writes it.
        if path.parent() != Some(self.path()) && path.exists() {
            let discarded = program::files::discard_drafts(&path);
            discarded.map_err(|error| DataDirError::file(&path, error))?;
        }
        if fs::symlink_metadata(&next).is_err() {
            return Ok(());
        }
        if let Some(key) = self.rotated()? {
            self.replace(&path, 0o600, text(&key).as_bytes())?;
        }
        let removed = fs::remove_file(&next);
        let removed =
            removed.and_then(|()| program::files::sync_dir(next.parent().unwrap_or(&next)));
        removed.map_err(|error| DataDirError::file(&next, error))
    }

    /// The next key, where the database is sealed under it already.
    fn rotated(&self) -> Result<Option<Key>, DataDirError> {
        let next = self.next_seal_path();
        if fs::symlink_metadata(&next).is_err() {
            return Ok(None);
        }
        let settings = self.read_settings().ok();
        let settings = settings.and_then(|text| Settings::parse(&text).ok());
        let place = match settings.and_then(|settings| settings.database) {
            Some(database) => Place::Postgres(database.under(self.path())),
            None if !self.database().exists() => return Ok(None),
            None => Place::File(self.database()),
        };
        // One that was not written whole is no key, and nothing is sealed under it.
        let Ok(key) = read(&next) else {
            return Ok(None);
        };
        let found = store::is_sealed_under(&place, &key);
        let is_sealed = found.map_err(|source| DataDirError::Sealed {
            database: place.to_string(),
            source,
        })?;
        Ok(is_sealed.then_some(key))
    }

    /// Where the key is: in the directory, as after `init` and `restore`, or where the settings say when
    /// it is not there.
    pub(crate) fn seal_path(&self) -> PathBuf {
        let here = self.path().join(FILE_NAME);
        if fs::symlink_metadata(&here).is_ok() {
            return here;
        }
        let settings = self.read_settings().ok();
        let settings = settings.and_then(|text| Settings::parse(&text).ok());
        match settings.and_then(|settings| settings.seal_key_file) {
            Some(file) => self.path().join(expanded(&file)),
            None => here,
        }
    }

    /// The next key, where a rotation has not come to its end.
    pub(crate) fn unfinished_rotation(&self) -> Option<PathBuf> {
        let next = self.next_seal_path();
        fs::symlink_metadata(&next).is_ok().then_some(next)
    }

    fn next_seal_path(&self) -> PathBuf {
        self.seal_path().with_added_extension("new")
    }
}

/// A path that begins with `$CREDENTIALS_DIRECTORY`, as units have it, without that.
fn expanded(path: &Path) -> PathBuf {
    let variable = format!("${CREDENTIALS}");
    match (path.strip_prefix(variable), std::env::var_os(CREDENTIALS)) {
        (Ok(name), Some(dir)) => Path::new(&dir).join(name),
        _ => path.to_owned(),
    }
}

/// The key in a file of an operator's, as in a controller's directory; `-` is standard input.
///
/// # Errors
///
/// [`DataDirError`] where others could read it, and for what is no key.
pub fn seal_key_from(path: &Path) -> Result<Key, DataDirError> {
    if path != Path::new("-") {
        // A file that is not there is an error here.
        fs::metadata(path).map_err(|error| DataDirError::file(path, error))?;
        return read(path);
    }
    let mut bytes = Zeroizing::new(Vec::new());
    std::io::stdin()
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| DataDirError::file(path, error))?;
    key_in(path, &bytes)
}

fn read(path: &Path) -> Result<Key, DataDirError> {
    hands::looked_at(path, program::trusted::check_secret(path))?;
    let read = program::trusted::read(path, FILE_BYTES_MAX);
    let read = read.map_err(|error| DataDirError::file(path, error))?;
    key_in(path, &read.bytes)
}

fn key_in(path: &Path, bytes: &[u8]) -> Result<Key, DataDirError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    hex::decode_to_slice(bytes.trim_ascii(), &mut *key)
        .map_err(|_| DataDirError::SealKey(path.to_owned()))?;
    Ok(key)
}

fn text(key: &[u8; KEY_LEN]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(hex::encode(key));
    text.push('\n');
    text
}
