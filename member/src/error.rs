//! What can go wrong between a member and its fleet, sorted by who can do something about it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use program::{Exit, Failure};
use tonic::{Code, Status};

use crate::clock;
use crate::keyring::KeyringError;
use crate::skew::Skew;

/// A cause that came through the transport stack.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why there is no channel to the controller, or why a call over it failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers, or not in time. Whoever runs the network or the controller can act; trying
    /// later is sensible.
    #[error("cannot reach the controller at {address}")]
    Unreachable {
        /// Where it was looked for, `host:port`.
        address: String,
        /// What the network said.
        #[source]
        cause: Cause,
    },
    /// Somebody answers, but cannot prove to be this fleet's controller. Nothing was sent to it.
    #[error("what answers at {address} is not this fleet's controller")]
    NotTheController {
        /// Where it was looked for, `host:port`.
        address: String,
        /// What was wrong with its certificate.
        #[source]
        cause: rustls::Error,
    },
    /// The clocks here and at the controller differ by more than certificates and signatures bear.
    #[error("{skew}")]
    Clock {
        /// How they differ.
        skew: Skew,
        /// What failed because of it.
        #[source]
        cause: Cause,
    },
    /// The controller understood and said no: banned, unknown, not allowed. An operator can act.
    #[error("the controller refuses: {message}")]
    Refused {
        /// The gRPC code of the refusal.
        code: Code,
        /// The controller's words.
        message: String,
    },
    /// The controller's answer does not fit the question. A bug, or a controller of another version.
    #[error("the controller's answer is not usable: {0}")]
    Answer(&'static str),
    /// Something about the files in the member's directory.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Keys could not be made.
    #[error("cannot make keys")]
    Keys(#[source] Cause),
}

/// Why this machine or person did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token's time is over by this machine's clock. An operator can make a new one.
    #[error("the token expired {ago_secs} s ago by this machine's clock")]
    TokenExpired {
        /// How long ago, in seconds.
        ago_secs: u64,
    },
    /// The controller does not accept the token: used, expired, revoked or never issued.
    #[error("{message}")]
    TokenRefused {
        /// The controller's words.
        message: String,
    },
    /// There is a membership already, and replacing it was not asked for.
    #[error("{dir} already holds a membership: {member}", dir = dir.display())]
    AlreadyMember {
        /// The directory.
        dir: PathBuf,
        /// Who it says it is, in words.
        member: String,
    },
    /// Somebody else joins in the same directory just now, or changes its keys. Waiting helps.
    #[error("another program joins or changes keys in {dir}", dir = dir.display())]
    Running {
        /// The directory.
        dir: PathBuf,
    },
    /// The keys may not be moved: others are about to follow them.
    #[error("other keys are about to follow those in {dir}", dir = dir.display())]
    Rotating {
        /// The directory.
        dir: PathBuf,
    },
    /// Too many keys would be good at once. Waiting helps.
    #[error(
        "the keys of this host were replaced often of late; the next former one ends in {days} days"
    )]
    RotatedOften {
        /// So many, rounded up.
        days: u64,
    },
    /// There was no conversation with the controller.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Something about the files in the member's directory.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// What is wrong with the files that make a member.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Nobody has joined here.
    #[error("{dir} holds no membership", dir = dir.display())]
    NotMember {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The file does not hold what this program wrote.
    #[error("{path} is damaged: {problem}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its contents.
        problem: String,
    },
    /// Others than its owner may read a file with private keys.
    #[error(
        "{path} holds private keys and others can read it (mode {mode:03o})",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The keys are in a keyring, which does not give or take them.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

// === impl ConnectError ===

impl ConnectError {
    /// What a failed call means, told from its status and from what the transport left inside it.
    #[must_use]
    pub fn from_status(address: &str, status: Status) -> Self {
        if let Some(error) = Self::from_transport(address, &status) {
            return error;
        }
        // A status with a cause was made on this side: the connection broke in the middle of an answer.
        if status.source().is_some() {
            return Self::network(address, status.message().into());
        }
        if let Some(skew) = skew(&status, clock::now_secs()) {
            let cause = status.message().into();
            return Self::Clock { skew, cause };
        }
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Unreachable {
                address: address.to_owned(),
                cause: status.message().into(),
            },
            code @ (Code::Ok
            | Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated) => Self::Refused {
                code,
                message: status.message().to_owned(),
            },
        }
    }

    /// Finds out what a transport error really was; `None` when nothing in its chain is known to us.
    pub(crate) fn from_transport(address: &str, error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut found = None;
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::from_tls(address, tls.clone()));
            }
            next = match error.downcast_ref::<io::Error>() {
                Some(io) => {
                    found = Some(Self::network(address, io.to_string().into()));
                    // An io::Error does not offer what it wraps as its source.
                    io.get_ref().map(|inner| inner as &(dyn StdError + 'static))
                }
                None => error.source(),
            };
        }
        found
    }

    /// A TLS failure, by culprit.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls may name more ways to fail; all of them mean that there is no connection"
    )]
    pub(crate) fn from_tls(address: &str, cause: rustls::Error) -> Self {
        use rustls::AlertDescription::{
            AccessDenied, BadCertificate, CertificateExpired, CertificateRequired,
            CertificateRevoked, CertificateUnknown, UnknownCA, UnsupportedCertificate,
        };
        let skew = match &cause {
            rustls::Error::InvalidCertificate(error) => Skew::of_controller(error),
            // The alert is for what has expired there and for what has not begun.
            rustls::Error::AlertReceived(CertificateExpired) => Some(Skew::NotValidThere),
            _ => None,
        };
        if let Some(skew) = skew {
            let cause = cause.into();
            return Self::Clock { skew, cause };
        }
        match cause {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Self::NotTheController {
                    address: address.to_owned(),
                    cause,
                }
            }
            rustls::Error::AlertReceived(
                alert @ (AccessDenied
                | BadCertificate
                | CertificateRequired
                | CertificateRevoked
                | CertificateUnknown
                | UnknownCA
                | UnsupportedCertificate),
            ) => Self::Refused {
                code: Code::Unauthenticated,
                message: format!("it does not accept our certificate ({alert:?})"),
            },
            other => Self::network(address, other.into()),
        }
    }

    /// Whether it is the matter of one place where a controller should be, and another place may do.
    #[must_use]
    pub fn is_of_place(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotTheController { .. } => true,
            Self::Clock { .. }
            | Self::Refused { .. }
            | Self::Answer(_)
            | Self::Files(_)
            | Self::Keys(_) => false,
        }
    }

    /// What came of all places, each with its address: an impostor is said before silence.
    pub(crate) fn of_all(mut failures: Vec<(String, Self)>) -> Self {
        let impostor = failures
            .iter()
            .position(|(_, error)| matches!(error, Self::NotTheController { .. }));
        if failures.len() == 1 || impostor.is_some() {
            let (_, error) = failures.swap_remove(impostor.unwrap_or(0));
            return error;
        }
        let (mut addresses, mut causes) = (Vec::new(), Vec::new());
        for (address, error) in failures {
            causes.push(format!("{address}: {}", program::one_line(&error)));
            addresses.push(address);
        }
        Self::network(&addresses.join(", "), causes.join("; ").into())
    }

    pub(crate) fn network(address: &str, cause: Cause) -> Self {
        Self::Unreachable {
            address: address.to_owned(),
            cause,
        }
    }
}

impl Failure for ConnectError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Files(error) => error.exit(),
            Self::NotTheController { .. }
            | Self::Clock { .. }
            | Self::Refused { .. }
            | Self::Answer(_)
            | Self::Keys(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unreachable { .. } => {
                Some("is the controller running, and does a firewall stand between?".into())
            }
            Self::NotTheController { .. } => {
                Some("nothing was sent to it; ask an operator whether the address is right".into())
            }
            Self::Files(error) => error.hint(),
            Self::Clock { .. } => Some(
                "set the clock that is wrong, here or there; then all goes on by itself".into(),
            ),
            Self::Refused { .. } | Self::Answer(_) | Self::Keys(_) => None,
        }
    }
}

/// How the clocks differ, when the controller refuses because they do: it then says its time.
fn skew(refusal: &Status, here_secs: u64) -> Option<Skew> {
    let said = refusal.metadata().get(fleet::CONTROLLER_TIME)?;
    let controller_secs = said.to_str().ok()?.parse().ok()?;
    Skew::of(controller_secs, here_secs)
}

// === impl JoinError ===

impl Failure for JoinError {
    fn exit(&self) -> Exit {
        match self {
            Self::Connect(error) => error.exit(),
            Self::Files(error) => error.exit(),
            Self::TokenExpired { .. }
            | Self::TokenRefused { .. }
            | Self::AlreadyMember { .. }
            | Self::Running { .. }
            | Self::Rotating { .. }
            | Self::RotatedOften { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Connect(error) => error.hint(),
            Self::Files(error) => error.hint(),
            Self::TokenExpired { .. } => Some(
                "ask an operator for a new one; if this one is new, this machine's clock is ahead of \
                 the controller's: set the one that is wrong"
                    .into(),
            ),
            Self::Running { .. } => Some("run this again when that one has ended".into()),
            Self::Rotating { .. } => {
                Some("`postern profile rotate` brings that to its end; run this again then".into())
            }
            Self::RotatedOften { .. } => Some(
                "a host whose key may be in other hands joins anew in its own place".into(),
            ),
            Self::TokenRefused { .. } | Self::AlreadyMember { .. } => None,
        }
    }
}

// === impl FilesError ===

impl Failure for FilesError {
    fn exit(&self) -> Exit {
        match self {
            Self::Keyring(error) => error.exit(),
            Self::NotMember { .. }
            | Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Exposed { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::NotMember { .. } => Some("join a fleet first".into()),
            Self::Exposed { path, .. } => {
                Some(format!("run `chmod 600 {}`", path.display()).into())
            }
            Self::Io { .. } if program::is_denied(self) => Some(program::files::AS_ROOT.into()),
            Self::Keyring(error) => error.hint(),
            Self::Io { .. } | Self::Damaged { .. } => None,
        }
    }
}

impl FilesError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io {
            operation,
            path,
            cause,
        }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    /// Whether the file was read and does not hold what this program wrote: what it should say is as good
    /// as gone. Of every other error nothing is known of what it says.
    pub(crate) const fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::NotMember { .. } | Self::Io { .. } | Self::Exposed { .. } | Self::Keyring(_) => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use program::said_twice;

    use super::*;

    fn io() -> io::Error {
        io::Error::other("stuck")
    }

    fn connect_errors() -> [ConnectError; 6] {
        let address = || "controller.example:7443".to_owned();
        let file = Path::new("/somewhere/membership.json");
        [
            ConnectError::network(&address(), io().into()),
            ConnectError::NotTheController {
                address: address(),
                cause: rustls::Error::NoCertificatesPresented,
            },
            ConnectError::Clock {
                skew: Skew::ControllerAhead(26 * 3_600),
                cause: "renewal refused".into(),
            },
            ConnectError::from_status(&address(), Status::unavailable("going down")),
            ConnectError::Files(FilesError::io("read", file)(io())),
            ConnectError::Keys(io().into()),
        ]
    }

    #[test]
    fn no_cause_is_said_twice_and_none_is_lost() {
        for error in connect_errors() {
            assert_eq!(said_twice(&error), None, "{error:?}");
            assert!(error.source().is_some(), "{error:?}");
            let join = JoinError::Connect(error);
            assert_eq!(said_twice(&join), None, "{join:?}");
            assert!(join.source().is_some(), "{join:?}");
        }
    }

    #[test]
    fn only_what_may_work_later_is_unreachable() {
        let exits = connect_errors().map(|error| error.exit());

        let [network, not_ours, clock, unavailable, files, keys] = exits;
        assert_eq!([network, unavailable], [Exit::Unreachable; 2]);
        assert_eq!([not_ours, clock, files, keys], [Exit::Refused; 4]);
    }

    #[test]
    fn a_refusal_for_the_clocks_is_said_as_such_and_any_other_is_not() {
        let refused = |message: &str, controller_secs: Option<u64>| {
            let mut status = Status::unauthenticated(message);
            if let Some(secs) = controller_secs {
                let secs = secs.to_string().parse().unwrap();
                status.metadata_mut().insert(fleet::CONTROLLER_TIME, secs);
            }
            ConnectError::from_status("controller:1", status).to_string()
        };
        let now = clock::now_secs();

        let ahead = refused("the certificate is void", Some(now + 26 * 3_600 + 60));
        assert_eq!(
            ahead,
            "the controller's clock is 26 h ahead of this machine's"
        );
        for (said, time) in [("expired", Some(now)), ("banned", None)] {
            let words = refused(said, time);
            assert_eq!(words, format!("the controller refuses: {said}"));
        }
    }

    #[test]
    fn a_certificate_of_another_time_is_blamed_on_the_clocks_and_never_on_who_has_it() {
        use rustls::{AlertDescription, CertificateError, Error as Tls};
        let errors = [
            Tls::InvalidCertificate(CertificateError::NotValidYet),
            Tls::InvalidCertificate(CertificateError::Expired),
            Tls::AlertReceived(AlertDescription::CertificateExpired),
        ];
        for error in errors {
            let error = ConnectError::from_tls("controller:1", error);
            assert!(matches!(error, ConnectError::Clock { .. }), "{error:?}");
            assert!(error.hint().unwrap().contains("set the clock"), "{error:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_controllers_words() {
        let refused =
            ConnectError::from_status("controller:1", Status::permission_denied("banned"));

        assert_eq!(refused.to_string(), "the controller refuses: banned");
        assert_eq!(refused.exit(), Exit::Refused);
    }

    #[test]
    fn of_several_controllers_that_do_not_answer_all_are_named_and_an_impostor_before_them() {
        let away = |address: &str| {
            let error = ConnectError::network(address, "no route".into());
            (address.to_owned(), error)
        };
        let both = ConnectError::of_all(vec![away("a:1"), away("b:1")]);
        let said = program::one_line(&both).to_string();
        assert!(
            said.contains("a:1, b:1") && said.contains("b:1: cannot reach"),
            "{said}"
        );
        let impostor = ConnectError::NotTheController {
            address: "b:1".to_owned(),
            cause: rustls::Error::NoCertificatesPresented,
        };
        let said = ConnectError::of_all(vec![away("a:1"), ("b:1".to_owned(), impostor)]);
        assert!(
            matches!(said, ConnectError::NotTheController { .. }),
            "{said}"
        );
    }
}
