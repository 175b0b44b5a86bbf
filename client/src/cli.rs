//! What can be typed, and which command does it.

use std::ffi::OsString;
use std::path::PathBuf;

use program::{LogArgs, ManArgs};

use crate::commands::{
    audit, can, close, complete, controllers, host, join, keygen, knock, list, member, policy,
    profile, proxy, report, run, sink, ssh, sync, token, who_can,
};
use crate::context::Context;
use crate::error::Result;
use crate::fwknop;
use crate::knock::args::KnockArgs;

/// Open ports with single packets, and say who may
///
/// A profile is one membership of a fleet, made with `postern join`. Users knock with it, operators
/// write policy, auditors ask who opened what. Knocking with static keys needs no profile.
#[derive(clap::Parser, Debug)]
#[command(
    name = "postern",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = after_help()
)]
pub(crate) struct Cli {
    /// Profile directory [default: ~/.config/postern]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "POSTERN_PROFILE",
        hide_env_values = true
    )]
    pub(crate) profile: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) log: LogArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands; each is described where it is done.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    Join(join::JoinArgs),
    Knock(Box<KnockArgs>),
    Close(Box<close::CloseArgs>),
    Ssh(Box<ssh::SshArgs>),
    Proxy(Box<proxy::ProxyArgs>),
    Run(Box<run::RunArgs>),
    List(list::ListArgs),
    Sync(sync::SyncArgs),
    /// Do as fwknop's client does, with its options, files and exit codes
    ///
    /// The same happens by itself where this program is called `fwknop`: make a link of that name to it,
    /// and scripts that were written for fwknop go on.
    #[command(disable_help_flag = true, after_help = fwknop::help())]
    Fwknop {
        /// Options of fwknop's client
        #[arg(
            value_name = "OPTION",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        words: Vec<OsString>,
    },
    Profile(profile::ProfileArgs),
    Keygen(keygen::KeygenArgs),
    Token(token::TokenArgs),
    Member(member::MemberArgs),
    Host(host::HostArgs),
    Controllers(controllers::ControllersArgs),
    Policy(policy::PolicyArgs),
    WhoCan(who_can::WhoCanArgs),
    Can(can::CanArgs),
    Audit(audit::AuditArgs),
    Sink(sink::SinkArgs),
    Report(report::ReportArgs),
    #[command(after_help = "\
Examples:
  postern completions bash > ~/.local/share/bash-completion/completions/postern")]
    Completions(complete::CompletionsArgs),
    #[command(hide = true)]
    Complete(complete::CompleteArgs),
    #[command(after_help = "\
Examples:
  postern man knock | man -l -
  postern man --output /usr/local/share/man/man1")]
    Man(ManArgs),
}

// === impl Command ===

impl Command {
    /// Does it.
    ///
    /// # Errors
    ///
    /// [`CommandError`](crate::error::CommandError), by exit code.
    pub(crate) async fn run(self, context: &Context) -> Result {
        match self {
            Self::Join(args) => join::run(context, args).await,
            Self::Knock(args) => knock::run(context, *args).await,
            Self::Close(args) => close::run(context, *args).await,
            Self::Ssh(args) => ssh::run(context, *args).await,
            Self::Proxy(args) => proxy::run(context, *args).await,
            Self::Run(args) => run::run(context, *args).await,
            Self::List(args) => list::run(context, args).await,
            Self::Sync(args) => sync::run(context, args).await,
            // Where something stands in front of the word; otherwise `main` has done it.
            Self::Fwknop { words } => fwknop::run(words).await,
            Self::Profile(args) => profile::run(context, args).await,
            Self::Keygen(args) => keygen::run(context, &args),
            Self::Token(args) => token::run(context, args).await,
            Self::Member(args) => member::run(context, args).await,
            Self::Host(args) => host::run(context, args).await,
            Self::Controllers(args) => controllers::run(context, args).await,
            Self::Policy(args) => policy::run(context, args).await,
            Self::WhoCan(args) => who_can::run(context, args).await,
            Self::Can(args) => can::run(context, args).await,
            Self::Audit(args) => audit::run(context, args).await,
            Self::Sink(args) => sink::run(context, args).await,
            Self::Report(args) => report::run(context, args).await,
            Self::Completions(args) => complete::print_script(context, args, &mut Self::line()),
            Self::Complete(args) => complete::run(context, &args, Self::line()),
            Self::Man(args) => Ok(args.run::<Cli>()?),
        }
    }

    /// All that can be typed.
    fn line() -> clap::Command {
        <Cli as clap::CommandFactory>::command()
    }
}

fn after_help() -> String {
    format!(
        "{}

Examples:
  postern join -
  postern list
  postern ssh web-1
  postern knock web-1 -A tcp/22 && ssh web-1
  postern policy diff access.conf
  postern policy apply access.conf -m 'ssh for the new team'
  postern can alice web-1 tcp/22
  postern member lock alice -m 'laptop lost'
  postern audit list --since 1d --kind grant-opened",
        program::EXIT_CODES
    )
}
