//! The schema, one step after another.

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use crate::store::error::{EngineError, StoreError};

const MIGRATIONS: &[M<'_>] = &[M::up(include_str!(
    "../../../../migrations/sqlite/0001_fleet.sql"
))];

/// Brings a database's schema up to date.
pub(super) fn apply(connection: &mut Connection) -> Result<(), StoreError> {
    Migrations::from_slice(MIGRATIONS)
        .to_latest(connection)
        .map_err(|error| StoreError::Engine(EngineError::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_applies() {
        assert_eq!(Migrations::from_slice(MIGRATIONS).validate(), Ok(()));
    }
}
