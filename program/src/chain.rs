//! An error and what caused it.
//!
//! In our own errors a cause stands in `source()` and never in the message too; [`said_twice`] lets a
//! test prove it. Foreign libraries often do both, so whoever prints a chain leaves out what an outer
//! error has said already.

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;

/// Shows an error and its causes in one line, outermost first: for logs, and for whoever is on the
/// other side of a connection.
#[derive(Clone, Copy)]
pub struct OneLine<'e>(&'e dyn Error);

/// Returns the causes of an error, outermost first, without the error itself.
pub fn causes<'e>(error: &'e dyn Error) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    iter::successors(error.source(), |cause| (*cause).source())
}

/// Shows `error` and its causes in one line.
#[must_use]
pub fn one_line(error: &dyn Error) -> OneLine<'_> {
    OneLine(error)
}

/// Whether what stands behind an error is that this user may not: permission is missing, and nothing
/// else need be wrong.
#[must_use]
pub fn is_denied(error: &(dyn Error + 'static)) -> bool {
    iter::once(error).chain(causes(error)).any(|cause| {
        let system = cause.downcast_ref::<io::Error>();
        system.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// Whether what stands behind an error stays so until somebody changes it: a file that is not there, that
/// this user may not use, or that is something else than it should be.
#[must_use]
pub fn stays_so(error: &(dyn Error + 'static)) -> bool {
    iter::once(error).chain(causes(error)).any(|cause| {
        let system = cause.downcast_ref::<io::Error>();
        system.is_some_and(|cause| {
            matches!(
                cause.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::FileTooLarge
            )
        })
    })
}

/// Returns the first cause whose words an outer error has said already; `None` is as it should be.
///
/// For the tests of error types.
#[must_use]
pub fn said_twice(error: &dyn Error) -> Option<String> {
    let mut said = error.to_string();
    for cause in causes(error) {
        let text = cause.to_string();
        if said.contains(&text) {
            return Some(text);
        }
        said.push('\n');
        said.push_str(&text);
    }
    None
}

/// The words of the causes, without those that an outer error has said already.
pub(crate) fn words_of_causes(error: &dyn Error) -> Vec<String> {
    let mut said = error.to_string();
    let mut words = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !said.contains(&text) {
            said.push('\n');
            said.push_str(&text);
            words.push(text);
        }
    }
    words
}

// === impl OneLine ===

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        words_of_causes(self.0)
            .iter()
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl fmt::Debug for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Outer(#[source] Foreign);

    /// As many libraries do it.
    #[derive(Debug, thiserror::Error)]
    #[error("lock: {0}")]
    struct Foreign(#[source] io::Error);

    fn outer() -> Outer {
        Outer(Foreign(io::Error::other("rusty")))
    }

    #[test]
    fn one_line_says_nothing_twice() {
        assert_eq!(
            one_line(&outer()).to_string(),
            "cannot open the door: lock: rusty"
        );
    }

    #[test]
    fn permission_that_is_missing_is_found_behind_every_error() {
        let denied = |errno| Outer(Foreign(io::Error::from_raw_os_error(errno)));

        // EPERM and EACCES of every Linux.
        assert!(is_denied(&denied(1)) && is_denied(&denied(13)));
        assert!(is_denied(&io::Error::from(io::ErrorKind::PermissionDenied)));
        assert!(stays_so(&io::Error::from(io::ErrorKind::NotFound)));
        assert!(!stays_so(&io::Error::from(io::ErrorKind::StorageFull)));
        // ENOENT
        assert!(!is_denied(&denied(2)) && !is_denied(&outer()));
    }

    #[test]
    fn a_cause_in_message_and_chain_is_found() {
        assert_eq!(said_twice(&outer()).as_deref(), Some("rusty"));
        assert_eq!(said_twice(&io::Error::other("rusty")), None);
    }
}
