//! An error and its causes in one line, for logs and answers.

use std::error::Error;
use std::iter;

/// The error and its causes, outermost first, separated by colons.
pub(crate) fn chain(error: &dyn Error) -> String {
    iter::successors(error.source(), |cause| (*cause).source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
