//! `postern profile show`

use member::Rotation;
use serde::Serialize;

use crate::commands::list::listed;
use crate::context::{Context, Listing};
use crate::directory::Directory;
use crate::error::Result;
use crate::knock::listed::spa_port;
use crate::time;

/// Show who this profile is and which hosts it may open
///
/// JSON fields of a host: name, address, spa_port, ports, stanza, generation.
#[derive(clap::Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    address: &'a str,
    spa_port: u16,
    ports: &'a [String],
    stanza: &'a str,
    generation: u64,
}

pub(super) fn run(context: &Context, args: &ShowArgs) -> Result {
    let membership = context.profile.membership()?;
    let directory = Directory::load(&context.profile, &membership)?;
    let rows: Vec<Row<'_>> = directory.iter().flat_map(rows).collect();
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    context.ui.say(format_args!(
        "{} {} of fleet {}, controller {}.",
        membership.role,
        membership.name,
        membership.fleet,
        membership.controllers().join(" or ")
    ))?;
    if membership.is_in_keyring() {
        context.ui.say("Its keys are in the keyring.")?;
    }
    match membership.rotation()? {
        None => {}
        Some(Rotation::Made) => context
            .ui
            .say("Other keys are about to follow: `postern profile rotate` goes on.")?,
        Some(Rotation::Switched) => context
            .ui
            .say("The keys of before have not ended: `postern profile rotate` ends them.")?,
    }
    let Some(directory) = &directory else {
        return Ok(());
    };
    context.ui.say(format_args!(
        "Directory of policy generation {}, {}.",
        directory.generation(),
        time::short(directory.at_secs().saturating_mul(1000))
    ))?;
    if rows.is_empty() {
        return Ok(());
    }
    context.ui.table(
        ["HOST", "ADDRESS", "SPA PORT", "PORTS", "STANZA"],
        rows.iter().map(|row| {
            [
                row.name.to_owned(),
                row.address.to_owned(),
                row.spa_port.to_string(),
                listed(row.ports),
                row.stanza.to_owned(),
            ]
        }),
    )
}

fn rows(directory: &Directory) -> impl Iterator<Item = Row<'_>> {
    directory.hosts().iter().map(|host| Row {
        name: &host.name,
        address: &host.address,
        spa_port: spa_port(host),
        ports: &host.ports,
        stanza: &host.stanza,
        generation: directory.generation(),
    })
}
