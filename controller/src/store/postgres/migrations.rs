//! The schema, one step after another, under the writers' lock: controllers that start together bring
//! it up to date once.
//!
//! A step adds first, and takes away in a later version: controllers of before go on beside one that
//! is newer. Each database says which schema it has and how old the program may be that uses it.

use super::proving::PROVES_SINCE;
use super::writer::LOCK;
use crate::store::error::StoreError;
use crate::store::sql::Engine as _;
use crate::store::sql::postgres::Postgres;
use crate::store::sqlite::meta;
use crate::store::sqlite::schema::SCHEMA;

/// The schema that a program must at least know to use a database of [`SCHEMA`]: the one before, because a step only adds
/// what older programs need not know. Where rows have their MACs it is not lower than that of programs that make them.
pub(super) const OLDEST_PROGRAM: u32 = 14;

/// Every step with the number of the schema that it makes, which is SQLite's, oldest first. Append only.
pub(super) const STEPS: [(u32, &str); 4] = [
    (
        14,
        include_str!("../../../../migrations/postgres/0001_fleet.sql"),
    ),
    (
        15,
        include_str!("../../../../migrations/postgres/0002_controllers.sql"),
    ),
    (
        16,
        include_str!("../../../../migrations/postgres/0003_controller_facts.sql"),
    ),
    (
        17,
        include_str!("../../../../migrations/postgres/0004_member_changes.sql"),
    ),
];

/// Takes the steps that are still to be taken; refuses a schema that is too new.
pub(super) fn bring_up_to_date(connection: &Postgres) -> Result<(), StoreError> {
    connection.execute_batch(&format!("BEGIN; {LOCK};"))?;
    let migrated = migrate(connection);
    let end = if migrated.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = connection.execute_batch(end);
    migrated?;
    Ok(ended?)
}

fn migrate(connection: &Postgres) -> Result<(), StoreError> {
    let connection: &crate::store::sql::Connection = connection;
    let encoding: String = connection.query_row(
        "SELECT CAST(current_setting('server_encoding') AS text)",
        [],
        |row| row.get(0),
    )?;
    if encoding != "UTF8" {
        return Err(StoreError::Damaged {
            what: "server_encoding; make it with ENCODING 'UTF8': it",
        });
    }
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS schema_version (schema bigint NOT NULL)")?;
    let found: Option<u32> =
        connection.query_row("SELECT max(schema) FROM schema_version", [], |row| {
            row.get(0)
        })?;
    let found = found.unwrap_or(0);
    if found > SCHEMA {
        return meta::usable(connection, found);
    }
    for (schema, step) in STEPS {
        if schema > found {
            connection.execute_batch(step)?;
            connection.execute("DELETE FROM schema_version", [])?;
            connection.execute("INSERT INTO schema_version (schema) VALUES (?1)", [schema])?;
        }
    }
    let oldest = match meta::rows_are_proven(connection)? {
        true => PROVES_SINCE,
        false => OLDEST_PROGRAM,
    };
    meta::set_oldest_program(connection, oldest, env!("CARGO_PKG_VERSION"))
}
