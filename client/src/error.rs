//! Why a command failed, sorted by who can do something about it.
//!
//! Scripts depend on the exit codes; they are part of the interface.

use std::error::Error as StdError;
use std::fmt;

use member::{ConnectError, FilesError, JoinError};

/// Who can act, and therefore which exit code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Understood and refused, not found, or failed on this machine. 1
    Refused,
    /// The command line makes no sense; clap's own code. 2
    Usage,
    /// The controller, the host or the network cannot be reached. 3
    Unreachable,
    /// A file that configures something has mistakes. 64
    Invalid,
    /// Nobody reads our output any more, which is no failure. 0
    BrokenPipe,
}

/// What a failed command tells: a message, its causes, and what to do about it.
#[derive(Debug)]
pub(crate) struct CommandError {
    kind: Kind,
    message: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    hint: Option<String>,
}

pub(crate) type Result<T = (), E = CommandError> = std::result::Result<T, E>;

// === impl Kind ===

impl Kind {
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Invalid => 64,
        }
    }
}

// === impl CommandError ===

impl CommandError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            cause: None,
            hint: None,
        }
    }

    /// Understood and refused, or not found.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something did not work on this machine.
    pub(crate) fn failed(
        message: impl Into<String>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(Kind::Refused, message).because(cause)
    }

    /// A file has mistakes; the message names each with file and line.
    pub(crate) fn invalid(mistakes: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, mistakes)
    }

    pub(crate) fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The causes, outermost first.
    pub(crate) fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let mut next = self
            .cause
            .as_deref()
            .map(|cause| cause as &(dyn StdError + 'static));
        std::iter::from_fn(move || {
            let cause = next?;
            next = cause.source();
            Some(cause)
        })
    }

    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        let message = error.to_string();
        match error {
            ConnectError::Unreachable { cause, .. } => Self::new(Kind::Unreachable, message)
                .because(cause)
                .hint("is the controller running, and does a firewall stand between?"),
            ConnectError::NotTheController { cause, .. } => Self::failed(message, cause)
                .hint("nothing was sent to it; ask an operator whether the address is right"),
            ConnectError::Clock { cause } => Self::failed(message, cause),
            ConnectError::Refused { .. } | ConnectError::Answer(_) => Self::refused(message),
            ConnectError::Files(error) => error.into(),
            ConnectError::Keys(cause) => Self::failed(message, cause),
        }
    }
}

impl From<FilesError> for CommandError {
    fn from(error: FilesError) -> Self {
        let message = error.to_string();
        match error {
            FilesError::NotMember { .. } => Self::refused(message)
                .hint("run `postern join TOKEN` with a token from an operator, or name another profile with --profile"),
            FilesError::Io { cause, .. } => Self::failed(message, cause),
            FilesError::Damaged { .. } | FilesError::Exposed { .. } => Self::refused(message),
        }
    }
}

impl From<JoinError> for CommandError {
    fn from(error: JoinError) -> Self {
        let message = error.to_string();
        match error {
            JoinError::TokenExpired { .. } | JoinError::TokenRefused { .. } => {
                Self::refused(message)
            }
            JoinError::AlreadyMember { .. } => Self::refused(message)
                .hint("name another profile with --profile, or replace this one with --force"),
            JoinError::Connect(error) => error.into(),
            JoinError::Files(error) => error.into(),
        }
    }
}
