//! `postern-agent reload`: has the running agent read again what people have changed.

use std::fmt::Write as _;
use std::io;

use fleet::export::printable_json;
use program::PrintError;

use crate::commands::control::{self, AskFailed};
use crate::commands::local::StateArgs;
use crate::report::{RELOAD, ReloadReport, ReloadedPolicy};

/// Have the running agent read its access file again, and say what came of it
///
/// As SIGHUP, with an answer. An access file with mistakes changes nothing. The configuration is read
/// too: keys that have changed are named, and take effect at the next start; mistakes in it are told,
/// so that the next start does not fail. Ends with 64 when either has mistakes, and with 1 when what
/// was read cannot be put in force.
///
/// Examples:
///   postern-agent reload
///   postern-agent reload --json
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ReloadArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Why what people have changed is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFailed {
    /// There was no answer.
    #[error(transparent)]
    Ask(#[from] AskFailed),
    /// The access file, or what else was read with it, has mistakes, and nothing of it is used.
    #[error("not everything can be used; what was in force stays so\n{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// The access file has none, and what is read beside it has.
    #[error("what is read beside the access file has mistakes, and is not used\n{}", .0.join("\n"))]
    Beside(Vec<String>),
    /// It was read, and something does not answer that has to do its part.
    #[error("what was read is not known to be in force: {0}")]
    NotInForce(String),
    /// The gate has too much to do.
    #[error("the agent has too much to do; nothing was changed")]
    Busy,
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// Asks, and says what came of it.
///
/// # Errors
///
/// [`ReloadFailed`] when no agent answers, or what it read has mistakes.
pub fn run(args: &ReloadArgs) -> Result<(), ReloadFailed> {
    let dir = args.state.dir();
    let report: ReloadReport = control::ask_of(&dir, RELOAD)?;
    if args.json {
        let object = serde_json::to_string(&report).map_err(io::Error::from);
        program::print(printable_json(&object.map_err(PrintError::Stdout)?) + "\n")?;
    } else {
        program::print(text(&report))?;
    }
    outcome(report)
}

fn text(report: &ReloadReport) -> String {
    let ReloadReport {
        policy,
        generation,
        mistakes: _,
        needs_restart,
        not_in_force,
    } = report;
    let mut lines = match policy {
        // Said as what has failed.
        _ if not_in_force.is_some() => String::new(),
        ReloadedPolicy::Applied => {
            format!("The access file is in force as generation {generation}.\n")
        }
        ReloadedPolicy::FromController => {
            format!("Generation {generation} is in force; the controller sends every change.\n")
        }
        ReloadedPolicy::Unchanged => {
            format!("The access file is as it was: generation {generation} stays in force.\n")
        }
        ReloadedPolicy::Busy | ReloadedPolicy::Rejected(_) => String::new(),
    };
    if !needs_restart.is_empty() {
        let keys = needs_restart.join(", ");
        let _ = writeln!(lines, "Needs a restart: {keys}.");
    }
    lines
}

fn outcome(report: ReloadReport) -> Result<(), ReloadFailed> {
    match report.policy {
        ReloadedPolicy::Busy => return Err(ReloadFailed::Busy),
        ReloadedPolicy::Rejected(reasons) => {
            return Err(ReloadFailed::Invalid([reasons, report.mistakes].concat()));
        }
        ReloadedPolicy::Applied | ReloadedPolicy::FromController | ReloadedPolicy::Unchanged => {}
    }
    if !report.mistakes.is_empty() {
        // Beside a file that is in force by now, or is known not to be.
        let unreached = report
            .not_in_force
            .map(|why| format!("what was read is not known to be in force: {why}"));
        let all = report.mistakes.into_iter().chain(unreached).collect();
        return Err(ReloadFailed::Beside(all));
    }
    report
        .not_in_force
        .map_or(Ok(()), |why| Err(ReloadFailed::NotInForce(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_packet_filter_does_not_do_is_not_said_to_be_in_force() {
        let mut unanswered = report(ReloadedPolicy::Applied);
        unanswered.not_in_force = Some("it does not answer".to_owned());

        assert_eq!(text(&unanswered), "");
        let failed = outcome(unanswered).unwrap_err();
        assert!(matches!(failed, ReloadFailed::NotInForce(_)), "{failed}");
    }

    fn report(policy: ReloadedPolicy) -> ReloadReport {
        ReloadReport {
            policy,
            generation: 3,
            mistakes: Vec::new(),
            needs_restart: Vec::new(),
            not_in_force: None,
        }
    }

    #[test]
    fn what_is_in_force_is_said_and_what_needs_a_restart() {
        let mut changed = report(ReloadedPolicy::Applied);
        changed.needs_restart = vec!["protect".to_owned(), "chain".to_owned()];

        let said =
            "The access file is in force as generation 3.\nNeeds a restart: protect, chain.\n";
        assert_eq!(text(&changed), said);
        assert!(outcome(changed).is_ok());
    }

    #[test]
    fn where_a_new_access_file_is_in_force_nothing_is_said_to_stay_as_it_was() {
        let mut beside = report(ReloadedPolicy::Applied);
        beside.mistakes = vec!["b:2: y".to_owned()];

        assert!(text(&beside).contains("is in force as generation 3"));
        let failed = outcome(beside).unwrap_err();
        let told = failed.to_string();
        assert!(
            told.ends_with("\nb:2: y") && !told.contains("stays so"),
            "{told}"
        );
        assert_eq!(program::Failure::exit(&failed), program::Exit::Invalid);
    }

    #[test]
    fn mistakes_of_either_file_are_an_error_that_names_all_of_them() {
        let mut both = report(ReloadedPolicy::Rejected(vec!["a:1: x".to_owned()]));
        both.mistakes = vec!["b:2: y".to_owned()];

        let told = outcome(both).unwrap_err().to_string();

        assert!(told.contains("stays so"), "{told}");
        assert!(told.ends_with("\na:1: x\nb:2: y"), "{told}");
        assert!(matches!(
            outcome(report(ReloadedPolicy::Busy)),
            Err(ReloadFailed::Busy)
        ));
    }
}
