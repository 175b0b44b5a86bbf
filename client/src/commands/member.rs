//! `postern member`

mod act;
mod add_key;
mod list;
mod replace;
mod rotate;
mod row;
mod show;
mod target;
pub(crate) mod wait;

use crate::context::Context;
use crate::error::Result;

/// See who belongs to the fleet; lock, unlock, remove and replace
///
/// Members are hosts, users, and those who manage them: owners, operators, auditors, validators and
/// helpdesks (`postern token create --help` says what each may do). Whoever lost a laptop locks the key that was on it;
/// whoever leaves is removed.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern member list --role user
  postern token create --role auditor --name eve            an auditor
  postern member replace alice --key laptop --lost          a lost laptop
  postern member replace host/web-1                         a host that is installed anew
  postern member add-key alice --key phone                  a second device
  postern member rotate alice                               new keys, when she next can
  postern member remove alice -m 'left the company'         who leaves")]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Lock(act::LockArgs),
    Unlock(act::UnlockArgs),
    Remove(act::RemoveArgs),
    Replace(replace::ReplaceArgs),
    Rotate(rotate::RotateArgs),
    AddKey(add_key::AddKeyArgs),
}

pub(crate) async fn run(context: &Context, args: MemberArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::Lock(args) => act::lock(context, args).await,
        Command::Unlock(args) => act::unlock(context, args).await,
        Command::Remove(args) => act::remove(context, args).await,
        Command::Replace(args) => replace::run(context, args).await,
        Command::Rotate(args) => rotate::run(context, args).await,
        Command::AddKey(args) => add_key::run(context, args).await,
    }
}
