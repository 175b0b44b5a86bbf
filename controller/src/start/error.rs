//! Why the controller cannot be made or started.

use std::path::PathBuf;

use crate::authority::doubt::AuthorityDoubt;
use crate::data_dir::DataDirError;
use crate::error::Error;
use crate::random::NoRandomness;
use crate::server::ServerError;
use crate::settings::InvalidSettings;
use crate::store::error::StoreError;

/// Why the controller cannot be made or started. What can be done about it is in `failure`.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its settings; a person is to correct them.
    ///
    /// With every mistake in the message, one a line.
    #[error("{}", mistakes.in_file(path))]
    Settings {
        /// Of the file.
        path: PathBuf,
        /// All of them.
        mistakes: InvalidSettings,
    },
    /// What lies beside the database is damaged.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] rcgen::Error),
    /// A key of another is in its place.
    #[error("the certificate authority cannot be used: a key in it is not that of its certificate")]
    AuthorityKey,
    /// The file of the authorities is not the one that the database knows.
    #[error("{path} cannot be used")]
    AuthorityFile {
        /// Of the file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        doubt: AuthorityDoubt,
    },
    /// Whoever changed it is followed within seconds.
    #[error("another controller has changed the authorities meanwhile; nothing was changed here")]
    AuthorityMoved,
    /// There is no controller that could be joined.
    #[error("the database holds no fleet")]
    NoFleet,
    /// Its first controller is of a version before.
    #[error("the database does not have the authorities yet")]
    NothingShared,
    /// What is sealed in the database opens under another.
    #[error("this is not the seal key of the database; nothing was made or changed")]
    WrongSealKey {
        /// Which it is, and which this, where that is known.
        source: Option<StoreError>,
    },
    /// The same of the key that signs directories.
    #[error("the key that signs directories cannot be used: authority.json is damaged")]
    DirectoryKey,
    /// There is nothing to replace.
    #[error("no key signs the log yet: the first is made when the controller first serves")]
    NoAuditKey,
    /// It cannot be opened.
    #[error("cannot use {path}")]
    Database {
        /// Of the file.
        path: PathBuf,
        /// What the store says.
        source: StoreError,
    },
    /// Whose it is, nobody can say: it is left alone.
    #[error("the database holds a fleet already; nothing in it was changed")]
    FleetExists,
    /// Its server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The system gave no randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// What was asked for cannot be.
    #[error(transparent)]
    Request(#[from] Error),
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Request(error.into())
    }
}
