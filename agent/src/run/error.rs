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
    /// With all mistakes in the message, one a line.
    #[error("the access file is invalid; nothing was opened\n{0}")]
    AccessFile(String),
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

// === impl RunError ===

impl From<InvalidAccessFile> for RunError {
    fn from(invalid: InvalidAccessFile) -> Self {
        Self::AccessFile(invalid.to_string())
    }
}

impl RunError {
    /// 1 when something is refused or broken, 64 when the configuration cannot be used.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::AccessFile(_)
            | Self::Capture(CaptureError::Filter { .. })
            | Self::Firewall(FirewallError::ChainName(_)) => 64,
            Self::Capture(_)
            | Self::CompiledPolicy(_)
            | Self::Firewall(_)
            | Self::Journal(_)
            | Self::Member(_)
            | Self::Thread(_)
            | Self::Panicked => 1,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Journal(cause) => cause.hint(),
            Self::Firewall(FirewallError::Locked { .. }) => {
                Some("stop it first, or give this one another --chain and --state")
            }
            Self::Firewall(FirewallError::Spawn { .. }) => {
                Some("is the package iptables installed?")
            }
            Self::Firewall(FirewallError::NoIp6tables(_)) => {
                Some("load the kernel's ip6_tables, or switch IPv6 off in the kernel")
            }
            Self::Firewall(_) => Some("the agent needs root, or CAP_NET_ADMIN and CAP_NET_RAW"),
            Self::Capture(CaptureError::Down { .. }) => {
                Some("does the interface exist? Capturing needs root, or CAP_NET_RAW")
            }
            Self::Member(FilesError::NotMember { .. }) => Some(
                "`postern-agent join --token TOKEN` makes this host one of a fleet; \
                 `--access-file FILE` runs it alone",
            ),
            Self::AccessFile(_)
            | Self::Capture(_)
            | Self::CompiledPolicy(_)
            | Self::Member(_)
            | Self::Thread(_)
            | Self::Panicked => None,
        }
    }
}
