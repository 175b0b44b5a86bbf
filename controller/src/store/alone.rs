//! A database that nobody else uses, whichever engine it is: for what is done with every controller stopped.

use std::time::Duration;

use super::Place;
use super::error::StoreError;
use super::opened::Opened;
use super::postgres;
use super::seal::SealKey;
use super::sql::Connection;
use super::sqlite::{self, schema};

/// A server takes a moment to notice that somebody has gone: how often it is asked, and after which pause.
const GOING: (u32, Duration) = (30, Duration::from_millis(100));

/// See the module.
pub(super) struct Alone(pub(super) Opened);

// === impl Alone ===

impl Alone {
    /// Opens it with the newest schema, and makes sure that nobody else uses it. Of a file the lock of its
    /// directory says so. Not in a task.
    pub(super) fn open(place: &Place, seal: &SealKey) -> Result<Self, StoreError> {
        let alone = Self(match place {
            Place::File(path) => Opened::Sqlite(sqlite::open_alone(path, &seal.row_key())?),
            Place::Postgres(settings) => Opened::Postgres(postgres::open_alone(settings, seal)?),
        });
        alone.is_alone(place)?;
        let found = alone.0.schema()?;
        if found != schema::SCHEMA {
            return Err(StoreError::Newer {
                found,
                known: schema::SCHEMA,
                written_by: String::new(),
            });
        }
        Ok(alone)
    }

    pub(super) fn sql(&self) -> &Connection {
        self.0.sql()
    }

    /// Begins to read it as it is now, and keeps others from writing until this is dropped.
    pub(super) fn freeze(&self) -> Result<(), StoreError> {
        if let Opened::Postgres(connection) = &self.0 {
            // Of the session, not of a transaction: it is there before the snapshot is.
            let connection: &Connection = connection;
            connection.execute_batch(&postgres::LOCK.replace("_xact", ""))?;
        }
        self.0.begin_reading()
    }

    /// Nobody else is there.
    pub(super) fn is_alone(&self, place: &Place) -> Result<(), StoreError> {
        let Opened::Postgres(connection) = &self.0 else {
            return Ok(());
        };
        let connection: &Connection = connection;
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                      AND application_name LIKE 'postern-controller%' AND pid <> pg_backend_pid()";
        let (tries, pause) = GOING;
        for _ in 0..tries {
            let found = connection.query_row(others, [], |row| row.get::<_, i64>(0));
            if found? == 0 {
                return Ok(());
            }
            std::thread::sleep(pause);
        }
        Err(StoreError::InUse(place.to_string()))
    }

    /// Ends every connection that another program of ours has made meanwhile: the next one asks anew what holds.
    pub(super) fn end_others(&self) -> Result<(), StoreError> {
        let Opened::Postgres(connection) = &self.0 else {
            return Ok(());
        };
        let connection: &Connection = connection;
        // Who they are is found out first: the order of conditions is the server's.
        let end = "WITH others AS MATERIALIZED (SELECT pid FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()
                           AND application_name LIKE 'postern-controller%')
                   SELECT count(pg_terminate_backend(pid)) FROM others";
        connection.query_row(end, [], |row| row.get::<_, i64>(0))?;
        Ok(())
    }

    /// Does something in one transaction.
    pub(super) fn within<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = self.sql();
        match &self.0 {
            Opened::Sqlite(_) => connection.execute_batch("BEGIN IMMEDIATE")?,
            Opened::Postgres(_) => {
                connection.execute_batch(&format!("BEGIN; {}", postgres::LOCK))?;
            }
        }
        // Where it fails the connection goes, and what it did with it.
        let done = work(connection)?;
        connection.execute_batch("COMMIT")?;
        Ok(done)
    }
}
