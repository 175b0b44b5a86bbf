//! `postern member list`

use fleet::Role;
use fleet::wire::{ListMembersRequest, Role as WireRole};

use super::row::Row;
use crate::commands::token::create::roles;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;

/// List who belongs to the fleet, with what keys
///
/// JSON fields: role, name, locked, locked_at_ms, lock_reason, joined_at_ms, renewed_at_ms, keys (each
/// with name, fingerprint, joined_at_ms, locked, renewed_at_ms, follows (the key that it is to replace), rotation_asked_ms), warnings, labels, scope (of an operator, auditor, validator or
/// helpdesk: only hosts with these labels are its business; empty for all).
#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    /// Only members of this role
    #[arg(long, value_name = "ROLE", value_parser = roles())]
    role: Option<Role>,

    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(context: &Context, args: ListArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let role = args.role.map_or(WireRole::Unspecified, WireRole::from);
    let members = connection
        .operator()
        .list_members(ask(ListMembersRequest { role: role.into() }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .members;
    let rows: Vec<Row<'_>> = members.iter().map(Row::from).collect();
    if args.role.is_none() {
        let users = rows.iter().filter(|row| row.role == "user");
        let users = users.map(|row| row.name.to_owned()).collect();
        context.profile.saw_names(|names| names.users = users);
    }
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    context.ui.warn_of(rows.iter().flat_map(|row| row.warnings));
    context.ui.table(
        [
            "ROLE", "NAME", "STATE", "KEYS", "JOINED", "RENEWED", "LABELS",
        ],
        rows.iter().map(|row| {
            [
                row.role.to_owned(),
                row.name.to_owned(),
                row.state().to_owned(),
                row.keys(),
                time::short(row.joined_at_ms),
                time::short(row.renewed_at_ms),
                row.labels(),
            ]
        }),
    )
}
