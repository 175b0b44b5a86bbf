//! The store's engine for one controller on one machine: SQLite behind one writer and a few
//! readers.
//!
//! | file | what |
//! |---|---|
//! | `connection`, `schema`, `migrations` | how a connection is opened, and the schema brought up to date |
//! | `disk` | whether the files are still what was opened, and what an error of the engine means |
//! | `writer` | one thread, one transaction for everything that waits: group commit |
//! | `readers`, `cost` | read-only connections in two lanes, and what a question may cost |
//! | `meta`, `members`, `changes`, `enrollment`, `hosts`, `tokens`, `policies`, `claims`, `entries`, `events`, `event_rows`, `journals`, `alarms`, `search`, `sinks` | the SQL of one resource each: plain functions over a connection |
//! | `succession` | keys that follow others |
//! | `member_changes`, `members_changed` | whose membership has changed: noted, and read by whoever follows |
//! | `thinning` | checkpoints that stand closer than anybody needs go |
//! | `checkpoints`, `proof` | what is signed of the log, and its rows with what proves them |
//! | `retention` | bodies of old records go |
//! | `openings`, `sessions`, `set_back` | sessions that are opened at one time, and what is found out by one: was its host, or this database, set back? |
//! | `columns`, `words`, `reasons`, `searched` | what of an event is searched; whether all of it is there |
//! | `rows` | rows that nobody else can have written |
//! | `recorded` | whether rows are what the log says of them |
//! | `resealing` | secrets under another key |
//! | `half_copy` | whether it is half a copy of another |
//! | `at_start` | what every start looks at |
//! | `backup` | copies of the database, and whether one is sound |
//! | `version_1` | events as the first version of the schema kept them |
//! | `number` | unsigned numbers as SQLite keeps them |
//!
//! An answer to a write is given only after the commit is on disk (WAL, `synchronous=FULL`). A
//! write that fails undoes itself alone (savepoint); the others in its transaction are not
//! touched.

pub(super) mod alarms;
pub(super) mod at_start;
pub(super) mod backup;
pub(super) mod changes;
pub(super) mod checkpoints;
pub(super) mod claims;
pub(super) mod columns;
pub(super) mod connection;
mod cost;
mod disk;
pub(super) mod enrollment;
mod entries;
mod event_rows;
pub(super) mod events;
mod expected;
mod found_by;
pub(super) mod half_copy;
pub(super) mod host_edits;
pub(super) mod hosts;
mod journals;
mod leases;
mod member_changes;
pub(super) mod members;
pub(super) mod members_changed;
pub(super) mod meta;
pub(super) mod migrations;
pub(super) mod names;
mod number;
mod openings;
pub(super) mod others;
pub(super) mod policies;
pub(super) mod proof;
mod readers;
mod reasons;
pub(super) mod recorded;
pub(super) mod resealing;
pub(super) mod retention;
pub(super) mod rows;
pub(super) mod schema;
pub(super) mod search;
pub(super) mod searched;
mod served;
pub(super) mod sessions;
mod set_back;
pub(super) mod sinks;
pub(super) mod succession;
pub(super) mod thinning;
pub(super) mod tokens;
mod version_1;
pub(super) mod words;
mod write_ahead;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use self::cost::Allowance;
use self::readers::Readers;
use super::error::{EngineError, NotCommitted, StoreError, Trouble};
use super::jobs::{Together, Writes};
use super::model::AtStart;
use super::seal::{RowKey, SealKey};
use super::sql::Connection;

/// Handle to the engine; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    path: Arc<Path>,
    writes: Writes,
    readers: Arc<Readers>,
    /// Set when the database turns out to be damaged: what is written then may be lost.
    damaged: Arc<AtomicBool>,
    /// The last run did not close it.
    is_unclean: bool,
}

/// A connection of whoever uses the database alone.
pub(super) type Alone = rusqlite::Connection;

/// Opens the database for whoever uses it alone, its schema brought up to date; makes it when there is none.
pub(super) fn open_alone(path: &Path, key: &RowKey) -> Result<Alone, StoreError> {
    open_connection(path, key).map_err(|error| disk::named(error, path))
}

/// Opens an empty file for what is copied into it, with the newest schema. Until it is closed nothing of it need be
/// on the disk.
pub(super) fn open_copy(path: &Path, key: &RowKey) -> Result<Alone, StoreError> {
    let mut connection = connection::writing(path)?;
    connection.pragma_update(None, "synchronous", "off")?;
    migrations::apply(&mut connection)?;
    rows::writing(&connection, key)?;
    Ok(connection)
}

/// A writer's connection, whose writes make the MACs of rows.
fn open_connection(path: &Path, key: &RowKey) -> Result<rusqlite::Connection, StoreError> {
    let mut connection = connection::writing(path)?;
    rows::check_mark(path, schema::version(&connection)?)?;
    migrations::bring_up_to_date(&mut connection, path)?;
    rows::prove_once(&mut connection, key, path)?;
    rows::writing(&connection, key)?;
    Ok(connection)
}

// === impl Sqlite ===

impl Sqlite {
    /// Opens the database and brings its schema up to date; makes it when there is none.
    pub(super) fn open(path: &Path, seal: &SealKey) -> Result<Self, StoreError> {
        Self::open_files(path, &seal.row_key()).map_err(|error| disk::named(error, path))
    }

    fn open_files(path: &Path, key: &RowKey) -> Result<Self, StoreError> {
        let is_unclean = disk::has_log(path);
        let connection = open_connection(path, key)?;
        half_copy::refuse_half(&connection)?;
        if is_unclean && checkpoints::has_followed(&connection)? {
            // Whoever rotated the log's key may have died before that went: in the write-ahead log it lies
            // as it was.
            if let Err(error) = writer::empty_log(&connection, Duration::ZERO) {
                tracing::warn!(%error, "the write-ahead log stays beside the database");
            }
        }
        let writes = Writes::start(move |queue| {
            let health = super::health::Health::telling(&queue.fault);
            writer::run(&connection, &mut queue.jobs, (&queue.commits, health));
        })?;
        Ok(Self {
            path: path.into(),
            writes,
            readers: Arc::new(Readers::new(path, key)),
            damaged: Arc::default(),
            is_unclean,
        })
    }

    /// Runs `work` in the next transaction; the answer comes after its commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.is_whole()?;
        let written = self.writes.write(work).await;
        written.map_err(|error| disk::named(error, &self.path))
    }

    /// The same for what can be done together with others of its kind.
    pub(super) async fn join<T: Together>(&self, what: T) -> Result<T::Outcome, StoreError> {
        self.is_whole()?;
        let written = self.writes.join(what).await;
        written.map_err(|error| disk::named(error, &self.path))
    }

    /// Whether anything may be written.
    fn is_whole(&self) -> Result<(), StoreError> {
        if self.damaged.load(Ordering::SeqCst) {
            let damaged = NotCommitted::Disk(Trouble::Damaged);
            return Err(disk::named(damaged.into(), &self.path));
        }
        Ok(())
    }

    /// See `Store::fault`.
    pub(super) fn fault(&self) -> Option<String> {
        self.writes.fault()
    }

    /// How long commits take, seconds.
    pub(super) fn commits(&self) -> Histogram {
        self.writes.commits()
    }

    /// Runs `work` on a connection that can only read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = self.readers.read(work).await;
        read.map_err(|error| disk::named(error, &self.path))
    }

    /// The same for what is sent on: those who send have a connection of their own, and share it.
    pub(super) async fn read_to_send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = self.readers.send(work).await;
        read.map_err(|error| disk::named(error, &self.path))
    }

    /// Answers a question on a connection that can only read, in a lane of its own and within
    /// [`Allowance::QUESTION`].
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        served: Duration,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let of = (Allowance::QUESTION, served);
        let answer = self.readers.ask(of, work).await;
        answer.map_err(|error| disk::named(error, &self.path))
    }

    /// Looks at what every start looks at, and takes no more writes when a table is damaged: what they
    /// wrote could be lost.
    pub(super) async fn look_at_start(&self) -> Result<AtStart, StoreError> {
        let found = self.read(at_start::look).await?;
        if !found.damaged.is_empty() {
            self.damaged.store(true, Ordering::SeqCst);
        }
        Ok(found)
    }

    /// Reads the whole database when the last run did not close it, and takes no more writes when it
    /// is damaged. A future that is dropped ends the reading.
    pub(super) async fn check_integrity(&self) -> Result<(), StoreError> {
        if !self.is_unclean {
            return Ok(());
        }
        let found = self.readers.check_integrity().await;
        let named = found.map_err(|error| disk::named(error, &self.path));
        let is_damaged = |error: &StoreError| {
            let trouble = Trouble::Damaged;
            matches!(error, StoreError::Disk { trouble: found, .. } if *found == trouble)
        };
        if named.as_ref().is_err_and(is_damaged) {
            self.damaged.store(true, Ordering::SeqCst);
        }
        named
    }

    /// Commits what waits, moves the write-ahead log into the database and closes. Later reads and
    /// writes are refused.
    pub(super) async fn close(&self) {
        self.readers.close();
        self.writes.close().await;
    }

    /// Resolves when the writer is gone, which only happens after [`close`](Self::close) or a
    /// defect.
    pub(super) async fn closed(&self) {
        self.writes.closed().await;
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if let Some(altered) = rows::refused(&error) {
            return altered;
        }
        Self::Engine(EngineError::new(error))
    }
}

#[cfg(test)]
mod tests;
