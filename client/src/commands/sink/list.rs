//! `postern sink list`

use std::time::Duration;

use fleet::wire::{ListSinksRequest, Sink};
use serde::Serialize;

use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;

/// List where events are sent on to, and how far that is
///
/// Sinks are made in the controller's controller.toml; `postern-controller sink test NAME` tries one.
///
/// JSON fields: name, type, delivered_id, newest_id, lag_ms, delivered_at_ms, error.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  postern sink list\n  postern sink list --json | jq 'select(.lag_ms > 60000)'"
)]
pub(super) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

/// A sink in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    r#type: &'a str,
    delivered_id: u64,
    newest_id: u64,
    lag_ms: u64,
    delivered_at_ms: u64,
    error: &'a str,
}

pub(super) async fn run(context: &Context, args: ListArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let sinks = connection
        .audit()
        .list_sinks(ask(ListSinksRequest {}))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .sinks;
    let rows: Vec<Row<'_>> = sinks.iter().map(Row::from).collect();
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    context.ui.table(
        ["SINK", "TYPE", "BEHIND", "OLDEST", "DELIVERED", "ERROR"],
        rows.iter().map(Row::columns),
    )
}

// === impl Row ===

impl<'a> From<&'a Sink> for Row<'a> {
    fn from(sink: &'a Sink) -> Self {
        let Sink {
            name,
            r#type,
            delivered_id,
            newest_id,
            lag_ms,
            error,
            delivered_at_ms,
        } = sink;
        Self {
            name,
            r#type,
            delivered_id: *delivered_id,
            newest_id: *newest_id,
            lag_ms: *lag_ms,
            delivered_at_ms: *delivered_at_ms,
            error,
        }
    }
}

impl Row<'_> {
    fn columns(&self) -> [String; 6] {
        let behind = match self.lag_ms {
            0 => 0,
            _ => self.newest_id.saturating_sub(self.delivered_id),
        };
        let oldest = Duration::from_secs(self.lag_ms / 1000);
        [
            self.name.to_owned(),
            self.r#type.to_owned(),
            behind.to_string(),
            humantime::format_duration(oldest).to_string(),
            time::short(self.delivered_at_ms),
            self.error.to_owned(),
        ]
    }
}
