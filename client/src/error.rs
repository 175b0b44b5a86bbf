//! Why a command failed, sorted by who can do something about it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use member::{ConnectError, FilesError, JoinError, KeyringError};
use program::{Exit, Failure, PrintError};

/// A cause of any type.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// Content a failed command tells: a message, its causes, and what to do about it.
#[derive(Debug)]
pub(crate) struct CommandError {
    exit: Exit,
    content: Content,
    hint: Option<Cow<'static, str>>,
    /// The exit code of somebody else's program, which has said all there is to say.
    ended: Option<u8>,
}

/// The message and its causes.
#[derive(Debug)]
enum Content {
    /// Words of ours.
    Words {
        message: String,
        cause: Option<Cause>,
    },
    /// An error that speaks for itself.
    Error(Cause),
    /// Everything was said on standard output.
    Said,
}

pub(crate) type Result<T = (), E = CommandError> = std::result::Result<T, E>;

// === impl CommandError ===

impl CommandError {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            content: Content::Words {
                message: message.into(),
                cause: None,
            },
            hint: None,
            ended: None,
        }
    }

    /// A program that was started by this one ended so; nothing is to be added.
    pub(crate) fn ended(code: u8, message: impl Into<String>) -> Self {
        Self {
            ended: Some(code),
            ..Self::refused(message)
        }
    }

    /// With which code a program ended that was started by this one.
    pub(crate) fn ended_with(&self) -> Option<u8> {
        self.ended
    }

    /// Understood and refused, or not found.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// The answer is no, and it was given on standard output: only the exit code is left to say.
    pub(crate) fn answered() -> Self {
        Self {
            exit: Exit::Refused,
            content: Content::Said,
            hint: None,
            ended: None,
        }
    }

    /// Of a question whose answer is yes or no: what went wrong instead of an answer must not end as
    /// the answer no does.
    pub(crate) fn unanswered(self) -> Self {
        if self.exit == Exit::Refused && !self.is_said() {
            return Self {
                exit: Exit::Usage,
                ..self
            };
        }
        self
    }

    /// Whether everything was said already.
    pub(crate) fn is_said(&self) -> bool {
        matches!(self.content, Content::Said)
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The network, or somebody on it, is not there.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// Something did not work on this machine.
    pub(crate) fn failed(message: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::refused(message).because(cause)
    }

    /// Done, but not everywhere yet.
    pub(crate) fn partly(message: impl Into<String>) -> Self {
        Self::new(Exit::Partly, message)
    }

    /// A file has mistakes: below a line that says so all of them, one a line, with file and line.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Exit::Invalid, message)
    }

    /// An error of a library of ours, which knows how it ends.
    fn of(failure: impl Failure + Send + Sync + 'static) -> Self {
        Self {
            exit: failure.exit(),
            hint: failure.hint().map(|hint| hint.into_owned().into()),
            content: Content::Error(failure.into()),
            ended: None,
        }
    }

    /// Whether nobody answered, which trying later may change.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.exit == Exit::Unreachable
    }

    /// A file that cannot be read: one that is not there, one that may not be read and one that
    /// cannot be read are three different things. None of them is a file with mistakes.
    pub(crate) fn unreadable(path: &Path, cause: io::Error) -> Self {
        let name = path.display();
        let message = if cause.kind() == io::ErrorKind::NotFound {
            format!("there is no file {name}")
        } else if cause.kind() == io::ErrorKind::PermissionDenied {
            format!("you may not read {name}")
        } else {
            format!("cannot read {name}")
        };
        Self::refused(message).because(cause)
    }

    /// Names the cause.
    pub(crate) fn because(self, cause: impl Into<Cause>) -> Self {
        let message = self.to_string();
        let cause = Some(cause.into());
        Self {
            content: Content::Words { message, cause },
            ..self
        }
    }

    /// Says what can be done about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Words { message, cause: _ } => f.write_str(message),
            Content::Error(error) => error.fmt(f),
            Content::Said => f.write_str("no"),
        }
    }
}

impl StdError for CommandError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.content {
            Content::Words { message: _, cause } => cause
                .as_deref()
                .map(|cause| cause as &(dyn StdError + 'static)),
            Content::Error(error) => error.source(),
            Content::Said => None,
        }
    }
}

impl Failure for CommandError {
    fn exit(&self) -> Exit {
        self.exit
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        self.hint.as_deref().map(Cow::from)
    }
}

impl From<PrintError> for CommandError {
    fn from(error: PrintError) -> Self {
        Self::of(error)
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Files(error) => error.into(),
            error @ (ConnectError::Unreachable { .. }
            | ConnectError::NotTheController { .. }
            | ConnectError::Clock { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Answer(_)
            | ConnectError::Keys(_)) => Self::of(error),
        }
    }
}

impl From<FilesError> for CommandError {
    fn from(error: FilesError) -> Self {
        let not_member = matches!(error, FilesError::NotMember { .. });
        let error = Self::of(error);
        if not_member {
            return error.with_hint(
                "run `postern join -` with a token from an operator, or name another profile \
                 with --profile",
            );
        }
        error
    }
}

impl From<KeyringError> for CommandError {
    fn from(error: KeyringError) -> Self {
        Self::of(error)
    }
}

impl From<JoinError> for CommandError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Connect(error) => error.into(),
            JoinError::Files(error) => error.into(),
            error @ JoinError::AlreadyMember { .. } => Self::of(error)
                .with_hint("name another profile with --profile, or replace this one with --force"),
            error @ (JoinError::TokenExpired { .. }
            | JoinError::TokenRefused { .. }
            | JoinError::Running { .. }
            | JoinError::Rotating { .. }
            | JoinError::RotatedOften { .. }) => Self::of(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use program::said_twice;

    use super::*;

    fn io() -> io::Error {
        io::Error::other("stuck")
    }

    fn files() -> FilesError {
        FilesError::Io {
            operation: "read",
            path: PathBuf::from("/somewhere/membership.json"),
            cause: io(),
        }
    }

    fn unreachable() -> ConnectError {
        ConnectError::Unreachable {
            address: "controller.example:7443".to_owned(),
            cause: io().into(),
        }
    }

    #[test]
    fn no_cause_is_said_twice_and_none_is_lost() {
        let errors: [CommandError; 7] = [
            CommandError::failed("cannot start", io()),
            CommandError::usage("no key").because(io()),
            PrintError::Stdout(io()).into(),
            files().into(),
            unreachable().into(),
            JoinError::Connect(ConnectError::Files(files())).into(),
            JoinError::Connect(unreachable()).into(),
        ];
        for error in errors {
            assert_eq!(said_twice(&error), None, "{error:?}");
            assert!(error.source().is_some(), "{error:?}");
        }
    }

    #[test]
    fn the_hint_is_for_whoever_sits_here() {
        let dir = PathBuf::from("/home/me/.config/postern");
        let not_member = || FilesError::NotMember { dir: dir.clone() };
        let errors: [CommandError; 3] = [
            not_member().into(),
            ConnectError::Files(not_member()).into(),
            JoinError::Files(not_member()).into(),
        ];
        for error in errors {
            assert_eq!(error.exit(), Exit::Refused);
            let hint = error.hint().unwrap();
            assert!(hint.contains("postern join -"), "{hint}");
        }
        let unreachable = CommandError::from(JoinError::Connect(unreachable()));
        assert_eq!(unreachable.exit(), Exit::Unreachable);
        assert!(unreachable.hint().is_some());
    }
}
