//! `postern-agent floor`: until when older packets are refused, and an operator's word about it.

use std::io;
use std::path::{Path, PathBuf};

use program::PrintError;

use crate::clock;
use crate::commands::{control, status};
use crate::journal::{self, JournalError};
use crate::report::{CONTROL_NAME, FloorReport, RESET_FLOOR};

/// Until when older packets are refused because they may have been granted, and why
///
/// A floor that a clock has set which was ahead goes by itself when the kernel says that its clock is
/// synchronised, or when the controller's clock agrees. Where neither is there, `reset` is an
/// operator's word that the clock is right now.
#[derive(Clone, Debug, clap::Args)]
pub struct FloorArgs {
    #[command(subcommand)]
    pub what: FloorCommand,
}

/// What to do about it.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum FloorCommand {
    /// Say which packets are refused for their date, and why
    Show {
        /// Where the agent keeps its state
        #[arg(long, value_name = "DIR", default_value = crate::STATE_DIR)]
        state: PathBuf,
    },
    /// Say that this host's clock is right now: refuse no later packets than that needs
    ///
    /// Whoever says so of a clock that is behind makes packets good again that were granted before the
    /// journal was lost.
    Reset {
        /// Where the agent keeps its state
        #[arg(long, value_name = "DIR", default_value = crate::STATE_DIR)]
        state: PathBuf,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FloorFailed {
    /// The agent is there, and says nothing.
    #[error("the agent at {path} did not answer", path = path.display())]
    Silent {
        /// Its socket.
        path: PathBuf,
        /// What went wrong.
        #[source]
        cause: io::Error,
    },
    /// There is no agent, and no journal that could be asked.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// Asks the agent, or the journal of one that does not run, and prints.
///
/// # Errors
///
/// [`FloorFailed`] when there is neither, or it does not answer.
pub fn run(args: &FloorArgs) -> Result<(), FloorFailed> {
    let report = match &args.what {
        FloorCommand::Show { state } => show(state)?,
        FloorCommand::Reset { state } => reset(state)?,
    };
    Ok(program::print(text(&report))?)
}

fn show(state: &Path) -> Result<FloorReport, FloorFailed> {
    if let Ok(report) = status::fetch(state) {
        return Ok(report.floor);
    }
    let floor = journal::floors_of(state)?.highest();
    Ok(FloorReport::of(floor, clock::now().wall_secs, false))
}

fn reset(state: &Path) -> Result<FloorReport, FloorFailed> {
    let Ok(stream) = control::connect(state) else {
        let now_secs = clock::now().wall_secs;
        let floor = journal::reset_floors_of(state, now_secs)?;
        return Ok(FloorReport::of(floor, now_secs, false));
    };
    control::ask(stream, RESET_FLOOR).map_err(|cause| FloorFailed::Silent {
        path: state.join(CONTROL_NAME),
        cause,
    })
}

fn text(report: &FloorReport) -> String {
    let FloorReport {
        through_secs,
        reason,
        ends_in_secs,
        clock_is_proven: _,
    } = report;
    if *through_secs == 0 {
        return "no packet is refused for its date alone\n".to_owned();
    }
    let until = if *ends_in_secs == 0 {
        "none that is sent now".to_owned()
    } else {
        format!("over in {ends_in_secs} s")
    };
    format!("packets dated at or before {through_secs} are refused: {reason}; {until}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_which_packets_why_and_for_how_long() {
        let report = FloorReport {
            through_secs: 1_800_000_120,
            reason: "the journal that was here is gone".to_owned(),
            ends_in_secs: 90,
            clock_is_proven: false,
        };

        let said = "packets dated at or before 1800000120 are refused: the journal that was here is gone; over in 90 s\n";
        assert_eq!(text(&report), said);
        let none = text(&FloorReport::default());
        assert_eq!(none, "no packet is refused for its date alone\n");
    }
}
