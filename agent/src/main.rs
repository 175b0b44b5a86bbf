//! postern-agent: reads the command line, and turns results into exit codes.

use std::process::ExitCode;

use agent::cli::{Cli, Command, RunArgs};
#[cfg(feature = "link")]
use agent::commands::join;
use agent::commands::{audit, doctor, floor, flush, grants, protect, reload, status};
use agent::config::{ConfigSource, Layers, RawConfig};
use agent::{explain, hide_first, run};
use clap::Parser as _;
use program::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::log_to_stderr(cli.log, cli.command.manner());
    match cli.command {
        Command::Run(args) => run_agent(*args),
        #[cfg(feature = "link")]
        Command::Join(args) => ended(join::run(args)),
        Command::Explain(args) => ended(explain::run(&args)),
        Command::Protect(args) => protect::run(args),
        Command::Status(args) => ended(status::run(&args)),
        Command::Grants(args) => ended(grants::run(&args)),
        Command::Audit(args) => ended(audit::run(&args)),
        Command::Doctor(args) => ended(doctor::run(&args)),
        Command::Reload(args) => ended(reload::run(&args)),
        Command::Floor(args) => ended(floor::run(&args)),
        Command::Flush(args) => ended(flush::run(&args)),
        Command::Completions(args) => ended(args.run::<Cli>()),
        Command::Man(args) => ended(args.run::<Cli>()),
    }
}

fn run_agent(args: RunArgs) -> ExitCode {
    let file = args.config.clone();
    let flags = RawConfig::from(args);
    let layers = Layers::read(file.as_deref(), flags.clone());
    // Before anything that can fail, and whatever is wrong with the configuration.
    let hidden = hide_first::hide_first(layers.readable());
    match layers.raw_and_config() {
        Ok((raw, mut config)) => {
            // One name for all: what was laid first is what is kept, read past and taken away.
            if let Ok(Some(first)) = &hidden {
                config.firewall.chain.clone_from(&first.chain);
            }
            let source = ConfigSource::new(file, flags, raw);
            ended(run::run(&config, source, hidden))
        }
        Err(invalid) => {
            if let Err(cause) = hidden {
                tracing::error!(error = %program::one_line(&cause), "what was protected is not hidden");
            }
            program::fail(&invalid)
        }
    }
}

fn ended(result: Result<(), impl Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => program::fail(&failure),
    }
}
