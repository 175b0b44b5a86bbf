//! `postern profile`

mod export;
pub(crate) mod keyring;
mod show;

use crate::context::Context;
use crate::error::Result;

/// See what this profile is, or take it elsewhere
#[derive(clap::Args, Debug)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Export(export::ExportArgs),
    Keyring(keyring::KeyringArgs),
    Show(show::ShowArgs),
}

pub(crate) async fn run(context: &Context, args: ProfileArgs) -> Result {
    match args.command {
        Command::Export(args) => export::run(context, args).await,
        Command::Keyring(args) => keyring::run(context, &args),
        Command::Show(args) => show::run(context, &args),
    }
}
