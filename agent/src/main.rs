//! postern-agent: reads the command line, and turns results into exit codes.

use std::process::ExitCode;

use agent::cli::{Cli, Command};
#[cfg(feature = "link")]
use agent::commands::join;
use agent::commands::{
    audit, doctor, floor, flush, grants, import, protect, reload, rotate_keys, status, syns,
};
use agent::config::{Named, RawConfig};
use agent::domains::log_to::LogTo;
use agent::domains::{child, spawn};
use agent::{explain, fwknopd, start};
use clap::Parser as _;
use program::Failure;

/// What is freed holds no key any more.
#[global_allocator]
static ALLOCATOR: program::Wiping = program::Wiping;

fn main() -> ExitCode {
    program::keep_memory_private();
    // By the name that a site's scripts know, it understands their switches.
    if fwknopd::program::is_called_so() {
        return fwknopd::program::main();
    }
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == spawn::SUBCOMMAND)
        && let Some(ended) = child::main(words)
    {
        return ended;
    }
    let cli = Cli::parse();
    program::log_to_stderr(cli.log, cli.command.manner());
    match cli.command {
        Command::Run(args) => {
            let named = Named::from(&*args);
            match start::start(named, RawConfig::from(*args), &LogTo::stderr(cli.log)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => program::fail(&*failure),
            }
        }
        #[cfg(feature = "link")]
        Command::Join(args) => ended(join::run(args)),
        Command::Import(args) => ended(import::run(&args)),
        Command::Explain(args) => ended(explain::run(&args)),
        Command::Protect(args) => protect::run(args),
        Command::Status(args) => ended(status::run(&args)),
        Command::Grants(args) => ended(grants::run(&args)),
        Command::Audit(args) => ended(audit::run(&args)),
        Command::Doctor(args) => ended(doctor::run(&args)),
        Command::Syns(args) => ended(syns::run(&args)),
        Command::Reload(args) => ended(reload::run(&args)),
        Command::RotateKeys(args) => ended(rotate_keys::run(&args)),
        Command::Floor(args) => ended(floor::run(&args)),
        Command::Flush(args) => ended(flush::run(&args)),
        Command::Completions(args) => ended(args.run::<Cli>()),
        Command::Man(args) => ended(args.run::<Cli>()),
    }
}

fn ended(result: Result<(), impl Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => program::fail(&failure),
    }
}
