//! Where included files come from: a trait, because this crate reads no disk.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use crate::open_pgp::GPG_HOME_DIR_DEFAULT;

/// What a text depends on that does not stand in it: the files that `%include`, `%include_folder` and
/// `%include_keys` name, and what the machine says for all of them.
///
/// Relative paths have been joined to the folder of the file that names them.
pub trait Source {
    /// The text of a file. It may have keys in it, and is wiped when it has been read.
    ///
    /// # Errors
    ///
    /// [`ReadError`] says why there is none; it becomes a mistake at the line of the include.
    fn read(&self, path: &Path) -> Result<Zeroizing<String>, ReadError>;

    /// The `*.conf` files of a folder, in any order; the parser sorts them.
    ///
    /// # Errors
    ///
    /// [`ReadError`] says why the folder cannot be listed.
    fn list_conf(&self, dir: &Path) -> Result<Vec<PathBuf>, ReadError>;

    /// The zone in which fwknop's dialect reads dates: that of the host. UTC where it is not said.
    fn time_zone(&self) -> TimeZone {
        TimeZone::UTC
    }

    /// Where the keyring of a stanza is that has no GPG_HOME_DIR.
    fn gpg_home(&self) -> Cow<'_, str> {
        GPG_HOME_DIR_DEFAULT.into()
    }
}

/// Why an included file could not be read, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// A source without files: every include is a mistake.
///
/// For texts that came over the network, which must not make a program read its own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIncludes;

// === impl ReadError ===

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

// === impl NoIncludes ===

impl Source for NoIncludes {
    fn read(&self, _path: &Path) -> Result<Zeroizing<String>, ReadError> {
        Err(ReadError("files cannot be included here".to_owned()))
    }

    fn list_conf(&self, _dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
        Err(ReadError("folders cannot be included here".to_owned()))
    }
}
