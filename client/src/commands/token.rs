//! `postern token`

pub(crate) mod create;
mod list;
mod revoke;
mod row;

use crate::context::Context;
use crate::error::Result;

/// Invite hosts and people into the fleet
#[derive(clap::Args, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Revoke(revoke::RevokeArgs),
}

pub(crate) async fn run(context: &Context, args: TokenArgs) -> Result {
    match args.command {
        Command::Create(args) => create::run(context, args).await,
        Command::List(args) => list::run(context, args).await,
        Command::Revoke(args) => revoke::run(context, args).await,
    }
}
