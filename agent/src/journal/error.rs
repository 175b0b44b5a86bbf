//! Why the journal cannot be used; always with the file's name, so that a person can look.

use std::error::Error;
use std::path::{Path, PathBuf};

use program::files::ReadError;

use super::disk;
use super::place::Loss;

/// Why the journal cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Not a database, or one whose pages do not fit together.
    #[error("{path} is damaged: {finding}")]
    Damaged { path: PathBuf, finding: String },
    /// Written by a later version of this program.
    #[error("{path} was written by a newer postern-agent")]
    Newer { path: PathBuf },
    /// It is not there, or may not be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    #[error("another postern-agent uses {path}")]
    InUse { path: PathBuf },
    #[error("cannot {doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot {doing} {path}")]
    Sqlite {
        doing: &'static str,
        path: PathBuf,
        #[source]
        cause: rusqlite::Error,
    },
    /// The disk has no room, or takes nothing. `disk` says which one, and how much room there is.
    #[error("cannot {doing} {path}: {disk}")]
    Disk {
        doing: &'static str,
        path: PathBuf,
        disk: String,
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// Taken away under the running agent, and not mended yet.
    #[error(transparent)]
    Lost(Loss),
    /// Made by a test only.
    #[error("made to fail")]
    Fault,
}

// === impl JournalError ===

impl JournalError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Damaged { .. } => Some(
                "move the file away and start again; packets dated before that start will be \
                 refused, because what was seen before is no longer known",
            ),
            Self::Newer { .. } => Some("install that version again, or use another --state"),
            Self::Unreadable(ReadError::Missing { .. }) => {
                Some("has an agent run here? Its state directory is named with --state")
            }
            Self::Unreadable(ReadError::Denied { .. }) => {
                Some("run it as root: the state directory is the agent's alone")
            }
            Self::Unreadable(ReadError::Other { .. }) => None,
            Self::InUse { .. } => Some("stop the other agent, or use another --state"),
            Self::Io { cause, .. } if program::is_denied(cause) => {
                Some("run it as root: the state directory is the agent's alone")
            }
            Self::Io { .. } => Some("the directory must be writable by this user; see --state"),
            Self::Disk { .. } => Some(
                "make room on that disk, or make it writable; nothing opens before, and a running \
                 agent then goes on by itself",
            ),
            Self::Sqlite { .. } => Some("is there space left on the disk?"),
            Self::Lost(_) => Some("the agent writes it anew as soon as the disk lets it"),
            Self::Fault => None,
        }
    }
}

/// Turns an SQLite error into ours; damage is told apart from everything else.
pub(super) fn cannot(
    path: &Path,
    doing: &'static str,
) -> impl FnOnce(rusqlite::Error) -> JournalError {
    let path = path.to_owned();
    move |cause| {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match cause.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => JournalError::Damaged {
                path,
                finding: cause.to_string(),
            },
            _ if disk::is_to_blame(&cause) => JournalError::Disk {
                disk: program::disk::of(&path),
                doing,
                path,
                cause: Box::new(cause),
            },
            _ => JournalError::Sqlite { doing, path, cause },
        }
    }
}

/// Turns an error of the system into ours.
pub(super) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |cause| {
        if disk::is_to_blame_for(&cause) {
            JournalError::Disk {
                disk: program::disk::of(&path),
                doing,
                path,
                cause: Box::new(cause),
            }
        } else {
            JournalError::Io { doing, path, cause }
        }
    }
}
