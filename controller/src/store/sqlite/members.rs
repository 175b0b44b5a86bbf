//! Who belongs to the fleet, and with which keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr as _;

use fleet::Role;

use super::number::signed;
use super::{hosts, member_changes, rows};
use crate::store::error::StoreError;
use crate::store::model::{KnownAuthorities, Lock, Member, MemberKey, NewMember, Scope};
use crate::store::sql::{
    Connection, Dialect, Error, OptionalExtension as _, Row, Set, Value, params, params_from_iter,
    values,
};

const COLUMNS: &str = "id, role, name, address, spa_port, labels, joined_at_ms, locked_at_ms, \
                       lock_reason, locked_by, addresses, scope";
const KEY_COLUMNS: &str = "member, id, name, identity_key, exchange_key, joined_at_ms, \
                           renewed_at_ms, locked_at_ms, lock_reason, locked_by, authorities, issuer, \
                           follows, rotation_asked_ms";

const INSERT: &str =
    "INSERT INTO members (role, name, address, spa_port, labels, joined_at_ms, scope)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const INSERT_KEY: &str =
    "INSERT INTO member_keys (member, name, identity_key, exchange_key, joined_at_ms,
                                                  renewed_at_ms, authorities, issuer)
                          VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)";

/// Values of [`INSERT`].
fn values_of(member: &NewMember) -> Result<Vec<Value>, Error> {
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
        knows: _,
    } = member;
    values(params![
        role.as_str(),
        name,
        address,
        spa_port,
        labels_text(labels),
        signed(*joined_at_ms),
        labels_text(&scope.0),
    ])
}

/// Values of [`INSERT_KEY`].
fn values_of_key(member: u64, name: &str, new: &NewMember) -> Result<Vec<Value>, Error> {
    values(params![
        signed(member),
        name,
        new.identity_key,
        new.exchange_key,
        signed(new.joined_at_ms),
        new.knows.kept.as_flattened(),
        new.knows.issuer,
    ])
}

/// Adds a member without a key and returns its id. A name that is in use is an error of the
/// database.
pub(super) fn insert(connection: &Connection, member: &NewMember) -> Result<u64, StoreError> {
    let values = values_of(member)?;
    let id = connection
        .prepare_cached(INSERT)?
        .insert(params_from_iter(&values))?
        .unsigned_abs();
    match member.role {
        Role::Host => hosts::insert(connection, &[id])?,
        Role::User => {
            connection
                .prepare_cached("DELETE FROM departed_users WHERE name = ?1")?
                .execute([&member.name])?;
        }
        Role::Auditor | Role::Helpdesk | Role::Owner | Role::Validator | Role::Operator => {}
    }
    member_changes::note(connection, id)?;
    Ok(id)
}

/// Adds hosts that are new, each with its key of this name, and gives them as they are stored, in their order. Nobody
/// may have one of the names, and no two of them the same.
pub(super) fn insert_hosts(
    connection: &Connection,
    hosts: &[(&NewMember, &str)],
) -> Result<Vec<Member>, StoreError> {
    let (mut inserted, mut named) = (Set::default(), Set::default());
    for (host, _) in hosts {
        inserted.push(params_from_iter(&values_of(host)?))?;
        named.push(params![host.role.as_str(), host.name])?;
    }
    connection.prepare_cached(INSERT)?.execute_each(&inserted)?;
    let mut ids = vec![0; hosts.len()];
    connection
        .prepare_cached("SELECT id FROM members WHERE role = ?1 AND name = ?2")?
        .query_each(&named, |number, row| {
            if let Some(id) = ids.get_mut(number) {
                *id = row.get(0)?;
            }
            Ok(())
        })?;
    hosts::insert(connection, &ids)?;
    let (mut keys, mut noted, mut asked) = (Set::default(), Vec::new(), Set::default());
    for ((host, key), id) in hosts.iter().zip(&ids) {
        keys.push(params_from_iter(&values_of_key(*id, key, host)?))?;
        noted.push((*id, host.role, host.name.as_str()));
        asked.push([signed(*id)])?;
    }
    connection.prepare_cached(INSERT_KEY)?.execute_each(&keys)?;
    member_changes::note_new(connection, &noted)?;
    let found = by_ids(connection, &asked)?;
    let mut found: HashMap<u64, Member> = found.into_iter().map(|it| (it.id, it)).collect();
    let members = ids.iter().map(|id| found.remove(id));
    let members = members.map(|it| it.ok_or(StoreError::Damaged { what: "members.id" }));
    members.collect()
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
    member_changes::note(connection, id)
}

/// Adds the key of `new` to the member with this id, under this name, and returns the key's id.
pub(super) fn insert_key(
    connection: &Connection,
    member: u64,
    name: &str,
    new: &NewMember,
) -> Result<u64, StoreError> {
    let values = values_of_key(member, name, new)?;
    let id = connection
        .prepare_cached(INSERT_KEY)?
        .insert(params_from_iter(&values))?;
    member_changes::note(connection, member)?;
    Ok(id.unsigned_abs())
}

/// Ends a membership: the name is free again, the ids are not.
pub(super) fn delete(connection: &Connection, id: u64) -> Result<(), StoreError> {
    member_changes::note(connection, id)?;
    connection
        .prepare_cached("DELETE FROM members WHERE id = ?1")?
        .execute([signed(id)])?;
    Ok(())
}

/// Takes a key from its member, with the one that was to follow it.
pub(super) fn delete_key(connection: &Connection, id: u64) -> Result<(), StoreError> {
    member_changes::note_of_key(connection, id)?;
    connection
        .prepare_cached("DELETE FROM member_keys WHERE id = ?1 OR follows = ?1")?
        .execute([signed(id)])?;
    Ok(())
}

/// Remembers that a user of this name was removed. That it has gone was noted with a number.
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

/// Those of these names that are of users who were removed.
pub(super) fn departed_of(
    connection: &Connection,
    names: Vec<String>,
) -> Result<Vec<(String, bool)>, StoreError> {
    let mut asked = Set::default();
    for name in &names {
        asked.push([name])?;
    }
    let mut departed: BTreeSet<usize> = BTreeSet::new();
    connection
        .prepare_cached("SELECT 1 FROM departed_users WHERE name = ?1")?
        .query_each(&asked, |number, _| {
            departed.insert(number);
            Ok(())
        })?;
    let names = names.into_iter().enumerate();
    Ok(names
        .map(|(number, name)| (name, departed.contains(&number)))
        .collect())
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
    member_changes::note_of_key(connection, key)
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
    let mut named = Set::default();
    named.push(params![role.as_str(), name])?;
    Ok(named_so(connection, &named)?.pop())
}

pub(in crate::store) fn by_id(
    connection: &Connection,
    id: u64,
) -> Result<Option<Member>, StoreError> {
    let mut ids = Set::default();
    ids.push([signed(id)])?;
    Ok(by_ids(connection, &ids)?.pop())
}

/// See `Store::members_named`.
pub(in crate::store) fn named(
    connection: &Connection,
    names: &BTreeSet<(Role, String)>,
    ids: &[u64],
) -> Result<(Vec<Member>, BTreeMap<String, bool>), StoreError> {
    let (mut named, mut users) = (Set::default(), Vec::new());
    for (role, name) in names {
        named.push(params![role.as_str(), name])?;
        if *role == Role::User {
            users.push(name.clone());
        }
    }
    let mut members = named_so(connection, &named)?;
    let known: BTreeSet<u64> = members.iter().map(|member| member.id).collect();
    let mut others = Set::default();
    for id in ids.iter().filter(|id| !known.contains(id)) {
        others.push([signed(*id)])?;
    }
    members.extend(by_ids(connection, &others)?);
    let departed = departed_of(connection, users)?.into_iter().collect();
    Ok((members, departed))
}

/// Members by role and name, those that there are; in no order.
pub(super) fn named_so(connection: &Connection, named: &Set) -> Result<Vec<Member>, StoreError> {
    several(connection, ("role = ?1 AND name = ?2", named))
}

/// The same by their ids.
pub(super) fn by_ids(connection: &Connection, ids: &Set) -> Result<Vec<Member>, StoreError> {
    several(connection, ("id = ?1", ids))
}

/// Those that fulfil a condition with the values of a row of the set.
fn several(
    connection: &Connection,
    (condition, set): (&str, &Set),
) -> Result<Vec<Member>, StoreError> {
    let sql = format!("{} WHERE {condition}", select(connection));
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_each(set, |_, row| {
        found.push((read(row), row.get(12)?));
        Ok(())
    })?;
    let mut members = Vec::new();
    for (member, is_good) in found {
        members.extend(unless_strange(member, is_good)?);
    }
    with_keys(connection, &mut members)?;
    Ok(members)
}

/// What something else has written need not even say a role, and keeps nobody else out.
fn unless_strange(
    member: Result<Member, StoreError>,
    is_good: bool,
) -> Result<Option<Member>, StoreError> {
    match member {
        Ok(member) => Ok(Some(member)),
        Err(StoreError::Damaged { .. }) if !is_good => Ok(None),
        Err(error) => Err(error),
    }
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
        let (member, is_good) = member?;
        let Some(mut member) = unless_strange(member, is_good)? else {
            continue;
        };
        member.keys = keys.remove(&member.id).unwrap_or_default();
        all.push(member);
    }
    Ok(all)
}

fn with_keys(connection: &Connection, members: &mut [Member]) -> Result<(), StoreError> {
    let sql = format!(
        "{} WHERE member = ?1 ORDER BY name",
        select_keys(connection)
    );
    let mut of = Set::default();
    for member in &*members {
        of.push([signed(member.id)])?;
    }
    connection
        .prepare_cached(&sql)?
        .query_each(&of, |number, row| {
            if let Some(member) = members.get_mut(number) {
                member.keys.push(read_key(row)?);
            }
            Ok(())
        })?;
    let mut keys: Vec<&mut MemberKey> = Vec::new();
    let mut named = Set::default();
    for member in members {
        member.keys.sort_by(|one, other| one.name.cmp(&other.name));
        for key in &mut member.keys {
            named.push([signed(key.id)])?;
            keys.push(key);
        }
    }
    // One of another hand is nobody's.
    let sql = format!(
        "SELECT role, name, {} FROM former_names WHERE key = ?1 ORDER BY role, name",
        rows::FORMER_NAMES.good(connection, "former_names")
    );
    let mut names = Vec::new();
    connection
        .prepare_cached(&sql)?
        .query_each(&named, |number, row| {
            if row.get::<_, bool>(2)? {
                names.push((number, row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            }
            Ok(())
        })?;
    names.sort();
    for (number, role, name) in names {
        if let Some(key) = keys.get_mut(number) {
            key.former_names.push((former_role(&role)?, name));
        }
    }
    Ok(())
}

fn former_role(role: &str) -> Result<Role, StoreError> {
    Role::from_str(role).map_err(|_| StoreError::Damaged {
        what: "former_names.role",
    })
}

/// Former names by the id of the key.
fn former_names(connection: &Connection) -> Result<BTreeMap<u64, Vec<(Role, String)>>, StoreError> {
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
        names
            .entry(row.get(0)?)
            .or_default()
            .push((former_role(&role)?, row.get(2)?));
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
