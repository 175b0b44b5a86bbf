//! Whose membership has changed. Every change of a member, of its keys and of what is said of it by its name takes a
//! number in its own transaction; whoever follows reads those with higher numbers than it has read before.
//!
//! All writers take one lock until their commit is seen (`postgres/writer.rs`), so what has a lower number is seen before
//! what has a higher one. A program of before takes no numbers: where one has written, everything is read again.

use fleet::Role;

use super::number::signed;
use crate::store::error::StoreError;
use crate::store::sql::{Connection, Dialect, Set, params};

/// Notes a change of the member with this id. Before it goes, and after it has come or got another name.
pub(super) fn note(connection: &Connection, member: u64) -> Result<(), StoreError> {
    let noted = "SELECT id, role, name FROM members WHERE id = ?1";
    run(connection, noted, member)
}

/// Notes a change of the key with this id, before it goes.
pub(super) fn note_of_key(connection: &Connection, key: u64) -> Result<(), StoreError> {
    let noted = "SELECT m.id, m.role, m.name FROM members m JOIN member_keys k ON k.member = m.id
                 WHERE k.id = ?1";
    run(connection, noted, key)
}

/// Notes members that have come, each with its role and name.
pub(super) fn note_new(
    connection: &Connection,
    members: &[(u64, Role, &str)],
) -> Result<(), StoreError> {
    let sql = match connection.dialect() {
        Dialect::Sqlite => {
            "INSERT INTO member_changes (member, role, name, number)
             VALUES (?1, ?2, ?3, (SELECT coalesce(max(number), 0) + 1 FROM member_changes))"
        }
        Dialect::Postgres => "INSERT INTO member_changes (member, role, name) VALUES (?1, ?2, ?3)",
    };
    let mut noted = Set::default();
    for (id, role, name) in members {
        noted.push(params![signed(*id), role.as_str(), name])?;
    }
    connection.prepare_cached(sql)?.execute_each(&noted)?;
    Ok(())
}

fn run(connection: &Connection, noted: &str, id: u64) -> Result<(), StoreError> {
    let sql = match connection.dialect() {
        Dialect::Sqlite => format!(
            "INSERT INTO member_changes (member, role, name, number)
             SELECT n.*, (SELECT coalesce(max(number), 0) + 1 FROM member_changes) FROM ({noted}) n
             WHERE true {TAKE_ITS_PLACE}"
        ),
        Dialect::Postgres => {
            format!("INSERT INTO member_changes (member, role, name) {noted} {TAKE_ITS_PLACE}")
        }
    };
    connection.prepare_cached(&sql)?.execute([signed(id)])?;
    Ok(())
}

const TAKE_ITS_PLACE: &str = "ON CONFLICT (member) DO UPDATE SET role = excluded.role,
     name = excluded.name, number = excluded.number";
