//! An error and its causes in one line, for logs and answers.

use std::error::Error;

/// The error and its causes, outermost first, separated by colons.
pub(crate) fn chain(error: &dyn Error) -> String {
    program::one_line(error).to_string()
}
