//! `postern-agent rotate-keys`: other keys for this host, in the place of those that it has.

use std::io;
use std::thread;
use std::time::Duration;

use fleet::export::printable_json;
use program::PrintError;
use serde::Serialize;

use crate::clock;
use crate::commands::control::{self, AskFailed};
use crate::commands::local::{StateArgs, wait};
use crate::commands::status;
use crate::report::{ROTATE_KEYS, ROTATION, RotationReport};

/// Between two questions how far the agent is.
const PAUSE: Duration = Duration::from_millis(100);

/// Give this host other keys, in the place of those by which the fleet knows it
///
/// The running agent makes them, takes packets for both the former and the next ones, and then
/// tells the controller, which gives users the next ones: nobody knocks in vain, and no connection
/// ends. Users whose directory is older get in by the former key for 30 days. Cut off at whatever
/// moment, or without a controller (exit code 3), it goes on by itself, also after a restart.
///
/// A key that may be in other hands is not to be rotated: lock the host, and have it join anew in
/// its own place (`postern member replace host/NAME`).
///
/// JSON fields: state (`rotated`; `waiting`, which goes on by itself; `refused`, which does not;
/// `alone`, without a fleet), fault.
///
/// Examples:
///   postern-agent rotate-keys
///   postern-agent rotate-keys --wait 5m
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct RotateKeysArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// How long to wait for the controller
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = wait)]
    pub wait: Duration,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Why this host does not have other keys.
#[derive(Debug, thiserror::Error)]
pub enum RotateKeysFailed {
    /// There was no answer.
    #[error(transparent)]
    Ask(#[from] AskFailed),
    /// This host stands alone.
    #[error("this host has no keys of its own: it has not joined a fleet")]
    Alone,
    /// It goes on by itself.
    #[error("the keys of this host are not replaced yet: {0}")]
    Waiting(String),
    /// It does not.
    #[error("the keys of this host are not replaced: {0}")]
    Refused(String),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

#[derive(Serialize)]
struct State<'a> {
    state: &'static str,
    fault: &'a str,
}

/// Asks, waits, and says what came of it.
///
/// # Errors
///
/// [`RotateKeysFailed`] when no agent answers, or the keys are not replaced in time.
pub fn run(args: &RotateKeysArgs) -> Result<(), RotateKeysFailed> {
    let dir = args.state.dir();
    let ask = |word: &[u8]| -> Result<RotationReport, AskFailed> { control::ask_of(&dir, word) };
    let began = clock::now().steady;
    let asked = ask(ROTATE_KEYS)?;
    let mut now = asked.clone();
    while !now.is_over(asked.asked) && clock::now().steady.saturating_sub(began) < args.wait {
        thread::sleep(PAUSE);
        now = ask(ROTATION)?;
    }
    if now.goes_on()
        && now.fault.is_empty()
        && let Some(why) = status::why_nothing_opens(&status::fetch(&dir))
    {
        // The gate takes packets for both keys before anybody is told of the next ones.
        now.fault = why;
    }
    let outcome = outcome(&now, asked.asked);
    if args.json {
        let state = state(&outcome);
        let fault = &now.fault;
        let object = serde_json::to_string(&State { state, fault }).map_err(io::Error::from);
        program::print(printable_json(&object.map_err(PrintError::Stdout)?) + "\n")?;
    } else if outcome.is_ok() {
        program::print("This host has other keys now.\n")?;
    }
    outcome
}

/// How it is, as the interface has it.
const fn state(outcome: &Result<(), RotateKeysFailed>) -> &'static str {
    match outcome {
        Ok(()) => "rotated",
        Err(RotateKeysFailed::Waiting(_)) => "waiting",
        Err(RotateKeysFailed::Refused(_)) => "refused",
        Err(RotateKeysFailed::Alone) => "alone",
        Err(RotateKeysFailed::Ask(_) | RotateKeysFailed::Print(_)) => "unknown",
    }
}

fn outcome(now: &RotationReport, asked: u64) -> Result<(), RotateKeysFailed> {
    if !now.is_joined {
        return Err(RotateKeysFailed::Alone);
    }
    if now.ended >= asked {
        return Ok(());
    }
    if now.is_refused {
        return Err(RotateKeysFailed::Refused(now.fault.clone()));
    }
    Err(RotateKeysFailed::Waiting(match now.fault.as_str() {
        "" => "the controller has not heard of the next ones".to_owned(),
        fault => fault.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_by_itself_is_told_from_what_does_not() {
        let report = |ended, fault: &str, is_refused| RotationReport {
            is_joined: true,
            asked: 2,
            ended,
            fault: fault.to_owned(),
            is_refused,
        };
        assert!(outcome(&report(2, "", false), 2).is_ok());
        assert!(outcome(&report(2, "", false), 1).is_ok());
        let waits = outcome(&report(1, "no route", false), 2).unwrap_err();
        assert!(matches!(&waits, RotateKeysFailed::Waiting(why) if why == "no route"));
        let refused = outcome(&report(1, "too old", true), 2).unwrap_err();
        assert!(matches!(&refused, RotateKeysFailed::Refused(why) if why == "too old"));
        let alone = outcome(&RotationReport::default(), 0).unwrap_err();
        assert!(matches!(alone, RotateKeysFailed::Alone));
        let states = [Ok(()), Err(waits), Err(refused), Err(alone)].map(|it| state(&it));
        assert_eq!(states, ["rotated", "waiting", "refused", "alone"]);
    }
}
