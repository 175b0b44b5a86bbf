//! Why the agent does not run, sorted by who can do something about it.

use std::io;

use member::FilesError;

use crate::capture::CaptureError;
use crate::firewall::FirewallError;
use crate::journal::JournalError;
use crate::policies::InvalidAccessFile;

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
    #[error("the system gives no random bytes")]
    Random(#[source] io::Error),
    #[error("cannot listen on the socket for `postern-agent status`")]
    Status(#[source] io::Error),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}
