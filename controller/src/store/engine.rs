//! One of the engines.

use std::path::Path;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use super::error::StoreError;
use super::jobs::Together;
use super::model::AtStart;
use super::place::Place;
use super::postgres::Postgres;
use super::seal::SealKey;
use super::sql::Connection;
use super::sqlite::Sqlite;

/// One of the engines; clones share it.
#[derive(Clone, Debug)]
pub(super) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

// === impl Engine ===

impl Engine {
    /// Opens the database and brings its schema up to date; makes it when there is none. That the
    /// rows of one at a server have their MACs is noted in the file `mark`.
    pub(super) fn open(
        place: &Place,
        seal: &SealKey,
        mark: Option<&Path>,
    ) -> Result<Self, StoreError> {
        match place {
            Place::File(path) => Ok(Self::Sqlite(Sqlite::open(path, seal)?)),
            Place::Postgres(settings) => Ok(Self::Postgres(Postgres::open(settings, seal, mark)?)),
        }
    }

    /// Runs `work` in the next transaction; the answer comes after its commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.write(work).await,
            Self::Postgres(engine) => engine.write(work).await,
        }
    }

    /// Does what can be done together with others of its kind in the next transaction; the answer comes
    /// after its commit.
    pub(super) async fn join<T: Together>(&self, what: T) -> Result<T::Outcome, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.join(what).await,
            Self::Postgres(engine) => engine.join(what).await,
        }
    }

    /// See `Store::fault`.
    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Self::Sqlite(engine) => engine.fault(),
            Self::Postgres(engine) => engine.fault(),
        }
    }

    /// How long commits take, seconds.
    pub(super) fn commits(&self) -> Histogram {
        match self {
            Self::Sqlite(engine) => engine.commits(),
            Self::Postgres(engine) => engine.commits(),
        }
    }

    /// Runs `work` on a connection that can only read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.read(work).await,
            Self::Postgres(engine) => engine.readers().read(work).await,
        }
    }

    /// The same for what is sent on: those who send have a connection of their own, and share it.
    pub(super) async fn read_to_send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.read_to_send(work).await,
            Self::Postgres(engine) => engine.readers().send(work).await,
        }
    }

    /// Answers a question on a connection that can only read, in a lane of its own and within bounds; `served` is how
    /// long it had a place so far, and whoever had least is next.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        served: Duration,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.ask(served, work).await,
            Self::Postgres(engine) => engine.readers().ask(served, work).await,
        }
    }

    /// Looks at what every start looks at.
    pub(super) async fn look_at_start(&self) -> Result<AtStart, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.look_at_start().await,
            Self::Postgres(engine) => engine.look_at_start().await,
        }
    }

    /// Reads the whole database when the last run did not close it; a server does that itself.
    pub(super) async fn check_integrity(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(engine) => engine.check_integrity().await,
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Commits what waits and closes. Later reads and writes are refused.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(engine) => engine.close().await,
            Self::Postgres(engine) => engine.close().await,
        }
    }

    /// Resolves when the writer is gone, which only happens after [`close`](Self::close) or a defect.
    pub(super) async fn closed(&self) {
        match self {
            Self::Sqlite(engine) => engine.closed().await,
            Self::Postgres(engine) => engine.closed().await,
        }
    }
}
