//! The limit on open files, on which it depends how many connections there may be.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What is assumed where the limit cannot be read.
const UNKNOWN: u64 = 1_024;

/// Raises the soft limit to the hard one, and gives what is in force then.
pub(super) fn raise_limit() -> usize {
    let files = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(error) => {
                tracing::warn!(%error, soft, hard, "the limit on open files stays");
                soft
            }
        },
        Ok((soft, _)) => soft,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files is not known");
            UNKNOWN
        }
    };
    usize::try_from(files).unwrap_or(usize::MAX)
}
