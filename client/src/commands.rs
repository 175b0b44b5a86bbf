//! The commands, and what each of them is given.

mod audit;
mod completions;
mod host;
mod join;
mod knock;
mod man;
mod policy;
mod profile;
mod sync;
mod token;

use crate::cli::Cli;
use crate::clock;
use crate::error::Result;
use crate::profile::Profile;
use crate::ui::Ui;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) profile: Profile,
    pub(crate) now_secs: u64,
}

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    Join(join::JoinArgs),
    Knock(Box<crate::knock::args::KnockArgs>),
    Sync(sync::SyncArgs),
    Profile(profile::ProfileArgs),
    Token(token::TokenArgs),
    Host(host::HostArgs),
    Policy(policy::PolicyArgs),
    Audit(audit::AuditArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Does what was typed.
///
/// # Errors
///
/// [`crate::error::CommandError`], by exit code.
pub(crate) async fn run(cli: Cli) -> Result {
    let context = Context {
        ui: Ui,
        profile: Profile::new(cli.profile),
        now_secs: clock::now_secs(),
    };
    match cli.command {
        Command::Join(args) => join::run(&context, args).await,
        Command::Knock(args) => knock::run(&context, *args).await,
        Command::Sync(args) => sync::run(&context, args).await,
        Command::Profile(args) => profile::run(&context, args).await,
        Command::Token(args) => token::run(&context, args).await,
        Command::Host(args) => host::run(&context, args).await,
        Command::Policy(args) => policy::run(&context, args).await,
        Command::Audit(args) => audit::run(&context, args).await,
        Command::Completions(args) => completions::run(&context, &args),
        Command::Man(args) => man::run(&context, args),
    }
}

/// Whether a listing is for people or for programs.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Listing {
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}
