//! Who belongs to the fleet, and with which keys.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use fleet::Role;

use super::number::signed;
use super::{hosts, rows};
use crate::store::error::StoreError;
use crate::store::model::{KnownAuthorities, Lock, Member, MemberKey, NewMember, Scope};
use crate::store::sql::{Connection, Dialect, Error, OptionalExtension as _, Row, params};

const COLUMNS: &str = "id, role, name, address, spa_port, labels, joined_at_ms, locked_at_ms, \
                       lock_reason, locked_by, addresses, scope";
const KEY_COLUMNS: &str = "member, id, name, identity_key, exchange_key, joined_at_ms, \
                           renewed_at_ms, locked_at_ms, lock_reason, locked_by, authorities, issuer, \
                           follows, rotation_asked_ms";

/// Adds a member without a key and returns its id. A name that is in use is an error of the
/// database.
pub(super) fn insert(connection: &Connection, member: &NewMember) -> Result<u64, StoreError> {
    let NewMember {
        role,
        name,
        identity_key: _,
        exchange_key: _,
        address,
        spa_port,
        labels,
        scope,
        joined_at_ms,
    } = member;
    let id = connection
        .prepare_cached(
            "INSERT INTO members (role, name, address, spa_port, labels, joined_at_ms, scope)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .insert(params![
            role.as_str(),
            name,
            address,
            spa_port,
            labels_text(labels),
            signed(*joined_at_ms),
            labels_text(&scope.0),
        ])?
        .unsigned_abs();
    match role {
        Role::Host => hosts::insert(connection, id)?,
        Role::User => {
            connection
                .prepare_cached("DELETE FROM departed_users WHERE name = ?1")?
                .execute([name])?;
        }
        Role::Auditor | Role::Helpdesk | Role::Owner | Role::Validator | Role::Operator => {}
    }
    Ok(id)
}

/// Gives a host that takes the place of another its further addresses: only the first one comes from
/// where it joins.
pub(super) fn keep_addresses(
    connection: &Connection,
    id: u64,
    (before, new): (&Member, &NewMember),
) -> Result<(), StoreError> {
    let mut addresses = before.more_addresses.clone();
    addresses.retain(|address| *address != new.address);
    connection
        .prepare_cached("UPDATE members SET addresses = ?2 WHERE id = ?1")?
        .execute(params![
            signed(id),
            serde_json::Value::from(addresses).to_string()
        ])?;
    Ok(())
}

/// Adds the key of `new` to the member with this id, under this name, and returns the key's id.
pub(super) fn insert_key(
    connection: &Connection,
    member: u64,
    name: &str,
    new: &NewMember,
) -> Result<u64, StoreError> {
    let id = connection
        .prepare_cached(
            "INSERT INTO member_keys (member, name, identity_key, exchange_key, joined_at_ms,
                                      renewed_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        )?
        .insert(params![
            signed(member),
            name,
            new.identity_key,
            new.exchange_key,
            signed(new.joined_at_ms),
        ])?;
    Ok(id.unsigned_abs())
}

/// Ends a membership: the name is free again, the ids are not.
pub(super) fn delete(connection: &Connection, id: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM members WHERE id = ?1")?
        .execute([signed(id)])?;
    Ok(())
}

/// Takes a key from its member, with the one that was to follow it.
pub(super) fn delete_key(connection: &Connection, id: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM member_keys WHERE id = ?1 OR follows = ?1")?
        .execute([signed(id)])?;
    Ok(())
}

/// Remembers that a user of this name was removed.
pub(super) fn departed(
    connection: &Connection,
    name: &str,
    at_ms: u64,
    by: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO departed_users (name, removed_at_ms, removed_by) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET
                removed_at_ms = excluded.removed_at_ms, removed_by = excluded.removed_by",
        )?
        .execute(params![name, signed(at_ms), by])?;
    Ok(())
}

/// See `Store::departed_users`.
pub(in crate::store) fn all_departed(
    connection: &Connection,
) -> Result<BTreeSet<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT name FROM departed_users")?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// See `Store::highest_key`.
pub(in crate::store) fn highest_key(connection: &Connection) -> Result<u64, StoreError> {
    let highest = connection
        .prepare_cached(match connection.dialect() {
            Dialect::Sqlite => "SELECT seq FROM sqlite_sequence WHERE name = 'member_keys'",
            Dialect::Postgres => "SELECT id FROM last_ids WHERE name = 'member_keys'",
        })?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(highest.unwrap_or(0))
}

/// See `Store::renewed`.
pub(in crate::store) fn renewed(
    connection: &Connection,
    key: u64,
    knows: &KnownAuthorities,
    now_ms: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE member_keys SET renewed_at_ms = ?2, authorities = ?3, issuer = ?4 WHERE id = ?1",
        )?
        .execute(params![
            signed(key),
            signed(now_ms),
            knows.kept.as_flattened(),
            knows.issuer,
        ])?;
    Ok(())
}

/// How many owners can do something, besides the one with this id.
pub(super) fn other_owners(connection: &Connection, id: u64) -> Result<u64, StoreError> {
    let sql = format!(
        "SELECT {} FROM members WHERE role = 'owner' AND locked_at_ms IS NULL AND id <> ?1",
        rows::MEMBERS.good(connection, "members")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let are_good = statement.query_map([signed(id)], |row| row.get::<_, bool>(0))?;
    let mut others = 0;
    for is_good in are_good {
        others += u64::from(is_good?);
    }
    Ok(others)
}

pub(in crate::store) fn find(
    connection: &Connection,
    role: Role,
    name: &str,
) -> Result<Option<Member>, StoreError> {
    let sql = format!("{} WHERE role = ?1 AND name = ?2", select(connection));
    let member = connection
        .prepare_cached(&sql)?
        .query_row([role.as_str(), name], |row| Ok(read(row)))
        .optional()?;
    member
        .transpose()?
        .map(|it| with_keys(connection, it))
        .transpose()
}

pub(super) fn by_id(connection: &Connection, id: u64) -> Result<Option<Member>, StoreError> {
    let sql = format!("{} WHERE id = ?1", select(connection));
    let member = connection
        .prepare_cached(&sql)?
        .query_row([signed(id)], |row| Ok(read(row)))
        .optional()?;
    member
        .transpose()?
        .map(|it| with_keys(connection, it))
        .transpose()
}

pub(in crate::store) fn all(connection: &Connection) -> Result<Vec<Member>, StoreError> {
    let sql = format!("{} ORDER BY name", select_keys(connection));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, u64>(0)?, read_key(row)?)))?;
    let mut keys: BTreeMap<u64, Vec<MemberKey>> = BTreeMap::new();
    for row in rows {
        let (member, key) = row?;
        keys.entry(member).or_default().push(key);
    }
    let mut former = former_names(connection)?;
    for key in keys.values_mut().flatten() {
        key.former_names = former.remove(&key.id).unwrap_or_default();
    }
    let sql = format!("{} ORDER BY role, name", select(connection));
    let mut statement = connection.prepare_cached(&sql)?;
    let members = statement.query_map([], |row| Ok((read(row), row.get::<_, bool>(12)?)))?;
    let mut all = Vec::new();
    for member in members {
        let mut member = match member? {
            (Ok(member), _) => member,
            // What something else has written need not even say a role, and keeps nobody else out.
            (Err(StoreError::Damaged { .. }), false) => continue,
            (Err(error), _) => return Err(error),
        };
        member.keys = keys.remove(&member.id).unwrap_or_default();
        all.push(member);
    }
    Ok(all)
}

fn with_keys(connection: &Connection, mut member: Member) -> Result<Member, StoreError> {
    let sql = format!(
        "{} WHERE member = ?1 ORDER BY name",
        select_keys(connection)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let keys = statement.query_map([signed(member.id)], read_key)?;
    member.keys = keys.collect::<Result<_, _>>()?;
    // Few have any.
    let mut former = former_names(connection)?;
    for key in &mut member.keys {
        key.former_names = former.remove(&key.id).unwrap_or_default();
    }
    Ok(member)
}

/// Former names by the id of the key.
fn former_names(connection: &Connection) -> Result<BTreeMap<u64, Vec<(Role, String)>>, StoreError> {
    // One of another hand is nobody's.
    let sql = format!(
        "SELECT key, role, name, {} FROM former_names ORDER BY role, name",
        rows::FORMER_NAMES.good(connection, "former_names")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut names: BTreeMap<u64, Vec<(Role, String)>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>(3)? {
            continue;
        }
        let role: String = row.get(1)?;
        let role = Role::from_str(&role).map_err(|_| StoreError::Damaged {
            what: "former_names.role",
        })?;
        names
            .entry(row.get(0)?)
            .or_default()
            .push((role, row.get(2)?));
    }
    Ok(names)
}

/// The columns of members, and whether each row is ours.
fn select(connection: &Connection) -> String {
    let good = rows::MEMBERS.good(connection, "members");
    format!("SELECT {COLUMNS}, {good} FROM members")
}

/// The same of keys.
fn select_keys(connection: &Connection) -> String {
    let good = rows::KEYS.good(connection, "member_keys");
    format!("SELECT {KEY_COLUMNS}, {good} FROM member_keys")
}

/// A member whose keys are still to be read.
fn read(row: &Row<'_>) -> Result<Member, StoreError> {
    let damaged = |what| StoreError::Damaged { what };
    let role: String = row.get(1)?;
    let labels: String = row.get(5)?;
    let (addresses, scope): (String, String) = (row.get(10)?, row.get(11)?);
    Ok(Member {
        id: row.get(0)?,
        role: Role::from_str(&role).map_err(|_| damaged("members.role"))?,
        name: row.get(2)?,
        address: row.get(3)?,
        spa_port: row.get(4)?,
        more_addresses: serde_json::from_str(&addresses)
            .map_err(|_| damaged("members.addresses"))?,
        labels: serde_json::from_str(&labels).map_err(|_| damaged("members.labels"))?,
        scope: Scope(serde_json::from_str(&scope).map_err(|_| damaged("members.scope"))?),
        joined_at_ms: row.get(6)?,
        lock: lock(row, (7, 12))?,
        keys: Vec::new(),
    })
}

fn read_key(row: &Row<'_>) -> Result<MemberKey, Error> {
    Ok(MemberKey {
        id: row.get(1)?,
        name: row.get(2)?,
        identity_key: row.get(3)?,
        exchange_key: row.get(4)?,
        joined_at_ms: row.get(5)?,
        renewed_at_ms: row.get(6)?,
        lock: lock(row, (7, 14))?,
        former_names: Vec::new(),
        knows: KnownAuthorities {
            kept: row.bytes(10)?.as_chunks().0.to_vec(),
            issuer: row.get(11)?,
        },
        follows: row.get(12)?,
        rotation_asked_ms: row.get(13)?,
    })
}

/// A lock in three columns, of which `first` is the first. A row that is not ours, as column `good` says,
/// is locked whatever it says: nobody is let in by it.
fn lock(row: &Row<'_>, (first, good): (usize, usize)) -> Result<Option<Lock>, Error> {
    if !row.get::<_, bool>(good)? {
        return Ok(Some(Lock::of_altered()));
    }
    let at_ms: Option<u64> = row.get(first)?;
    let Some(at_ms) = at_ms else { return Ok(None) };
    Ok(Some(Lock {
        at_ms,
        reason: row.get(first + 1)?,
        by: row.get(first + 2)?,
    }))
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
