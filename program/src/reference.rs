//! A whole command line in one text: for a snapshot, in which every change of a help text shows.

use std::fmt::Write as _;

use clap::Command;

/// Columns of the text, whatever the terminal has.
const WIDTH: usize = 100;

/// Returns the help of a program and of all commands below it.
#[must_use]
pub fn reference(command: Command) -> String {
    let mut text = String::new();
    let name = command.get_name().to_owned();
    // Also proves that the parts of the command line fit together.
    command.clone().debug_assert();
    let mut command = command.term_width(WIDTH);
    command.build();
    append(&mut command, &name, &mut text);
    text
}

fn append(command: &mut Command, path: &str, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{path}\n{}\n{}",
        "=".repeat(72),
        command.render_long_help()
    );
    for below in command.get_subcommands_mut() {
        if below.get_name() != "help" {
            let path = format!("{path} {}", below.get_name());
            append(below, &path, text);
        }
    }
}
