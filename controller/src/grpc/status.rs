//! What a caller learns of an error: the one place where it becomes a gRPC status.

use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::error::{Error, Remedy};

/// Decides what a caller may learn: its own mistakes in full, ours only that there was one.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = program::one_line(&error).to_string();
        if let Error::OutOfTime(time) = error {
            return with_time(Self::unauthenticated(message), time.now_secs);
        }
        if matches!(error, Error::MembershipEnded) {
            let mut status = Self::permission_denied(message);
            let ended = MetadataValue::from_static(fleet::MEMBERSHIP_ENDED);
            status.metadata_mut().insert(fleet::MEMBERSHIP, ended);
            return status;
        }
        if matches!(error, Error::AuthorityUnknown) {
            let mut status = Self::unauthenticated(message);
            let unknown = MetadataValue::from_static(fleet::AUTHORITY_UNKNOWN);
            status.metadata_mut().insert(fleet::MEMBERSHIP, unknown);
            return status;
        }
        match error.remedy() {
            Remedy::Authenticate => Self::unauthenticated(message),
            Remedy::AskForPermission => Self::permission_denied(message),
            Remedy::ComeBack => Self::unavailable(message),
            // Where its server is, is the operator's of this machine to know: the log says it.
            Remedy::AwaitDatabase => of_the_database(
                fleet::DATABASE_AWAY,
                "the controller cannot reach its database now; nothing was changed",
            ),
            Remedy::LookFirst => of_the_database(
                fleet::DATABASE_IN_DOUBT,
                "the controller's database went away during the change: nobody knows whether it was made",
            ),
            // The one code that no other error has, so that clients know what to suggest.
            Remedy::Confirm => Self::out_of_range(message),
            Remedy::Wait | Remedy::AskLess => Self::resource_exhausted(message),
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

/// A refusal because of the database: [`fleet::DATABASE`] says which.
fn of_the_database(what: &'static str, message: &str) -> Status {
    let mut status = Status::resource_exhausted(message);
    let what = MetadataValue::from_static(what);
    status.metadata_mut().insert(fleet::DATABASE, what);
    status
}

/// Adds what time it is here to a refusal that is about time.
pub(super) fn with_time(mut status: Status, now_secs: u64) -> Status {
    if let Ok(time) = now_secs.to_string().parse() {
        status.metadata_mut().insert(fleet::CONTROLLER_TIME, time);
    }
    status
}

#[cfg(test)]
mod tests {
    use fleet::Role;
    use tonic::Code;

    use super::*;
    use crate::error::TokenRefused;
    use crate::random::NoRandomness;
    use crate::store::error::{EngineError, NotCommitted, StoreError};
    use crate::store::seal::SealError;

    #[test]
    fn a_caller_learns_its_own_mistakes_in_full() {
        let taken = Error::NameTaken {
            role: Role::Host,
            name: "web-1".to_owned(),
        };
        let stale = Error::StaleBase {
            base: 1,
            current: 2,
        };
        for (error, code, words) in [
            (Error::Unauthenticated, Code::Unauthenticated, "certificate"),
            (
                Error::Token(TokenRefused::Expired),
                Code::PermissionDenied,
                "token refused: it has expired",
            ),
            (Error::TooMany, Code::ResourceExhausted, "try again"),
            (
                Error::invalid("ttl", "at most 30days"),
                Code::InvalidArgument,
                "ttl: at most",
            ),
            (taken, Code::AlreadyExists, "`web-1`"),
            (Error::not_found("host"), Code::NotFound, "no host"),
            (stale, Code::FailedPrecondition, "generation 2"),
        ] {
            let status = Status::from(error);
            assert_eq!(status.code(), code);
            assert!(status.message().contains(words), "{status:?}");
        }
    }

    #[test]
    fn a_caller_learns_of_our_faults_only_that_there_was_one() {
        for error in [
            Error::Store(StoreError::Damaged {
                what: "members.role",
            }),
            Error::Store(StoreError::Seal(SealError::NotAuthentic)),
            Error::Random(NoRandomness),
        ] {
            let status = Status::from(error);
            assert_eq!(status.code(), Code::Internal);
            assert!(status.message().starts_with("internal error"), "{status:?}");
        }
    }

    #[test]
    fn a_caller_learns_that_the_database_is_away_and_whether_the_change_may_be_made_and_not_where_it_is()
     {
        let engine = || EngineError::new(std::io::Error::other("/run/secret.sock"));
        let unreachable = StoreError::Unreachable {
            server: "db-1.internal".to_owned(),
            source: engine(),
        };
        for (error, what) in [
            (unreachable, fleet::DATABASE_AWAY),
            (
                NotCommitted::Unreachable(engine()).into(),
                fleet::DATABASE_AWAY,
            ),
            (NotCommitted::RolledBack.into(), fleet::DATABASE_AWAY),
            (NotCommitted::Unknown.into(), fleet::DATABASE_IN_DOUBT),
        ] {
            let status = Status::from(Error::Store(error));
            assert_eq!(status.code(), Code::ResourceExhausted);
            let said = status.metadata().get(fleet::DATABASE).unwrap();
            assert_eq!(said, what);
            let message = status.message();
            assert!(
                !message.contains("secret") && !message.contains("db-1"),
                "{message}"
            );
        }
    }
}
