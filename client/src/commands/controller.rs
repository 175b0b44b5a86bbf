//! `postern controller`

mod list;

use crate::context::Context;
use crate::error::Result;

/// See the controllers that serve the fleet
#[derive(clap::Args, Debug)]
pub(crate) struct ControllerArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(list::ListArgs),
}

pub(crate) async fn run(context: &Context, args: ControllerArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, args).await,
    }
}
