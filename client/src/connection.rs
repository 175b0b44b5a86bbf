//! The controller, as commands talk to it.

use std::time::Duration;

use fleet::Role;
use fleet::wire::audit_client::AuditClient;
use fleet::wire::directory_client::DirectoryClient;
use fleet::wire::operator_client::OperatorClient;
use member::{ConnectError, Membership};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::error::{CommandError, Result};
use crate::profile::Profile;

/// How long an answer may take. Someone is waiting at a terminal.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer in bytes: a whole policy of tens of thousands of stanzas.
const ANSWER_LEN_MAX: usize = 64 << 20;

/// Whether the authority that this profile knows has given way to one that it may learn of, or was put an end to
/// because its key leaked, shows only when it asks for another certificate.
const OTHER_AUTHORITY: &str = "run it again, which asks for another certificate first; where that is refused, the \
     authority that this profile knows counts no more: ask an operator for a token, and join with --force";

/// A member's open channel.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    membership: Membership,
    channel: Channel,
}

// === impl Connection ===

impl Connection {
    /// Connects as the profile's member.
    ///
    /// # Errors
    ///
    /// Exit code 1 when nobody has joined here, 3 when the controller is not reached.
    pub(crate) async fn open(profile: &Profile) -> Result<Self> {
        Self::of(profile.membership()?).await
    }

    /// Connects as this member.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) async fn of(membership: Membership) -> Result<Self> {
        let channel = membership.channel().await?;
        Ok(Self {
            membership,
            channel,
        })
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(crate) fn audit(&self) -> AuditClient<Channel> {
        AuditClient::new(self.channel.clone())
    }

    pub(crate) fn directory(&self) -> DirectoryClient<Channel> {
        DirectoryClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_LEN_MAX)
    }

    pub(crate) fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel.clone())
            .max_decoding_message_size(ANSWER_LEN_MAX)
            .max_encoding_message_size(ANSWER_LEN_MAX)
    }

    /// What this member may do.
    pub(crate) fn role(&self) -> Role {
        self.membership.role
    }

    /// What a refused call means to whoever made it.
    pub(crate) fn refused(&self, status: Status) -> CommandError {
        let code = status.code();
        let said = status.metadata().get(fleet::MEMBERSHIP);
        if said.is_some_and(|said| said == fleet::AUTHORITY_UNKNOWN) {
            self.membership.forget_certificate();
            let error = ConnectError::from_status(&self.membership.address, status);
            return CommandError::from(error).with_hint(OTHER_AUTHORITY);
        }
        let has_ended = said.is_some_and(|said| said == fleet::MEMBERSHIP_ENDED);
        if let Some(error) = unknown_question(&status, self.membership.role) {
            return error;
        }
        if code == Code::NotFound {
            return CommandError::refused(status.message());
        }
        let error = ConnectError::from_status(&self.membership.address, status);
        // Another profile would meet the same clocks.
        let is_of_clock = matches!(error, ConnectError::Clock { .. });
        let error = CommandError::from(error);
        if !is_of_clock && matches!(code, Code::PermissionDenied | Code::Unauthenticated) {
            return error.with_hint(whose(
                self.membership.role,
                &self.membership.name,
                has_ended,
            ));
        }
        error
    }

    /// As [`refused`](Self::refused), for calls that carry a policy: mistakes in it are told with
    /// their lines and exit code 64.
    pub(crate) fn refused_policy(&self, status: Status) -> CommandError {
        if status.code() == Code::InvalidArgument {
            return CommandError::invalid(status.message());
        }
        self.refused(status)
    }
}

/// What whoever is refused may do: she may have another profile that is allowed to, but none that helps where
/// the key of this one has ended, which most often has another in its place.
fn whose(role: Role, name: &str, has_ended: bool) -> String {
    if has_ended {
        return format!(
            "the key of this profile has ended: if {role} {name} has rotated or replaced its keys, use the \
             profile that has the new ones (export it again); else ask an operator for a token, and join"
        );
    }
    format!("this profile is {role} {name}; another one is named with --profile")
}

/// A controller of the version before names the path of a question that it does not know, or that is
/// not for this role; nobody who sits at a terminal knows paths.
fn unknown_question(status: &Status, role: Role) -> Option<CommandError> {
    let names_path = status.message().contains("/postern.v1.");
    let is_unknown = status.code() == Code::Unimplemented
        || (names_path && status.message().ends_with("by anyone"));
    if is_unknown {
        let error = CommandError::refused("the controller does not know this question");
        return Some(error.with_hint("it is of an older version than this program; upgrade it"));
    }
    names_path.then(|| {
        CommandError::refused(format!(
            "the controller refuses: this is not for role {role}"
        ))
        .with_hint("another profile is named with --profile")
    })
}

/// A question with a limit on the wait.
pub(crate) fn ask<T>(question: T) -> Request<T> {
    let mut request = Request::new(question);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_with_a_key_that_has_ended_reads_what_became_of_it_and_not_of_other_profiles() {
        let ended = whose(Role::User, "alice", true);
        assert!(
            ended.contains("user alice has rotated") && !ended.contains("--profile"),
            "{ended}"
        );
        let other = whose(Role::Auditor, "otto", false);
        assert_eq!(
            other,
            "this profile is auditor otto; another one is named with --profile"
        );
    }

    #[test]
    fn whoever_was_cut_off_because_an_authority_counts_no_more_reads_what_to_do_where_asking_again_is_refused()
     {
        for way in ["run it again", "where that is refused", "join with --force"] {
            assert!(OTHER_AUTHORITY.contains(way), "{way}");
        }
    }
}
