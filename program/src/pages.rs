//! `completions SHELL` and `man [DIR]`, made of a program's own command line.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::output::{PrintError, print};

/// Print the completions for a shell
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

/// Print the man page, or write the pages of all commands
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Directory to write one page for each command to
    dir: Option<PathBuf>,
}

// === impl CompletionsArgs ===

impl CompletionsArgs {
    /// Prints the script for the program `C`.
    ///
    /// # Errors
    ///
    /// [`PrintError::Stdout`].
    pub fn run<C: CommandFactory>(self) -> Result<(), PrintError> {
        let mut command = C::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        print(script)
    }
}

// === impl ManArgs ===

impl ManArgs {
    /// Prints the main page of the program `C`, or writes the pages of all its commands.
    ///
    /// # Errors
    ///
    /// [`PrintError`].
    pub fn run<C: CommandFactory>(self) -> Result<(), PrintError> {
        let Some(dir) = self.dir else {
            let mut page = Vec::new();
            clap_mangen::Man::new(C::command())
                .render(&mut page)
                .map_err(PrintError::Stdout)?;
            return print(page);
        };
        let written = fs::create_dir_all(&dir)
            .and_then(|()| clap_mangen::generate_to(C::command(), &dir).map(|_| ()));
        if let Err(cause) = written {
            return Err(PrintError::Pages { dir, cause });
        }
        print(format!("Wrote the man pages to {}.\n", dir.display()))
    }
}
