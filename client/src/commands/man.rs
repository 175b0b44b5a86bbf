//! `postern man`

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory as _;

use super::Context;
use crate::cli::Cli;
use crate::error::{CommandError, Result};

/// Print the man page, or write the pages of all commands
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern man | man -l -
  postern man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Directory to write one page for each command to
    dir: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: ManArgs) -> Result {
    let failed = |cause| CommandError::failed("cannot write the man pages", cause);
    let Some(dir) = args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(failed)?;
        return context.ui.text(&String::from_utf8_lossy(&page));
    };
    fs::create_dir_all(&dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &dir).map_err(failed)?;
    context
        .ui
        .say(format_args!("Wrote the man pages to {}.", dir.display()))
}
