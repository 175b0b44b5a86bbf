//! Who belongs to the fleet.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use fleet::{Event, Role};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::number::signed;
use super::{events, hosts};
use crate::store::error::StoreError;
use crate::store::model::{BanOutcome, Member, NewMember};

const COLUMNS: &str = "id, role, name, identity_key, exchange_key, address, spa_port, labels, \
                       joined_at_ms, banned_at_ms IS NOT NULL";

/// Adds a member and returns its id.
///
/// A banned member of the same name is deleted: its certificates name its own id, so they stay
/// worthless. A name that is in use is an error of the database; see [`is_taken`].
pub(super) fn insert(connection: &Connection, member: &NewMember) -> Result<u64, StoreError> {
    let NewMember {
        role,
        name,
        identity_key,
        exchange_key,
        address,
        spa_port,
        labels,
        joined_at_ms,
    } = member;
    delete_banned(connection, *role, name)?;
    connection
        .prepare_cached(
            "INSERT INTO members (role, name, identity_key, exchange_key, address, spa_port, labels,
                                  joined_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            role.as_str(),
            name,
            identity_key,
            exchange_key,
            address,
            spa_port,
            labels_text(labels),
            signed(*joined_at_ms),
        ])?;
    let id = connection.last_insert_rowid().unsigned_abs();
    if *role == Role::Host {
        hosts::insert(connection, id)?;
    }
    Ok(id)
}

/// Whether a member that is not banned has this name.
pub(super) fn is_taken(
    connection: &Connection,
    role: Role,
    name: &str,
) -> Result<bool, StoreError> {
    let found = find(connection, role, name)?;
    Ok(found.is_some_and(|member| !member.banned))
}

fn delete_banned(connection: &Connection, role: Role, name: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM members WHERE role = ?1 AND name = ?2 AND banned_at_ms IS NOT NULL",
        )?
        .execute([role.as_str(), name])?;
    Ok(())
}

/// See `Store::ban`.
pub(in crate::store) fn ban(
    connection: &Connection,
    role: Role,
    name: &str,
    event: Event,
    now_ms: u64,
) -> Result<BanOutcome, StoreError> {
    let banned = connection
        .prepare_cached(
            "UPDATE members SET banned_at_ms = ?3
             WHERE role = ?1 AND name = ?2 AND banned_at_ms IS NULL",
        )?
        .execute(params![role.as_str(), name, signed(now_ms)])?;
    if banned == 1 {
        events::append_own(connection, event)?;
        return Ok(BanOutcome::Banned);
    }
    Ok(match find(connection, role, name)? {
        Some(_) => BanOutcome::BannedBefore,
        None => BanOutcome::Unknown,
    })
}

pub(in crate::store) fn find(
    connection: &Connection,
    role: Role,
    name: &str,
) -> Result<Option<Member>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM members WHERE role = ?1 AND name = ?2");
    let member = connection
        .prepare_cached(&sql)?
        .query_row([role.as_str(), name], |row| Ok(read(row)))
        .optional()?;
    member.transpose()
}

pub(in crate::store) fn by_id(
    connection: &Connection,
    id: u64,
) -> Result<Option<Member>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM members WHERE id = ?1");
    let member = connection
        .prepare_cached(&sql)?
        .query_row([signed(id)], |row| Ok(read(row)))
        .optional()?;
    member.transpose()
}

pub(in crate::store) fn all(connection: &Connection) -> Result<Vec<Member>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM members ORDER BY role, name");
    let mut statement = connection.prepare(&sql)?;
    let members = statement.query_map([], |row| Ok(read(row)))?;
    members.map(|member| member?).collect()
}

fn read(row: &Row<'_>) -> Result<Member, StoreError> {
    let damaged = |what| StoreError::Damaged { what };
    let role: String = row.get(1)?;
    let labels: String = row.get(7)?;
    Ok(Member {
        id: row.get(0)?,
        role: Role::from_str(&role).map_err(|_| damaged("members.role"))?,
        name: row.get(2)?,
        identity_key: row.get(3)?,
        exchange_key: row.get(4)?,
        address: row.get(5)?,
        spa_port: row.get(6)?,
        labels: serde_json::from_str(&labels).map_err(|_| damaged("members.labels"))?,
        joined_at_ms: row.get(8)?,
        banned: row.get(9)?,
    })
}

/// Labels as they are stored.
pub(super) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    serde_json::Value::from_iter(
        labels
            .iter()
            .map(|(label, value)| (label.as_str(), value.as_str())),
    )
    .to_string()
}
