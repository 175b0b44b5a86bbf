//! `postern join`

use std::io;

use fleet::{Role, Token};
use member::JoinOptions;
use zeroize::Zeroizing;

use crate::commands::profile::keyring::to_keyring;
use crate::commands::sync;
use crate::connection::Connection;
use crate::context::Context;
use crate::directory::Directory;
use crate::error::{CommandError, Result};
use crate::keyring;
use crate::knock::request::login_name;

/// The name of a key that nobody gave one.
const KEY_DEFAULT: &str = "default";

/// Become a user, operator or auditor of a fleet
///
/// The token comes from an operator and can be used once. The keys are made here and never leave the
/// profile directory. A token on the command line is visible to other users of this machine; with `-`
/// it is read from standard input.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern join - < token
  postern join - --keyring < token
  postern --profile ~/.config/postern-prod join TOKEN")]
pub(crate) struct JoinArgs {
    /// One-time token, or `-` for standard input
    #[arg(env = "POSTERN_TOKEN", hide_env_values = true)]
    token: String,

    /// Name to ask for, when the token carries none
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Controller to dial instead of the one in the token; it must prove itself all the same
    #[arg(long, value_name = "HOST:PORT")]
    controller: Option<String>,

    /// Replace the membership that is in the profile
    #[arg(long)]
    force: bool,

    /// Have the keys in the keyring of this desktop, and never on the disk (see `postern profile keyring`)
    #[arg(long)]
    keyring: bool,
}

pub(crate) async fn run(context: &Context, args: JoinArgs) -> Result {
    let token = read_token(args.token)?;
    if token.role == Role::Host {
        return Err(CommandError::refused("this token is for a host")
            .with_hint("run `postern-agent join --token TOKEN` on the host"));
    }
    if args.keyring {
        keyring::required()?;
    }
    let requested_name = args.name.or_else(|| token.name.is_empty().then(login_name));
    let options = JoinOptions {
        requested_name,
        controller: args.controller,
        force: args.force,
        keyring: keyring::of_desktop(),
        into_keyring: args.keyring,
        ..JoinOptions::default()
    };
    let before = context.profile.membership_if_any().ok().flatten();
    let mut membership = member::join(&token, context.profile.dir(), options).await?;
    context.profile.joined(before.as_ref(), &membership)?;
    let key = match membership.key_name.as_str() {
        "" | KEY_DEFAULT => String::new(),
        key => format!(", with the key {key}"),
    };
    context.ui.say(format_args!(
        "Joined fleet {} as {} {}{key}.",
        membership.fleet, membership.role, membership.name
    ))?;
    if args.keyring {
        // A join that was begun without the keyring has its keys in the file.
        to_keyring(context, &mut membership)?;
    }
    if membership.role == Role::User {
        let connection = Connection::of(membership).await?;
        let directory = Directory::sync(&context.profile, &connection).await?;
        sync::report(context, &directory)?;
    }
    Ok(())
}

fn read_token(argument: String) -> Result<Token> {
    let mut text = Zeroizing::new(argument);
    if text.as_str() == "-" {
        text.clear();
        io::stdin()
            .read_line(&mut text)
            .map_err(|cause| CommandError::failed("cannot read standard input", cause))?;
    }
    text.parse()
        .map_err(|cause| CommandError::usage("this is not a token").because(cause))
}
