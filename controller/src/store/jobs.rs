//! Writes that wait, for whichever engine: many are done in one transaction, and each is answered after
//! its commit.

use std::fmt;

use tokio::sync::oneshot;

use super::error::{NotCommitted, StoreError};
use super::sql::{Connection, Error};

/// What a writer is told.
#[derive(Debug)]
pub(super) enum Message {
    Run(Job),
    Stop,
}

/// A write that waits.
pub(super) struct Job(Box<dyn Write>);

/// What answers a write, once the fate of its transaction is known.
pub(super) type Answer = Box<dyn FnOnce(Result<(), NotCommitted>) + Send>;

/// A transaction in which each write undoes itself alone when it fails.
pub(super) trait Savepoints {
    fn connection(&self) -> &Connection;
    /// Before a write.
    fn begin(&self) -> Result<(), Error>;
    /// After it: what it did is kept, or undone.
    fn end(&self, is_kept: bool) -> Result<(), Error>;
}

trait Write: Send {
    /// Writes, and says what will answer: nothing is answered before the commit.
    fn run(self: Box<Self>, transaction: &dyn Savepoints) -> Answer;
    /// Answers without writing, when there is no transaction to write in.
    fn refuse(self: Box<Self>, cause: NotCommitted);
}

struct Work<T, F> {
    work: F,
    sender: oneshot::Sender<Result<T, StoreError>>,
}

// === impl Job ===

impl Job {
    /// Makes a write of `work`, and the place where its result will arrive.
    pub(super) fn new<T: Send + 'static>(
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Box::new(Work { work, sender })), receiver)
    }

    /// Writes, and says what will answer: nothing is answered before the commit.
    pub(super) fn run(self, transaction: &dyn Savepoints) -> Answer {
        self.0.run(transaction)
    }

    /// Answers without writing, when there is no transaction to write in.
    pub(super) fn refuse(self, cause: NotCommitted) {
        self.0.refuse(cause);
    }
}

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
    fn run(self: Box<Self>, transaction: &dyn Savepoints) -> Answer {
        let Self { work, sender } = *self;
        let result = in_savepoint(transaction, work);
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

fn in_savepoint<T>(
    transaction: &dyn Savepoints,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    transaction.begin()?;
    let result = work(transaction.connection());
    let ended = transaction.end(result.is_ok());
    // What the work says is the nearer cause.
    let value = result?;
    ended?;
    Ok(value)
}
