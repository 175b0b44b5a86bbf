//! `postern token list`

use fleet::wire::ListTokensRequest;

use super::row::Row;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;

/// List tokens that can still be used
///
/// JSON fields: id, role, name, key, replace, labels, state, created_by, created_at_ms, expires_at_ms,
/// redeemed_by, redeemed_at_ms.
#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    /// Also those of the last 30 days that were used, have expired or were revoked
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(context: &Context, args: ListArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let tokens = connection
        .operator()
        .list_tokens(ask(ListTokensRequest { all: args.all }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .tokens;
    let rows: Vec<Row<'_>> = tokens.iter().map(Row::from).collect();
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    context.ui.table(
        ["ID", "FOR", "STATE", "BY", "CREATED", "EXPIRES", "USED BY"],
        rows.iter().map(|row| {
            [
                row.id.to_owned(),
                row.bearer(),
                row.state.to_owned(),
                row.created_by.to_owned(),
                time::short(row.created_at_ms),
                time::short(row.expires_at_ms),
                row.redeemed_by.to_owned(),
            ]
        }),
    )
}
