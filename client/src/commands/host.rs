//! `postern host`

mod ban;
mod list;
mod row;
mod show;

use crate::context::Context;
use crate::error::Result;

/// See the hosts of the fleet, and put one out
#[derive(clap::Args, Debug)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Ban(ban::BanArgs),
}

pub(crate) async fn run(context: &Context, args: HostArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::Ban(args) => ban::run(context, args).await,
    }
}
