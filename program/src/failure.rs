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

    /// Whether another process has told it already.
    fn has_said_why(&self) -> bool {
        false
    }
}

/// Tells on standard error what went wrong, why, and what can be done; gives the exit code.
#[must_use = "it is the exit code"]
pub fn fail(failure: &dyn Failure) -> ExitCode {
    let exit = failure.exit();
    if exit != Exit::Done && !failure.has_said_why() {
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
    let message = harmless(&failure.to_string());
    let mut text = format!("{} {message}\n", "error:".red().bold());
    for cause in words_of_causes(failure) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  because: {}", harmless(&cause));
    }
    if let Some(hint) = failure.hint() {
        let _ = writeln!(text, "  {} {}", "hint:".cyan().bold(), harmless(&hint));
    }
    text
}

/// Errors quote what others have typed, sent or written: here nothing of it but the ends of lines can
/// move a cursor, change a colour, or make a line read in another order. Written as rsyslog writes
/// what it receives.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let is_order = matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        if is_order || (character.is_control() && character != '\n') {
            let _ = write!(out, "#{:03o}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
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
    fn nothing_that_an_error_quotes_moves_a_cursor() {
        let report = report(&Broken(
            "a\r\u{1b}[2K\u{9b}1A\u{202e}",
            io::Error::other("b\u{7}\t"),
        ));

        let told = anstream::adapter::strip_str(&report).to_string();
        assert!(
            told.contains("cannot open a#015#033[2K#2331A#20056\n"),
            "{told}"
        );
        assert!(told.contains("because: b#007#011\n"), "{told}");
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
