//! `postern join`

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

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
/// profile directory. The token is asked for, or read from standard input or a file: on the command line
/// other users of this machine see it, and the history of the shell keeps it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern join -
  postern join --token-file ~/token && rm ~/token
  postern join - --keyring < token
  postern --profile ~/.config/postern-prod join -")]
pub(crate) struct JoinArgs {
    /// One-time token; `-` asks for it, or reads it from standard input
    #[arg(
        env = "POSTERN_TOKEN",
        hide_env_values = true,
        required_unless_present = "token_file"
    )]
    token: Option<String>,

    /// Read the token from this file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,

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
    let token = match (args.token, args.token_file) {
        (_, Some(file)) => read_file(&file)?,
        (token, None) => read_token(context, token.unwrap_or_default())?,
    };
    if token.role == Role::Host {
        return Err(CommandError::refused("this token is for a host")
            .with_hint("run `postern-agent join --token -` on the host"));
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

/// A token is a few hundred bytes.
const TOKEN_BYTES_MAX: u64 = 4_096;

fn read_file(file: &Path) -> Result<Token> {
    if file.as_os_str() == "-" {
        return asked_for();
    }
    let failed = |cause| CommandError::unreadable(file, cause);
    let bytes = program::files::read_named(file, TOKEN_BYTES_MAX).map_err(failed)?;
    let text = program::files::text(bytes).map(Zeroizing::new);
    parsed(&text.map_err(failed)?)
}

fn read_token(context: &Context, argument: String) -> Result<Token> {
    let text = Zeroizing::new(argument);
    if text.as_str() == "-" {
        return asked_for();
    }
    // From the environment it is seen by this user's programs only.
    let is_typed = std::env::args_os().any(|word| word == text.as_str());
    if is_typed {
        context.ui.warn(format_args!(
            "others on this machine can see a token on the command line; `postern join -` asks for it"
        ));
    }
    parsed(&text)
}

/// From whoever sits here, or from standard input.
fn asked_for() -> Result<Token> {
    let failed = |cause| CommandError::failed("cannot read standard input", cause);
    if io::stdin().is_terminal() {
        let text = rpassword::prompt_password("Token: ").map(Zeroizing::new);
        return parsed(&text.map_err(failed)?);
    }
    let mut text = Zeroizing::new(String::with_capacity(1_024));
    io::stdin()
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    parsed(&text)
}

fn parsed(text: &str) -> Result<Token> {
    if text.trim().is_empty() {
        let error = CommandError::usage("no token was given: what was read is empty");
        return Err(error.with_hint(
            "`postern join -` reads it from standard input, or asks for it at a terminal; `postern token create` \
             makes one",
        ));
    }
    let token = text.trim().parse();
    token.map_err(|cause| CommandError::usage("this is not a token").because(cause))
}
