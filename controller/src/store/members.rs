//! Who belongs to the fleet.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use fleet::Role;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, hosts, signed};
use crate::error::Error;

/// One member, as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Ed25519 public key.
    pub(crate) identity_key: [u8; 32],
    /// X25519 public key, of hosts and users.
    pub(crate) exchange_key: Option<[u8; 32]>,
    /// Hosts: where users send SPA packets.
    pub(crate) address: String,
    pub(crate) spa_port: u16,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) joined_at_ms: u64,
    pub(crate) banned: bool,
}

const COLUMNS: &str = "id, role, name, identity_key, exchange_key, address, spa_port, labels, \
                       joined_at_ms, banned_at_ms IS NOT NULL";

/// Adds a member and returns its id. `member.id` is not looked at.
///
/// A banned member of the same name makes room: its certificates name its own id, so they stay
/// worthless. A name that is in use is [`Error::NameTaken`].
pub(crate) fn insert(connection: &Connection, member: &Member) -> Result<u64, Error> {
    let Member {
        id: _,
        role,
        name,
        identity_key,
        exchange_key,
        address,
        spa_port,
        labels,
        joined_at_ms,
        banned: _,
    } = member;
    make_room(connection, *role, name)?;
    let inserted = connection
        .prepare_cached(
            "INSERT INTO members (role, name, identity_key, exchange_key, address, spa_port, labels,
                                  joined_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (role, name) DO NOTHING",
        )?
        .execute(params![
            role.as_str(),
            name,
            identity_key,
            exchange_key,
            address,
            spa_port,
            serde_json::to_string(labels).unwrap_or_default(),
            signed(*joined_at_ms),
        ])?;
    if inserted == 0 {
        return Err(Error::NameTaken {
            role: *role,
            name: name.clone(),
        });
    }
    let id = connection.last_insert_rowid().unsigned_abs();
    if *role == Role::Host {
        hosts::insert(connection, id)?;
    }
    Ok(id)
}

fn make_room(connection: &Connection, role: Role, name: &str) -> Result<(), Error> {
    connection
        .prepare_cached(
            "DELETE FROM members WHERE role = ?1 AND name = ?2 AND banned_at_ms IS NOT NULL",
        )?
        .execute([role.as_str(), name])?;
    Ok(())
}

/// Ends a membership. False when it was ended already; [`Error::NotFound`] when there never was one.
pub(crate) fn ban(
    connection: &Connection,
    role: Role,
    name: &str,
    now_ms: u64,
) -> Result<bool, Error> {
    let banned = connection
        .prepare_cached(
            "UPDATE members SET banned_at_ms = ?3
             WHERE role = ?1 AND name = ?2 AND banned_at_ms IS NULL",
        )?
        .execute(params![role.as_str(), name, signed(now_ms)])?;
    if banned == 0 && find(connection, role, name)?.is_none() {
        return Err(Error::not_found(format!("{role} is called `{name}`")));
    }
    Ok(banned == 1)
}

pub(crate) fn find(
    connection: &Connection,
    role: Role,
    name: &str,
) -> Result<Option<Member>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM members WHERE role = ?1 AND name = ?2");
    let member = connection
        .prepare_cached(&sql)?
        .query_row([role.as_str(), name], |row| Ok(read(row)))
        .optional()?;
    member.transpose()
}

pub(crate) fn by_id(connection: &Connection, id: u64) -> Result<Option<Member>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM members WHERE id = ?1");
    let member = connection
        .prepare_cached(&sql)?
        .query_row([signed(id)], |row| Ok(read(row)))
        .optional()?;
    member.transpose()
}

pub(crate) fn all(connection: &Connection) -> Result<Vec<Member>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM members ORDER BY role, name");
    let mut statement = connection.prepare(&sql)?;
    let members = statement.query_map([], |row| Ok(read(row)))?;
    members.map(|member| member?).collect()
}

fn read(row: &Row<'_>) -> Result<Member, Error> {
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
