//! The readers of bytes that others make, by one name, for the tests that give them any bytes
//! (`tests/fuzz`). Nothing of the program calls this.

use std::fmt::Display;
use std::path::Path;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::error::CommandError;
use crate::knock::keys;
use crate::knock::request::KnockRequest;
use crate::profile::Profile;
use crate::rc::{RcFile, Stanza};
use crate::ui::Ui;

/// Reads an rc file and makes a request of each of its stanzas. Returns everything that is said of it.
pub fn read_rc(text: &[u8]) -> Vec<String> {
    let file = match RcFile::parse("rc", text) {
        Ok(file) => file,
        Err(mistakes) => return mistakes,
    };
    let mut said = Vec::new();
    for name in file.names().map(Some).chain([None]) {
        let Some(stanza) = file.stanza(name) else {
            continue;
        };
        said.push(format!("{stanza:?}"));
        said.extend(checked(&stanza).err().map(say));
    }
    said
}

fn checked(stanza: &Stanza) -> Result<(), CommandError> {
    stanza.require_supported()?;
    keys::check(stanza)?;
    let words = ["postern", "knock", "somewhere", "-A", "tcp/22"];
    if let Ok(cli) = Cli::try_parse_from(words)
        && let Command::Knock(args) = cli.command
    {
        let _ = KnockRequest::merge(&args.request, stanza)?;
    }
    Ok(())
}

/// Runs a command of `postern` with this profile, as [`main`](crate::main) does. Returns what is said
/// of its failure.
///
/// # Panics
///
/// When these are no words of `postern`.
#[expect(clippy::expect_used, reason = "for tests, which choose the words")]
pub fn run(words: &[&str], profile: &Path) -> Option<String> {
    let words = std::iter::once("postern").chain(words.iter().copied());
    let cli = Cli::try_parse_from(words).expect("words of postern");
    let context = Context {
        ui: Ui,
        profile: Profile::new(Some(profile.to_owned())),
        now_secs: crate::clock::now_secs(),
        verbose: 0,
    };
    crate::run(cli.command, &context).err().map(say)
}

fn say(error: impl Display) -> String {
    error.to_string()
}
