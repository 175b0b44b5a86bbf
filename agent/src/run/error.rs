//! Why the agent does not run, sorted by who can do something about it.

use std::io;
use std::path::PathBuf;

#[cfg(feature = "link")]
use member::FilesError;
use program::files::ReadError;

use crate::capture::CaptureError;
use crate::config::ConfigError;
use crate::domains::ended::DomainEnded;
use crate::firewall::FirewallError;
use crate::journal::JournalError;
use crate::os_signatures::BadOsSignatures;
use crate::policies::InvalidAccessFile;

/// Why the agent did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    AccessFile(#[from] InvalidAccessFile),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the agent remembers is in the hands of others.
    #[error(transparent)]
    State(ReadError),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    CompiledPolicy(#[from] gate::CompileError),
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[cfg(feature = "link")]
    #[error(transparent)]
    Member(#[from] FilesError),
    /// A controller is wanted of an agent that was built without the feature `link`.
    #[cfg(not(feature = "link"))]
    #[error("this postern-agent was built without the link to a controller")]
    NoLink,
    #[cfg(feature = "metrics")]
    #[error("cannot listen on {address} for metrics (metrics_listen)")]
    Metrics {
        /// What the configuration says.
        address: std::net::SocketAddr,
        #[source]
        cause: io::Error,
    },
    /// A process of the agent has ended, and so does the agent.
    #[error(transparent)]
    DomainEnded(#[from] DomainEnded),
    /// The gate cannot write in another one.
    #[error("the state directory {} was taken away; it is made anew at the next start", .0.display())]
    StateLost(PathBuf),
    #[error("the processes of the agent cannot work together")]
    Domains(#[source] io::Error),
    #[error("the kernel does not say which addresses this host has")]
    Network(#[source] io::Error),
    #[error(
        "what fwknopd has seen on this host, and was kept, cannot be read: it might be granted again"
    )]
    Digests(#[source] io::Error),
    #[error(transparent)]
    OsSignatures(#[from] BadOsSignatures),
    #[error("the system gives no random bytes")]
    Random(#[source] io::Error),
    #[error("cannot listen on the socket for `postern-agent status`")]
    Status(#[source] io::Error),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}
