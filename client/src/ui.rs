//! Everything this program says, on standard output and on standard error.
//!
//! Results go to standard output, everything about them to standard error. Colours appear only on a
//! terminal. Nothing secret is ever given to this module, except tokens and exported keys, which are
//! results that the caller asked for.

mod table;

use std::fmt::Display;
use std::io::{self, Write as _};

use fleet::export::{printable, printable_json};
use owo_colors::OwoColorize as _;
use program::PrintError;
use serde::Serialize;
use terminal_size::{Width, terminal_size_of};

use crate::error::{CommandError, Result};

/// The two streams.
#[derive(Debug, Default)]
pub(crate) struct Ui;

// === impl Ui ===

impl Ui {
    /// One line of result, or some.
    pub(crate) fn say(&self, line: impl Display) -> Result {
        let line = lines_only(&line.to_string());
        writeln!(anstream::stdout().lock(), "{line}").map_err(output)
    }

    /// A text that brings its own line ends.
    pub(crate) fn text(&self, text: &str) -> Result {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| {
                if text.is_empty() || text.ends_with('\n') {
                    Ok(())
                } else {
                    out.write_all(b"\n")
                }
            })
            .map_err(output)
    }

    /// One object on one line.
    pub(crate) fn json(&self, object: &impl Serialize) -> Result {
        let line = serde_json::to_string(object)
            .map_err(|cause| CommandError::failed("cannot write JSON", cause))?;
        self.say(printable_json(&line))
    }

    /// A table; without lines around it, so that it can be cut and sorted. Where its reader is no
    /// terminal, one line a row.
    pub(crate) fn table<const N: usize>(
        &self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result {
        let width = terminal_size_of(io::stdout()).map(|(Width(columns), _)| columns.into());
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        for line in table::lines(&head, &rows, width) {
            self.say(line)?;
        }
        Ok(())
    }

    /// One line about the result, on standard error.
    pub(crate) fn note(&self, line: impl Display) {
        program::note(lines_only(&line.to_string()));
    }

    /// Something that failed while others may not have, with its causes and what can be done.
    pub(crate) fn error(&self, error: &CommandError) {
        let _exit = program::fail(error);
    }

    /// A list of what is doubtful: the first of each kind, and how many more there are.
    pub(crate) fn warn_of<L: AsRef<str>>(&self, lines: impl IntoIterator<Item = L>) {
        for line in program::few::lines(lines) {
            self.warn(line);
        }
    }

    /// A list of sentences as result, in the same way.
    pub(crate) fn say_of<L: AsRef<str>>(&self, lines: impl IntoIterator<Item = L>) -> Result {
        let mut lines = program::few::lines(lines).into_iter();
        lines.try_for_each(|line| self.say(line))
    }

    /// Something doubtful.
    pub(crate) fn warn(&self, line: impl Display) {
        let line = lines_only(&line.to_string());
        program::note(format_args!("{} {line}", "warning:".yellow().bold()));
    }
}

/// What a cell of a table says where there is nothing to say.
pub(crate) fn or_dash(text: &str) -> String {
    let text = if text.is_empty() { "-" } else { text };
    text.to_owned()
}

/// What others may have typed, with nothing but the ends of lines that could move a cursor.
fn lines_only(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

fn output(cause: io::Error) -> CommandError {
    PrintError::Stdout(cause).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_that_people_typed_never_reach_a_terminal() {
        let shown = lines_only("evil\r=cmd\u{1b}[2K\u{9b}1A\u{202e}\nnext");

        assert_eq!(shown, "evil#015=cmd#033[2K#2331A#20056\nnext");
    }
}
