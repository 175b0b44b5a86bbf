//! `postern-agent doctor`: what is well on this host, what is not, and what to do about it.
//!
//! | file | looks at |
//! |---|---|
//! | `check` | nothing: one finding, and how it is shown |
//! | `host` | configuration, privileges, kernel, units: whether or not an agent runs |
//! | `running` | what the running agent says of itself |
//! | `stored` | journal, policy, membership: what lies on the disk |
//! | `controller` | whether the controller can be reached from here |

mod check;
#[cfg(feature = "link")]
mod controller;
mod host;
mod running;
mod stored;

use std::io;
use std::path::PathBuf;

use fleet::export::printable_json;
use program::PrintError;

use check::{Check, Verdict};
use host::Privileges;

use crate::clock;
use crate::commands::status;
#[cfg(feature = "link")]
use crate::config::{Config, Mode};
use crate::config::{Layers, RawConfig};

/// Check this host: what is well, what is not, and what to do about it
///
/// One line for each check: `ok`, `warn` or `fail`, the check, what was found; below it what to do.
/// Changes nothing. Works also when no agent runs, and then checks everything that does not need one.
/// Ends with 1 when something fails, as it does where an agent has run and does no more: nobody is
/// let in.
///
/// JSON fields, one object a line: check, verdict, found, cure.
///
/// Examples:
///   postern-agent doctor
///   postern-agent doctor --json | jq 'select(.verdict != "ok")'
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct DoctorArgs {
    /// Configuration file [default: /etc/postern/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the agent keeps its state [default: as the configuration says, else
    /// /var/lib/postern-agent]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The access.conf of a host that stands alone, if the configuration does not name it
    #[arg(long, value_name = "FILE")]
    pub access_file: Option<PathBuf>,
    /// Print one JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
}

/// Why not all is well.
#[derive(Debug, thiserror::Error)]
pub enum DoctorFailed {
    /// So many checks have failed; they have been printed.
    #[error("{0} of the checks failed")]
    Found(usize),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// Checks and prints, each check as soon as it is made.
///
/// # Errors
///
/// [`DoctorFailed::Found`] when a check fails.
pub fn run(args: &DoctorArgs) -> Result<(), DoctorFailed> {
    let mut failed = 0;
    let mut print = |checks: Vec<Check>| -> Result<(), PrintError> {
        for check in checks {
            failed += usize::from(check.verdict == Verdict::Fail);
            program::print(shown(&check, args.json)?)?;
        }
        Ok(())
    };
    let flags = RawConfig {
        state_dir: args.state.clone(),
        access_file: args.access_file.clone(),
        ..RawConfig::default()
    };
    let layers = Layers::read(args.config.as_deref(), flags);
    let state_dir = layers.readable().state_dir_or_default();
    let now = clock::now();
    let report = status::fetch(&state_dir);
    let file = args.config.as_deref();
    let (checks, config) = host::configuration(layers, file, report.as_ref().ok());
    print(checks)?;
    let has_run = state_dir.join(crate::journal::FILE_NAME).exists();
    print(running::agent(&report, has_run))?;
    let report = report.ok();
    let config = config.as_ref();
    let privileges = Privileges::ours();
    print(privileges.check(report.is_some()))?;
    print(host::kernel(config, report.as_ref(), privileges))?;
    if let Some(report) = &report {
        print(running::all(report, now.wall_secs))?;
    }
    print(stored::all(&state_dir, config, report.as_ref(), now))?;
    print(host::clock(report.as_ref(), clock::is_synchronised()))?;
    #[cfg(feature = "link")]
    let is_alone = report.as_ref().is_some_and(|report| report.link.is_none());
    #[cfg(feature = "link")]
    if let Some(Config {
        mode: Mode::Joined { controllers },
        ..
    }) = config.filter(|_| !is_alone)
    {
        print(controller::all(
            &state_dir,
            controllers,
            report.as_ref(),
            now.wall_secs,
        ))?;
    }
    print(host::units(&state_dir, config, report.as_ref()))?;
    match failed {
        0 => Ok(()),
        failed => Err(DoctorFailed::Found(failed)),
    }
}

fn shown(check: &Check, as_json: bool) -> Result<String, PrintError> {
    if as_json {
        let object = serde_json::to_string(check).map_err(io::Error::from);
        return Ok(printable_json(&object.map_err(PrintError::Stdout)?) + "\n");
    }
    Ok(check.to_string())
}
