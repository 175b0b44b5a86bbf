//! What a caller learns of an error: the one place where it becomes a gRPC status.

use tonic::Status;

use crate::chain::chain;
use crate::error::{Error, Remedy};

/// Decides what a caller may learn: its own mistakes in full, ours only that there was one.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = chain(&error);
        match error.remedy() {
            Remedy::Authenticate => Self::unauthenticated(message),
            Remedy::AskForPermission => Self::permission_denied(message),
            Remedy::Wait => Self::resource_exhausted(message),
            Remedy::Correct => Self::invalid_argument(message),
            Remedy::ChooseAnother => Self::already_exists(message),
            Remedy::LookElsewhere => Self::not_found(message),
            Remedy::StartOver => Self::failed_precondition(message),
            Remedy::ReadTheLog => {
                tracing::error!(error = message, "request failed");
                Self::internal("internal error; the controller's log has the cause")
            }
        }
    }
}
