//! Writes that wait, for whichever engine: many are done in one transaction, and each is answered after
//! its commit. Claims that wait are judged and stored as one set, and so are records of the log, what
//! hosts acknowledge, tokens that are made, who joins, sessions that are opened, and passes.
//!
//! | file | what |
//! |---|---|
//! | `batch` | what is done in one transaction |
//! | `sets` | what waits to be done together with others of its kind |

mod batch;
mod sets;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{mpsc, oneshot};

pub(super) use self::batch::{Gathered, Last, gather};
use self::sets::Joins;
pub(super) use self::sets::{Lot, Sets, Together};
use super::error::{EngineError, NotCommitted, StoreError};
use super::health::Fault;
use super::sql::{Connection, Error};

/// Writes that wait for the writer at most; more callers wait in line before it.
const QUEUE_MAX: usize = 4096;
/// Half a millisecond to 16 seconds: the first bound, the factor to the next, how many.
const COMMIT_BUCKETS: (f64, f64, u16) = (0.0005, 2.0, 16);

/// The callers' end of a writer; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Writes {
    jobs: mpsc::Sender<Message>,
    /// Set by [`close`](Self::close): tells a store that was closed from a writer that died.
    closing: Arc<AtomicBool>,
    /// How long commits take.
    commits: Histogram,
    fault: Fault,
}

/// The writer's end.
pub(super) struct Queue {
    pub(super) jobs: mpsc::Receiver<Message>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) commits: Histogram,
    pub(super) fault: Fault,
}

/// What a writer is told.
#[derive(Debug)]
pub(super) enum Message {
    Write(Waiting),
    Stop,
}

/// A write that waits.
pub(super) enum Waiting {
    /// Nobody but itself knows what it does.
    Alone(Job),
    /// It can be done together with others of its kind.
    Together(Box<dyn Joins>),
}

/// A write of which only its result is known.
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
    /// Makes sure that the engine could do all that it was told since `begin`: one that is far away may not
    /// have been heard.
    fn confirm(&self) -> Result<(), Error>;
    /// Whether the engine still has what was written: what is written after that would be lost, or kept
    /// alone.
    fn goes_on(&self) -> bool;
}

trait Write: Send {
    /// Writes, and gives what is to be answered: nothing is before the commit.
    fn run(self: Box<Self>, transaction: &dyn Savepoints) -> Last;
    /// Answers without writing, when there is no transaction to write in.
    fn refuse(self: Box<Self>, cause: NotCommitted);
}

struct Work<T, F> {
    work: F,
    sender: oneshot::Sender<Result<T, StoreError>>,
}

// === impl Writes ===

impl Writes {
    /// Starts a writer: a thread that serves the queue by `run` and then ends.
    pub(super) fn start(run: impl FnOnce(&mut Queue) + Send + 'static) -> Result<Self, StoreError> {
        let (start, factor, length) = COMMIT_BUCKETS;
        let commits = Histogram::new(exponential_buckets(start, factor, length));
        let closing = Arc::<AtomicBool>::default();
        let fault = Fault::default();
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        let mut queue = Queue {
            jobs: waiting,
            closing: Arc::clone(&closing),
            commits: commits.clone(),
            fault: fault.clone(),
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                // In this order: whoever waits for the end of the queue finds the database closed.
                run(&mut queue);
                drop(queue);
            })
            .map_err(|error| StoreError::Engine(EngineError::new(error)))?;
        Ok(Self {
            jobs,
            closing,
            commits,
            fault,
        })
    }

    /// Runs `work` in the next transaction; the answer comes after its commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = Job::new(work);
        self.send(Waiting::Alone(job), answer).await
    }

    /// Does what can be done together with others of its kind; the answer comes after the commit.
    pub(super) async fn join<T: Together>(&self, what: T) -> Result<T::Outcome, StoreError> {
        let (part, answer) = sets::part(what);
        self.send(Waiting::Together(part), answer).await
    }

    async fn send<T>(
        &self,
        write: Waiting,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let sent = self.jobs.send(Message::Write(write)).await;
        sent.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Why writes fail now; `None` while they succeed.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.get()
    }

    /// How long commits take, seconds.
    pub(super) fn commits(&self) -> Histogram {
        self.commits.clone()
    }

    /// Lets the writer commit what waits and end. Later writes are refused.
    pub(super) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        if self.jobs.send(Message::Stop).await.is_ok() {
            self.jobs.closed().await;
        }
    }

    /// Resolves when the writer is gone, which only happens after [`close`](Self::close) or a defect.
    pub(super) async fn closed(&self) {
        self.jobs.closed().await;
    }

    /// Why the writer does not answer.
    fn gone(&self) -> StoreError {
        if self.closing.load(Ordering::SeqCst) {
            StoreError::Closed
        } else {
            StoreError::Panicked
        }
    }
}

/// What tells a caller what its write came to, once that is committed.
fn answer<T: Send + 'static>(
    sender: oneshot::Sender<Result<T, StoreError>>,
    result: Result<T, StoreError>,
) -> Answer {
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

// === impl Waiting ===

impl Waiting {
    /// Answers without writing, when there is no transaction to write in. The caller may have gone.
    pub(super) fn refuse(self, cause: NotCommitted) {
        match self {
            Self::Alone(job) => job.0.refuse(cause),
            Self::Together(part) => part.refuse(cause),
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
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

    /// Writes, and gives what is to be answered: nothing is before the commit.
    fn run(self, transaction: &dyn Savepoints) -> Last {
        self.0.run(transaction)
    }
}

// === impl Work ===

impl<T, F> Write for Work<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(self: Box<Self>, transaction: &dyn Savepoints) -> Last {
        let Self { work, sender } = *self;
        Last::one(sender, in_savepoint(transaction, work))
    }

    fn refuse(self: Box<Self>, cause: NotCommitted) {
        // The caller may have gone, and nothing was written.
        let _ = self.sender.send(Err(cause.into()));
    }
}

/// Does something by itself, and knows in the end whether it could be done.
fn one_by_one<T>(
    transaction: &dyn Savepoints,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if !transaction.goes_on() {
        return Err(NotCommitted::RolledBack.into());
    }
    let done = in_savepoint(transaction, work)?;
    transaction.confirm()?;
    Ok(done)
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
