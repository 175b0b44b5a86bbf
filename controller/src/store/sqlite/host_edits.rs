//! Changes of where a host is reached, of its labels, and of its name.
//!
//! A name is in more than one table: the certificates that the host has were made by it, its journal
//! and what it has claimed are found by it. All of it changes in one transaction, but for what was
//! recorded: events stay those of the name that the host had.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{EventKind, Role};

use super::number::signed;
use super::{events, member_changes, members, tokens};
use crate::store::error::StoreError;
use crate::store::model::{HostEdit, HostEdited, Member};
use crate::store::sql::{Asked, Connection, OptionalExtension as _, Set, params};

const NAME: &str = "SELECT name FROM members WHERE id = ?1";

/// See `Store::edit_host`.
pub(in crate::store) fn edit(
    connection: &Connection,
    edit: &HostEdit,
) -> Result<HostEdited, StoreError> {
    let HostEdit {
        host,
        name,
        address,
        more_addresses,
        spa_port,
        labels,
        change,
    } = edit;
    let before = members::by_id(connection, *host)?;
    let Some(before) = before.filter(|before| before.name == change.whom.name) else {
        return Ok(HostEdited::Unknown);
    };
    let is_renamed = before.name != *name;
    if is_renamed && members::find(connection, Role::Host, name)?.is_some() {
        return Ok(HostEdited::NameTaken);
    }
    connection
        .prepare_cached(
            "UPDATE members SET name = ?2, address = ?3, addresses = ?4, spa_port = ?5, labels = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            signed(*host),
            name,
            address,
            serde_json::Value::from(more_addresses.clone()).to_string(),
            spa_port,
            members::labels_text(labels),
        ])?;
    member_changes::note(connection, *host)?;
    let mut revoked_tokens = Vec::new();
    if is_renamed {
        revoked_tokens = tokens::revoke_of(connection, (&before, None), None, change)?;
        move_name(connection, &before, name)?;
    }
    let reason = format!("{}: {}", change.whom, change.reason);
    events::append_own(connection, change.note(EventKind::Operator, reason))?;
    let host = members::by_id(connection, *host)?;
    let host = host.ok_or(StoreError::Damaged { what: "members.id" })?;
    Ok(HostEdited::Done {
        host: Box::new(host),
        revoked_tokens,
    })
}

/// Gives what is found by the name to the new one.
fn move_name(connection: &Connection, before: &Member, name: &str) -> Result<(), StoreError> {
    let old = before.name.as_str();
    for key in &before.keys {
        // What it is called now is no former name, and it may have been one.
        connection
            .prepare_cached("DELETE FROM former_names WHERE key = ?1 AND name = ?2")?
            .execute(params![signed(key.id), name])?;
        connection
            .prepare_cached(
                "INSERT INTO former_names (key, role, name) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![signed(key.id), Role::Host.as_str(), old])?;
    }
    connection
        .prepare_cached("INSERT INTO event_hosts (name) VALUES (?1) ON CONFLICT (name) DO NOTHING")?
        .execute([name])?;
    // Journals of before it was noted whose they are belong to the newest of the name.
    connection
        .prepare_cached(
            "UPDATE journals SET host = (SELECT id FROM event_hosts WHERE name = ?2)
             WHERE host = (SELECT id FROM event_hosts WHERE name = ?1)
               AND coalesce(member, ?3) = ?3",
        )?
        .execute(params![old, name, signed(before.id)])?;
    connection
        .prepare_cached("UPDATE claims SET host = ?2 WHERE host = ?1")?
        .execute([old, name])?;
    connection
        .prepare_cached(
            "INSERT INTO claim_dates_won (host, through_secs)
             SELECT ?2, through_secs FROM claim_dates_won WHERE host = ?1
             ON CONFLICT (host) DO UPDATE SET through_secs = excluded.through_secs
             WHERE excluded.through_secs > claim_dates_won.through_secs",
        )?
        .execute([old, name])?;
    connection
        .prepare_cached("DELETE FROM claim_dates_won WHERE host = ?1")?
        .execute([old])?;
    Ok(())
}

/// What the host with this id is called now.
pub(in crate::store) fn name_of(
    connection: &Connection,
    host: u64,
) -> Result<Option<String>, StoreError> {
    let name = connection
        .prepare_cached(NAME)?
        .query_row([signed(host)], |row| row.get(0))
        .optional()?;
    Ok(name)
}

/// The same of several: those that there are, by their ids.
pub(super) fn names_of(
    connection: &Connection,
    hosts: impl Iterator<Item = u64>,
) -> Result<BTreeMap<u64, String>, StoreError> {
    let hosts: Vec<u64> = hosts.collect::<BTreeSet<_>>().into_iter().collect();
    Ok(ask_names(connection, &hosts)?.by(&hosts, |row| row.get(0))?)
}

/// Asks for the same.
pub(super) fn ask_names<'c>(
    connection: &'c Connection,
    hosts: &[u64],
) -> Result<Asked<'c>, StoreError> {
    let asked = Set::of(hosts.iter().map(|host| [signed(*host)]))?;
    Ok(connection.ask_each(NAME, asked)?)
}
