//! `postern host list`

use fleet::wire::ListHostsRequest;

use super::row::Row;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;
use crate::ui::or_dash;

/// List the hosts: what they apply, and whether they are there
///
/// JSON fields: name, address, addresses, spa_port, labels, target_generation, applied_generation, in_sync,
/// connected, last_seen_ms, drift, audit_fault, rejected, banned, agent_version, stanzas,
/// joined_at_ms, protected_ports, own_protected_ports, commands, warnings, clock_offset_ms, floor_secs,
/// backend, grants_open, agent_old, controller (where the one is dialled to which it is connected). OPEN is how many grants are open there, as last heard; AGENT is its
/// agent's version, and whether that is older than the controller.
#[derive(clap::Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(context: &Context, args: ListArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let hosts = connection
        .operator()
        .list_hosts(ask(ListHostsRequest {}))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .hosts;
    let mut rows: Vec<Row<'_>> = hosts.iter().map(Row::from).collect();
    rows.sort_by_key(|row| row.name);
    context.profile.saw_names(|names| {
        names.hosts = rows.iter().map(|row| row.name.to_owned()).collect();
    });
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    context.ui.table(
        [
            "HOST",
            "ADDRESS",
            "STATE",
            "GENERATION",
            "STANZAS",
            "LAST SEEN",
            "OPEN",
            "BACK END",
            "AGENT",
            "LABELS",
        ],
        rows.iter().map(|row| {
            [
                row.name.to_owned(),
                row.address.to_owned(),
                row.state().to_owned(),
                generation(row),
                row.stanzas.to_string(),
                time::short(row.last_seen_ms),
                row.open(),
                or_dash(row.backend),
                row.agent(),
                row.labels(),
            ]
        }),
    )?;
    for row in rows.iter().filter(|row| row.banned) {
        context.ui.note(format_args!(
            "{name} is locked: `postern host show {name}` says why, and what ends that",
            name = row.name
        ));
    }
    let old: Vec<&str> = rows
        .iter()
        .filter(|row| row.agent_old)
        .map(|row| row.name)
        .collect();
    if let Some(first) = old.first() {
        let agents = match old.len() {
            1 => format!("the agent of {first} is"),
            count => format!("the agents of {count} hosts are"),
        };
        context.ui.note(format_args!(
            "{agents} older than the controller: `postern host show {first}` says what is missing"
        ));
    }
    Ok(())
}

fn generation(row: &Row<'_>) -> String {
    if row.applied_generation == row.target_generation {
        return row.applied_generation.to_string();
    }
    // A host that is locked, or of a fleet without a policy, is to have none.
    match row.target_generation {
        0 => format!("{}, none due", row.applied_generation),
        target => format!("{} of {target}", row.applied_generation),
    }
}
