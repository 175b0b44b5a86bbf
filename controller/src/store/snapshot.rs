//! A database read as it is at one moment, whichever engine it is, while controllers serve.

use super::Place;
use super::error::StoreError;
use super::opened::Opened;
use super::postgres;
use super::seal::SealKey;
use super::sql::Connection;
use super::sqlite::{connection, half_copy, rows};

/// See the module.
pub(super) struct Snapshot(Opened);

// === impl Snapshot ===

impl Snapshot {
    /// Begins to read it; nothing is made where there is none. Not in a task.
    pub(super) fn begin(place: &Place, seal: &SealKey) -> Result<Self, StoreError> {
        let opened = match place {
            Place::File(path) => {
                let connection = connection::reading(path)?;
                rows::reading(&connection, &seal.row_key())?;
                Opened::Sqlite(connection)
            }
            Place::Postgres(settings) => Opened::Postgres(postgres::open_reading(settings, seal)?),
        };
        opened.begin_reading()?;
        half_copy::refuse_half(opened.sql())?;
        if let Opened::Postgres(connection) = &opened {
            postgres::require_proofs(connection)?;
        }
        Ok(Self(opened))
    }

    pub(super) fn sql(&self) -> &Connection {
        self.0.sql()
    }

    /// The number of its schema; 0 of one that has none.
    pub(super) fn schema(&self) -> Result<u32, StoreError> {
        self.0.schema()
    }
}
