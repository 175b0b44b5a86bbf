//! How each error of this program ends it, and who can do something about it.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use fleet::Role;
use program::{Exit, Failure};

use crate::authority::change::RotateError;
use crate::backup::BackupError;
use crate::beside::SinkError;
use crate::ca::rotation::NotNow;
use crate::data_dir::DataDirError;
use crate::database::DatabaseCopyError;
use crate::error::Error;
use crate::sinks::error::DeliveryError;
use crate::start::error::StartError;
use crate::store::copying::CopyError;
use crate::store::error::{REACH_IT, StoreError, Trouble};

impl Failure for StartError {
    fn exit(&self) -> Exit {
        match self {
            Self::Settings { .. } => Exit::Invalid,
            Self::DataDir(_)
            | Self::Authority(_)
            | Self::AuthorityKey
            | Self::AuthorityFile { .. }
            | Self::DirectoryKey
            | Self::NoAuditKey
            | Self::AuthorityMoved
            | Self::NoFleet
            | Self::NothingShared
            | Self::WrongSealKey { .. }
            | Self::FleetExists
            | Self::Database { .. }
            | Self::Server(_)
            | Self::Random(_)
            | Self::Request(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::DataDir(error) => data_dir_hint(error),
            Self::Database { source, path } => database_hint(source, Some(path)),
            Self::Request(error) => request_hint(error),
            Self::AuthorityFile { .. } => Some(
                "put back the authority.json that was there last, or `postern-controller restore` a backup as a \
                 whole; where neither is left, `postern-controller ca rotate --compromised` makes a new \
                 authority, and every member joins anew"
                    .into(),
            ),
            Self::Authority(_) | Self::AuthorityKey | Self::DirectoryKey => Some(
                "`postern-controller check` says what is not sound; a backup has the files of then"
                    .into(),
            ),
            Self::AuthorityMoved => Some(
                "`postern-controller ca status` says what there is now; take the step again if it is still wanted"
                    .into(),
            ),
            Self::NoFleet => Some(
                "`postern-controller init --database` without --join makes a fleet and its first controller"
                    .into(),
            ),
            Self::NothingShared => Some(
                "start the first controller once with this version: it puts them there, sealed"
                    .into(),
            ),
            Self::WrongSealKey { .. } => Some(
                "give a copy of the seal.key of a controller of this fleet that serves (/var/lib/postern/seal.key \
                 there; `postern-controller check` there names it); after a rotation that of before opens nothing"
                    .into(),
            ),
            Self::FleetExists => Some("name another database, which has nothing in it".into()),
            Self::Settings { .. } | Self::Server(_) | Self::Random(_) | Self::NoAuditKey => None,
        }
    }
}

impl Failure for RotateError {
    fn exit(&self) -> Exit {
        match self {
            Self::Start(error) => error.exit(),
            Self::NotNow(_) | Self::TooFar(_) | Self::Stranded(_) | Self::Clock { .. } => {
                Exit::Refused
            }
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Start(error) => error.hint(),
            Self::NotNow(NotNow::UnderWay) => Some(
                "`postern-controller ca status` says what it waits for; --issue and --finish do not wait".into(),
            ),
            Self::NotNow(NotNow::NoRotation) => {
                Some("`postern-controller ca status` says where a rotation is".into())
            }
            Self::NotNow(NotNow::OnlyAnnounced) => Some(
                "`postern-controller ca rotate --issue` lets the next one issue, whoever does not know it yet; \
                 then --finish"
                    .into(),
            ),
            Self::NotNow(NotNow::BeginsLater(_)) => Some(
                "set the clock right; `postern-controller ca rotate` then makes another in its place".into(),
            ),
            Self::NotNow(NotNow::Authority(_)) => None,
            Self::Clock { .. } => Some(
                "set the clock right, as `date` shows it; where it is right, and the controller only was not used \
                 for so long, take the step with --force"
                    .into(),
            ),
            Self::TooFar(_) => Some(
                "let them renew first (a host that is connected, a user with `postern sync`), lock or remove those \
                 that are gone for good, or take the step with --force: then they must join anew"
                    .into(),
            ),
            Self::Stranded(_) => Some(
                "their programs have never said that they can learn of another authority: upgrade them, or take \
                 the step with --force"
                    .into(),
            ),
        }
    }
}

impl Failure for BackupError {
    fn exit(&self) -> Exit {
        match self {
            Self::Settings { .. } => Exit::Invalid,
            Self::DataDir(_)
            | Self::Exists(_)
            | Self::File { .. }
            | Self::Damaged { .. }
            | Self::Taken { .. }
            | Self::Server(_)
            | Self::NoDatabase { .. }
            | Self::OtherDatabase(_)
            | Self::Database { .. } => Exit::Refused,
            Self::Copy(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::DataDir(DataDirError::Initialised(_) | DataDirError::NotEmpty(_)) => {
                Some("move it away, or restore into another directory".into())
            }
            Self::DataDir(DataDirError::Locked(_)) => Some("stop it first".into()),
            Self::DataDir(error) => data_dir_hint(error),
            Self::Exists(_) => Some("name another file".into()),
            Self::Taken { .. } => Some(
                "two controllers of one fleet contradict each other; if that one never serves again, \
                 restore with --again"
                    .into(),
            ),
            Self::Database { source, path } => database_hint(source, Some(path)),
            Self::Server(source) => database_hint(source, None),
            Self::Copy(error) => error.hint(),
            Self::NoDatabase { .. } => Some(
                "restore without --to-file: the controller goes on with the database at its server".into(),
            ),
            Self::OtherDatabase(_) => {
                Some("name the server and the database that the controller had with --database".into())
            }
            Self::File { .. } | Self::Damaged { .. } | Self::Settings { .. } => None,
        }
    }
}

impl Failure for DatabaseCopyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Start(error) => error.exit(),
            Self::Copy(error) => error.exit(),
            Self::There(_) | Self::Settings(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Start(StartError::DataDir(DataDirError::Locked(_))) => {
                Some("stop it first: what it writes now would not be in the copy".into())
            }
            Self::Start(error) => error.hint(),
            Self::Copy(error) => error.hint(),
            Self::Settings(_) => {
                Some("write it as a table of its own, as `init --database` does".into())
            }
            Self::There(_) => None,
        }
    }
}

impl Failure for CopyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Store(StoreError::Postgres(_)) => Exit::Invalid,
            Self::Store(_)
            | Self::NotEmpty(_)
            | Self::Foreign(_)
            | Self::NoFleet(_)
            | Self::Differs(_)
            | Self::Log(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Store(
                error @ (StoreError::Unreachable { .. }
                | StoreError::Altered { .. }
                | StoreError::InUse(_)
                | StoreError::OtherSealKey { .. }
                | StoreError::Newer { .. }),
            ) => database_hint(error, None),
            Self::Store(_) => Some("nothing is lost: the same command goes on where it was".into()),
            Self::NotEmpty(_) | Self::Foreign(_) => Some(
                "name an empty database; a controller.db that is no longer used is to be moved away"
                    .into(),
            ),
            Self::Differs(_) => {
                Some("make the target empty and copy again; the controller goes on where it was".into())
            }
            Self::Log(_) => Some(
                "`postern-controller check` says whether it is so in the database itself, too"
                    .into(),
            ),
            Self::NoFleet(_) => None,
        }
    }
}

impl Failure for SinkError {
    fn exit(&self) -> Exit {
        match self {
            Self::Start(error) => error.exit(),
            Self::Unknown { .. } | Self::NothingWaits { .. } | Self::GoesOn { .. } => Exit::Refused,
            Self::NotDelivered { source, .. } => match source {
                DeliveryError::Exposed { .. }
                | DeliveryError::Malformed { .. }
                | DeliveryError::Tls(_) => Exit::Invalid,
                DeliveryError::File { .. }
                | DeliveryError::NoAuthorities
                | DeliveryError::Refused { .. }
                | DeliveryError::GrpcRefused { .. } => Exit::Refused,
                DeliveryError::Connect { .. }
                | DeliveryError::Broken { .. }
                | DeliveryError::Http(_)
                | DeliveryError::Grpc(_)
                | DeliveryError::Timeout => Exit::Unreachable,
            },
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Start(error) => error.hint(),
            Self::Unknown { hint, .. } => Some(hint.into()),
            Self::NothingWaits { .. } | Self::GoesOn { .. } => {
                Some("`postern-controller sink list` says how far each is".into())
            }
            Self::NotDelivered { source, .. } => tls_hint(source).map(Into::into),
        }
    }
}

/// What is wrong with a receiver's certificate, in our own words.
fn tls_hint(error: &dyn std::error::Error) -> Option<&'static str> {
    let said = format!("{error:?} {}", program::one_line(error));
    [
        (
            "CaUsedAsEndEntity",
            "its certificate is an authority's (CA:TRUE), which no server may show: make it one of its own, \
             signed by that, and name that with `ca`",
        ),
        (
            "UnknownIssuer",
            "its certificate is of an authority that is not believed here: name that with `ca`",
        ),
        (
            "NotValidForName",
            "its certificate is for another name: write the url or address as the certificate has it",
        ),
        ("Expired", "its certificate has expired, or a clock is wrong"),
    ]
    .into_iter()
    .find_map(|(word, hint)| said.contains(word).then_some(hint))
}

fn request_hint(error: &Error) -> Option<Cow<'_, str>> {
    if let Error::Store(
        error @ (StoreError::Disk { .. }
        | StoreError::Newer { .. }
        | StoreError::HalfCopied
        | StoreError::Unreachable { .. }
        | StoreError::OtherSealKey { .. }
        | StoreError::InUse(_)
        | StoreError::Postgres(_)),
    ) = error
    {
        return database_hint(error, None);
    }
    if let Error::NameTaken { role, .. } = error {
        let replace = "`--replace` puts the joiner in the place of that member";
        return Some(match role {
            Role::User => format!("`--key-name laptop` adds a key to that user, {replace}").into(),
            Role::Auditor
            | Role::Helpdesk
            | Role::Owner
            | Role::Validator
            | Role::Host
            | Role::Operator => replace.into(),
        });
    }
    let key_taken = matches!(error, Error::KeyTaken { .. });
    key_taken.then(|| "give the key another name, or `--replace` that one".into())
}

fn database_hint(error: &StoreError, database: Option<&Path>) -> Option<Cow<'static, str>> {
    if let StoreError::Newer {
        known, written_by, ..
    } = error
    {
        let newer = if written_by.is_empty() {
            "a newer version".to_owned()
        } else {
            format!("postern-controller {written_by}")
        };
        let copy = database.map(|path| path.with_added_extension(format!("schema-{known}")));
        let back = match copy.filter(|copy| copy.exists()) {
            Some(copy) => format!(
                "; or go back to the copy that was made before it was brought up to date: put {} in its \
                 place",
                copy.display()
            ),
            None => String::new(),
        };
        return Some(format!("start {newer} on it{back}").into());
    }
    if let StoreError::HalfCopied = error {
        let hint = "end it with the command that began it, `postern-controller db copy`";
        return Some(hint.into());
    }
    if let StoreError::OtherSealKey { .. } = error {
        let hint = "it was rotated at another controller, or is another fleet's: bring seal.key from a controller \
                    that serves, over a channel that you trust, and `postern-controller seal install FILE`";
        return Some(hint.into());
    }
    if let StoreError::InUse(_) = error {
        let hint = "stop every controller of the fleet first, on each of its machines";
        return Some(hint.into());
    }
    if let StoreError::Altered { .. } = error {
        let hint = "`postern-controller check` names every such row and what to do; restore a backup of \
                    before it was changed";
        return Some(hint.into());
    }
    if let StoreError::Unproven { mark, .. } = error {
        let mark = mark.display();
        return Some(
            format!("if you put that database there yourself and trust it, remove {mark}").into(),
        );
    }
    if let StoreError::Unreachable { .. } = error {
        return Some(REACH_IT.into());
    }
    if let StoreError::Postgres(_) = error {
        return Some("correct [database] in controller.toml".into());
    }
    if let StoreError::Copy { .. } = error {
        return Some("it is copied before it is brought up to date: make room there".into());
    }
    let StoreError::Disk { trouble, .. } = error else {
        return Some("restore it from a backup if it is damaged".into());
    };
    match trouble {
        Trouble::Full => Some("make room on that disk, and start again".into()),
        Trouble::ReadOnly => Some("make it writable for this user, and start again".into()),
        Trouble::Failing => Some("the system's log may say more of that disk".into()),
        Trouble::Damaged | Trouble::Removed | Trouble::Replaced | Trouble::Truncated => {
            Some("restore it from a backup if it is damaged".into())
        }
    }
}

fn data_dir_hint(error: &DataDirError) -> Option<Cow<'_, str>> {
    match error {
        DataDirError::Elsewhere(_) => {
            Some("correct [database] in controller.toml, or leave it out where it is a file".into())
        }
        DataDirError::NotEmpty(_) => {
            Some("give a new directory, or remove what an interrupted `init` left there".into())
        }
        DataDirError::NotInitialised(dir) | DataDirError::Missing(dir) => {
            let dir = dir.display();
            let make =
                format!("make one with `postern-controller init --data {dir} --address HOST:PORT`");
            Some(make.into())
        }
        DataDirError::Moved(dir) => Some(
            format!(
                "restore the file that `move` wrote there; only if that never served, rename \
                 {dir}/controller.toml.moved to controller.toml to go on here",
                dir = dir.display()
            )
            .into(),
        ),
        DataDirError::SealKey(_) | DataDirError::Sealed { .. } => {
            Some("restore it from a backup".into())
        }
        DataDirError::Exposed { .. } => {
            Some("whoever could read it before may have read it: rotate what was in it".into())
        }
        DataDirError::Forbidden { .. } => {
            Some("run it as the user whom the directory belongs to, or as root".into())
        }
        DataDirError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some("restore the directory from a backup: `postern-controller restore`".into())
        }
        DataDirError::Initialised(_) | DataDirError::Locked(_) | DataDirError::File { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::net::SocketAddr;
    use std::path::PathBuf;

    use program::said_twice;

    use super::*;
    use crate::error::{Error, RenewalRefused, TokenRefused};
    use crate::server::ServerError;
    use crate::store::error::{EngineError, NotCommitted, StoreError};
    use crate::store::seal::SealError;

    fn cause() -> io::Error {
        io::Error::other("stuck")
    }

    #[test]
    fn no_cause_is_said_twice_and_none_is_lost() {
        let errors = [
            DataDirError::file(Path::new("/somewhere/ca.pem"), cause()).into(),
            StartError::Authority(rcgen::Error::KeyGenerationUnavailable),
            StartError::Database {
                path: PathBuf::from("controller.db"),
                source: StoreError::Engine(EngineError::new(cause())),
            },
            StartError::Server(ServerError::Listen {
                address: SocketAddr::from(([192, 0, 2, 1], 7443)),
                source: cause(),
            }),
            StartError::Request(Error::Token(TokenRefused::Used)),
            StartError::Request(Error::Renewal(RenewalRefused::Clock)),
            StartError::Request(Error::Certificate(rcgen::Error::KeyGenerationUnavailable)),
            StartError::Request(Error::Store(StoreError::Closed)),
            StartError::Request(Error::Store(StoreError::NotCommitted(
                NotCommitted::Refused(EngineError::new(cause())),
            ))),
            StartError::Request(Error::Store(StoreError::Seal(SealError::NotAuthentic))),
        ];
        for error in errors {
            assert_eq!(said_twice(&error), None, "{error:?}");
            assert!(error.source().is_some(), "{error:?}");
        }
    }

    #[test]
    fn the_hint_of_a_newer_database_names_a_copy_only_where_there_is_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("controller.db");
        let newer = |written_by: &str| StoreError::Newer {
            found: 12,
            known: 9,
            written_by: written_by.to_owned(),
        };
        let hint = || {
            let error = StartError::Database {
                path: path.clone(),
                source: newer(""),
            };
            Failure::hint(&error).unwrap().into_owned()
        };

        assert_eq!(hint(), "start a newer version on it");
        std::fs::write(dir.path().join("controller.db.schema-9"), "").unwrap();
        assert!(
            hint().contains("controller.db.schema-9 in its place"),
            "{}",
            hint()
        );
        assert!(newer("").to_string().contains("made by a newer version of"));
        assert!(
            newer("0.9.0")
                .to_string()
                .contains("made by postern-controller 0.9.0;")
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_refused_and_one_with_mistakes_is_invalid() {
        let missing = DataDirError::file(Path::new("ca.pem"), io::ErrorKind::NotFound.into());
        let missing = StartError::from(missing);
        let mistakes = StartError::Settings {
            path: PathBuf::from("controller.toml"),
            mistakes: crate::settings::Settings::parse("fleet = 1").unwrap_err(),
        };

        assert_eq!(missing.exit(), Exit::Refused);
        assert_eq!(mistakes.exit(), Exit::Invalid);
    }
}
