//! Standard output and standard error, also when nobody reads them any more.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;

use crate::exit::Exit;
use crate::failure::Failure;

/// Why a result was not printed.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// Standard output. Whoever closed it (`| head`) has seen enough, which is no failure.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    /// A command that a page was asked for.
    #[error("{command} has no command `{word}`")]
    NoCommand {
        /// The command above it, with `-` between its words.
        command: String,
        /// What was asked for.
        word: String,
    },
    /// A directory for manual pages.
    #[error("cannot write the manual pages to {dir}", dir = dir.display())]
    Pages {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Prints a result on standard output, and says so when that does not work.
///
/// # Errors
///
/// [`PrintError::Stdout`], which ends a program quietly when nobody reads any more.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), PrintError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())
        .and_then(|()| out.flush())
        .map_err(PrintError::Stdout)
}

/// Tells one line about a result on standard error. That nobody reads it is no failure.
pub fn note(line: impl Display) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

// === impl PrintError ===

impl Failure for PrintError {
    fn exit(&self) -> Exit {
        match self {
            Self::Stdout(cause) if cause.kind() == ErrorKind::BrokenPipe => Exit::Done,
            Self::NoCommand { .. } => Exit::Usage,
            Self::Stdout(_) | Self::Pages { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Stdout(_) => None,
            Self::NoCommand { .. } => Some(
                "--help lists the commands; a directory to write all pages to is --output DIR"
                    .into(),
            ),
            Self::Pages { .. } => Some("without DIR the main page goes to standard output".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::said_twice;

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
        let closed = PrintError::Stdout(ErrorKind::BrokenPipe.into());
        let full = PrintError::Stdout(ErrorKind::StorageFull.into());

        assert_eq!(closed.exit(), Exit::Done);
        assert_eq!(full.exit(), Exit::Refused);
    }

    #[test]
    fn no_cause_is_said_twice() {
        let cause = || io::Error::other("stuck");
        let dir = PathBuf::from("man");
        for error in [
            PrintError::Stdout(cause()),
            PrintError::Pages {
                dir,
                cause: cause(),
            },
        ] {
            assert_eq!(said_twice(&error), None, "{error:?}");
        }
    }
}
