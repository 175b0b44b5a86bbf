//! `postern policy check`

use std::path::PathBuf;

use crate::context::Context;
use crate::error::Result;
use crate::policy_file::PolicyFile;

/// Check a policy file without a controller
///
/// Every mistake is told on standard error as `file:line: KEYWORD: what is wrong`, and the exit code
/// is 64.
#[derive(clap::Args, Debug)]
pub(crate) struct CheckArgs {
    /// Policy file, or `-` for standard input
    file: PathBuf,
}

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result {
    let file = PolicyFile::read(&args.file)?;
    file.warn(&context.ui);
    context.ui.say(format_args!(
        "{} is in order: {}.",
        file.name,
        file.stanzas()
    ))
}
