//! `postern policy history`

use fleet::wire::PolicyHistoryRequest;

use super::generation::Row;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;

/// List the generations of the policy, newest first
///
/// JSON fields: generation, author, message, at, at_ms, rollback_of, stanzas, file.
#[derive(clap::Args, Debug)]
pub(crate) struct HistoryArgs {
    /// The most generations to list
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(context: &Context, args: HistoryArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let generations = connection
        .operator()
        .policy_history(ask(PolicyHistoryRequest { limit: args.limit }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .generations;
    let mut rows: Vec<Row<'_>> = generations.iter().map(Row::from).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.generation));
    if let Some(newest) = rows.first() {
        context.profile.saw_generation(newest.generation);
    }
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    context.ui.table(
        ["GENERATION", "TIME", "AUTHOR", "STANZAS", "MESSAGE"],
        rows.iter().map(|row| {
            [
                row.generation.to_string(),
                time::short(row.at_ms),
                row.author.to_owned(),
                row.stanzas.to_string(),
                message(row),
            ]
        }),
    )
}

fn message(row: &Row<'_>) -> String {
    if row.rollback_of == 0 {
        return row.message.to_owned();
    }
    format!("{} (rollback to {})", row.message, row.rollback_of)
}
