//! `postern`: the command line of users, operators and auditors.
//!
//! One file per command under `commands`, named as it is typed. Its doc comments are its help, its man
//! page and its completions.
//!
//! | room | what it knows |
//! |---|---|
//! | `cli`, `commands` | what can be typed, and what each command does |
//! | `knock` | from options to an SPA packet on its way |
//! | `rc` | fwknop's `~/.fwknoprc` |
//! | `profile`, `directory` | what a member keeps on disk |
//! | `connection` | the controller |
//! | `ui`, `error` | every word that is printed, and every exit code |

mod cli;
mod clock;
mod commands;
mod connection;
mod directory;
mod error;
mod knock;
mod policy_file;
mod profile;
mod rc;
mod time;
mod ui;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::cli::Cli;
use crate::error::CommandError;
use crate::ui::Ui;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("POSTERN_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli)),
        Err(cause) => Err(CommandError::failed("cannot start", cause)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Ui.fail(&error),
    }
}
