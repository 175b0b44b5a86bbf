//! `postern-controller`: the command line, and the one table of exit codes.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
