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
            return CommandError::from(error)
                .with_hint("run it once more: it gets another certificate first");
        }
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
        let role = self.membership.role;
        if !is_of_clock && matches!(code, Code::PermissionDenied | Code::Unauthenticated) {
            return error.with_hint(format!(
                "this profile is {role} {}; another one is named with --profile",
                self.membership.name
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
