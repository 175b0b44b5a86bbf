//! What the command line offers, and how it ends.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 usage, 64 invalid configuration.

mod init;
mod serve;
mod token;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use controller::StartError;

const EXIT_FAILED: u8 = 1;
const EXIT_INVALID_CONFIGURATION: u8 = 64;

/// The controller of a Postern fleet: policy, membership, the shared replay list and the audit log.
#[derive(Debug, Parser)]
#[command(name = "postern-controller", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Serve(serve::Serve),
    Token(token::Token),
    /// Print completions for a shell.
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
    /// Write the manual pages.
    Man {
        /// Directory to write into; otherwise the main page goes to standard output.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Parses the command line and runs it.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading; the exit code says it too.
            let _ = writeln!(anstream::stderr(), "postern-controller: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(init) => init.run(),
        Command::Serve(serve) => serve.run(),
        Command::Token(token) => token.run(),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "postern-controller", &mut script);
            io::stdout().write_all(&script).context("standard output")
        }
        Command::Man { dir: Some(dir) } => {
            clap_mangen::generate_to(Cli::command(), &dir).context("manual pages")
        }
        Command::Man { dir: None } => clap_mangen::Man::new(Cli::command())
            .render(&mut io::stdout())
            .context("standard output"),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<StartError>() {
        Some(error) if error.is_invalid_settings() => EXIT_INVALID_CONFIGURATION,
        Some(_) | None => EXIT_FAILED,
    }
}

/// Prints one thing that a script will read: a token.
fn print(text: &impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("standard output")
}

/// Prints what a person wants to know about it.
fn explain(text: &str) {
    // The token is what counts; an explanation that nobody reads is no failure.
    let _ = writeln!(anstream::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
