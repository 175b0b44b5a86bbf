//! `postern-agent join`: makes this machine a host of a fleet.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use fleet::{InvalidToken, Role, Token};
use member::{JoinError, JoinOptions, Membership};
use zeroize::Zeroizing;

use crate::STATE_DIR;
use crate::journal::{FleetJournal, JournalError};

/// A token text is a few hundred bytes; more than this on standard input is something else.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// Make this machine a host of a fleet
///
/// The keys are made here and never leave this machine. The token is spent, and what was made is
/// kept in the state directory for `postern-agent run`.
#[derive(clap::Args, Debug)]
pub struct JoinArgs {
    /// The one-time token, as an operator got it from `postern token create --role host`; `-` reads
    /// it from standard input
    #[arg(
        long,
        value_name = "TOKEN",
        env = "POSTERN_TOKEN",
        hide_env_values = true
    )]
    token: TokenText,

    /// Where the membership is kept
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state: PathBuf,

    /// The name to ask for, if the token carries none; by default the machine's own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The address users send SPA packets to; by default the one the controller sees
    #[arg(long, value_name = "ADDR")]
    address: Option<String>,

    /// The port users send SPA packets to; by default 62201
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    spa_port: Option<u16>,

    /// Dial the controller here instead of where the token says
    #[arg(long, value_name = "HOST:PORT")]
    controller: Option<String>,

    /// Replace a membership that is there already
    #[arg(long)]
    force: bool,
}

/// Why this machine did not join, for people and for scripts.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailed {
    /// The token was not readable at all.
    #[error("cannot read the token from standard input")]
    Input(#[source] std::io::Error),
    /// What was given is not a token.
    #[error("this is not a token")]
    Token(#[source] InvalidToken),
    /// A token for something that is not a machine.
    #[error("this token makes a member of role {role}, not a host")]
    NotForHosts {
        /// The role it carries.
        role: Role,
    },
    /// The controller or this machine's disk had a say.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The journal of the fleet that this machine was in before cannot be renamed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The program cannot even begin.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
}

/// A token as it was typed: shown nowhere, not even in a usage error.
#[derive(Clone)]
struct TokenText(Zeroizing<String>);

/// Joins, and prints who this machine is now.
///
/// # Errors
///
/// [`JoinFailed`], by who can act.
pub fn run(args: JoinArgs) -> Result<(), JoinFailed> {
    let JoinArgs {
        token,
        state,
        name,
        address,
        spa_port,
        controller,
        force,
    } = args;
    let token = token.token()?;
    if token.role != Role::Host {
        return Err(JoinFailed::NotForHosts { role: token.role });
    }
    let options = JoinOptions {
        requested_name: name.or_else(machine_name),
        address,
        spa_port,
        controller,
        force,
    };

    let before = Membership::load(&state).ok();
    // Held before the token is spent, so that nothing can go wrong with it afterwards.
    let journal = if before.is_none() || force {
        FleetJournal::hold(&state)?
    } else {
        None
    };

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(JoinFailed::Runtime)?;
    let member = runtime.block_on(member::join(&token, &state, options))?;

    say(format_args!(
        "Joined fleet {} as host {}, state in {}",
        member.fleet,
        member.name,
        state.display()
    ));
    // As another host of the same fleet it has another policy, and another history.
    let same_host = before
        .is_some_and(|before| before.ca_der() == member.ca_der() && before.name == member.name);
    if let (Some(journal), false) = (journal, same_host) {
        let kept = journal.archive()?;
        say(format_args!(
            "What was kept as the host before is now {}",
            kept.display()
        ));
    }
    Ok(())
}

/// Prints a line. Whether anybody reads it changes nothing about having joined.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What the machine calls itself, without its domain.
fn machine_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let first = name.split('.').next()?;
    (!first.is_empty()).then(|| first.to_owned())
}

// === impl TokenText ===

impl TokenText {
    fn token(self) -> Result<Token, JoinFailed> {
        if &**self.0 != "-" {
            return self.0.parse().map_err(JoinFailed::Token);
        }
        let mut text = Zeroizing::new(String::new());
        std::io::stdin()
            .take(TOKEN_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(JoinFailed::Input)?;
        text.parse().map_err(JoinFailed::Token)
    }
}

impl std::str::FromStr for TokenText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl std::fmt::Debug for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenText(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use program::{Exit, Failure as _};

    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Program {
        #[command(flatten)]
        join: JoinArgs,
    }

    #[test]
    fn a_token_is_shown_neither_by_debug_nor_by_an_error() {
        let secret = "postern1.c2VjcmV0";
        let program = Program::try_parse_from(["join", "--token", secret]).unwrap();
        let shown = format!("{program:?}");

        let failed = run(program.join).unwrap_err();

        assert!(matches!(failed, JoinFailed::Token(InvalidToken::Damaged)));
        assert_eq!(failed.exit(), Exit::Usage);
        assert!(!format!("{shown}{failed:?}{failed}").contains("c2Vj"));
    }

    #[test]
    fn a_users_token_does_not_make_a_host() {
        let token = Token {
            role: Role::User,
            secret: [7; 32],
            expires_at_secs: u64::MAX,
            address: "192.0.2.1:7443".to_owned(),
            ca_fingerprint: [9; 32],
            name: "mbr".to_owned(),
            labels: std::collections::BTreeMap::new(),
        };
        let text = token.to_string();
        let program = Program::try_parse_from(["join", "--token", &text]).unwrap();

        let failed = run(program.join).unwrap_err();

        assert!(matches!(
            failed,
            JoinFailed::NotForHosts { role: Role::User }
        ));
    }
}
