//! `postern profile`

mod export;
pub(crate) mod keyring;
pub(crate) mod rotate;
mod show;

use crate::context::Context;
use crate::error::Result;

/// See what this profile is, take it elsewhere, or give it other keys
#[derive(clap::Args, Debug)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Export(export::ExportArgs),
    Keyring(keyring::KeyringArgs),
    Rotate(rotate::RotateArgs),
    Show(show::ShowArgs),
}

pub(crate) async fn run(context: &Context, args: ProfileArgs) -> Result {
    match args.command {
        Command::Export(args) => export::run(context, args).await,
        Command::Keyring(args) => keyring::run(context, &args),
        Command::Rotate(args) => rotate::run(context, &args).await,
        Command::Show(args) => show::run(context, &args),
    }
}
