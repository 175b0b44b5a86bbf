//! `postern controllers`

use fleet::wire::{Controller, ListControllersRequest};
use serde::Serialize;

use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;
use crate::ui::or_dash;

/// List the controllers that serve the fleet, and how many hosts are connected to each
///
/// The one that answers is the first. One that is silent has not said for 15 seconds that it serves; after a minute it
/// is named no more. A controller with SQLite is the only one.
///
/// JSON fields: address, version, since_ms, hosts, serving.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  postern controllers\n  postern controllers --json | jq -r 'select(.serving | not).address'"
)]
pub(crate) struct ControllersArgs {
    #[command(flatten)]
    listing: Listing,
}

/// A controller in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Row<'a> {
    address: &'a str,
    version: &'a str,
    since_ms: u64,
    hosts: u64,
    serving: bool,
}

pub(crate) async fn run(context: &Context, args: ControllersArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let controllers = connection
        .operator()
        .list_controllers(ask(ListControllersRequest {}))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .controllers;
    let rows: Vec<Row<'_>> = controllers.iter().map(Row::from).collect();
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    context.ui.table(
        ["CONTROLLER", "STATE", "HOSTS", "SINCE", "VERSION"],
        rows.iter().map(Row::columns),
    )
}

// === impl Row ===

impl<'a> From<&'a Controller> for Row<'a> {
    fn from(controller: &'a Controller) -> Self {
        let Controller {
            address,
            version,
            since_ms,
            hosts,
            serving,
        } = controller;
        Self {
            address,
            version,
            since_ms: *since_ms,
            hosts: *hosts,
            serving: *serving,
        }
    }
}

impl Row<'_> {
    fn columns(&self) -> [String; 5] {
        let state = if self.serving { "serving" } else { "silent" };
        // One of an older version says nothing of itself.
        [
            or_dash(self.address),
            state.to_owned(),
            self.hosts.to_string(),
            time::short(self.since_ms),
            or_dash(self.version),
        ]
    }
}
