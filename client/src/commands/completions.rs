//! `postern completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Context;
use crate::cli::Cli;
use crate::error::Result;

/// Print the completions for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern completions bash > ~/.local/share/bash-completion/completions/postern")]
pub(crate) struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

pub(super) fn run(context: &Context, args: &CompletionsArgs) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "postern", &mut script);
    context.ui.text(&String::from_utf8_lossy(&script))
}
