//! What has become of members whose membership has changed (`member_changes`), for whoever follows.

use std::str::FromStr as _;

use fleet::Role;

use super::members;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{ChangedMembers, MemberChange, MembersMoved};
use crate::store::sql::{Connection, Dialect, Set, params};

/// Members that are read together at most.
const TOGETHER: usize = 1_000;

/// See `Store::members_moved`.
pub(in crate::store) fn moved(connection: &Connection) -> Result<MembersMoved, StoreError> {
    let sql = match connection.dialect() {
        Dialect::Sqlite => "SELECT coalesce(max(number), 0), '' FROM member_changes",
        Dialect::Postgres => {
            "SELECT coalesce((SELECT max(number) FROM member_changes), 0),
                    coalesce((SELECT string_agg(concat(name, ' ', batch), ',' ORDER BY name)
                              FROM writers WHERE schema IS NULL), '')"
        }
    };
    let moved = connection.prepare_cached(sql)?.query_row([], |row| {
        Ok(MembersMoved {
            number: row.get(0)?,
            unnumbered: row.get(1)?,
        })
    })?;
    Ok(moved)
}

/// See `Store::members_changed`. The highest key is read first: whoever has one up to that is among them, or was known
/// before.
pub(in crate::store) fn after(
    connection: &Connection,
    number: u64,
) -> Result<ChangedMembers, StoreError> {
    let highest_key = members::highest_key(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT member, role, name, number FROM member_changes WHERE number > ?1 ORDER BY number",
    )?;
    let found = statement.query_map([signed(number)], |row| {
        let role: String = row.get(1)?;
        Ok(MemberChange {
            member: row.get(0)?,
            role: Role::from_str(&role).ok(),
            name: row.get(2)?,
            number: row.get(3)?,
        })
    })?;
    let changes: Vec<MemberChange> = found.collect::<Result<_, _>>()?;
    let mut changed = ChangedMembers {
        highest_key,
        ..ChangedMembers::default()
    };
    for changes in changes.chunks(TOGETHER) {
        let (mut ids, mut users) = (Set::default(), Vec::new());
        for change in changes {
            ids.push(params![signed(change.member)])?;
            if change.role == Some(Role::User) {
                users.push(change.name.clone());
            }
        }
        changed.members.extend(members::by_ids(connection, &ids)?);
        changed
            .departed
            .extend(members::departed_of(connection, users)?);
    }
    changed.changes = changes;
    Ok(changed)
}
