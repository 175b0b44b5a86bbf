//! Programs that run to their end, and what they said.

use std::process::{Command, Output};

use anyhow::{Context, bail};

use crate::Result;

/// What a program that has ended said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The command line, for error texts.
    pub what: String,
    /// The exit code; a signal counts as 128 and its number, as in a shell.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

// === impl Ran ===

impl Ran {
    /// Both streams, standard output first.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Insists on an exit code.
    ///
    /// # Errors
    ///
    /// When the program left with another one; the text holds everything it said.
    pub fn code(self, wanted: i32) -> Result<Self> {
        if self.code != wanted {
            bail!(
                "`{}` left with {} instead of {wanted}\n--- stdout\n{}--- stderr\n{}",
                self.what,
                self.code,
                self.stdout,
                self.stderr,
            );
        }
        Ok(self)
    }

    /// Insists on success.
    ///
    /// # Errors
    ///
    /// As [`Ran::code`] with 0.
    pub fn ok(self) -> Result<Self> {
        self.code(0)
    }

    /// Insists that the program said `needle` somewhere.
    ///
    /// # Errors
    ///
    /// When it did not; the text holds everything it said.
    pub fn says(self, needle: &str) -> Result<Self> {
        if !self.text().contains(needle) {
            bail!(
                "`{}` did not say {needle:?} but\n{}",
                self.what,
                self.text()
            );
        }
        Ok(self)
    }

    /// Standard output as one JSON value a line.
    ///
    /// # Errors
    ///
    /// When a line is not JSON.
    pub fn json_lines(&self) -> Result<Vec<serde_json::Value>> {
        self.stdout
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                serde_json::from_str(line).with_context(|| {
                    format!("`{}` printed a line that is not JSON: {line}", self.what)
                })
            })
            .collect()
    }
}

/// Runs a program to its end.
///
/// # Errors
///
/// Only when it cannot be started; how it ended is in [`Ran`].
pub fn run(command: &mut Command) -> Result<Ran> {
    let what = describe(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{what}`"))?;
    Ok(ran(what, &output))
}

/// The command line of `command` as a person would type it.
pub fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn ran(what: String, output: &Output) -> Ran {
    Ran {
        what,
        code: exit_code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;

    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}
