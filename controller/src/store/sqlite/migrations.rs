//! The schema, one step after another.

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::version_1;
use crate::store::error::{EngineError, StoreError};

/// Every version of the schema, oldest first. Append only.
pub(super) fn migrations() -> Migrations<'static> {
    let move_events = |transaction: &rusqlite::Transaction<'_>| {
        version_1::move_events(transaction)?;
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
    ])
}

/// Brings a database's schema up to date.
pub(super) fn apply(connection: &mut Connection) -> Result<(), StoreError> {
    migrations()
        .to_latest(connection)
        .map_err(|error| StoreError::Engine(EngineError::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_applies() {
        assert_eq!(migrations().validate(), Ok(()));
    }
}
