//! `completions SHELL` and `man [DIR]`, made of a program's own command line.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use crate::output::{PrintError, print};

/// Print the completions for a shell
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

/// Print a man page, or write the pages of all commands
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// The command whose page is printed, as it is typed [default: the program's own page]
    #[arg(value_name = "COMMAND", conflicts_with = "output")]
    page: Vec<String>,

    /// Write one page for each command to this directory, which is made where it is missing
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
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
    /// Prints the page of the program `C` or of one of its commands, or writes those of all. A path
    /// in the place of a command is a directory to write to, as it was before `--output`.
    ///
    /// # Errors
    ///
    /// [`PrintError`].
    pub fn run<C: CommandFactory>(self) -> Result<(), PrintError> {
        let dir = match (self.output, self.page.as_slice()) {
            (Some(dir), _) => dir,
            (None, [path]) if is_path(path) => PathBuf::from(path),
            (None, words) => return print(page(C::command(), words)?),
        };
        let written = fs::create_dir_all(&dir)
            .and_then(|()| clap_mangen::generate_to(C::command(), &dir).map(|_| ()));
        if let Err(cause) = written {
            return Err(PrintError::Pages { dir, cause });
        }
        print(format!("Wrote the man pages to {}.\n", dir.display()))
    }
}

/// Whether this is where pages are to be written to, and not a command: no command has a slash.
fn is_path(word: &str) -> bool {
    word.contains('/') || word == "." || Path::new(word).is_dir()
}

/// The page of a command, which is found by the words that are typed for it.
fn page(root: Command, words: &[String]) -> Result<Vec<u8>, PrintError> {
    let mut name = root.get_name().to_owned();
    let mut command = root;
    command.build();
    for word in words {
        let Some(below) = command.find_subcommand(word) else {
            let command = name;
            let word = word.clone();
            return Err(PrintError::NoCommand { command, word });
        };
        name = format!("{name}-{}", below.get_name());
        command = below.clone();
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.name(name))
        .render(&mut page)
        .map_err(PrintError::Stdout)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Command {
        let list = Command::new("list").about("List them");
        Command::new("gate")
            .subcommand(Command::new("token").subcommand(list))
            .subcommand(Command::new("knock").about("Knock at it"))
    }

    fn shown(words: &[&str]) -> Result<String, PrintError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        page(root(), &words).map(|page| String::from_utf8(page).unwrap())
    }

    #[test]
    fn the_page_of_a_command_is_found_by_the_words_that_are_typed_for_it() {
        assert!(shown(&["knock"]).unwrap().contains("Knock at it"));
        assert!(shown(&["token", "list"]).unwrap().contains("List them"));
        assert!(shown(&[]).unwrap().contains("knock"));

        let unknown = shown(&["token", "lost"]).unwrap_err();
        assert_eq!(unknown.to_string(), "gate-token has no command `lost`");
    }

    #[test]
    fn a_directory_to_write_to_has_a_slash_or_is_there() {
        for (word, expected) in [
            ("knock", false),
            (".", true),
            ("./man", true),
            ("man/", true),
        ] {
            assert_eq!(is_path(word), expected, "{word}");
        }
    }
}
