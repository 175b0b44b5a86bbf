//! `postern audit`

mod list;

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
    List(list::ListArgs),
}

pub(crate) async fn run(context: &Context, args: AuditArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, args).await,
    }
}
