//! `postern`: the command line of users, operators and auditors; the program is [`main`].
//!
//! One file per command under `commands`, named as it is typed. Its doc comments are its help, its man
//! page and its completions.
//!
//! | module | what it knows |
//! |---|---|
//! | `cli`, `commands`, `context` | what can be typed, what each command does, and with what |
//! | `knock` | from options to an SPA packet on its way |
//! | `rc` | fwknop's `~/.fwknoprc` |
//! | `keyring` | the keyring of a desktop |
//! | `profile`, `directory` | what a member keeps on disk |
//! | `connection` | the controller |
//! | `fwknop` | the same program under the name of fwknop's client |
//! | `fwknop_options` | what fwknop's client has and this one has not |
//! | `hostile` | readers by one name, for tests that give them any bytes |
//! | `ui`, `error` | every word that is printed, and every exit code |

mod cli;
mod clock;
mod commands;
mod connection;
mod context;
mod directory;
mod error;
mod fwknop;
mod fwknop_options;
pub mod hostile;
mod keyring;
mod knock;
mod policy_file;
mod profile;
mod rc;
mod time;
mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use program::{Failure as _, LogArgs, Manner};

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::profile::Profile;
use crate::ui::Ui;

/// The program, whatever name it was called by.
pub fn main() -> ExitCode {
    if let Some(words) = fwknop::words(std::env::args_os()) {
        return as_fwknop(words);
    }
    let Cli {
        profile,
        log,
        command,
    } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<_> = std::env::args_os().skip(1).collect();
            match fwknop_options::explain(&error, &words) {
                Some(explained) => return program::fail(&explained),
                None => error.exit(),
            }
        }
    };
    if let Command::Fwknop { words } = command {
        return as_fwknop(words);
    }
    program::log_to_stderr(log, Manner::Tool);
    let context = Context {
        ui: Ui,
        profile: Profile::new(profile),
        now_secs: clock::now_secs(),
        verbose: log.verbose,
    };
    match run(command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_said() => error.exit().into(),
        Err(error) => match error.ended_with() {
            Some(code) => ExitCode::from(code),
            None => program::fail(&error),
        },
    }
}

/// As fwknop's client: whatever goes wrong ends with 1, as its scripts know it.
fn as_fwknop(words: Vec<OsString>) -> ExitCode {
    program::log_to_stderr(LogArgs::default(), Manner::Tool);
    match block_on(fwknop::run(words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _finer = program::fail(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, context: &Context) -> Result {
    block_on(command.run(context))
}

/// Connections are kept by a thread of their own: who writes to standard output waits for its reader, and a controller
/// that is not answered meanwhile takes this program for gone.
fn block_on(done: impl Future<Output = Result>) -> Result {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|cause| CommandError::failed("cannot start the runtime", cause))?
        .block_on(done)
}
