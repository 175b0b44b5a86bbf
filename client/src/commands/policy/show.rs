//! `postern policy show`

use fleet::wire::ShowPolicyRequest;
use serde::Serialize;

use super::generation::Row;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;

/// Show the policy, with keys redacted
///
/// JSON fields: those of `postern policy history`, and text.
#[derive(clap::Args, Debug)]
pub(crate) struct ShowArgs {
    /// Generation to show instead of the one in force
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    generation: u64,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    text: &'a str,
}

pub(super) async fn run(context: &Context, args: ShowArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let shown = connection
        .operator()
        .show_policy(ask(ShowPolicyRequest {
            generation: args.generation,
        }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    let generation = shown.generation.unwrap_or_default();
    if args.generation == 0 {
        context.profile.saw_generation(generation.generation);
    }
    let row = Row::from(&generation);
    if args.listing.json {
        let text = &shown.text;
        return context.ui.json(&Whole { row, text });
    }
    context.ui.note(format_args!(
        "Generation {} by {}, {}: {}",
        row.generation,
        row.author,
        time::short(row.at_ms),
        row.message
    ));
    context.ui.text(&shown.text)
}
