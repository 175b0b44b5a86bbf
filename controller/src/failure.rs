//! How each error of this program ends it, and who can do something about it.

use std::borrow::Cow;

use program::{Exit, Failure};

use crate::start::StartError;

impl Failure for StartError {
    fn exit(&self) -> Exit {
        match self {
            Self::Settings { .. } => Exit::Invalid,
            Self::Initialised(_)
            | Self::NotEmpty(_)
            | Self::NotInitialised(_)
            | Self::Locked(_)
            | Self::File { .. }
            | Self::SealKey(_)
            | Self::Authority(_)
            | Self::Database { .. }
            | Self::Listen { .. }
            | Self::Tls(_)
            | Self::Random
            | Self::Request(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        let hint = match self {
            Self::NotEmpty(_) => {
                "give a new directory, or remove what an interrupted `init` left there"
            }
            Self::NotInitialised(dir) => {
                let dir = dir.display();
                let make = format!(
                    "make one with `postern-controller init --data {dir} --address HOST:PORT`"
                );
                return Some(make.into());
            }
            Self::SealKey(_) => "restore it from a backup",
            Self::Initialised(_)
            | Self::Locked(_)
            | Self::File { .. }
            | Self::Settings { .. }
            | Self::Authority(_)
            | Self::Database { .. }
            | Self::Listen { .. }
            | Self::Tls(_)
            | Self::Random
            | Self::Request(_) => return None,
        };
        Some(hint.into())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;
    use std::net::SocketAddr;
    use std::path::{Path, PathBuf};

    use program::said_twice;

    use super::*;
    use crate::error::{Error, RenewalRefused, TokenRefused};
    use crate::store::error::StoreError;

    fn cause() -> io::Error {
        io::Error::other("stuck")
    }

    #[test]
    fn no_cause_is_said_twice_and_none_is_lost() {
        let errors = [
            StartError::file(Path::new("/somewhere/ca.pem"), cause()),
            StartError::Authority(rcgen::Error::KeyGenerationUnavailable),
            StartError::Listen {
                address: SocketAddr::from(([192, 0, 2, 1], 7443)),
                error: cause(),
            },
            StartError::Request(Error::Token(TokenRefused::Used)),
            StartError::Request(Error::Renewal(RenewalRefused::Clock)),
            StartError::Request(Error::Certificate(rcgen::Error::KeyGenerationUnavailable)),
            StartError::Request(Error::Store(StoreError::Closed)),
        ];
        for error in errors {
            assert_eq!(said_twice(&error), None, "{error:?}");
            assert!(error.source().is_some(), "{error:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_refused_and_one_with_mistakes_is_invalid() {
        let missing = StartError::file(Path::new("ca.pem"), io::ErrorKind::NotFound.into());
        let mistakes = StartError::Settings {
            path: PathBuf::from("controller.toml"),
            error: crate::settings::Settings::parse("fleet = 1").unwrap_err(),
        };

        assert_eq!(missing.exit(), Exit::Refused);
        assert_eq!(mistakes.exit(), Exit::Invalid);
    }
}
