//! How a process of the agent ended, as its supervisor tells it.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use program::Exit;

use super::spawn::Domain;

/// A domain has ended before it was told to, or with an error.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the {domain} domain {how}; nothing opens, and what is hidden stays hidden")]
pub struct DomainEnded {
    pub(crate) domain: &'static str,
    pub(crate) how: HowEnded,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HowEnded {
    Code(i32),
    Signal(i32),
}

// === impl DomainEnded ===

impl DomainEnded {
    /// What the supervisor ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self.how {
            HowEnded::Code(2) => Exit::Usage,
            HowEnded::Code(3) => Exit::Unreachable,
            HowEnded::Code(64) => Exit::Invalid,
            HowEnded::Code(_) | HowEnded::Signal(_) => Exit::Refused,
        }
    }

    /// Whether it has said why by itself.
    pub(crate) fn has_said_why(&self) -> bool {
        self.domain == Domain::Gate.name() && matches!(self.how, HowEnded::Code(_))
    }
}

// === impl HowEnded ===

impl HowEnded {
    pub(crate) fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl fmt::Display for HowEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "has ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}
