//! `postern-agent join`: makes this machine a host of a fleet.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::{InvalidToken, Role, Token};
use member::{ConnectError, JoinError, JoinOptions, Membership};
use program::files::ReadError;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::STATE_DIR;
use crate::clock;
use crate::commands::local::wait;
use crate::journal::{FleetJournal, JournalError};
use crate::leaving;
use crate::link::known::{self, Known};

/// A token text is a few hundred bytes; more than this on standard input is something else.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// The credential of the unit (`LoadCredential=token:FILE`) that is read when no token is given.
const CREDENTIAL: &str = "token";
/// Between two attempts at a controller that is not there yet: the first, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// Make this machine a host of a fleet
///
/// The keys are made here and never leave this machine. The token is spent, and what was made is
/// kept in the state directory for `postern-agent run`.
///
/// May be done again: a machine that is a host of the token's fleet already stays one, the token is
/// not spent, and this ends with 0. The controller is asked whether it still knows the host: where it
/// does not, this ends with 1 and says how to join anew; where it cannot be reached, that is said, and
/// nothing waits for it. One that is a host of another fleet, or under another name than
/// the token's, is left as it is, and this ends with 1 (see --force). A controller that cannot be
/// reached is 3 (see --wait).
///
/// Without a token on the command line or in POSTERN_TOKEN, the systemd credential `token` is read:
/// LoadCredential=token:/etc/postern/token in the unit.
///
/// Examples:
///   postern-agent join --token-file /etc/postern/token --wait 5m
///   postern token create --role host --name web-1 | ssh web-1 postern-agent join --token-file -
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct JoinArgs {
    /// The one-time token, as an operator got it from `postern token create --role host`; `-` reads
    /// it from standard input
    #[arg(
        long,
        value_name = "TOKEN",
        env = "POSTERN_TOKEN",
        hide_env_values = true
    )]
    token: Option<TokenText>,

    /// Read the token from this file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,

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

    /// Go on trying for so long while the controller cannot be reached, or the clocks differ: 5m
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    wait: Option<Duration>,

    /// Replace a membership that is there already
    #[arg(long)]
    force: bool,

    /// Print one JSON object instead of text: outcome (`joined`, or `already` a host of that fleet),
    /// fleet, name, state, confirmed (whether the controller has said so just now)
    #[arg(long)]
    json: bool,
}

/// Why this machine did not join, for people and for scripts.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailed {
    /// Nobody said which token.
    #[error("there is no token")]
    NoToken,
    /// The token was not readable at all.
    #[error("cannot read the token from standard input")]
    Input(#[source] std::io::Error),
    /// Its file was not.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// What was given is not a token.
    #[error("this is not a token")]
    Token(#[source] InvalidToken),
    /// What the file holds is not one.
    #[error("{} holds no token", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: InvalidToken,
    },
    /// A token for something that is not a machine.
    #[error("this token makes a member of role {role}, not a host")]
    NotForHosts {
        /// The role it carries.
        role: Role,
    },
    /// This machine is a host of the token's fleet, and the token is for another.
    #[error("this machine is host {name} of that fleet already, and the token is for {wanted}")]
    OtherName {
        /// What it is called.
        name: String,
        /// What the token says.
        wanted: String,
    },
    /// It has been one, and the controller knows it no more.
    #[error(
        "this machine is host {name} of fleet {fleet} by its own files, and not by its controller's word"
    )]
    NotKnown {
        /// What it is called.
        name: String,
        /// The fleet.
        fleet: String,
        /// The controller's word.
        #[source]
        cause: Box<ConnectError>,
    },
    /// The controller or this machine's disk had a say.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// An agent runs on the state directory.
    #[error("a postern-agent runs with the state in {}", state.display())]
    AgentRuns {
        /// The directory.
        state: PathBuf,
    },
    /// The journal of the fleet that this machine was in before cannot be renamed.
    #[error(transparent)]
    Journal(JournalError),
    /// The program cannot even begin.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
}

/// A token as it was typed: shown nowhere, not even in a usage error.
#[derive(Clone)]
struct TokenText(Zeroizing<String>);

/// What came of it. The names are part of the interface.
#[derive(Serialize)]
struct Outcome<'m> {
    outcome: &'static str,
    fleet: &'m str,
    name: &'m str,
    state: &'m Path,
    /// Whether the controller has said so in the course of this command.
    confirmed: bool,
}

/// Joins, and prints who this machine is now.
///
/// # Errors
///
/// [`JoinFailed`], by who can act.
pub fn run(args: JoinArgs) -> Result<(), JoinFailed> {
    let token = token(&args)?;
    if token.role != Role::Host {
        return Err(JoinFailed::NotForHosts { role: token.role });
    }
    // Of a join before this one, which was killed.
    tell(leaving::settle(&args.state, None).map_err(|error| held(error, &args.state))?);
    let before = Membership::load(&args.state).ok();
    if let Some(member) = before.as_ref().filter(|_| !args.force)
        && is_of(member, &token)
    {
        return already(member, &token, &args);
    }
    let JoinArgs {
        token: _,
        token_file: _,
        state,
        name,
        address,
        spa_port,
        controller,
        wait,
        force,
        json,
    } = args;
    let options = JoinOptions {
        requested_name: name.or_else(machine_name),
        address,
        spa_port,
        controller,
        force,
        ..JoinOptions::default()
    };

    // Held before the token is spent, so that nothing can go wrong with it afterwards.
    let journal = if before.is_none() || force {
        FleetJournal::hold(&state).map_err(|error| held(error, &state))?
    } else {
        None
    };

    if journal.is_some() {
        leaving::begin(&state, before.as_ref()).map_err(JoinFailed::Journal)?;
    }
    let runtime = runtime()?;
    let deadline = wait.map(|wait| clock::steady() + wait);
    let joined = runtime.block_on(join(&token, &state, options, deadline));
    if let Ok(member) = &joined {
        say((member, &member.name), ("joined", true), &state, json);
    }
    tell(leaving::settle(&state, journal).map_err(JoinFailed::Journal)?);
    joined.map(drop)
}

fn runtime() -> Result<Runtime, JoinFailed> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().map_err(JoinFailed::Runtime)
}

/// Where what was kept as another host is now.
fn tell(kept: Option<PathBuf>) {
    if let Some(kept) = kept {
        let kept = kept.display();
        program::note(format_args!(
            "What was kept as the host before is now {kept}"
        ));
    }
}

/// Joins, again and again until `deadline` while that may help: the controller cannot be reached yet,
/// or this machine has just been started and its clock is not set.
async fn join(
    token: &Token,
    state: &Path,
    options: JoinOptions,
    deadline: Option<Duration>,
) -> Result<Membership, JoinFailed> {
    let mut pause = RETRY_FIRST;
    loop {
        let failed = match member::join(token, state, options.clone()).await {
            Ok(member) => return Ok(member),
            Err(failed) => failed,
        };
        let left = deadline.map(|deadline| deadline.saturating_sub(clock::steady()));
        match left.filter(|left| !left.is_zero() && may_pass(&failed)) {
            None => return Err(failed.into()),
            Some(left) => {
                let (secs, why) = (left.as_secs(), program::one_line(&failed));
                program::note(format_args!("{why}; tried again for another {secs} s"));
                tokio::time::sleep(pause.min(left)).await;
                pause = (pause * 2).min(RETRY_LONGEST);
            }
        }
    }
}

/// Whether asking again may help.
fn may_pass(failed: &JoinError) -> bool {
    match failed {
        JoinError::Connect(ConnectError::Unreachable { .. } | ConnectError::Clock { .. })
        | JoinError::Running { .. } => true,
        JoinError::Connect(
            ConnectError::NotTheController { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Answer(_)
            | ConnectError::Files(_)
            | ConnectError::Keys(_),
        )
        | JoinError::TokenExpired { .. }
        | JoinError::TokenRefused { .. }
        | JoinError::AlreadyMember { .. }
        | JoinError::Rotating { .. }
        | JoinError::RotatedOften { .. }
        | JoinError::Files(_) => false,
    }
}

/// Whether this membership is in the fleet that the token is for.
fn is_of(member: &Membership, token: &Token) -> bool {
    let believed = member.authorities();
    let mut all = believed.iter().map(Vec::as_slice).chain([member.ca_der()]);
    all.any(|ca| Sha256::digest(ca).as_slice() == token.ca_fingerprint)
}

/// Nothing is to be done, unless the token is for another host of this fleet, or the controller knows this one no
/// more. One that cannot be asked stops nobody: this may be on the way of every start of the machine.
fn already(member: &Membership, token: &Token, args: &JoinArgs) -> Result<(), JoinFailed> {
    // An operator may have given it another name since, by which tokens may be made now.
    let called = crate::link::called_now(&args.state, &member.name);
    let called = called.as_deref().unwrap_or(&member.name);
    if ![String::new(), member.name.clone()].contains(&token.name) && token.name != called {
        return Err(JoinFailed::OtherName {
            name: called.to_owned(),
            wanted: token.name.clone(),
        });
    }
    let is_confirmed = match runtime()?.block_on(known::ask(member, args.controller.as_deref())) {
        Known::Member => true,
        Known::Refused(cause) => {
            return Err(JoinFailed::NotKnown {
                name: called.to_owned(),
                fleet: member.fleet.clone(),
                cause: Box::new(cause),
            });
        }
        Known::Unanswered(cause) => {
            let why = program::one_line(&cause);
            program::note(format_args!(
                "not asked whether the controller still knows this host: {why}"
            ));
            false
        }
    };
    say(
        (member, called),
        ("already", is_confirmed),
        &args.state,
        args.json,
    );
    Ok(())
}

fn held(error: JournalError, state: &Path) -> JoinFailed {
    if matches!(error, JournalError::InUse { .. }) {
        let state = state.to_owned();
        return JoinFailed::AgentRuns { state };
    }
    JoinFailed::Journal(error)
}

fn token(args: &JoinArgs) -> Result<Token, JoinFailed> {
    if let Some(text) = &args.token {
        return text.clone().token();
    }
    let credential = || {
        let dir = std::env::var_os("CREDENTIALS_DIRECTORY")?;
        let file = Path::new(&dir).join(CREDENTIAL);
        file.exists().then_some(file)
    };
    let path = args.token_file.clone().or_else(credential);
    let path = path.ok_or(JoinFailed::NoToken)?;
    if path.as_os_str() == "-" {
        return TokenText(Zeroizing::new("-".to_owned())).token();
    }
    let text = Zeroizing::new(program::files::read_text(&path)?);
    let token = text.trim().parse();
    token.map_err(|cause| JoinFailed::TokenFile { path, cause })
}

/// Says who this machine is. Whether anybody reads it changes nothing about having joined.
fn say(
    (member, name): (&Membership, &str),
    (outcome, confirmed): (&'static str, bool),
    state: &Path,
    json: bool,
) {
    let fleet = member.fleet.as_str();
    let state_dir = state.display();
    let text = if json {
        let outcome = Outcome {
            outcome,
            fleet,
            name,
            state,
            confirmed,
        };
        serde_json::to_string(&outcome).unwrap_or_default()
    } else if outcome == "joined" {
        format!("Joined fleet {fleet} as host {name}, state in {state_dir}")
    } else {
        format!(
            "Already host {name} of fleet {fleet}, state in {state_dir}; the token was not used"
        )
    };
    let _ = program::print(text + "\n");
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
    fn a_token_is_read_from_a_file_and_a_file_without_one_is_told_apart_from_none() {
        let dir = tempfile::TempDir::new().unwrap();
        let read = |file: &str| {
            let path = dir.path().join(file);
            let words = ["join", "--token-file", path.to_str().unwrap()];
            token(&Program::try_parse_from(words).unwrap().join)
        };
        let host = host_token("web-1");
        std::fs::write(dir.path().join("good"), format!("{host}\n")).unwrap();
        std::fs::write(dir.path().join("bad"), "postern1.c2VjcmV0\n").unwrap();

        assert_eq!(read("good").unwrap().name, "web-1");
        let bad = read("bad").unwrap_err();
        assert_eq!(bad.exit(), Exit::Invalid);
        assert!(!format!("{bad:?}{bad}").contains("c2Vj"), "{bad:?}");
        let missing = read("none").unwrap_err();
        assert_eq!(missing.exit(), Exit::Refused);
        assert!(missing.to_string().ends_with("/none"), "{missing}");
        let both = Program::try_parse_from(["join", "--token", "x", "--token-file", "y"]);
        assert!(both.is_err());
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let unreachable = ConnectError::Unreachable {
            address: "192.0.2.1:7443".to_owned(),
            cause: "no route".into(),
        };
        assert!(may_pass(&JoinError::Connect(unreachable)));
        let used = JoinError::TokenRefused {
            message: "used".to_owned(),
        };
        assert!(!may_pass(&used));
        assert!(!may_pass(&JoinError::TokenExpired { ago_secs: 1 }));
    }

    fn host_token(name: &str) -> Token {
        Token {
            role: Role::Host,
            secret: [7; 32],
            expires_at_secs: u64::MAX,
            address: "192.0.2.1:7443".to_owned(),
            ca_fingerprint: [9; 32],
            name: name.to_owned(),
            labels: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_users_token_does_not_make_a_host() {
        let token = Token {
            role: Role::User,
            ..host_token("mbr")
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
