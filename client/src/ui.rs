//! Everything this program says, on standard output and on standard error.
//!
//! Results go to standard output, everything about them to standard error. Colours appear only on a
//! terminal. Nothing secret is ever given to this module, except tokens and exported keys, which are
//! results that the caller asked for.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use crate::error::{CommandError, Kind, Result};

/// The two streams.
#[derive(Debug, Default)]
pub(crate) struct Ui;

// === impl Ui ===

impl Ui {
    /// One line of result.
    pub(crate) fn say(&self, line: impl Display) -> Result {
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
        self.say(line)
    }

    /// A table; without lines around it, so that it can be cut and sorted.
    pub(crate) fn table<const N: usize>(
        &self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(head);
        if io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.force_no_tty();
        }
        for row in rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            self.say(line.trim_end())?;
        }
        Ok(())
    }

    /// One line about the result, on standard error.
    pub(crate) fn note(&self, line: impl Display) {
        // Nobody is there to be told when standard error is gone.
        let _ = writeln!(anstream::stderr().lock(), "{line}");
    }

    /// Something doubtful.
    pub(crate) fn warn(&self, line: impl Display) {
        self.note(format_args!("{} {line}", "warning:".yellow().bold()));
    }

    /// Why the command failed; gives the exit code.
    pub(crate) fn fail(&self, error: &CommandError) -> ExitCode {
        if error.kind() != Kind::BrokenPipe {
            self.explain(error);
        }
        ExitCode::from(error.kind().exit_code())
    }

    fn explain(&self, error: &CommandError) {
        if error.kind() == Kind::Invalid {
            // Mistakes have their own form, file:line: KEYWORD, which editors understand.
            self.note(error);
        } else {
            self.note(format_args!("{} {error}", "error:".red().bold()));
        }
        let mut said = error.to_string();
        for cause in error.causes() {
            let text = cause.to_string();
            if !said.contains(&text) {
                self.note(format_args!("  because: {text}"));
                said.push_str(&text);
            }
        }
        if let Some(hint) = error.hint_text() {
            self.note(format_args!("{} {hint}", "hint:".cyan().bold()));
        }
    }
}

/// What a failure to write means.
fn output(error: io::Error) -> CommandError {
    if error.kind() == ErrorKind::BrokenPipe {
        return CommandError::new(Kind::BrokenPipe, "standard output is closed");
    }
    let cause: Box<dyn StdError + Send + Sync> = error.into();
    CommandError::failed("cannot write to standard output", cause)
}
