//! `postern sink`

mod list;

use crate::context::Context;
use crate::error::Result;

/// See where events are sent on to
#[derive(clap::Args, Debug)]
pub(crate) struct SinkArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(list::ListArgs),
}

pub(crate) async fn run(context: &Context, args: SinkArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, args).await,
    }
}
