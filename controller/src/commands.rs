//! What the command line offers.

mod audit;
mod backup;
mod ca;
mod data;
mod db;
mod error;
mod init;
mod seal;
mod serve;
mod sink;
mod status;
mod token;

use clap::{Parser, Subcommand};
use program::{CompletionsArgs, LogArgs, ManArgs};

use error::CommandError;

/// Distributes policy, keeps the shared replay list and the audit log of a fleet
#[derive(Debug, Parser)]
#[command(
    name = "postern-controller",
    version,
    max_term_width = 100,
    after_help = program::EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::InitArgs),
    Serve(serve::ServeArgs),
    Status(status::StatusArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Move(backup::MoveArgs),
    Check(backup::CheckArgs),
    Db(db::DbArgs),
    Seal(seal::SealArgs),
    Audit(audit::AuditArgs),
    Ca(ca::CaArgs),
    Sink(sink::SinkArgs),
    Token(token::TokenArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

// === impl Command ===

impl Command {
    /// Does it.
    ///
    /// # Errors
    ///
    /// [`CommandError`], by exit code.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Init(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::Status(args) => args.run(),
            Self::Backup(args) => args.run(),
            Self::Restore(args) => args.run(),
            Self::Move(args) => args.run(),
            Self::Check(args) => args.run(),
            Self::Db(args) => args.run(),
            Self::Seal(args) => args.run(),
            Self::Audit(args) => args.run(),
            Self::Ca(args) => args.run(),
            Self::Sink(args) => args.run(),
            Self::Token(args) => args.run(),
            Self::Completions(args) => Ok(args.run::<Cli>()?),
            Self::Man(args) => Ok(args.run::<Cli>()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_help_text_is_as_it_was() {
        insta::assert_snapshot!("reference", program::reference(Cli::command()));
    }
}
