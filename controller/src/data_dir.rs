//! The controller's directory: what is in it, and who may read it.
//!
//! | file | what |
//! |---|---|
//! | `controller.toml` | settings; written last by `init`, so that its presence means a whole directory |
//! | `authority.json` | every authority that counts, with its key, and the key that signs directories |
//! | `ca.pem`, `ca-key.pem` | the one that issues, as it stands there: for people and programs of before |
//! | `authority.lock` | held while `authority.json` is changed |
//! | `backup.lock` | held while a backup copies the database beside itself |
//! | `write.lock` | held while a file is replaced, so that what is half written then is of somebody who was killed |
//! | `server.pem`, `server-key.pem` | the controller's TLS certificate with the CA's behind it |
//! | `seal.key` | 32 bytes, hexadecimal: without it the static keys in the database cannot be read; elsewhere where `seal_key_file` says so |
//! | `seal.key.new` | beside it while the key is rotated: the next one, until the database is sealed under it |
//! | `controller.db` | everything else |
//! | `controller.toml.moved` | the settings of a controller that `move` has packed |
//! | `run` | names the last run; the database must name the same |
//! | `controller-name` | this controller's own name, among several over one database |
//! | `lock` | held while serving |
//! | `status.sock` | where `status` asks whoever serves |
//! | `last-backup` | when one was made last |

mod authority;
mod begun;
mod drafts;
mod hands;
mod seal_keys;

pub(crate) use self::begun::Begun;
pub use self::seal_keys::seal_key_from;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::ca::Credentials;
use crate::store::error::StoreError;

/// Of what is no database.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Where whoever may enter the directory asks how the controller is.
const STATUS_SOCKET: &str = "status.sock";
/// What tells this controller from others over its database.
const NAME: &str = "controller-name";
/// When the last backup was made.
const LAST_BACKUP: &str = "last-backup";

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

/// Why a directory cannot be used. What can be done about it is in `failure`.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// `init` changes no controller.
    #[error("{0} holds a controller already; nothing was changed")]
    Initialised(PathBuf),
    /// `init` fills only an empty directory.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// It is there, and `init` was not run or was interrupted.
    #[error("{0} holds no controller")]
    NotInitialised(PathBuf),
    /// Nothing is there.
    #[error("there is no {0}")]
    Missing(PathBuf),
    /// What is there belongs to somebody else.
    #[error("this user (uid {uid}) may not use {path}")]
    Forbidden {
        /// What may not be used.
        path: PathBuf,
        /// Who we are.
        uid: u32,
        /// What the system says.
        source: io::Error,
    },
    /// `move` has packed it for another machine.
    #[error("the controller of {0} was moved to another machine")]
    Moved(PathBuf),
    /// What a command needs to be a file is none.
    #[error("the database of {0} is at a PostgreSQL server, and is no file")]
    Elsewhere(PathBuf),
    /// Two controllers cannot share a directory.
    #[error("another controller serves {0}")]
    Locked(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Of the file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not hold a key.
    #[error("{0} is not a seal key (64 hexadecimal digits)")]
    SealKey(PathBuf),
    /// Others could read or change what is in it.
    #[error("{path} is not its owner's alone")]
    Exposed {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Who could, and the command that mends it.
        source: io::Error,
    },
    /// Which of two keys it is sealed under cannot be found out.
    #[error("cannot read what {database} is sealed under")]
    Sealed {
        /// Where it is.
        database: String,
        /// What the store says.
        source: StoreError,
    },
}

// === impl DataDir ===

impl DataDir {
    /// A directory that `init` has made.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let dir = Self(path.to_owned());
        match fs::metadata(dir.settings()) {
            Ok(_) => Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(dir.retired()).is_ok() {
                    return Err(DataDirError::Moved(path.to_owned()));
                }
                // Which of the two is missing?
                match fs::metadata(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        Err(DataDirError::Missing(path.to_owned()))
                    }
                    Ok(_) | Err(_) => Err(DataDirError::NotInitialised(path.to_owned())),
                }
            }
            Err(error) => Err(DataDirError::file(&dir.settings(), error)),
        }
    }

    /// A directory for `init` to fill: new or empty, mode 0700.
    pub(crate) fn create(path: &Path) -> Result<Self, DataDirError> {
        let dir = Self(path.to_owned());
        match fs::symlink_metadata(dir.settings()) {
            Ok(_) => return Err(DataDirError::Initialised(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(DataDirError::file(&dir.settings(), error)),
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| DataDirError::file(path, error))?;
        let mut entries = fs::read_dir(path).map_err(|error| DataDirError::file(path, error))?;
        if entries.next().is_some() {
            return Err(DataDirError::NotEmpty(path.to_owned()));
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(path, mode).map_err(|error| DataDirError::file(path, error))?;
        Ok(dir)
    }

    /// What others could read but for the directory, in words.
    pub(crate) fn readable(&self) -> Vec<String> {
        hands::readable(&self.0)
    }

    /// The text of the settings.
    pub(crate) fn read_settings(&self) -> Result<String, DataDirError> {
        read(&self.settings())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.0.join("controller.toml")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("controller.db")
    }

    /// The same, when it is there and may be read: an engine would make another, or say that the disk
    /// fails.
    pub(crate) fn existing_database(&self) -> Result<PathBuf, DataDirError> {
        // One of before may still be there.
        let settings = toml::from_str::<toml::Table>(&self.read_settings()?);
        if settings.is_ok_and(|settings| settings.contains_key("database")) {
            return Err(DataDirError::Elsewhere(self.0.clone()));
        }
        let path = self.database();
        match File::open(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(DataDirError::file(&path, error)),
        }
    }

    /// The authority, or the server's identity.
    pub(crate) fn identity(&self, name: &str) -> Result<Credentials, DataDirError> {
        let [certificate, key] = self.identity_paths(name);
        hands::check(&self.0)?;
        Ok(Credentials {
            certificate_pem: read(&certificate)?,
            key_pem: read(&key)?,
        })
    }

    pub(crate) fn write_identity(
        &self,
        name: &str,
        identity: &Credentials,
    ) -> Result<(), DataDirError> {
        let [certificate, key] = self.identity_paths(name);
        write_new(&certificate, 0o644, identity.certificate_pem.as_bytes())?;
        write_new(&key, 0o600, identity.key_pem.as_bytes())
    }

    /// Written last by `init`.
    pub(crate) fn write_settings(&self, text: &str) -> Result<(), DataDirError> {
        write_new(&self.settings(), 0o600, text.as_bytes())
    }

    /// Replaces them: afterwards there are the new ones whole, or the old ones.
    pub(crate) fn replace_settings(&self, text: &str) -> Result<(), DataDirError> {
        self.replace(&self.settings(), 0o600, text.as_bytes())
    }

    /// Any of its files that is text.
    pub(crate) fn read(&self, name: &str) -> Result<String, DataDirError> {
        read(&self.0.join(name))
    }

    /// Keeps this controller from being served again.
    pub(crate) fn retire(&self) -> Result<(), DataDirError> {
        let path = self.settings();
        let retired = fs::rename(&path, self.retired());
        retired
            .and_then(|()| program::files::sync_dir(&self.0))
            .map_err(|error| DataDirError::file(&path, error))
    }

    fn retired(&self) -> PathBuf {
        self.0.join("controller.toml.moved")
    }

    /// The name of the last run, if there was one.
    pub(crate) fn run(&self) -> Result<Option<String>, DataDirError> {
        let path = self.0.join("run");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataDirError::file(&path, error)),
        }
    }

    /// The controller's own name, where it is one of several over one database; `None` in a directory of before.
    pub(crate) fn name(&self) -> Result<Option<String>, DataDirError> {
        let path = self.0.join(NAME);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataDirError::file(&path, error)),
        }
    }

    pub(crate) fn write_name(&self, name: &str) -> Result<(), DataDirError> {
        self.replace(&self.0.join(NAME), 0o600, name.as_bytes())
    }

    /// Makes the directory one whose last run nobody knows.
    pub(crate) fn forget_run(&self) -> Result<(), DataDirError> {
        let path = self.0.join("run");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DataDirError::file(&path, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn write_run(&self, run: &str) -> Result<(), DataDirError> {
        self.replace(&self.0.join("run"), 0o600, run.as_bytes())
    }

    /// Where the controller that serves from here says how it is.
    pub(crate) fn status_socket(&self) -> PathBuf {
        self.0.join(STATUS_SOCKET)
    }

    /// Of the database and what is written beside it; 0 for none.
    pub(crate) fn database_bytes(&self) -> u64 {
        let database = self.database();
        let beside = |end: &str| {
            let mut name = database.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        };
        let files = [database.clone(), beside("-wal"), beside("-shm")];
        let sizes = files.iter().filter_map(|path| fs::metadata(path).ok());
        sizes.map(|file| file.len()).sum()
    }

    /// When the last backup was made, RFC 3339; empty when none is known.
    pub(crate) fn last_backup(&self) -> String {
        let text = fs::read_to_string(self.0.join(LAST_BACKUP)).unwrap_or_default();
        text.trim().to_owned()
    }

    /// Notes when a backup was made. It is whole also where that cannot be noted.
    pub(crate) fn note_backup(&self, made_at: &str) {
        let path = self.0.join(LAST_BACKUP);
        let text = format!("{made_at}\n");
        if let Err(error) = self.replace(&path, 0o600, text.as_bytes()) {
            let error = program::one_line(&error);
            tracing::warn!(%error, path = %path.display(), "when the backup was made is not noted");
        }
    }

    /// Makes sure that no other controller serves this directory, for as long as the file lives. What writers
    /// have left that were killed is removed.
    pub(crate) fn lock(&self) -> Result<File, DataDirError> {
        let path = self.0.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| DataDirError::file(&path, error))?;
        match file.try_lock() {
            Ok(()) => {
                self.discard_drafts()?;
                Ok(file)
            }
            Err(fs::TryLockError::WouldBlock) => Err(DataDirError::Locked(self.0.clone())),
            Err(fs::TryLockError::Error(error)) => Err(DataDirError::file(&path, error)),
        }
    }

    fn identity_paths(&self, name: &str) -> [PathBuf; 2] {
        [".pem", "-key.pem"].map(|suffix| self.0.join(format!("{name}{suffix}")))
    }
}

// === impl DataDirError ===

impl DataDirError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() != io::ErrorKind::PermissionDenied {
            return Self::File { path, source };
        }
        Self::Forbidden {
            path,
            uid: nix::unistd::geteuid().as_raw(),
            source,
        }
    }
}

fn read(path: &Path) -> Result<String, DataDirError> {
    let text = program::files::read_bytes(path, FILE_BYTES_MAX).and_then(program::files::text);
    text.map_err(|error| DataDirError::file(path, error))
}

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DataDirError> {
    program::files::create(path, mode, bytes).map_err(|error| DataDirError::file(path, error))
}
