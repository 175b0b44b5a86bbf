//! The one printer of errors.
//!
//! ```text
//! error: cannot read /etc/fwknop/access.conf
//!   because: Permission denied (os error 13)
//!   hint: the agent needs root, or CAP_DAC_READ_SEARCH
//! ```
//!
//! A message may have several lines; those after the first stand at the left margin, so that a list
//! of mistakes (`file:line: KEYWORD: ...`) is one that editors understand.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use owo_colors::OwoColorize as _;

use crate::chain::words_of_causes;
use crate::exit::Exit;
use crate::journald::{self, Priority};

/// Why a program did not do what it was asked: an error that knows how the program ends.
pub trait Failure: Error {
    /// Returns how the program ends. A failure that ends with [`Exit::Done`] is not worth a word.
    fn exit(&self) -> Exit;

    /// Returns what whoever reads this can do about it.
    fn hint(&self) -> Option<Cow<'_, str>> {
        None
    }
}

/// Tells on standard error what went wrong, why, and what can be done; gives the exit code.
#[must_use = "it is the exit code"]
pub fn fail(failure: &dyn Failure) -> ExitCode {
    let exit = failure.exit();
    if exit != Exit::Done {
        let mut text = report(failure);
        if journald::is_stderr() {
            text = journald::prefixed(Priority::Error, &text);
        }
        // If nobody can be told, the exit code still says it.
        let _ = anstream::stderr().write_all(text.as_bytes());
    }
    exit.into()
}

/// What [`fail`] prints, with colours.
fn report(failure: &dyn Failure) -> String {
    let mut text = format!("{} {failure}\n", "error:".red().bold());
    for cause in words_of_causes(failure) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  because: {cause}");
    }
    if let Some(hint) = failure.hint() {
        let _ = writeln!(text, "  {} {hint}", "hint:".cyan().bold());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open {0}\nfirst mistake\nsecond mistake")]
    struct Broken(&'static str, #[source] io::Error);

    impl Failure for Broken {
        fn exit(&self) -> Exit {
            Exit::Invalid
        }

        fn hint(&self) -> Option<Cow<'_, str>> {
            Some("try another".into())
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_a_hint() {
        let report = report(&Broken("it", io::Error::other("stuck")));

        assert_eq!(
            anstream::adapter::strip_str(&report).to_string(),
            "error: cannot open it\nfirst mistake\nsecond mistake\n  because: stuck\n  hint: try another\n"
        );
    }
}
