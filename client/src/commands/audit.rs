//! `postern audit`

mod answer;
mod export;
mod filter;
mod follow;
mod key;
mod keys;
mod list;
mod pages;
mod print;
mod proof;
mod verify;

use crate::context::Context;
use crate::error::Result;

/// Ask who opened what, and verify that the log is as it was
#[derive(clap::Args, Debug)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(Box<list::ListArgs>),
    Verify(Box<verify::VerifyArgs>),
    Export(export::ExportArgs),
    Key(key::KeyArgs),
}

pub(crate) async fn run(context: &Context, args: AuditArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, *args).await,
        Command::Verify(args) => verify::run(context, *args).await,
        Command::Export(args) => export::run(context, args).await,
        Command::Key(args) => key::run(context, args).await,
    }
}
