//! postern-agent: reads the command line, and turns results into exit codes.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use agent::cli::{Cli, Command, LogFormat, RunArgs};
use agent::commands::{flush, join};
use agent::config::{Config, RawConfig};
use agent::{explain, run};
use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

/// Refused, failed. (2 is clap's, for bad usage.)
const EXIT_FAILED: u8 = 1;
/// The configuration cannot be used (`EX_USAGE` of sysexits.h).
const EXIT_INVALID: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.log, cli.verbose);
    match cli.command {
        Command::Run(args) => run_agent(*args),
        Command::Join(args) => match join::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed) => fail(&failed, None, failed.exit_code()),
        },
        Command::Explain(args) => match explain::run(&args) {
            Ok(code) => code,
            Err(error) => fail(&error, None, EXIT_FAILED),
        },
        Command::Flush(args) => match flush::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, None, EXIT_FAILED),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "postern-agent", &mut script);
            print(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(Cli::command()).render(&mut page) {
                Ok(()) => print(&page),
                Err(error) => fail(&error, None, EXIT_FAILED),
            }
        }
    }
}

fn run_agent(args: RunArgs) -> ExitCode {
    let file = args.config.clone();
    let config = match Config::load(file.as_deref(), RawConfig::from(args)) {
        Ok(config) => config,
        Err(error) => return fail(&error, None, EXIT_INVALID),
    };
    match run::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.hint(), error.exit_code()),
    }
}

/// Says what went wrong, why, and what can be done.
fn fail(error: &dyn Error, hint: Option<&str>, code: u8) -> ExitCode {
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("  because: {error}\n"));
        cause = error.source();
    }
    if let Some(hint) = hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    // If nobody can be told, the exit code still says it.
    let _ = anstream::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

fn print(bytes: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_FAILED),
    }
}

/// Libraries speak up at `trace` only: whoever asks for more wants to hear about packets.
const QUIET_LIBRARIES: &str =
    "h2=info,hyper_util=info,rustls=info,tower=info,tonic=info,rusqlite_migration=warn";

fn log_to_stderr(format: LogFormat, verbose: u8) {
    let level = match verbose {
        0 => format!("info,{QUIET_LIBRARIES}"),
        1 => format!("debug,{QUIET_LIBRARIES}"),
        _ => "trace".to_owned(),
    };
    let filter = EnvFilter::try_from_env("POSTERN_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
