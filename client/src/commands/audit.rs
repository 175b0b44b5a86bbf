//! `postern audit`

mod answer;
mod filter;
mod follow;
mod list;
mod print;

use crate::context::Context;
use crate::error::Result;

/// Ask who opened what
#[derive(clap::Args, Debug)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(Box<list::ListArgs>),
}

pub(crate) async fn run(context: &Context, args: AuditArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, *args).await,
    }
}
