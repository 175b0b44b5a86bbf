//! What can be typed.

use std::path::PathBuf;

use crate::commands::Command;

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
    after_help = "\
Exit codes:
  0   done
  1   refused, or not found
  2   usage
  3   unreachable
  64  invalid configuration; every mistake is on standard error with file and line

Examples:
  postern join TOKEN
  postern knock web-1 -A tcp/22 && ssh web-1
  postern policy diff access.conf
  postern policy apply access.conf -m 'ssh for the new team'
  postern audit list --since 1d --kind grant-opened"
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

    #[command(subcommand)]
    pub(crate) command: Command,
}
