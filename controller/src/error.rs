//! Everything a request can fail with, and the one place where it becomes a gRPC status.

use fleet::{Role, UnknownRole};
use tonic::Status;

use crate::chain::chain;
use crate::store::error::StoreError;

/// Why a request was not done, named without reference to gRPC.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no certificate of this fleet was presented")]
    Unauthenticated,
    #[error("the certificate names nobody who belongs to this fleet now")]
    NotMember,
    #[error("{role} {name} is banned from this fleet")]
    Banned { role: Role, name: String },
    #[error("{path} may not be called by {}", who(*.role))]
    NotAllowed { path: String, role: Option<Role> },
    #[error("too many requests from this peer; try again later")]
    TooMany,
    #[error("token refused")]
    Token(#[from] TokenRefused),
    #[error("renewal refused")]
    Renewal(#[from] RenewalRefused),
    #[error("{field}: {problem}")]
    Invalid {
        field: &'static str,
        problem: String,
    },
    #[error("there is a {role} called `{name}` already")]
    NameTaken { role: Role, name: String },
    #[error("no {what}")]
    NotFound { what: String },
    #[error(
        "the policy is at generation {current}, not at {base}: look at what changed, and apply again"
    )]
    StaleBase { base: u64, current: u64 },
    #[error("invalid policy\n{0}")]
    InvalidPolicy(policy::InvalidPolicy),
    #[error("no randomness from the system")]
    Random,
    #[error("no certificate could be made")]
    Certificate(#[from] rcgen::Error),
    #[error("store")]
    Store(#[from] StoreError),
    #[error("a task broke off")]
    Task(#[from] tokio::task::JoinError),
}

/// Why a token does not admit its bearer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenRefused {
    #[error("it is none of this fleet's")]
    Unknown,
    #[error("it has expired; ask an operator for another")]
    Expired,
    #[error("it was redeemed already; ask an operator for another")]
    Used,
}

/// Why a member is not given a fresh certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RenewalRefused {
    #[error("no member of this name, or not its signature")]
    Signature,
    #[error("signed at another time than now: is the clock right?")]
    Clock,
}

// === impl Error ===

impl Error {
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            problem: problem.into(),
        }
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// The error and its causes, outermost first.
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

impl From<UnknownRole> for Error {
    fn from(error: UnknownRole) -> Self {
        Self::invalid("role", error.to_string())
    }
}

/// Decides what a caller may learn: its own mistakes in full, ours only that there was one.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Unauthenticated => Self::unauthenticated(error.chain()),
            Error::NotMember
            | Error::Banned { .. }
            | Error::NotAllowed { .. }
            | Error::Token(_)
            | Error::Renewal(_) => Self::permission_denied(error.chain()),
            Error::TooMany => Self::resource_exhausted(error.chain()),
            Error::Invalid { .. } | Error::InvalidPolicy(_) => {
                Self::invalid_argument(error.chain())
            }
            Error::NameTaken { .. } => Self::already_exists(error.chain()),
            Error::NotFound { .. } => Self::not_found(error.chain()),
            Error::StaleBase { .. } => Self::failed_precondition(error.chain()),
            Error::Random | Error::Certificate(_) | Error::Store(_) | Error::Task(_) => {
                tracing::error!(error = error.chain(), "request failed");
                Self::internal("internal error; the controller's log has the cause")
            }
        }
    }
}

fn who(role: Option<Role>) -> String {
    role.map_or_else(|| "anyone".to_owned(), |role| format!("role {role}"))
}
