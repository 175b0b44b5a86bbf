//! Why a command failed.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use controller::{BackupError, DatabaseCopyError, RotateError, SinkError, StartError};
use program::{Exit, Failure, PrintError};

/// Why a command failed, by who can act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Copy(#[from] DatabaseCopyError),
    #[error("{count} of these are not sound")]
    Unsound {
        count: usize,
        /// What helps, one after another.
        remedies: String,
    },
    #[error(transparent)]
    Rotate(#[from] RotateError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Print(#[from] PrintError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("cannot work as the owner of {data}")]
    Owner {
        data: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("no controller serves from {}", data.display())]
    NotServing { data: PathBuf },
    /// A defect, or a dying disk.
    #[error("the store is gone")]
    StoreGone,
}

// === impl CommandError ===

impl Failure for CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::Start(error) => error.exit(),
            Self::Backup(error) => error.exit(),
            Self::Copy(error) => error.exit(),
            Self::Rotate(error) => error.exit(),
            Self::Sink(error) => error.exit(),
            Self::Print(error) => error.exit(),
            Self::NotServing { .. } => Exit::Unreachable,
            Self::Owner { .. }
            | Self::Runtime(_)
            | Self::Signals(_)
            | Self::StoreGone
            | Self::Unsound { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Start(error) => error.hint(),
            Self::Backup(error) => error.hint(),
            Self::Copy(error) => error.hint(),
            Self::Rotate(error) => error.hint(),
            Self::Sink(error) => error.hint(),
            Self::Print(error) => error.hint(),
            Self::StoreGone => Some("the log above says why".into()),
            Self::Unsound { remedies, .. } => Some(remedies.into()),
            Self::NotServing { .. } => {
                Some("systemctl start postern-controller; journalctl says why one has ended".into())
            }
            Self::Owner { .. } | Self::Runtime(_) | Self::Signals(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use program::said_twice;

    use super::*;

    #[test]
    fn no_cause_is_said_twice_and_none_is_lost() {
        let cause = || io::Error::other("stuck");
        for error in [
            CommandError::Print(PrintError::Stdout(cause())),
            CommandError::Runtime(cause()),
            CommandError::Signals(cause()),
        ] {
            assert_eq!(said_twice(&error), None, "{error:?}");
            assert!(error.source().is_some(), "{error:?}");
        }
    }
}
