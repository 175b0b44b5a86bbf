//! The writer: one thread, and one transaction for everything that waits.
//!
//! An fsync costs as much as some hundred inserts, so the writer takes whatever is in the queue
//! into one transaction and commits once. While it waits for the disk, the next lot gathers. Each
//! write has a savepoint, so that one that fails undoes itself alone.

use std::fmt;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::store::error::{EngineError, NotCommitted, StoreError};

/// Writes in one transaction at most: bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 1024;
/// And the time they may take together before they are committed.
const BATCH_TIME_MAX: Duration = Duration::from_millis(50);

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Message {
    Run(Job),
    Stop,
}

/// A write that waits.
pub(super) struct Job(Box<dyn Write>);

/// What answers a write, once the fate of its transaction is known.
type Answer = Box<dyn FnOnce(Result<(), NotCommitted>) + Send>;

trait Write: Send {
    /// Writes, and says what will answer: nothing is answered before the commit.
    fn run(self: Box<Self>, connection: &Connection) -> Answer;
    /// Answers without writing, when there is no transaction to write in.
    fn refuse(self: Box<Self>, cause: NotCommitted);
}

struct Work<T, F> {
    work: F,
    sender: oneshot::Sender<Result<T, StoreError>>,
}

// === impl Job ===

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

// === impl Work ===

impl<T, F> Write for Work<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(self: Box<Self>, connection: &Connection) -> Answer {
        let Self { work, sender } = *self;
        let result = in_savepoint(connection, work);
        Box::new(move |committed| {
            let answer = match result {
                Ok(value) => committed.map(|()| value).map_err(StoreError::from),
                // It was not kept in either case, and this is the nearer cause.
                Err(error) => Err(error),
            };
            // The caller may have gone; what it wrote stays written.
            let _ = sender.send(answer);
        })
    }

    fn refuse(self: Box<Self>, cause: NotCommitted) {
        // The caller may have gone, and nothing was written.
        let _ = self.sender.send(Err(cause.into()));
    }
}

/// Makes a write of `work`, and the place where its result will arrive.
pub(super) fn job<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, StoreError>>) {
    let (sender, receiver) = oneshot::channel();
    (Job(Box::new(Work { work, sender })), receiver)
}

/// Serves the queue until it is closed or says stop.
pub(super) fn run(connection: &Connection, queue: &mut mpsc::Receiver<Message>) {
    while let Some(Message::Run(first)) = queue.blocking_recv() {
        if batch(connection, first, queue) {
            break;
        }
    }
    if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "the write-ahead log stays beside the database");
    }
}

/// Commits a write and all that wait behind it, and answers them. True when told to stop.
fn batch(connection: &Connection, first: Job, queue: &mut mpsc::Receiver<Message>) -> bool {
    if let Err(cause) = begin(connection) {
        tracing::error!(error = %program::one_line(&cause), "no transaction could be begun");
        first.0.refuse(cause);
        return false;
    }
    let mut answers = vec![first.0.run(connection)];
    let mut stop = false;
    let began = clock::instant();
    // Whatever ran after the engine rolled back by itself would be committed alone, so nothing
    // does.
    while answers.len() < BATCH_MAX
        && began.elapsed() < BATCH_TIME_MAX
        && !connection.is_autocommit()
    {
        match queue.try_recv() {
            Ok(Message::Run(job)) => answers.push(job.0.run(connection)),
            Ok(Message::Stop) => {
                stop = true;
                break;
            }
            Err(_) => break,
        }
    }
    let committed = commit(connection);
    if let Err(error) = &committed {
        tracing::error!(
            error = %program::one_line(error),
            writes = answers.len(),
            "a transaction was not committed"
        );
    }
    for answer in answers {
        answer(committed.clone());
    }
    stop
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

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = work(connection);
    // The engine may have rolled back everything, the savepoint too.
    if connection.is_autocommit() {
        return result;
    }
    if result.is_err() {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    result
}

#[cfg(test)]
mod tests;
