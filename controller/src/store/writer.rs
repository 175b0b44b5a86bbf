//! The writer: one thread, and one transaction for everything that waits.
//!
//! An fsync costs as much as some hundred inserts, so the writer takes whatever is in the queue into
//! one transaction and commits once. While it waits for the disk, the next lot gathers. Each write
//! has a savepoint, so that one that fails undoes itself alone.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use crate::error::Error;

/// Writes in one transaction at most: bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 1024;
/// And the time they may take together before they are committed.
const BATCH_TIME_MAX: Duration = Duration::from_millis(50);

/// What the writer is told.
pub(super) enum Message {
    Run(Job),
    Stop,
}

/// A write. It answers nothing itself; it returns what will, once the commit is known.
pub(super) type Job = Box<dyn FnOnce(&Connection) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Makes a write of `work`, and the place where its result will arrive.
pub(super) fn job<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, Error>>) {
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let result = in_savepoint(connection, work);
        Box::new(move |committed| {
            // The caller may have gone; what it wrote stays written.
            let _ = sender.send(committed.map_err(Error::from).and(result));
        })
    });
    (job, receiver)
}

/// Serves the queue until it is closed or says stop.
pub(super) fn run(connection: &Connection, mut queue: mpsc::Receiver<Message>) {
    while let Some(Message::Run(first)) = queue.blocking_recv() {
        if batch(connection, first, &mut queue) {
            break;
        }
    }
    if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "the write-ahead log stays beside the database");
    }
}

/// Commits a write and all that wait behind it, and answers them. True when told to stop.
fn batch(connection: &Connection, first: Job, queue: &mut mpsc::Receiver<Message>) -> bool {
    let mut answers = Vec::new();
    let mut stop = false;
    let committed = transaction(connection, || {
        answers.push(first(connection));
        let began = now();
        while answers.len() < BATCH_MAX
            && began.elapsed() < BATCH_TIME_MAX
            && !connection.is_autocommit()
        {
            match queue.try_recv() {
                Ok(Message::Run(job)) => answers.push(job(connection)),
                Ok(Message::Stop) => {
                    stop = true;
                    break;
                }
                Err(_) => break,
            }
        }
    });
    let committed = committed.map_err(|error| Error::chain_of(&error));
    if let Err(error) = &committed {
        tracing::error!(
            error,
            writes = answers.len(),
            "a transaction was not committed"
        );
    }
    for answer in answers {
        answer(committed.clone().map_err(StoreError::NotCommitted));
    }
    stop
}

fn transaction(connection: &Connection, work: impl FnOnce()) -> Result<(), StoreError> {
    // When this fails no job runs: dropping a job closes its answer, which its caller sees as such.
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    work();
    // A full disk undoes the whole transaction at once. Whatever ran after that would be committed
    // alone, so nothing does, and everybody hears that nothing was kept.
    if connection.is_autocommit() {
        let cause = "the database undid it, as it does when the disk is full";
        return Err(StoreError::NotCommitted(cause.to_owned()));
    }
    let committed = connection.prepare_cached("COMMIT")?.execute([]);
    if let Err(error) = committed {
        if let Err(error) = connection.execute_batch("ROLLBACK") {
            tracing::debug!(%error, "nothing left to roll back");
        }
        return Err(error.into());
    }
    Ok(())
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = work(connection);
    if result.is_err() {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    result
}

#[expect(
    clippy::disallowed_methods,
    reason = "the writer measures how long a batch has taken"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
