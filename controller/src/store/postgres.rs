//! The store's engine for several controllers: a PostgreSQL server behind one writer and a few readers.
//!
//! | file | what |
//! |---|---|
//! | `server` | how a connection is opened: hosts, TLS, password |
//! | `look` | what a server says of itself, for `check` |
//! | `migrations` | the schema, one step after another |
//! | `proving` | rows are given their MACs, once |
//! | `writer` | one thread, one transaction for everything that waits; the writers of all controllers are one |
//! | `readers` | connections that only read, in lanes |
//!
//! The SQL of each resource stands beside SQLite's engine and is the same. What SQLite's engine does
//! about its file (is it there, is it whole, is there room) a server does itself.

mod look;
mod migrations;
mod proving;
mod readers;
mod server;
#[cfg(test)]
pub(crate) mod trial;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

pub(super) use self::look::{bytes, look};
use self::readers::Readers;
use self::server::Server;
pub(super) use self::writer::LOCK;
use super::error::StoreError;
use super::jobs::{Together, Writes};
use super::model::AtStart;
use super::place::PostgresSettings;
use super::seal::SealKey;
use super::sql::Connection;
use super::sqlite::{at_start, half_copy, meta, recorded, resealing, rows};

/// What is wrong with how a server is to be reached, as far as that can be said without it.
pub(crate) fn check(settings: &PostgresSettings) -> Result<(), StoreError> {
    Server::shape(settings).map(drop)
}

/// A connection for whoever uses the database alone, its schema brought up to date. Not in a task.
pub(super) fn open_alone(
    settings: &PostgresSettings,
    seal: &SealKey,
) -> Result<super::sql::postgres::Postgres, StoreError> {
    let connection = Server::of(settings)?.of_rows(seal).to_migrate()?;
    migrations::bring_up_to_date(&connection)?;
    require_proofs(&connection)?;
    Ok(connection)
}

/// A connection that only reads, for as long as that takes; nothing is made. Not in a task.
pub(super) fn open_reading(
    settings: &PostgresSettings,
    seal: &SealKey,
) -> Result<super::sql::postgres::Postgres, StoreError> {
    Server::of(settings)?.of_rows(seal).to_read(Duration::ZERO)
}

/// Has a connection tell which rows are ours, where the database says that all have their MACs.
pub(super) fn require_proofs(
    connection: &super::sql::postgres::Postgres,
) -> Result<(), StoreError> {
    if schema(connection)? > 0
        && meta::rows_are_proven(connection)?
        && let Some(proofs) = connection.proofs()
    {
        proofs.require();
    }
    Ok(())
}

/// The number of the schema; 0 where there is none.
pub(super) fn schema(connection: &Connection) -> Result<u32, StoreError> {
    let is_there = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('schema_version')";
    if connection.query_row(is_there, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(schema), 0) FROM schema_version";
    Ok(connection.query_row(newest, [], |row| row.get(0))?)
}

/// Notes which key it is sealed under, so that whoever has another hears which is meant. What is sealed has said so.
fn note_key(connection: &Connection, seal: &SealKey) -> Result<(), StoreError> {
    if meta::seal_key_id(connection)?.as_deref() == Some(seal.id()) {
        return Ok(());
    }
    connection.execute_batch(&format!("BEGIN; {LOCK}"))?;
    meta::set_seal_key_id(connection, seal.id())?;
    Ok(connection.execute_batch("COMMIT")?)
}

/// Handle to the engine; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    writes: Writes,
    readers: Arc<Readers>,
    #[cfg(test)]
    server: Box<Server>,
}

// === impl Postgres ===

impl Postgres {
    /// Connects, and brings the schema up to date; makes it where there is none.
    pub(super) fn open(
        settings: &PostgresSettings,
        seal: &SealKey,
        mark: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let server = Server::of(settings)?.of_key(seal);
        // The driver is a runtime of its own, which cannot be in another's thread.
        let opening = {
            let server = server.clone();
            let (seal, mark) = (seal.clone(), mark.map(Path::to_owned));
            std::thread::spawn(move || {
                let connection = server.to_migrate()?;
                migrations::bring_up_to_date(&connection)?;
                half_copy::refuse_half(&connection)?;
                resealing::refuse_other_key(&connection, &seal)?;
                note_key(&connection, &seal)?;
                let under = (&seal.row_key(), LOCK);
                if proving::prove_once(&connection, under, mark.as_deref())?
                    && let Some(proofs) = connection.proofs()
                {
                    proofs.require();
                }
                Ok::<_, StoreError>(connection)
            })
        };
        let connection = opening.join().map_err(|_| StoreError::Panicked)??;
        let writing = server.clone();
        let writes = Writes::start(move |queue| writer::run((writing, connection), queue))?;
        Ok(Self {
            writes,
            readers: Arc::new(Readers::new(&server)),
            #[cfg(test)]
            server: Box::new(server),
        })
    }

    /// Runs `work` in the next transaction; the answer comes after its commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writes.write(work).await
    }

    /// The same for what can be done together with others of its kind.
    pub(super) async fn join<T: Together>(&self, what: T) -> Result<T::Outcome, StoreError> {
        self.writes.join(what).await
    }

    /// See `Store::fault`.
    pub(super) fn fault(&self) -> Option<String> {
        self.writes.fault()
    }

    /// How long commits take, seconds.
    pub(super) fn commits(&self) -> Histogram {
        self.writes.commits()
    }

    /// How often anything has gone to the server and back.
    #[cfg(test)]
    fn journeys(&self) -> u64 {
        self.server.journeys()
    }

    /// The readers, in their lanes.
    pub(super) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Looks at what every start looks at.
    pub(super) async fn look_at_start(&self) -> Result<AtStart, StoreError> {
        let look = |connection: &Connection| {
            Ok(AtStart {
                broken_at: at_start::broken_at(connection)?,
                altered: rows::altered(connection)?,
                disagreements: recorded::disagreements(connection)?,
                ..AtStart::default()
            })
        };
        self.readers.read(look).await
    }

    /// Commits what waits and closes. Later reads and writes are refused.
    pub(super) async fn close(&self) {
        self.readers.close();
        self.writes.close().await;
    }

    /// Resolves when the writer is gone, which only happens after [`close`](Self::close) or a defect.
    pub(super) async fn closed(&self) {
        self.writes.closed().await;
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod journeys;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
