//! `postern host`

mod ban;
mod change;
mod list;
mod rename;
mod row;
mod set;
mod show;

use crate::context::Context;
use crate::error::Result;

/// See the hosts of the fleet, and change what is known of them
#[derive(clap::Args, Debug)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Set(set::SetArgs),
    Rename(rename::RenameArgs),
    Ban(ban::BanArgs),
}

pub(crate) async fn run(context: &Context, args: HostArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::Set(args) => set::run(context, args).await,
        Command::Rename(args) => rename::run(context, args).await,
        Command::Ban(args) => ban::run(context, args).await,
    }
}
