//! Why the store did not do something. It knows neither the engine's errors nor the services'.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::seal::SealError;

/// What helps where the database's server does not answer.
pub(crate) const REACH_IT: &str = "start that server, let it take in this controller (pg_hba.conf), or correct [database] in \
                                   controller.toml";

/// Why the store did not do something. A conflict with what is stored is not among these: it is an
/// answer of the operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine could not do it; nothing of this operation was kept.
    #[error("database")]
    Engine(#[source] EngineError),
    /// The operation itself went well, but its transaction was lost.
    #[error("the transaction was not committed")]
    NotCommitted(#[from] NotCommitted),
    /// The disk or the file is in trouble; nothing of this operation was kept.
    #[error(
        "{trouble}: {path} ({disk})",
        path = path.display()
    )]
    Disk {
        /// What is wrong.
        trouble: Trouble,
        /// Of the database.
        path: PathBuf,
        /// Its disk, with the room that is there, and where it is mounted.
        disk: String,
        /// What the engine says, where it was asked.
        source: Option<EngineError>,
    },
    /// Nothing of it was changed.
    #[error(
        "the database has schema {found} and was made by {}; this is postern-controller {version}, \
         which knows schemas up to {known}",
        program(written_by),
        version = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// Number of its schema.
        found: u32,
        /// Of the newest that this program knows.
        known: u32,
        /// The version of the program that brought it to its schema; empty for one that does not say.
        written_by: String,
    },
    /// The database is as it was.
    #[error("cannot copy the database to {path}")]
    Copy {
        /// Of the copy.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No server at the other end, or none that takes us in.
    #[error("the database cannot be reached at {server}")]
    Unreachable {
        /// Its hosts.
        server: String,
        /// What was said.
        source: EngineError,
    },
    /// It cannot even be tried.
    #[error(transparent)]
    Postgres(#[from] PostgresMistake),
    /// `db copy` was killed, and goes on when it is told to.
    #[error("the database is half a copy of another")]
    HalfCopied,
    /// It would seal what no other controller could open.
    #[error(
        "the database is sealed under {}, and the seal key here is {here}",
        known.as_ref().map_or_else(|| "another seal key".to_owned(), |it| format!("seal key {it}"))
    )]
    OtherSealKey {
        /// What people tell the right one by, where that is known.
        known: Option<String>,
        /// And the one that was given.
        here: String,
    },
    /// What is to be done is done with every controller stopped.
    #[error("a controller uses the database at {0}")]
    InUse(String),
    /// It was told to close.
    #[error("the store is closed")]
    Closed,
    /// A defect: one of the store's threads is gone, and its panic is in the log.
    #[error("a thread of the store panicked")]
    Panicked,
    /// What is stored is not what this program writes.
    #[error("`{what}` in the database is damaged")]
    Damaged {
        /// Table and column.
        what: &'static str,
    },
    /// Something else than a controller with this seal key wrote a row; it counts for nothing.
    #[error(
        "row {row} of {table} in the database was changed by something else than the controller, \
         or seal.key is another"
    )]
    Altered {
        /// Where it is.
        table: &'static str,
        /// What names it.
        row: String,
    },
    /// The directory has had a database that can tell what was changed in it, and this one cannot.
    #[error(
        "the database has schema {found}, in which nobody can tell what else has changed it, and this \
         directory had one that can"
    )]
    Unproven {
        /// Number of its schema.
        found: u32,
        /// The file that says so.
        mark: PathBuf,
    },
    /// That rows can be told cannot be noted.
    #[error("cannot make {path}")]
    Mark {
        /// Of the file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A text cannot be sealed or read back.
    #[error("a sealed text")]
    Seal(#[from] SealError),
}

/// What is wrong with how a PostgreSQL server is to be reached. Whoever wrote the settings can act.
#[derive(Debug, thiserror::Error)]
pub enum PostgresMistake {
    /// Neither a URL nor words.
    #[error("the address of the database is none of PostgreSQL's")]
    Address(#[source] EngineError),
    /// Settings are read by more people than secrets are.
    #[error("the address of the database has a password in it; put it into a file of its own")]
    Password,
    /// The password cannot be read.
    #[error("cannot read the password of the database in {}", path.display())]
    PasswordFile {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The server's authorities cannot be read.
    #[error("cannot read the authorities of the database in {}", path.display())]
    Authorities {
        /// Where they should be.
        path: PathBuf,
        /// What is wrong with them.
        source: EngineError,
    },
    /// It is not clear whether there is to be TLS.
    #[error(
        "the address of the database names no host, or sockets beside hosts; name one or the other"
    )]
    Hosts,
    /// What goes there grants access.
    #[error(
        "the address of the database says sslmode=disable, and it is on another machine; leave that out"
    )]
    NoTls,
}

/// Why a whole transaction was lost; every write in it hears the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotCommitted {
    /// As engines do when the disk is full.
    #[error("the engine rolled it back by itself")]
    RolledBack,
    /// It could not be begun or committed.
    #[error("the engine refused it")]
    Refused(#[source] EngineError),
    /// There is no server to begin with.
    #[error("the database cannot be reached")]
    Unreachable(#[source] EngineError),
    /// The server went away during the commit, and nobody can be asked.
    #[error("whether it was committed is not known: the database went away")]
    Unknown,
    /// The files are not what was opened, or not to be trusted.
    #[error("{0}")]
    Disk(Trouble),
}

/// What is wrong with the disk or with the files on it. Whoever runs the machine can act.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// No room; all goes on when there is some.
    #[error("the disk is full")]
    Full,
    /// Nothing can be written; all goes on when something can.
    #[error("the disk, or the file, is read-only")]
    ReadOnly,
    /// It cannot be read or written.
    #[error("the disk fails")]
    Failing,
    /// Pages of the database are not what was written.
    #[error("the database is damaged; stop the controller and restore it from a backup")]
    Damaged,
    /// What would be written now would be lost.
    #[error("the database was removed under the running controller; restore it and start again")]
    Removed,
    /// Another file has its name.
    #[error("the database was replaced under the running controller; start it again")]
    Replaced,
    /// A part of it is gone.
    #[error("the database was cut short under the running controller; restore it from a backup")]
    Truncated,
}

/// An error in the engine's own words.
#[derive(Clone)]
pub struct EngineError(Arc<dyn Error + Send + Sync>);

/// A version of the program, as people call it.
fn program(written_by: &str) -> String {
    if written_by.is_empty() {
        return "a newer version of postern-controller".to_owned();
    }
    format!("postern-controller {written_by}")
}

// === impl EngineError ===

impl EngineError {
    pub(crate) fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// The error itself, when it is of this type.
    pub(super) fn downcast_ref<T: Error + 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
