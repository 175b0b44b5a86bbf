//! `postern-controller`: reads the command line, and turns results into exit codes.

mod commands;

use std::process::ExitCode;

use clap::Parser as _;
use program::Manner;

use crate::commands::Cli;

/// What is freed holds no key any more.
#[global_allocator]
static ALLOCATOR: program::Wiping = program::Wiping;

fn main() -> ExitCode {
    program::keep_memory_private();
    program::give_large_blocks_back();
    let cli = Cli::parse();
    program::log_to_stderr(cli.log, Manner::Daemon);
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => program::fail(&error),
    }
}
