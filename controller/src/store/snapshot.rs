//! A database read as it is at one moment, whichever engine it is, while controllers serve.

use super::Place;
use super::error::StoreError;
use super::postgres;
use super::seal::SealKey;
use super::sql::Connection;
use super::sql::postgres::Postgres;
use super::sqlite::{self, connection, half_copy, rows, schema};

/// See the module.
pub(super) enum Snapshot {
    Sqlite(sqlite::Alone),
    Postgres(Postgres),
}

// === impl Snapshot ===

impl Snapshot {
    /// Begins to read it; nothing is made where there is none. Not in a task.
    pub(super) fn begin(place: &Place, seal: &SealKey) -> Result<Self, StoreError> {
        let snapshot = match place {
            Place::File(path) => {
                let connection = connection::reading(path)?;
                rows::reading(&connection, &seal.row_key())?;
                Self::Sqlite(connection)
            }
            Place::Postgres(settings) => Self::Postgres(postgres::open_reading(settings, seal)?),
        };
        let connection = snapshot.sql();
        match &snapshot {
            Self::Sqlite(_) => connection.execute_batch("BEGIN")?,
            Self::Postgres(_) => {
                connection.execute_batch("SET idle_in_transaction_session_timeout = 0")?;
                connection.execute_batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            }
        }
        half_copy::refuse_half(connection)?;
        if let Self::Postgres(connection) = &snapshot {
            postgres::require_proofs(connection)?;
        }
        Ok(snapshot)
    }

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
}
