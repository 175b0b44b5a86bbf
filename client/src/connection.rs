//! The controller, as commands talk to it.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use fleet::Role;
use fleet::wire::audit_client::AuditClient;
use fleet::wire::directory_client::DirectoryClient;
use fleet::wire::operator_client::OperatorClient;
use member::{ConnectError, Membership};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

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

/// Metadata that this side adds to what became of a change: the command that shows whether it is done.
const LOOK: &str = "postern-look";

/// A member's open channel.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    membership: Membership,
    channel: Channel,
    /// Where the controller is that answers.
    address: String,
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
        let (channel, address) = membership.channel_and_address().await?;
        Ok(Self {
            membership,
            channel,
            address,
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

    /// Asks for a change. Where no answer comes, [`refused`](Self::refused) says that it may be done, and that `look`
    /// shows whether it is: a command, or nothing where nothing is changed.
    ///
    /// # Errors
    ///
    /// What the controller, or the way to it, says.
    pub(crate) async fn change<T>(
        &self,
        look: &'static str,
        change: impl AsyncFnOnce(OperatorClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<Response<T>, Status> {
        change(self.operator()).await.map_err(|mut status| {
            if !look.is_empty() && may_be_done(&status) {
                let look = MetadataValue::from_static(look);
                status.metadata_mut().insert(LOOK, look);
            }
            status
        })
    }

    /// What this member may do.
    pub(crate) fn role(&self) -> Role {
        self.membership.role
    }

    /// What a refused call means to whoever made it.
    pub(crate) fn refused(&self, status: Status) -> CommandError {
        let code = status.code();
        let look = status.metadata().get(LOOK).map(|look| look.to_str());
        if let Some(Ok(look)) = look {
            return in_doubt(&self.address, look.to_owned(), status);
        }
        if database(&status) == Some(fleet::DATABASE_AWAY) {
            let away = format!(
                "the controller at {} cannot reach its database now; nothing was changed",
                self.address
            );
            return CommandError::unreachable(away)
                .with_hint("try again in a moment; knocks go on meanwhile, each host by the policy that it has");
        }
        let said = status.metadata().get(fleet::MEMBERSHIP);
        if said.is_some_and(|said| said == fleet::AUTHORITY_UNKNOWN) {
            self.membership.forget_certificate();
            let error = ConnectError::from_status(&self.address, status);
            return CommandError::from(error).with_hint(OTHER_AUTHORITY);
        }
        let has_ended = said.is_some_and(|said| said == fleet::MEMBERSHIP_ENDED);
        if let Some(error) = unknown_question(&status, self.membership.role) {
            return error;
        }
        if code == Code::NotFound {
            return CommandError::refused(status.message());
        }
        let error = ConnectError::from_status(&self.address, status);
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

/// Of a change that nobody knows whether it was made.
fn in_doubt(address: &str, look: String, status: Status) -> CommandError {
    let what_came = if database(&status).is_some() {
        "its database went away meanwhile"
    } else {
        "no answer came"
    };
    let error = CommandError::unreachable(format!(
        "this was sent to the controller at {address}, and {what_came}: it may be done"
    ));
    let said = ConnectError::from_status(address, status);
    let error = if let ConnectError::Unreachable { cause, .. } = said {
        error.because(cause)
    } else {
        error.because(said)
    };
    error.with_hint(format!("look before you ask for it again: {look}"))
}

/// Whether a call that ended so may have been carried out: where the way broke, or too much time went by, and not
/// where the controller answered (unless that it does not know itself), or was not reached at all.
fn may_be_done(status: &Status) -> bool {
    if database(status) == Some(fleet::DATABASE_IN_DOUBT) {
        return true;
    }
    let mut next = status.source();
    let is_of_the_way = next.is_some();
    while let Some(cause) = next {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
            )
        ) {
            return false;
        }
        next = cause.source();
    }
    is_of_the_way
        || matches!(
            status.code(),
            Code::Cancelled | Code::DeadlineExceeded | Code::Unknown
        )
}

/// What a refusal says of the controller's database.
fn database(status: &Status) -> Option<&str> {
    status.metadata().get(fleet::DATABASE)?.to_str().ok()
}

/// A question with a limit on the wait.
pub(crate) fn ask<T>(question: T) -> Request<T> {
    let mut request = Request::new(question);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_change_that_was_sent_and_not_answered_may_be_done_and_one_that_was_answered_or_not_sent_is_not()
     {
        let broke = |kind: ErrorKind| {
            let cause: Box<dyn std::error::Error + Send + Sync> = io::Error::from(kind).into();
            Status::from_error(cause)
        };
        let of_the_database = |what: &'static str| {
            let mut status = Status::resource_exhausted("the database went away");
            let what = MetadataValue::from_static(what);
            status.metadata_mut().insert(fleet::DATABASE, what);
            status
        };
        for doubtful in [
            of_the_database(fleet::DATABASE_IN_DOUBT),
            broke(ErrorKind::BrokenPipe),
            broke(ErrorKind::ConnectionReset),
            Status::deadline_exceeded("30 s"),
            Status::cancelled("Timeout expired"),
        ] {
            assert!(may_be_done(&doubtful), "{doubtful:?}");
        }
        for plain in [
            of_the_database(fleet::DATABASE_AWAY),
            broke(ErrorKind::ConnectionRefused),
            Status::unavailable("the controller is stopping"),
            Status::permission_denied("no"),
            Status::invalid_argument("line 1"),
        ] {
            assert!(!may_be_done(&plain), "{plain:?}");
        }
        let error = in_doubt(
            "c:7443",
            "postern policy history".into(),
            broke(ErrorKind::BrokenPipe),
        );
        assert_eq!(program::Failure::exit(&error), program::Exit::Unreachable);
        let hint = program::Failure::hint(&error);
        assert!(hint.is_some_and(|hint| hint.ends_with(": postern policy history")));
    }

    #[test]
    fn every_call_that_changes_something_says_how_to_look_whether_it_was_done() {
        const CHANGES: [&str; 11] = [
            "create_token",
            "revoke_token",
            "lock_member",
            "unlock_member",
            "remove_member",
            "rotate_member",
            "ban_host",
            "apply_policy",
            "rollback_policy",
            "set_host",
            "rename_host",
        ];
        let mut found = std::collections::BTreeSet::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for call in CHANGES {
                    let words = format!(".{call}(");
                    let calls = text.match_indices(&words).map(|(at, _)| at);
                    for before in calls.filter_map(|at| text.get(..at)) {
                        let asked = before.rfind(".change(").unwrap_or_default();
                        let read = before.rfind(".operator()").unwrap_or_default();
                        let name = path.display();
                        assert!(asked > read, "{name}: {call} without `change`");
                        found.insert(call);
                    }
                }
            }
        }
        assert_eq!(found.len(), CHANGES.len(), "{found:?}");
    }

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
