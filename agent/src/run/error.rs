//! Why the agent does not run, sorted by who can do something about it.

use std::io;

use member::FilesError;

use crate::capture::CaptureError;
use crate::explain::InvalidAccessFile;
use crate::firewall::FirewallError;
use crate::journal::JournalError;

/// Why the agent did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    AccessFile(#[from] InvalidAccessFile),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    CompiledPolicy(#[from] gate::CompileError),
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Member(#[from] FilesError),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A bug. What is open ends by itself.
    #[error("a part of the agent broke off")]
    Panicked,
}
