//! `postern policy`

pub(super) mod access;
mod apply;
mod check;
mod diff;
mod exposure;
mod generation;
mod history;
mod import;
mod render;
mod rollback;
mod show;
mod test_lines;
mod what_if;

use crate::context::Context;
use crate::error::Result;

/// Write, compare and apply the fleet's policy
///
/// Policy is access.conf text with fleet keywords; fwknop's own is read too, but each keyword
/// once. Each change is a new generation. An apply names the generation that it was based on,
/// which is the one that this profile saw last, so that two operators cannot overwrite each
/// other's work unseen.
#[derive(clap::Args, Debug)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Check(check::CheckArgs),
    Diff(diff::DiffArgs),
    WhatIf(what_if::WhatIfArgs),
    Apply(apply::ApplyArgs),
    Show(show::ShowArgs),
    History(history::HistoryArgs),
    Rollback(rollback::RollbackArgs),
    Render(render::RenderArgs),
    Import(import::ImportArgs),
}

pub(crate) async fn run(context: &Context, args: PolicyArgs) -> Result {
    match args.command {
        Command::Check(args) => check::run(context, &args),
        Command::Diff(args) => diff::run(context, args).await,
        Command::WhatIf(args) => what_if::run(context, args).await,
        Command::Apply(args) => apply::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::History(args) => history::run(context, args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Import(args) => import::run(context, &args),
        Command::Render(args) => render::run(context, args).await,
    }
}
