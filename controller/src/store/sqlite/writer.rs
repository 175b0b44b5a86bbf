//! The writer: one thread, and one transaction for everything that waits.
//!
//! An fsync costs as much as some hundred inserts, so the writer takes whatever is in the queue
//! into one transaction and commits once. While it waits for the disk, the next lot gathers. Each
//! write has a savepoint, so that one that fails undoes itself alone.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::connection;
use super::disk::Files;
use super::write_ahead::WriteAhead;
use crate::clock;
use crate::store::error::{EngineError, NotCommitted, Trouble};
use crate::store::health::Health;
use crate::store::jobs::{Message, Savepoints, Waiting, gather};
use crate::store::sql;

/// Serves the queue until it is closed or says stop.
pub(super) fn run(
    connection: &Connection,
    queue: &mut mpsc::Receiver<Message>,
    (commits, health): (&Histogram, Health),
) {
    let mut writer = Writer {
        connection,
        files: Files::of(connection),
        log: WriteAhead::default(),
        health,
        commits,
    };
    while let Some(Message::Write(first)) = queue.blocking_recv() {
        if writer.batch(first, queue) {
            break;
        }
        writer.keep_log_short();
    }
    if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "the write-ahead log stays beside the database");
    }
}

/// The thread's own.
struct Writer<'a> {
    connection: &'a Connection,
    /// `None` of a database in memory.
    files: Option<Files>,
    log: WriteAhead,
    health: Health,
    commits: &'a Histogram,
}

// === impl Writer ===

impl Writer<'_> {
    /// Commits a write and all that wait behind it, and answers them. True when told to stop.
    fn batch(&mut self, first: Waiting, queue: &mut mpsc::Receiver<Message>) -> bool {
        if let Err(cause) = self.files_are_ours().and_then(|()| begin(self.connection)) {
            self.health.failed(&cause, 1, clock::instant());
            first.refuse(cause);
            return false;
        }
        let gathered = gather(first, queue, (self.connection, clock::instant));
        let stop = gathered.is_told_to_stop;
        let answers = gathered.answers();
        // Looked at again: what went into a file that was removed meanwhile is not stored.
        let asked = clock::instant();
        let committed = commit(self.connection);
        self.commits.observe(asked.elapsed().as_secs_f64());
        let committed = committed.and_then(|()| self.files_are_ours());
        match &committed {
            Ok(()) => self.health.worked(),
            Err(cause) => self.health.failed(cause, answers.len(), clock::instant()),
        }
        for answer in answers {
            answer(committed.clone());
        }
        stop
    }

    fn files_are_ours(&mut self) -> Result<(), NotCommitted> {
        let Some(files) = &mut self.files else {
            return Ok(());
        };
        files.check_database().map_err(NotCommitted::Disk)?;
        let mut found = files.check_log();
        if found == Err(Trouble::Truncated) && files.log_is_whole(self.connection) {
            files.log_was_emptied();
            found = files.check_log();
        }
        found.map_err(NotCommitted::Disk)
    }

    /// Moves the write-ahead log into the database when it has become long.
    fn keep_log_short(&mut self) {
        let bytes = self.files.as_ref().map_or(0, Files::log_bytes);
        let Some(patience) = self.log.is_due(bytes, clock::instant()) else {
            return;
        };
        if let Err(error) = empty_log(self.connection, patience) {
            tracing::debug!(%error, bytes, "the write-ahead log stays long");
        }
        if let Some(files) = &mut self.files {
            files.log_was_emptied();
        }
    }
}

/// Waits for readers at most as long as `patience`; nobody begins to read meanwhile what would
/// keep the log.
pub(super) fn empty_log(
    connection: &Connection,
    patience: Duration,
) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(patience)?;
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(connection::BUSY_TIMEOUT)?;
    emptied
}

fn begin(connection: &Connection) -> Result<(), NotCommitted> {
    let begun = connection
        .prepare_cached("BEGIN IMMEDIATE")
        .and_then(|mut begin| begin.execute([]));
    begun.map(drop).map_err(refused)
}

fn commit(connection: &Connection) -> Result<(), NotCommitted> {
    if connection.is_autocommit() {
        return Err(NotCommitted::RolledBack);
    }
    let committed = connection
        .prepare_cached("COMMIT")
        .and_then(|mut commit| commit.execute([]));
    committed.map(drop).map_err(|error| {
        if let Err(error) = connection.execute_batch("ROLLBACK") {
            tracing::debug!(%error, "nothing left to roll back");
        }
        refused(error)
    })
}

fn refused(error: rusqlite::Error) -> NotCommitted {
    NotCommitted::Refused(EngineError::new(error))
}

impl Savepoints for Connection {
    fn connection(&self) -> &sql::Connection {
        self
    }

    fn begin(&self) -> Result<(), sql::Error> {
        self.prepare_cached("SAVEPOINT job")?.execute([])?;
        Ok(())
    }

    fn end(&self, is_kept: bool) -> Result<(), sql::Error> {
        // It may have rolled back everything, the savepoint too.
        if !self.goes_on() {
            return Ok(());
        }
        if !is_kept {
            self.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        self.prepare_cached("RELEASE job")?.execute([])?;
        Ok(())
    }

    fn confirm(&self) -> Result<(), sql::Error> {
        // It says so at once.
        Ok(())
    }

    fn goes_on(&self) -> bool {
        // The engine rolls back by itself when a disk is full.
        !self.is_autocommit()
    }
}

#[cfg(test)]
mod tests;
