//! The controller's store: SQLite behind one writer and a few readers. The only place with SQL.
//!
//! | room | what |
//! |---|---|
//! | `writer` | one thread, one transaction for everything that waits: group commit |
//! | `readers` | read-only connections, used from blocking threads |
//! | `meta`, `members`, `hosts`, `tokens`, `policies`, `claims`, `events`, `search` | one resource each: plain functions over a connection |
//!
//! An answer to a write is given only after the commit is on disk (WAL, `synchronous=FULL`). A write
//! that fails undoes itself alone (savepoint); the others in its transaction are not touched.

pub(crate) mod claims;
pub(crate) mod events;
pub(crate) mod hosts;
pub(crate) mod members;
pub(crate) mod meta;
pub(crate) mod policies;
mod readers;
pub(crate) mod search;
pub(crate) mod tokens;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};
use tokio::sync::mpsc;

use crate::error::Error;
use readers::Readers;
use writer::Message;

/// Another process (`postern-controller token`) may hold the write lock for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Writes that wait for the writer at most; more callers wait in line before it.
const QUEUE_MAX: usize = 4096;
/// Statements kept prepared on each connection.
const STATEMENTS_MAX: usize = 128;

const MIGRATIONS: &[M<'_>] = &[M::up(include_str!(
    "../../migrations/sqlite/0001_fleet.sql"
))];

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database")]
    Database(#[from] rusqlite::Error),
    #[error("database schema")]
    Migration(#[from] rusqlite_migration::Error),
    #[error("the transaction was not committed: {0}")]
    NotCommitted(String),
    #[error("the store is closed")]
    Closed,
    #[error("`{what}` in the database is damaged")]
    Damaged { what: &'static str },
}

/// Handle to the store; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Message>,
    readers: Arc<Readers>,
}

// === impl Store ===

impl Store {
    /// Opens the database and brings its schema up to date; makes it when there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = connect(path, OpenFlags::default())?;
        prepare(&mut connection)?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(&connection, queue))
            .map_err(|error| StoreError::NotCommitted(error.to_string()))?;
        Ok(Self {
            jobs,
            readers: Arc::new(Readers::new(path)),
        })
    }

    /// Runs `job` in the next transaction; the answer comes after its commit.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = writer::job(job);
        self.jobs
            .send(Message::Run(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs `job` on a connection that can only read.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers.read(job).await
    }

    /// Commits what waits, folds the log into the database and closes. Later writes are refused.
    pub(crate) async fn close(&self) {
        if self.jobs.send(Message::Stop).await.is_ok() {
            self.jobs.closed().await;
        }
    }

    /// Resolves when the writer is gone, which only happens after [`close`](Self::close) or a defect.
    pub(crate) async fn closed(&self) {
        self.jobs.closed().await;
    }
}

/// A connection as both the writer and the readers want it.
fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// What only the writer's connection needs.
fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // 64 MB of pages: the busy ends of the event indexes stay in memory.
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "journal_size_limit", 67_108_864)?;
    Migrations::from_slice(MIGRATIONS).to_latest(connection)?;
    Ok(())
}

/// Numbers of the wire (unsigned) as SQLite keeps them (signed). What does not fit is far beyond any
/// honest time or count, and is kept as the greatest there is.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_applies() {
        assert_eq!(Migrations::from_slice(MIGRATIONS).validate(), Ok(()));
    }
}
