//! A database that was opened for something that is done with all of it, whichever engine it is.

use super::error::StoreError;
use super::postgres;
use super::sql::Connection;
use super::sql::postgres::Postgres;
use super::sqlite::{self, schema};

/// See the module.
pub(super) enum Opened {
    Sqlite(sqlite::Alone),
    Postgres(Postgres),
}

// === impl Opened ===

impl Opened {
    pub(super) fn sql(&self) -> &Connection {
        match self {
            Self::Sqlite(connection) => connection,
            Self::Postgres(connection) => connection,
        }
    }

    /// The number of its schema; 0 of one that has none.
    pub(super) fn schema(&self) -> Result<u32, StoreError> {
        match self {
            Self::Sqlite(connection) => schema::version(connection),
            Self::Postgres(connection) => postgres::schema(connection),
        }
    }

    /// Begins to read it as it is at this moment, however long that takes.
    pub(super) fn begin_reading(&self) -> Result<(), StoreError> {
        let connection = self.sql();
        match self {
            Self::Sqlite(_) => connection.execute_batch("BEGIN")?,
            Self::Postgres(_) => {
                connection.execute_batch("SET idle_in_transaction_session_timeout = 0")?;
                connection.execute_batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            }
        }
        Ok(())
    }
}
