//! `postern policy`

mod apply;
mod check;
mod diff;
mod history;
mod render;
mod rollback;
mod show;

use serde::Serialize;

use super::Context;
use crate::connection::{Connection, ask};
use crate::error::Result;
use crate::time;

/// Write, compare and apply the fleet's policy
///
/// Policy is access.conf text with fleet keywords; every access.conf of fwknop is a policy. Each
/// change is a new generation. An apply names the generation that it was based on, which is the one
/// that this profile saw last, so that two operators cannot overwrite each other's work unseen.
#[derive(clap::Args, Debug)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Check(check::CheckArgs),
    Diff(diff::DiffArgs),
    Apply(apply::ApplyArgs),
    Show(show::ShowArgs),
    History(history::HistoryArgs),
    Rollback(rollback::RollbackArgs),
    Render(render::RenderArgs),
}

pub(super) async fn run(context: &Context, args: PolicyArgs) -> Result {
    match args.command {
        Command::Check(args) => check::run(context, &args),
        Command::Diff(args) => diff::run(context, args).await,
        Command::Apply(args) => apply::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::History(args) => history::run(context, args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Render(args) => render::run(context, args).await,
    }
}

/// A generation in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Row<'a> {
    generation: u64,
    author: &'a str,
    message: &'a str,
    at: String,
    at_ms: u64,
    rollback_of: u64,
    stanzas: u32,
}

impl<'a> From<&'a fleet::wire::Generation> for Row<'a> {
    fn from(generation: &'a fleet::wire::Generation) -> Self {
        let fleet::wire::Generation {
            generation,
            author,
            message,
            at_ms,
            rollback_of,
            stanzas,
        } = generation;
        Self {
            generation: *generation,
            author,
            message,
            at: time::rfc3339_ms(*at_ms),
            at_ms: *at_ms,
            rollback_of: *rollback_of,
            stanzas: *stanzas,
        }
    }
}

/// The generation in force; 0 before the first policy.
async fn current_generation(connection: &Connection) -> Result<u64> {
    let history = connection
        .operator()
        .policy_history(ask(fleet::wire::PolicyHistoryRequest { limit: 1 }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .generations;
    Ok(history
        .iter()
        .map(|generation| generation.generation)
        .max()
        .unwrap_or(0))
}

/// "2 hosts change: web-1, web-2" and the like.
fn changed(hosts: &[String]) -> String {
    match hosts {
        [] => "no host changes".to_owned(),
        [one] => format!("1 host changes: {one}"),
        several => format!("{} hosts change: {}", several.len(), several.join(", ")),
    }
}
