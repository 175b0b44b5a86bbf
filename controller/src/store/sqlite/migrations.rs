//! The schema, one step after another.
//!
//! Before a database is brought up to date, it is copied beside itself (`controller.db.schema-8`), so
//! that the program of before can go on with it. Each database says which schema it has and how old
//! the program may be that uses it: one that is older than that leaves it alone.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite_migration::{HookError, M, Migrations};

use super::schema::{SCHEMA, version};
use super::{backup, meta, version_1};
use crate::store::error::{EngineError, StoreError};

/// The schema that a program must at least know to use a database of [`SCHEMA`]: lower where a step
/// only adds what older programs need not know.
pub(in crate::store) const OLDEST_PROGRAM: u32 = 14;
/// Copies of one schema beside a database, at most.
const COPIES_MAX: u32 = 100;

/// Every version of the schema, oldest first. Append only.
pub(super) fn migrations() -> Migrations<'static> {
    let move_events = |transaction: &rusqlite::Transaction<'_>| {
        version_1::move_events(transaction).map_err(|error| HookError::Hook(error.to_string()))?;
        transaction.execute_batch(include_str!(
            "../../../../migrations/sqlite/0002_event_indexes.sql"
        ))?;
        Ok(())
    };
    Migrations::new(vec![
        M::up(include_str!("../../../../migrations/sqlite/0001_fleet.sql")),
        M::up_with_hook(
            include_str!("../../../../migrations/sqlite/0002_event_bodies.sql"),
            move_events,
        ),
        M::up(include_str!(
            "../../../../migrations/sqlite/0003_host_words.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0004_event_words.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0005_fleet_memory.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0006_members.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0007_claim_dates.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0008_event_blocks.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0009_people.sql"
        )),
        M::up(include_str!("../../../../migrations/sqlite/0010_audit.sql")),
        M::up(include_str!("../../../../migrations/sqlite/0011_keys.sql")),
        M::up(include_str!(
            "../../../../migrations/sqlite/0012_leases.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0013_audit_keys.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0014_proven_rows.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0015_controllers.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0016_controller_facts.sql"
        )),
        M::up(include_str!(
            "../../../../migrations/sqlite/0017_member_changes.sql"
        )),
    ])
}

/// Brings the schema of the database at `path` up to date, after a copy; refuses one that is too new.
pub(super) fn bring_up_to_date(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > SCHEMA {
        return meta::usable(connection, found);
    }
    let copy = match found {
        0 | SCHEMA => None,
        _ => Some(copy_beside(connection, path, found)?),
    };
    let migrated = apply(connection);
    if let Some(copy) = copy {
        if migrated.is_err() {
            // The database is as it was, and is copied again at the next start.
            let _ = std::fs::remove_file(&copy);
        } else {
            tracing::info!(
                from = found, to = SCHEMA, copy = %copy.display(),
                "the database was brought up to date; a copy is kept of what it was before"
            );
        }
    }
    migrated
}

/// The same without a copy, of a database that is not newer.
pub(in crate::store) fn apply(connection: &mut Connection) -> Result<(), StoreError> {
    migrations()
        .to_latest(connection)
        .map_err(|error| StoreError::Engine(EngineError::new(error)))?;
    meta::set_oldest_program(connection, OLDEST_PROGRAM, env!("CARGO_PKG_VERSION"))
}

/// A database with the newest schema and nothing in it, in memory.
pub(in crate::store) fn newest() -> Result<Connection, StoreError> {
    let mut newest = Connection::open_in_memory()?;
    apply(&mut newest)?;
    Ok(newest)
}

/// Copies the database into a file beside it that is not there yet.
fn copy_beside(connection: &Connection, path: &Path, schema: u32) -> Result<PathBuf, StoreError> {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".schema-{schema}"));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    let taken = (1..COPIES_MAX).find(|number| !name(*number).exists());
    let copy = name(taken.unwrap_or(COPIES_MAX));
    backup::copy(connection, &copy)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn open(dir: &TempDir) -> (PathBuf, Connection) {
        let path = dir.path().join("controller.db");
        let connection = Connection::open(&path).unwrap();
        (path, connection)
    }

    #[test]
    fn every_migration_applies() {
        assert_eq!(migrations().validate(), Ok(()));
        let mut connection = Connection::open_in_memory().unwrap();
        migrations().to_latest(&mut connection).unwrap();
        assert_eq!(version(&connection).unwrap(), SCHEMA);
    }

    #[test]
    fn a_database_is_copied_before_it_is_migrated_and_a_copy_is_never_overwritten() {
        let dir = TempDir::new().unwrap();
        let (path, mut connection) = open(&dir);
        migrations().to_version(&mut connection, 8).unwrap();
        std::fs::write(dir.path().join("controller.db.schema-8"), "another").unwrap();

        bring_up_to_date(&mut connection, &path).unwrap();
        bring_up_to_date(&mut connection, &path).unwrap();

        let copy = Connection::open(dir.path().join("controller.db.schema-8-2")).unwrap();
        assert_eq!(version(&copy).unwrap(), 8);
        assert_eq!(version(&connection).unwrap(), SCHEMA);
        let another = std::fs::read(dir.path().join("controller.db.schema-8")).unwrap();
        assert_eq!(another, b"another");
        assert!(!dir.path().join("controller.db.schema-8-3").exists());
    }

    #[test]
    fn a_database_of_a_later_version_is_refused_unless_it_says_that_this_program_may_use_it() {
        let dir = TempDir::new().unwrap();
        let (path, mut connection) = open(&dir);
        bring_up_to_date(&mut connection, &path).unwrap();
        let later = SCHEMA + 3;
        connection
            .pragma_update(None, "user_version", later)
            .unwrap();

        meta::set_oldest_program(&connection, SCHEMA + 1, "9.9.9").unwrap();
        let refused = bring_up_to_date(&mut connection, &path)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("postern-controller 9.9.9"), "{refused}");

        meta::set_oldest_program(&connection, SCHEMA, "9.9.9").unwrap();
        bring_up_to_date(&mut connection, &path).unwrap();
        assert_eq!(version(&connection).unwrap(), later);
    }
}
