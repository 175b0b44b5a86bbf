//! `postern host show`

use fleet::wire::ShowHostRequest;

use super::row::Row;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};
use crate::time;

/// Show one host
///
/// JSON fields: those of `postern host list`.
#[derive(clap::Args, Debug)]
pub(crate) struct ShowArgs {
    /// Host, as `postern host list` names it
    name: String,

    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(context: &Context, args: ShowArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let host = connection
        .operator()
        .show_host(ask(ShowHostRequest {
            name: args.name.clone(),
        }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .host
        .ok_or_else(|| CommandError::refused(format!("there is no host {}", args.name)))?;
    let row = Row::from(&host);
    if args.listing.json {
        return context.ui.json(&row);
    }
    for (name, value) in lines(&row) {
        if !value.is_empty() {
            context
                .ui
                .say(format_args!("{:<14} {value}", format!("{name}:")))?;
        }
    }
    Ok(())
}

fn lines(row: &Row<'_>) -> [(&'static str, String); 18] {
    [
        ("name", row.name.to_owned()),
        ("address", row.addresses.join(" ")),
        ("spa port", row.spa_port.to_string()),
        ("labels", row.labels()),
        ("state", row.state().to_owned()),
        ("should apply", row.target_generation.to_string()),
        ("applies", row.applied_generation.to_string()),
        ("stanzas", row.stanzas.to_string()),
        ("connected to", row.controller.to_owned()),
        ("last seen", time::short(row.last_seen_ms)),
        ("joined", time::short(row.joined_at_ms)),
        ("agent", row.agent()),
        ("hidden", row.hidden()),
        ("commands", row.commands().to_owned()),
        ("drift", row.drift.to_owned()),
        ("events", row.audit_fault.to_owned()),
        ("rejected", row.rejected.join("; ")),
        ("warnings", row.warnings.join("; ")),
    ]
}
